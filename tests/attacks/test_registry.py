"""The list of attacks: names, parameters, strengths."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch

from siren_ext.attacks.registry import (
    ATTACKS,
    attack_named,
    combination,
    describe,
    quick_attacks,
)
from siren_ext.errors import ConfigError

PICTURES = [name for name, attack in ATTACKS.items() if attack.kind not in ("captions", "weights")]
NEEDS = {"base", "coater", "file", "model"}
"""Settings of attacks that need a network."""
LIGHT = [name for name in PICTURES if not set(ATTACKS[name].parameters) & NEEDS]
THIRTEEN = (
    "centre-crop", "hue", "jpeg", "noise", "brightness", "contrast", "palette", "saturation",
    "sharpness", "blur", "super-resolution", "text", "combination",
)  # fmt: skip


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", ATTACKS)
def test_parameters_are_those_of_the_function(name: str) -> None:
    attack = ATTACKS[name]
    known = inspect.signature(attack.function).parameters.values()
    assert set(attack.parameters) == {p.name for p in known if p.kind is p.KEYWORD_ONLY}
    assert attack.stands_for
    for part in attack.parameters.values():
        if part.low is not None and part.high is not None:
            assert part.low <= part.default <= part.high
            assert part.neutral is None or part.low <= part.neutral <= part.high


@pytest.mark.parametrize("name", [name for name in LIGHT if name != "bucket"])
def test_defaults_run_with_any_size(name: str) -> None:
    pytest.importorskip("kornia")
    attack = ATTACKS[name]
    images = torch.rand(1, 3, 18, 26, generator=draws(3))
    first, again = (attack.function(images, draws(1), **(attack.settings() or {})) for _ in "12")
    assert torch.equal(first, again)
    assert first.shape[1] == 3
    assert 0 <= float(first.min()) <= float(first.max()) <= 1
    if attack.quick:
        assert first.shape == images.shape


def test_the_thirteen_have_the_papers_parameters() -> None:
    assert [name for name in THIRTEEN if not ATTACKS[name].quick] == []
    assert ATTACKS["blur"].settings() == {"kernel": 7, "sigma": 1.4}
    assert ATTACKS["palette"].settings() == {"colours": 256, "dither": True}
    assert ATTACKS["centre-crop"].settings() == {"keep": 0.1}
    assert ATTACKS["regenerate"].settings()["step"] == 60  # type: ignore[index]
    assert ATTACKS["img2img"].settings()["strength"] == 0.35  # type: ignore[index]


def test_unknown_names() -> None:
    with pytest.raises(ConfigError, match="no attack 'smear'; expected one of centre-crop, hue"):
        attack_named("smear")


def test_a_combination_draws_different_edits_for_each_image() -> None:
    pytest.importorskip("kornia")
    images = torch.rand(1, 3, 24, 24, generator=draws(2)).expand(3, -1, -1, -1)
    found = combination(images, draws(1))
    assert not torch.equal(found[0], found[1])
    assert torch.equal(combination(images, draws(1), count=0), images)
    with pytest.raises(ConfigError, match="count is 13"):
        combination(images, draws(), count=13)


def test_words_for_lists() -> None:
    assert describe("blur") == "kernel 7 (1 to 63), sigma 1.4 (0 to 20)"
    assert describe("palette") == "colours 256 (2 to 256), dither true"
    assert set(THIRTEEN) < set(quick_attacks())
    assert not {"regenerate", "img2img", "evade", "uncoat", "learned-codec"} & set(quick_attacks())


def test_the_page_lists_all_attacks() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "robustness.md"
    text = page.read_text(encoding="utf-8")
    assert [name for name in ATTACKS if f"`{name}`" not in text] == []
