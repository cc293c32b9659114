"""Weights: which tensors change, what is kept, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support.short_runs import load, short
from support.tiny_models import draw_images, need_models, shared_model

from siren_ext.adapters.read import read_summary
from siren_ext.attacks.rounding import int8
from siren_ext.attacks.weights import attack_weights
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import AdapterError, BusyError, Cancelled, ConfigError
from siren_ext.files import locked
from siren_ext.personalize.run import personalize
from siren_ext.progress import Progress

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
    facts = {"siren_run": "0" * 64, "sshs_model_hash": "0" * 64, "sshs_legacy_hash": "0" * 8}
    save_file(tensors, path, {"ss_note": "words", **facts})
    return path


def test_weights_change_and_the_rest_is_kept(lora: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    assert attack_weights(lora, out, ["int8", "half"], {"form": "bfloat16"}) == 2
    before, after = load_file(lora), load_file(out)
    for key in (DOWN, UP):
        assert torch.equal(after[key], int8(before[key]).bfloat16())
    assert torch.equal(after[ALPHA], before[ALPHA])
    with safe_open(str(out), framework="pt") as file:
        assert file.metadata() == {"ss_note": "words"}


@pytest.mark.parametrize(
    ("names", "given", "words"),
    [
        ([], {}, "No attack was named; expected one of half, int8"),
        (["jpeg"], {}, "jpeg does not change weights; expected one of half, int8"),
        (["int8"], {"form": "float16"}, "int8 has no setting 'form'; expected none"),
        (["half"], {"strength": 1}, "half has no setting 'strength'; expected one of form"),
        (["half"], {"form": "int4"}, "form is 'int4'"),
        (["smear"], {}, "no attack 'smear'"),
    ],
)
def test_mistakes_write_nothing(
    lora: Path, tmp_path: Path, names: list[str], given: dict[str, Any], words: str
) -> None:
    out = tmp_path / "out.safetensors"
    with pytest.raises(ConfigError, match=words):
        attack_weights(lora, out, names, given)
    assert not out.exists()


def test_vectors_are_changed_and_a_setting_may_name_its_attack(tmp_path: Path) -> None:
    before = torch.randn(9, generator=torch.Generator().manual_seed(1))
    save_file({"unet.x.delta": before}, tmp_path / "svdiff.safetensors")
    out = tmp_path / "out.safetensors"
    given = {"half.form": "bfloat16"}
    assert attack_weights(tmp_path / "svdiff.safetensors", out, ["int8", "half"], given) == 1
    after = load_file(out)["unet.x.delta"]
    assert after.dtype == torch.bfloat16
    step = before.abs().max() / 127
    assert torch.equal(after, ((before / step).round() * step).bfloat16())


def test_files_that_cannot_be_used(lora: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="already exists and was not overwritten"):
        attack_weights(lora, lora, ["half"], {})
    with pytest.raises(ConfigError, match="is inside"):
        attack_weights(tmp_path, tmp_path / "out", ["half"], {})
    with pytest.raises(ConfigError, match="is a folder, so --out must be one too"):
        attack_weights(tmp_path, tmp_path.with_suffix(".safetensors"), ["half"], {})
    with pytest.raises(AdapterError, match="There is no adapter file"):
        attack_weights(tmp_path / "no.safetensors", tmp_path / "out", ["half"], {})
    save_file({ALPHA: torch.tensor(0.3)}, tmp_path / "alpha.safetensors")
    with pytest.raises(AdapterError, match="has no weights that these attacks change"):
        attack_weights(tmp_path / "alpha.safetensors", tmp_path / "out", ["int8"], {})
    assert not (tmp_path / "out").exists()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder of a model, with what must not be copied."""
    folder = tmp_path / "model"
    for name in ("unet", "vae", ".cache"):
        (folder / name).mkdir(parents=True)
    draws = torch.Generator().manual_seed(5)
    tensors = {
        "weight": torch.randn(4, 6, generator=draws),
        "bias": torch.randn(4, generator=draws),
    }
    save_file(tensors, folder / "unet" / "net.safetensors", {"format": "pt"})
    save_file({"position": torch.arange(3)}, folder / "vae" / "net.safetensors")
    for name in ("model_index.json", "siren_run.json", ".cache/lock.json"):
        (folder / name).write_text("{}")
    return folder


def test_a_folder_is_copied_with_other_weights(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "made" / "out"
    assert attack_weights(model, out, ["int8"], {}) == 1
    names = {file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file()}
    assert names == {"model_index.json", "unet/net.safetensors", "vae/net.safetensors"}
    before, after = (load_file(place / "unet" / "net.safetensors") for place in (model, out))
    assert torch.equal(after["weight"], int8(before["weight"]))
    assert torch.equal(after["bias"], before["bias"])  # as quantisers leave it
    assert attack_weights(model, tmp_path / "half", ["half"], {}) == 2
    assert load_file(tmp_path / "half" / "unet" / "net.safetensors")["bias"].dtype == torch.float16


def test_folders_that_cannot_be_used_leave_nothing(model: Path, tmp_path: Path) -> None:
    def stopped() -> bool:
        return (tmp_path / ".out.new").exists()

    out = tmp_path / "out"
    with pytest.raises(Cancelled):
        attack_weights(model, out, ["half"], {}, Progress(stopped))
    (model / "unet" / "net.BIN").write_bytes(b"x")
    with pytest.raises(AdapterError, match=r"unet.net\.BIN, in a format that can run code"):
        attack_weights(model, out, ["half"], {})
    (tmp_path / "empty").mkdir()
    with pytest.raises(AdapterError, match=r"has no \.safetensors files"):
        attack_weights(tmp_path / "empty", out, ["half"], {})
    save_file({"x": torch.ones(())}, tmp_path / "empty" / "x.safetensors")
    with pytest.raises(AdapterError, match="has no weights that these attacks change"):
        attack_weights(tmp_path / "empty", out, ["half"], {})
    assert {file.name for file in tmp_path.iterdir()} == {"model", "empty"}


def test_a_second_run_leaves_the_files_of_the_first(model: Path, tmp_path: Path) -> None:
    written = tmp_path / ".out.new" / "unet" / "net.safetensors"
    written.parent.mkdir(parents=True)
    written.write_bytes(b"of the first run")
    with locked(tmp_path / "out"), pytest.raises(BusyError, match="being written by another run"):
        attack_weights(model, tmp_path / "out", ["half"], {})
    assert written.read_bytes() == b"of the first run"
    assert attack_weights(model, tmp_path / "out", ["half"], {}) == 2


@pytest.mark.models
@pytest.mark.parametrize("name", ["half", "int8"])
def test_rounded_models_and_custom_diffusion_are_read_back(
    name: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    need_models()
    base = shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")
    assert attack_weights(base, tmp_path / "base", [name], {}) > 100
    changed, plain = load(tmp_path / "base"), load(base)
    pairs = zip(changed.unet.parameters(), plain.unet.parameters(), strict=True)
    apart = [float((one - two).detach().abs().max()) for one, two in pairs]
    assert 0 < max(apart) < 0.02
    data = ImageSet.open(draw_images(tmp_path / "images", 2))
    personalize(data, base, short("custom-diffusion", steps=1), tmp_path / "custom")
    assert attack_weights(tmp_path / "custom", tmp_path / "rounded", [name], {}) > 1
    first, second = (read_summary(tmp_path / place) for place in ("custom", "rounded"))
    assert (first.kinds, first.words) == (second.kinds, second.words)
    assert first.hash != second.hash
