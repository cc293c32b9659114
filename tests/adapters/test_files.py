"""Hostile and foreign adapter files are refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file
from support.toy_adapters import good, normal, write

from siren_ext.adapters import files as adapter_files
from siren_ext.adapters.read import read_adapter
from siren_ext.coater.coater import Coater
from siren_ext.errors import AdapterError, CoaterError, ModelError
from siren_ext.suspects.open import is_checkpoint


def header(entries: dict[str, Any], body: bytes = b"\0" * 8) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(start: int, stop: int, shape: list[int]) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, stop]}


HOSTILE: dict[str, bytes] = {
    "no header": b"",
    "huge header": b"\xff" * 100,
    "header past the end": struct.pack("<Q", 1000) + b"{}",
    "overlapping": header({"a.alpha": entry(0, 8, [2]), "b.alpha": entry(4, 8, [1])}),
    "past the end": header({"a.alpha": entry(0, 80, [20])}),
    "wrong size": header({"a.alpha": entry(0, 8, [2**62, 2**62])}),
    "hole": header({"a.alpha": entry(4, 8, [1])}),
    "nested": struct.pack("<Q", 200_000) + b"[" * 200_000,
    "unknown format": header({"a.alpha": {**entry(0, 8, [2]), "dtype": "OBJECT"}}),
    "metadata not text": header({"__metadata__": {"a": [1]}, "a.alpha": entry(0, 8, [2])}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(AdapterError, match="can't be read"):
        read_adapter(path, allow_partial=True)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        # diffusers' pivotal tuning, whose words were trained together with the LoRA
        ("pytorch_lora_weights.safetensors", "mine_emb.safetensors"),
        ("pytorch_custom_diffusion_weights.safetensors", "pytorch_lora_weights.safetensors"),
        ("adapter_model.safetensors", "text_encoder/adapter_model.safetensors"),
    ],
)
def test_no_part_of_a_folder_is_left_out_without_a_word(
    tmp_path: Path, first: str, second: str
) -> None:
    peft = {"base_model.model.x.lora_A.weight": normal(2, 2)}
    peft |= {"base_model.model.x.lora_B.weight": normal(2, 2)}
    words = {"clip_l": normal(1, 8)}
    for name in (first, second):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        config = (tmp_path / name).with_name("adapter_config.json")
        if name.endswith("adapter_model.safetensors"):
            config.write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 2}')
        tensors = peft if config.is_file() else words if "_emb" in name else good()
        save_file(tensors, tmp_path / name)
    with pytest.raises(AdapterError, match=f"{first} and also {second}"):
        read_adapter(tmp_path)
    (tmp_path / second).unlink()
    assert read_adapter(tmp_path).changes


def test_numbers_of_four_bits_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    names = ("lora_unet_x.lora_down.weight", "lora_unet_x.lora_up.weight")
    entries = {
        name: {**entry(8 * i, 8 * i + 8, [4, 4]), "dtype": "F4"} for i, name in enumerate(names)
    }
    path.write_bytes(header(entries, b"\x11" * 16))
    with pytest.raises(AdapterError, match=r"a.safetensors (contains .* four-bit|can't be read)"):
        read_adapter(path)


def test_files_of_other_kinds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AdapterError, match="no adapter file"):
        read_adapter(tmp_path / "absent.safetensors")
    for name in ("a.pt", "b.bin", "c.ckpt"):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(AdapterError, match="run code"):
            read_adapter(tmp_path / name)
    with pytest.raises(AdapterError, match="run code"):
        read_adapter(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(AdapterError, match="folder without an adapter"):
        read_adapter(tmp_path / "empty")
    (tmp_path / "nothing.safetensors").touch()
    with pytest.raises(AdapterError, match="it is empty"):
        read_adapter(tmp_path / "nothing.safetensors")
    path = write(tmp_path, good())
    monkeypatch.setattr(adapter_files, "MAX_HEADER", 10)
    with pytest.raises(AdapterError, match="its header"):
        read_adapter(path)
    monkeypatch.setattr(adapter_files, "MAX_BYTES", 10)
    with pytest.raises(AdapterError, match="at most"):
        read_adapter(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1\n", "git lfs pull"),
        ("<!DOCTYPE html><html>Log in</html>", "is a web page"),
        ('{"error": "Unauthorized", "message": "log in"}', "is a web page"),
    ],
)
def test_what_a_failed_download_left_is_named(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "a.safetensors"
    path.write_text(content)
    with pytest.raises(AdapterError, match=words):
        read_adapter(path)
    with pytest.raises(CoaterError, match=words):
        Coater.load(path)
    with pytest.raises(ModelError, match=words):
        is_checkpoint(path)


def test_the_suffix_may_be_in_capital_letters(tmp_path: Path) -> None:
    path = write(tmp_path, good()).rename(tmp_path / "A.SAFETENSORS")
    assert read_adapter(path).changes
