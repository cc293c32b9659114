"""Files of adapters: which tensors change, what is kept, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from siren_ext.attacks.rounding import int8
from siren_ext.attacks.weights import attack_adapter
from siren_ext.errors import AdapterError, ConfigError

DOWN, UP, ALPHA = (
    f"lora_unet_x.{name}" for name in ("lora_down.weight", "lora_up.weight", "alpha")
)


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    path = tmp_path / "lora.safetensors"
    draws = torch.Generator().manual_seed(3)
    tensors = {
        DOWN: torch.randn(4, 6, generator=draws),
        UP: torch.randn(6, 4, generator=draws),
        ALPHA: torch.tensor(0.3),
    }
    save_file(tensors, path, {"ss_note": "words"})
    return path


def test_weights_change_and_the_rest_is_kept(lora: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    assert attack_adapter(lora, out, ["int8", "half"], {"form": "bfloat16"}) == 2
    before, after = load_file(lora), load_file(out)
    for key in (DOWN, UP):
        assert torch.equal(after[key], int8(before[key]).bfloat16())
    assert torch.equal(after[ALPHA], before[ALPHA])
    with safe_open(str(out), framework="pt") as file:
        assert file.metadata() == {"ss_note": "words"}


@pytest.mark.parametrize(
    ("names", "given", "words"),
    [
        ([], {}, "No attack is named; expected one of half, int8"),
        (["jpeg"], {}, "jpeg is not for files of adapters; expected one of half, int8"),
        (["int8"], {"form": "float16"}, "int8 has no setting 'form'"),
        (["half"], {"form": "int4"}, "form is 'int4'"),
        (["smear"], {}, "no attack 'smear'"),
    ],
)
def test_mistakes_write_nothing(
    lora: Path, tmp_path: Path, names: list[str], given: dict[str, Any], words: str
) -> None:
    out = tmp_path / "out.safetensors"
    with pytest.raises(ConfigError, match=words):
        attack_adapter(lora, out, names, given)
    assert not out.exists()


def test_vectors_are_changed_and_a_setting_may_name_its_attack(tmp_path: Path) -> None:
    before = torch.randn(9, generator=torch.Generator().manual_seed(1))
    save_file({"unet.x.delta": before}, tmp_path / "svdiff.safetensors")
    out = tmp_path / "out.safetensors"
    given = {"half.form": "bfloat16"}
    assert attack_adapter(tmp_path / "svdiff.safetensors", out, ["int8", "half"], given) == 1
    after = load_file(out)["unet.x.delta"]
    assert after.dtype == torch.bfloat16
    step = before.abs().max() / 127
    assert torch.equal(after, ((before / step).round() * step).bfloat16())


def test_files_that_cannot_be_used(lora: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="exists already and is not overwritten"):
        attack_adapter(lora, lora, ["half"], {})
    with pytest.raises(AdapterError, match="is a folder; expected the"):
        attack_adapter(tmp_path, tmp_path / "out", ["half"], {})
    with pytest.raises(AdapterError, match="There is no adapter file"):
        attack_adapter(tmp_path / "no.safetensors", tmp_path / "out", ["half"], {})
    save_file({ALPHA: torch.tensor(0.3)}, tmp_path / "alpha.safetensors")
    with pytest.raises(AdapterError, match="has no weights that these attacks change"):
        attack_adapter(tmp_path / "alpha.safetensors", tmp_path / "out", ["int8"], {})
    assert not (tmp_path / "out").exists()
