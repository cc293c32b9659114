"""Models of a workflow as files, on a stand-in host."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from support.fake_host import FakeHost
from support.graph_models import EDM, V_PREDICTION, X0, Model, install_saving

from siren_ext.errors import ModelError
from siren_ext.files import sha256_file


@pytest.fixture
def saved(host: FakeHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Paths of the files that the host wrote."""
    return install_saving(monkeypatch, tmp_path / "host")


def graph() -> Any:
    return importlib.import_module("comfy_nodes.graph_checkpoint")


def test_models_are_files_inside_the_block_only(host: FakeHost, saved: list[Path]) -> None:
    models = [(Model(value), "clip", "vae") for value in (1.0, 2.0, 1.0)]
    with graph().written(*models, device="cpu") as found:
        records = [one.describe() for one in found]
        first = saved[0]
        assert first.is_relative_to(host.base / "temp")
        assert records[0] == {
            "kind": "workflow",
            "model": "model of a ComfyUI workflow",
            "model_fingerprint": sha256_file(first),
            "adapters": [],
            "format": "float32",
            "sampler": "ddim",
        }
        vocabulary = first.with_suffix("") / "tokenizer"
        assert sorted(path.name for path in vocabulary.iterdir()) == ["merges.txt", "vocab.json"]
        with safe_open(first, framework="pt") as stream:
            assert stream.metadata() == {"modelspec.prediction_type": "epsilon"}
            assert "ztsnr" not in stream.keys()  # noqa: SIM118 - not a dict
    # equal models are equal in another run too, so that it resumes
    assert records[0] == records[2]
    assert records[0] != records[1]
    assert not list((host.base / "temp").iterdir())


def test_the_prediction_type_is_kept(saved: list[Path]) -> None:
    parts = (Model(sampling=V_PREDICTION), "clip", "vae")
    with (
        graph().written(parts, device="cpu"),
        safe_open(saved[0], framework="pt") as stream,
    ):
        assert stream.metadata() == {"modelspec.prediction_type": "v"}
        assert "ztsnr" in stream.keys()  # noqa: SIM118 - not a dict


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Model(family="Flux"), r"family Flux; expected SD15 \(Stable Diffusion 1\.x\)\. Disconn"),
        (Model(dtype=torch.float8_e4m3fn), r"weights in float8_e4m3fn.*Load the checkpoint in 16"),
        (Model(sampling=EDM), "neither noise nor v, but one of these is needed. Remove the node"),
        (Model(sampling=X0), "neither noise nor v, but one of these is needed. Remove the node"),
    ],
)
def test_other_models_are_refused(saved: list[Path], model: Model, words: str) -> None:
    with (
        pytest.raises(ModelError, match=words),
        graph().written((Model(), "clip", "vae"), (model, "clip", "vae"), device="cpu"),
    ):
        pass
    assert not saved


def test_a_full_disk_is_reported(
    host: FakeHost, saved: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: Any, **rest: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("comfy.sd.save_checkpoint", fail)
    with (
        pytest.raises(ModelError, match=r"temp folder: .*No space left on device\. Free as much"),
        graph().written((Model(), "clip", "vae"), device="cpu"),
    ):
        pass
    assert not list((host.base / "temp").iterdir())


def test_parts_come_together(host: FakeHost) -> None:
    connected = graph().connected
    assert connected((1, 2, 3), None, "x")
    assert not connected((None, None, None), None, "x")
    with pytest.raises(
        ModelError, match=r"Only some of model, clip and vae .* or none of them to use the rest"
    ):
        connected((1, None, 3), None, "the rest")
