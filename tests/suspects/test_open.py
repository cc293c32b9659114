"""One text, the right kind of suspect."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from siren_ext.errors import ConfigError, ModelError
from siren_ext.suspects.a1111 import A1111Suspect
from siren_ext.suspects.comfyui import ComfyUISuspect
from siren_ext.suspects.folder import FolderSuspect
from siren_ext.suspects.local import LocalSuspect
from siren_ext.suspects.open import needs_base, open_suspect


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    path = tmp_path / "lora.safetensors"
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(1)}, path)
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "whole.safetensors"
    save_file({"model.diffusion_model.x.weight": torch.zeros(1)}, path)
    return path


def test_addresses() -> None:
    assert isinstance(open_suspect("a1111://127.0.0.1:1"), A1111Suspect)
    assert isinstance(open_suspect("comfyui://127.0.0.1:1"), ComfyUISuspect)


def test_folders(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "theirs" / "a.png")
    assert isinstance(open_suspect(str(tmp_path / "theirs")), FolderSuspect)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model_index.json").write_text("{}")
    found = open_suspect(str(tmp_path / "model"), device="cpu")
    assert isinstance(found, LocalSuspect)
    (tmp_path / "peft").mkdir()
    (tmp_path / "peft" / "adapter_config.json").write_text("{}")
    assert needs_base(str(tmp_path / "peft"))


@pytest.mark.parametrize(
    "name",
    [
        "learned_embeds.safetensors",
        "pytorch_custom_diffusion_weights.safetensors",
        "pytorch_lora_weights.safetensors",
        "unet/adapter_config.json",
        "text_encoder/adapter_config.json",
    ],
)
def test_folders_of_adapters_are_no_folders_of_pictures(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    Image.new("RGB", (8, 8)).save(tmp_path / "sample.png")  # training programs write some
    found = open_suspect(str(tmp_path), base="pocket", device="cpu")
    assert isinstance(found, LocalSuspect)
    assert [used.path for used in found.adapters] == [tmp_path]
    with pytest.raises(ConfigError, match="give the model that it was trained for"):
        open_suspect(str(tmp_path))


def test_a_whole_model_with_a_new_word_beside_it(tmp_path: Path) -> None:
    for name in ("model_index.json", "learned_embeds.safetensors"):
        (tmp_path / name).touch()
    assert not needs_base(str(tmp_path))


def test_an_adapter_with_the_prefix_of_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    names = ("model.diffusion_model.x.lora_A.weight", "model.diffusion_model.x.lora_B.weight")
    save_file({name: torch.zeros(2, 2) for name in names}, path)
    assert needs_base(str(path))


def test_files(lora: Path, checkpoint: Path) -> None:
    found = open_suspect(str(lora), base="pocket", scale=0.5, device="cpu")
    assert isinstance(found, LocalSuspect)
    assert found.model == "pocket"
    assert [(used.path, used.weight) for used in found.adapters] == [(lora, 0.5)]
    whole = open_suspect(str(checkpoint), device="cpu")
    assert isinstance(whole, LocalSuspect)
    assert (whole.model, whole.adapters) == (checkpoint, ())
    pocket = open_suspect("pocket", device="cpu")
    assert isinstance(pocket, LocalSuspect)
    assert pocket.model == "pocket"
    assert open_suspect("pocket-small", device="cpu").model == "pocket-small"


def test_what_is_nothing_of_the_kind(lora: Path, checkpoint: Path, tmp_path: Path) -> None:
    pickle = tmp_path / "old.ckpt"
    pickle.write_bytes(b"\x80\x02}q\x00.")
    for text, base, kind, why in (
        (lora, None, ConfigError, "give the model that it was trained for"),
        (checkpoint, "pocket", ConfigError, "is not"),
        (tmp_path / "gone", None, ConfigError, "There is no"),
        (tmp_path / "gone", "pocket", ConfigError, "There is no"),
        ("comfyui:" + "x" * 5000, None, ConfigError, "There is no comfyui:xxx"),
        ("a\0b", "pocket", ConfigError, "There is no"),
        (pickle, None, ModelError, "not a safetensors file"),
        ("https://example.com/api", None, ConfigError, "in a TOML file"),
        ("file:///etc/passwd", None, ConfigError, "in a TOML file"),
    ):
        with pytest.raises(kind, match=why):
            open_suspect(str(text), base=base)
