"""The node for images without a coating, on a stand-in host."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support.evidence_samples import known_key
from support.fake_host import FakeHost, Interrupt, install, nodes_of_pack
from support.feature_pairs import imitate_measuring
from support.graph_models import Model, install_saving
from support.owned_sets import owned_sets
from support.score_sets import drawn

from siren_ext.errors import SirenError
from siren_ext.report.write import write_report
from siren_ext.verdict.verify import verify

BASE, LORA = "pocket (bundled)", "trained on clean samples (bundled)"
INPUTS: dict[str, Any] = {
    "base": BASE,
    "lora": LORA,
    "lora_strength": 1.0,
    "published": "sets/p",
    "unpublished": "sets/u",
    "alpha": 0.001,
    "save_as": "siren/passive",
}


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeHost:
    """A host with a checkpoint and two folders of pictures."""
    fake = install(monkeypatch, tmp_path / "comfyui")
    owned_sets(fake.base / "input" / "sets", 20)
    (fake.base / "models" / "checkpoints" / "sd.safetensors").touch()
    (fake.base / "models" / "checkpoints" / "old.ckpt").touch()
    return fake


def node() -> Any:
    return nodes_of_pack()["SirenPassiveTest"]


def test_models_can_be_chosen(host: FakeHost) -> None:
    inputs = {part.id: part.options for part in node().define_schema().inputs}
    assert inputs["base"]["options"] == [BASE, "sd.safetensors"]
    assert LORA in inputs["lora"]["options"]
    passive = sys.modules["comfy_nodes.passive"]
    assert passive.base_file(BASE) == "pocket"
    assert Path(passive.base_file("sd.safetensors")).is_file()


def test_inputs_are_checked_before_a_run(host: FakeHost) -> None:
    def check(**changes: Any) -> Any:
        names = ("base", "lora", "published", "unpublished", "save_as")
        return node().validate_inputs(**{name: INPUTS[name] for name in names} | changes)

    assert check() is True
    assert check(published=None) is True  # connected to another node
    assert "no checkpoint 'gone.safetensors'" in str(check(base="gone.safetensors"))
    assert "no checkpoint 'old.ckpt'" in str(check(base="old.ckpt"))
    assert "No LoRA is chosen" in str(check(lora="none"))
    assert check(lora="none", model=None) is True  # the workflow's model is connected
    assert "no folder 'gone'" in str(check(unpublished="gone"))
    assert "can't be used as a name" in str(check(save_as="../x"))


def test_a_report_is_written_below_the_output_folder(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("diffusers")
    imitate_measuring(monkeypatch, trained=0.5)
    with torch.inference_mode():
        found = node().execute(**INPUTS)
    page, p, text = found.args
    assert page == "siren/passive_00001/report.html"
    assert (host.base / "output" / page).is_file()
    assert p <= 0.001
    assert text.startswith("Training found\nThe model knows the published images better")
    assert "Limit: It does not say who owns the images" in text
    (card,) = found.ui["siren"]
    assert card["link"]["filename"] == "report.html"
    assert any(line.startswith("Note: Only 20 images per set") for line in card["lines"])


def test_a_keyed_report_is_stated_beside(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("diffusers")
    imitate_measuring(monkeypatch, trained=0.0)
    key = known_key()
    suspect = drawn(0.0, 60, lean=key.signs())
    write_report(verify(suspect, key=key), suspect, None, host.base / "output" / "keyed")
    found = node().execute(**INPUTS, keyed_page="keyed/report.html")
    assert "The keyed test counts first" in found.args[2]
    assert "it says 'coating found'" in found.args[2]
    for page, words in (("gone/report.html", "There is no report"), ("../x", "can't be used")):
        with pytest.raises(SirenError, match=words):
            node().execute(**INPUTS, keyed_page=page)


def test_models_of_the_workflow_take_the_place_of_files(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    saved = install_saving(monkeypatch, tmp_path / "host")
    imitate_measuring(monkeypatch, trained=0.5)
    suspect = {"model": Model(1.0), "clip": "clip", "vae": "vae"}
    inputs = INPUTS | {"lora": "none"} | suspect
    with torch.inference_mode():
        found = node().execute(**inputs, control_model=Model(0.0))
    assert found.args[1] <= 0.001
    assert len(saved) == 2
    assert not list((host.base / "temp").iterdir())
    kept = (host.base / "output" / found.args[0]).with_suffix(".json")
    source = json.loads(kept.read_text(encoding="utf-8"))
    first, second = (source["published"]["source"][name] for name in ("suspect", "control"))
    assert first["kind"] == second["kind"] == "workflow"
    assert first["model_fingerprint"] != second["model_fingerprint"]
    assert "model of a ComfyUI workflow" in (host.base / "output" / found.args[0]).read_text()
    # a checkpoint by its name as the control
    checkpoint = host.base / "models" / "checkpoints" / "sd.safetensors"
    sys.modules["comfy.sd"].save_checkpoint(
        str(checkpoint), Model(2.0), "clip", "vae", metadata={}, extra_keys={}
    )
    saved.clear()
    node().execute(**inputs | {"base": "sd.safetensors"})
    assert len(saved) == 1


def test_models_of_the_workflow_that_cannot_be_compared(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install_saving(monkeypatch, tmp_path / "host")
    imitate_measuring(monkeypatch, trained=0.5)
    whole = INPUTS | {"lora": "none", "model": Model(), "clip": "clip", "vae": "vae"}
    for inputs, words in (
        (
            INPUTS | {"model": Model()},
            r"Only some of .* to use the files base and lora",
        ),
        (INPUTS | {"control_model": Model()}, "suspicious model too, or disconnect control_model"),
        (whole, r"The control is pocket \(bundled\), .* choose its checkpoint at base"),
        (whole | {"lora": LORA}, "Choose 'none', or disconnect model"),
        (whole | {"control_model": Model(family="Flux")}, "is of the family Flux"),
        (whole | {"control_model": Model()}, "the control are the same model"),
    ):
        with pytest.raises(SirenError, match=words):
            node().execute(**inputs)


def test_sets_that_do_not_fit_are_refused(host: FakeHost) -> None:
    with pytest.raises(
        SirenError, match="20 images are in both the published and the unpublished set"
    ):
        node().execute(**INPUTS | {"unpublished": "sets/p"})


def test_an_interrupt_stops_it(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    imitate_measuring(monkeypatch, trained=0.5)
    host.interrupted = True
    with pytest.raises(Interrupt):
        node().execute(**INPUTS)
