"""The node that imports the authors' files, on a stand-in host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.fake_host import FakeHost, Interrupt, ProgressBar, install, nodes_of_pack
from support.published_pair import meta_learned, published_states, work_small, written

from siren_ext.coater.coater import Coater
from siren_ext.errors import CoaterError
from siren_ext.files import sha256_file

PAIR = {"generator": "pokemon/end_encoder.pth", "extractor": "pokemon/end_decoder.pth"}
META = {"generator": "end_encoder.pth", "extractor": "end_decoder.pth"}


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeHost:
    """A host with a trained and a meta-learned pair, and three clean pictures."""
    fake = install(monkeypatch, tmp_path / "comfyui")
    work_small(monkeypatch)
    shelf = models(fake)
    (shelf / "pokemon").mkdir()
    written(shelf / "pokemon", *published_states())
    written(shelf, *meta_learned(published_states()))
    rng = np.random.default_rng(4)
    folder = fake.base / "input" / "pictures"
    folder.mkdir()
    for index in range(3):
        pixels = rng.integers(0, 256, (24, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return fake


def models(host: FakeHost) -> Path:
    return host.base / "models" / "siren"


def node() -> Any:
    return nodes_of_pack()["SirenImportCheckpoints"]


def test_the_files_can_be_chosen(host: FakeHost) -> None:
    inputs = {part.id: part.options for part in node().define_schema().inputs}
    listed = ["end_decoder.pth", "end_encoder.pth", *reversed(PAIR.values())]
    assert inputs["generator"]["options"] == inputs["extractor"]["options"] == listed
    assert inputs["generator"]["default"] == META["generator"]
    assert inputs["extractor"]["default"] == META["extractor"]
    check = node().validate_inputs
    assert check(**PAIR, folder="", save_as="x") is True
    assert check(folder=None) is True
    assert "no folder 'gone'" in str(check(**META, folder="gone"))
    for name in ("gone.pth", "no .pth file yet"):
        assert f"no checkpoint '{name}'" in str(check(generator=name))
    for name in ("../end_encoder.pth", "/etc/passwd"):
        assert "can't be used as a name" in str(check(extractor=name))


def test_without_files_the_node_still_opens(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(monkeypatch, tmp_path / "comfyui")
    inputs = {part.id: part.options for part in node().define_schema().inputs}
    assert inputs["generator"]["options"] == ["no .pth file yet"]


def test_a_trained_pair(host: FakeHost) -> None:
    with torch.inference_mode():
        result = node().execute(**PAIR, folder="", save_as="sets/mine")
    coater, name = result.args
    assert name == "sets/mine.safetensors"
    assert not coater.center.is_inference()
    loaded = Coater.load(models(host) / name)
    assert loaded.fingerprint == coater.fingerprint
    file = models(host) / PAIR["generator"]
    assert loaded.provenance["generator_sha256"] == sha256_file(file)
    (text,) = result.ui["text"]
    assert text.startswith("models/siren/sets/mine.safetensors\nThe centre comes from")
    load = nodes_of_pack()["SirenLoadCoater"]
    (options,) = [part.options["options"] for part in load.define_schema().inputs]
    assert name in options
    with pytest.raises(CoaterError, match="already exists"):
        node().execute(**PAIR, folder="", save_as="sets/mine")


def test_a_meta_learned_pair(host: FakeHost) -> None:
    with pytest.raises(CoaterError, match="contains no 'center'"):
        node().execute(**META, folder=" ", save_as="mine")
    (host.base / "input" / "pictures" / "bad.png").write_bytes(b"no picture")
    result = node().execute(**META, folder="pictures", save_as="mine")
    assert "computed from 3 images" in result.ui["text"][0]
    assert "skipped bad.png" in result.ui["text"][0]
    assert Coater.load(models(host) / "mine.safetensors").center.abs().sum() > 0


def test_swapped_files(host: FakeHost) -> None:
    swapped = {"generator": PAIR["extractor"], "extractor": PAIR["generator"]}
    with pytest.raises(CoaterError, match="The two files are swapped"):
        node().execute(**swapped, folder="", save_as="mine")


def test_an_interrupt_leaves_no_file(host: FakeHost) -> None:
    def stop(current: int, total: int) -> None:
        host.interrupted = True

    ProgressBar.hook = stop
    with pytest.raises(Interrupt):
        node().execute(**META, folder="pictures", save_as="mine")
    assert list(models(host).rglob("*.safetensors")) == []
    assert list(models(host).glob(".part*")) == []


def test_load_coater_names_the_node(host: FakeHost) -> None:
    load = nodes_of_pack()["SirenLoadCoater"]
    answer = str(load.validate_inputs(name=META["generator"]))
    assert "is a PyTorch checkpoint, not a coater" in answer
    assert "Import SIREN Checkpoints" in answer
