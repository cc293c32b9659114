"""Refusals of Train Coater on a stand-in host."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.fake_host import FakeHost, nodes_of_pack, run

from siren_ext.coater.bundled import refuse_existing
from siren_ext.coater.coater import Coater
from siren_ext.errors import CoaterError, ModelError


def test_trained_coaters_are_not_replaced_and_parts_come_together(
    host: FakeHost, coater: Coater, pictures: Path
) -> None:
    node = nodes_of_pack()["SirenTrainCoater"]
    inputs = {"folder": "pictures", "class_word": "cat", "steps": 1, "batch_size": 1, "seed": 0}
    inputs |= {"resolution": 64, "rehearse": False}
    coater.save(host.base / "models" / "siren" / "mine.safetensors")
    with pytest.raises(CoaterError, match=r"mine\.safetensors exists already"):
        run(node, save_as="mine", **inputs)
    with pytest.raises(ModelError, match="Only some of model, clip and vae are connected"):
        run(node, save_as="new", model=object(), **inputs)
    assert "class word is empty" in str(node.validate_inputs(class_word=" "))


def test_what_was_trained_before_is_loaded_after_a_restart(
    host: FakeHost, coater: Coater, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib

    node = nodes_of_pack()["SirenTrainCoater"]
    graph = importlib.import_module("comfy_nodes.graph_surrogate")

    def trained(data: object, word: str, out: Path, parts: object, *, asked: str, **rest: object):
        refuse_existing(out)
        coater.provenance[graph.ASKED] = asked
        coater.save(out)
        return coater

    monkeypatch.setattr(graph, "train_for_graph", trained)
    inputs = {"folder": "pictures", "class_word": "cat", "steps": 1, "batch_size": 1, "seed": 0}
    inputs |= {"resolution": 64, "rehearse": False, "save_as": "mine"}
    assert run(node, **inputs).ui["siren"][0]["title"] == "Coater saved"
    again = run(node, **inputs)
    assert again.args[0].fingerprint == coater.fingerprint
    assert again.args[1] == "mine.safetensors"
    assert again.ui["siren"][0]["title"] == "Coater loaded"
    for changed in ({"steps": 2}, {"start": coater}, {"preset": "keyed"}):
        with pytest.raises(CoaterError, match=r"mine\.safetensors exists already"):
            run(node, **(inputs | changed))
    (pictures / "0.png").unlink()
    with pytest.raises(CoaterError, match=r"mine\.safetensors exists already"):
        run(node, **inputs)


def test_a_start_of_another_size_is_reported_in_the_log(
    host: FakeHost,
    coater: Coater,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A node that is given a coater to adapt may have to change its working size."""
    import importlib

    from support.toy_training import Toy

    nodes_of_pack()
    graph = importlib.import_module("comfy_nodes.graph_surrogate")
    node_host = importlib.import_module("comfy_nodes.host")
    seen: dict[str, Coater] = {}

    def stand_in(data: object, surrogate: object, config: object, *, start: Coater, **rest: object):
        seen["start"] = start
        return start

    old = coater.config.working_size
    monkeypatch.setattr(graph, "_surrogate", lambda *given: Toy(8 * old))
    monkeypatch.setattr(graph, "train_coater", stand_in)
    with node_host.long_step() as progress:
        graph.train_for_graph(
            pictures, "cat", tmp_path / "new.safetensors", (None, None, None), resolution=8 * old,
            steps=1, batch_size=1, seed=0, rehearse=False, start=coater, progress=progress,
        )  # fmt: skip
    assert seen["start"].config.working_size == 4 * old
    assert f"working size changes from {old} to {4 * old} pixels" in caplog.text
