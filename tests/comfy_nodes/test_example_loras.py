"""The LoRAs that come with the pack."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
from support.comfy_workflows import example
from support.fake_host import FakeHost

from siren_ext.adapters.read import read_adapter
from siren_ext.errors import SirenError
from siren_ext.files import sha256_file
from siren_ext.workflows.demo import demo_key

LARGEST = 1_000_000
"""Bytes of one file: the pack is downloaded by everybody."""


def test_names_and_files(host: FakeHost) -> None:
    loras = importlib.import_module("comfy_nodes.example_loras")
    (host.base / "models" / "loras" / "own.safetensors").touch()
    first, second = loras.FILES
    assert loras.lora_names() == ["none", first, second, "own.safetensors"]
    assert loras.lora_file("none") is None
    assert loras.lora_file("own.safetensors").name == "own.safetensors"
    files = [loras.lora_file(name) for name in loras.FILES]
    assert [path.name for path in files] == ["coated.safetensors", "clean.safetensors"]
    assert sha256_file(files[0]) != sha256_file(files[1])
    with pytest.raises(SirenError, match=r"There is no LoRA 'gone\.safetensors'"):
        loras.lora_file("gone.safetensors")


def test_files_are_small_and_can_be_read(host: FakeHost) -> None:
    loras = importlib.import_module("comfy_nodes.example_loras")
    for name in loras.FILES:
        path: Path = loras.lora_file(name)
        assert path.stat().st_size < LARGEST
        assert len(read_adapter(path).changes) > 50


def test_hashes_are_recorded(host: FakeHost) -> None:
    loras = importlib.import_module("comfy_nodes.example_loras")
    record = importlib.import_module("comfy_nodes.record")
    name = next(iter(loras.FILES))
    prompt = {
        "1": {"class_type": "SirenPocketSampler", "inputs": {"lora": name, "lora_strength": 1.0}},
        "2": {"class_type": "SirenScoreCoating", "inputs": {"image": ["1", 0]}},
    }
    (entry,) = record.made_by(prompt, "2", "image")["models"]
    assert entry["sha256"] == sha256_file(loras.lora_file(name))
    assert (entry["name"], entry["strength"]) == (name, 1.0)


def test_example_names_them_and_the_key(host: FakeHost) -> None:
    loras = importlib.import_module("comfy_nodes.example_loras")
    text = json.dumps(example("verify_a_lora"))
    suspect, innocent = loras.FILES
    assert json.dumps(suspect) in text
    assert "*trained on clean samples*" in text  # the note says that this one is innocent
    assert innocent.startswith("trained on clean samples")
    keys = importlib.import_module("comfy_nodes.example_key")
    assert json.dumps(keys.NAME) in text
    assert keys.example_key() == demo_key(0, 48)
