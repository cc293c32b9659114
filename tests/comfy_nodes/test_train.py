"""Refusals of Train Coater on a stand-in host."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.fake_host import FakeHost, Interrupt, nodes_of_pack, run

from siren_ext.coater.bundled import refuse_existing
from siren_ext.coater.coater import Coater
from siren_ext.errors import Cancelled, CoaterError, ModelError


def test_trained_coaters_are_not_replaced_and_parts_come_together(
    host: FakeHost, coater: Coater, pictures: Path
) -> None:
    node = nodes_of_pack()["SirenTrainCoater"]
    inputs = {"folder": "pictures", "class_word": "cat", "steps": 1, "batch_size": 1, "seed": 0}
    inputs |= {"resolution": 64, "rehearse": False}
    coater.save(host.base / "models" / "siren" / "mine.safetensors")
    with pytest.raises(CoaterError, match=r"mine\.safetensors already exists"):
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
    inputs |= {"resolution": 64, "rehearse": False, "save_as": "sub/mine"}
    first = run(node, **inputs)
    assert first.ui["siren"][0]["title"] == "Coater saved"
    again = run(node, **inputs)
    assert again.args[0].fingerprint == coater.fingerprint
    assert first.args[1] == again.args[1] == "sub/mine.safetensors"  # as Load Coater lists it
    assert "models/siren/sub/mine.safetensors" in first.ui["siren"][0]["lines"]
    assert again.ui["siren"][0]["title"] == "Coater loaded"
    for changed in ({"steps": 2}, {"start": coater}, {"preset": "keyed"}):
        with pytest.raises(CoaterError, match=r"mine\.safetensors already exists"):
            run(node, **(inputs | changed))
    before = (pictures / "0.png").read_bytes()
    (pictures / "0.png").write_bytes(before[:-1] + b"x")  # edited, of equal size
    with pytest.raises(CoaterError, match=r"mine\.safetensors already exists"):
        run(node, **inputs)
    (pictures / "0.png").write_bytes(before)
    (pictures / ".DS_Store").touch()  # of a file manager
    assert run(node, **inputs).ui["siren"][0]["title"] == "Coater loaded"
    (pictures / "0.png").unlink()
    with pytest.raises(CoaterError, match=r"mine\.safetensors already exists"):
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


@pytest.mark.parametrize("changed", ["checkpoint", "words", "decoder"])
def test_a_stopped_training_belongs_to_the_model_of_the_workflow(
    host: FakeHost, pictures: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    import importlib
    from types import SimpleNamespace

    from support.toy_training import Toy

    node = nodes_of_pack()["SirenTrainCoater"]
    graph = importlib.import_module("comfy_nodes.graph_surrogate")
    seen: list[str] = []

    class OfGraph(Toy):
        def __init__(self, *parts: object, prompt: str, resolution: int, identity: str) -> None:
            super().__init__(resolution)
            self.identity = identity

    def stopped(data: object, surrogate: Toy, *rest: object, **options: object) -> None:
        seen.append(surrogate.identity)
        raise Cancelled

    monkeypatch.setattr(graph, "GraphSurrogate", OfGraph)
    monkeypatch.setattr(graph, "train_coater", stopped)
    inputs = {"folder": "pictures", "class_word": "cat", "steps": 1, "batch_size": 1, "seed": 0}
    inputs |= {"resolution": 64, "rehearse": False, "save_as": "mine"}
    inputs |= {"model": object(), "clip": object(), "vae": object()}
    names = {"checkpoint": "a", "words": "b", "decoder": "c"}
    for given in (names, names, names | {changed: "other"}):
        links = zip(("model", "clip", "vae"), given, strict=True)
        prompt = {name: {"inputs": {"file": file}} for name, file in given.items()}
        prompt["1"] = {"inputs": {socket: [name, 0] for socket, name in links}}
        monkeypatch.setattr(node, "hidden", SimpleNamespace(prompt=prompt, unique_id="1"))
        with pytest.raises(Interrupt):
            run(node, **inputs)
    assert seen[0] == seen[1] != seen[2]
