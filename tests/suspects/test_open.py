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
