"""Captions that are replaced or dropped."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from siren_ext.attacks.captions import drop_captions, replace_captions
from siren_ext.errors import ConfigError

CAPTIONS = [f"picture {number}" for number in range(2000)]


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_replaced_captions() -> None:
    assert replace_captions(["a", ""], draws()) == ["an image", "an image"]
    found = replace_captions(CAPTIONS, draws(1), texts=("x", "y"))
    assert set(found) == {"x", "y"}
    assert 900 < found.count("x") < 1100
    assert found == replace_captions(CAPTIONS, draws(1), texts=["x", "y"])
    assert found != replace_captions(CAPTIONS, draws(2), texts=("x", "y"))


def test_dropped_captions() -> None:
    found = drop_captions(CAPTIONS, draws(1))
    assert 140 < found.count("") < 260
    assert all(text in ("", before) for text, before in zip(found, CAPTIONS, strict=True))
    assert found == drop_captions(CAPTIONS, draws(1))
    assert found != drop_captions(CAPTIONS, draws(2))


def test_rates_of_none_and_all() -> None:
    assert drop_captions(CAPTIONS, draws(), rate=0) == CAPTIONS
    assert drop_captions(CAPTIONS, draws(), rate=1) == [""] * len(CAPTIONS)


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan"), "0.1", True])
def test_bad_rates(rate: Any) -> None:
    with pytest.raises(ConfigError, match=r"rate is .*; expected a number from 0 to 1"):
        drop_captions(CAPTIONS, draws(), rate=rate)


@pytest.mark.parametrize("texts", [(), "an image", [1]])
def test_bad_texts(texts: Any) -> None:
    with pytest.raises(ConfigError, match="expected a list of at least one text"):
        replace_captions(CAPTIONS, draws(), texts=texts)
