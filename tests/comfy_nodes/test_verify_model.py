"""The node that tests a model's file, on a stand-in host and in the real server."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.comfy_server import PASSPHRASE, Server, events
from support.comfy_workflows import example, nodes_of, to_api
from support.fake_host import FakeHost, Interrupt, nodes_of_pack
from support.graph_models import Model, install_saving
from support.keyed_coating import SHAPE, key

from siren_ext.coater.coater import Coater
from siren_ext.errors import ModelError
from siren_ext.evidence.counting import FiledKey
from siren_ext.evidence.ledger import ledger_of
from siren_ext.keys.coating_key import KeyRing
from siren_ext.preference.tint import Tint
from siren_ext.scoring.score_set import TINT, ScoreSet

pytest.importorskip("cryptography")

BASE, LORA, CLEAN = (
    "pocket (bundled)",
    "trained on coated samples (bundled)",
    "trained on clean samples (bundled)",
)


def made(**changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "base": BASE,
        "lora": LORA,
        "lora_strength": 1.0,
        "originals": "pictures",
        "coater": Coater(SHAPE, seed=1),
        "key": key(),
        "control": "none",
        "alpha": 1e-6,
        "save_as": "siren/model",
    }
    return given | changes


def test_inputs_are_checked_before_a_run(host: FakeHost, pictures: Path) -> None:
    names = ("base", "lora", "originals", "control", "save_as")

    def check(**changes: Any) -> Any:
        given = {name: made()[name] for name in names}
        return nodes_of_pack()["SirenVerifyModel"].validate_inputs(**given | changes)

    assert check() is True
    assert check(originals=None, lora="none") is True
    assert "no checkpoint 'gone.safetensors'" in str(check(base="gone.safetensors"))
    assert "no LoRA 'gone.safetensors'" in str(check(lora="gone.safetensors"))
    assert "no LoRA 'gone.safetensors'" in str(check(control="gone.safetensors"))
    assert "no folder 'gone'" in str(check(originals="gone"))
    assert "can't be used as a name" in str(check(save_as="../x"))
    assert "no commitment 'gone.json'" in str(check(commitment="gone.json"))


def imitate_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model has learnt the message of the key."""

    def measure(
        suspect: Any, data: Any, coater: Any, config: Any, *, controls: Any, progress: Any, **_: Any
    ) -> ScoreSet:
        progress.stage("Measuring preference", 1)
        progress.advance()
        noise = np.random.default_rng(0).normal(size=(len(data), coater.config.message_bits))
        tint = Tint(np.zeros((3, 32, 32), np.float32), np.zeros((4, 3, 32, 32), np.uint8))
        models = {"adapters": len(suspect.adapters), "controls": len(controls)}
        models |= {"suspect": suspect.describe()}
        return ScoreSet(
            np.zeros(len(data)),
            tuple(item.name for item in data.items),
            tuple("" for _ in data.items),
            coater.fingerprint,
            {"kind": "preference", TINT: tint.to_plain()} | models,
            features=3 * key().signs() + noise,
        )

    monkeypatch.setattr("siren_ext.workflows.preference_evidence.measure_preference", measure)


def test_a_report_is_written_below_the_output_folder(
    host: FakeHost, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imitate_measuring(monkeypatch)
    file = host.base / "models" / "siren" / "keys.json"
    (pictures / "broken.png").write_bytes(b"no picture")
    execute = nodes_of_pack()["SirenVerifyModel"].execute
    given = made(key=FiledKey(key(), file, 1), control=CLEAN, alpha=0.01)
    host.interrupted = True
    with pytest.raises(Interrupt):
        execute(**given)
    assert not ledger_of(file).exists()
    host.interrupted = False
    with torch.inference_mode():
        found = execute(**given)
    case, p, text, page, tints = found.args
    assert tints.shape == (2, 192, 192, 3)
    assert "Learnt tint: correlation " in text
    assert page == "siren/model_00001/report.html"
    out = host.base / "output"
    assert (out / page).is_file()
    assert (case.verdict.test, p) == ("keyed", case.verdict.deciding.p_value)
    assert text.startswith("COATING FOUND: The suspicious model prefers the secret message")
    assert found.ui["siren"][0]["link"]["filename"] == "report.html"
    assert "Skipped broken.png" in text
    kept = out / "siren" / "model_00001.preference.json"
    assert text.endswith(f"output/siren/{kept.name}. Keep it as secret as the key.")
    source = ScoreSet.load(kept).source
    assert (source["adapters"], source["controls"]) == (1, 1)
    assert ledger_of(file).read_text().count("\n") == 2  # begun, and one test


def test_models_of_the_workflow_take_the_place_of_files(
    host: FakeHost, pictures: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    saved = install_saving(monkeypatch, tmp_path / "host")
    imitate_measuring(monkeypatch)
    execute = nodes_of_pack()["SirenVerifyModel"].execute
    whole = made(lora="none", model=Model(1.0), clip="clip", vae="vae")
    with torch.inference_mode():
        execute(**whole | {"control_model": Model(0.0)})
    assert len(saved) == 2
    assert not list((host.base / "temp").iterdir())
    kept = host.base / "output" / "siren" / "model_00001.preference.json"
    source = ScoreSet.load(kept).source
    assert source["controls"] == 1
    assert source["suspect"]["kind"] == "workflow"
    for inputs, words in (
        (made(model=Model()), "Only some of model, clip and vae"),
        (made(control_model=Model()), "Connect the suspicious model too"),
        (whole | {"lora": LORA}, "Choose 'none', or disconnect model, clip and vae"),
        (whole | {"control": CLEAN}, "which already has its own LoRAs"),
    ):
        with pytest.raises(ModelError, match=words):
            execute(**inputs)


@pytest.mark.models
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_example_on_the_real_server(server: Server, info: Any) -> None:
    """Up to the measurement, which takes half a minute."""
    folder = server.base / "models" / "siren"
    Coater(replace(SHAPE, message_bits=0), seed=1).save(folder / "plain.safetensors")
    KeyRing.draw(bits=SHAPE.message_bits).save(folder / "measured.json", PASSPHRASE[1])
    graph = to_api(example("verify_a_file"), info)
    nodes_of(graph, "SirenLoadCoater")[0]["name"] = "plain.safetensors"
    nodes_of(graph, "SirenLoadKey")[0].update(
        name="measured.json", passphrase_variable=PASSPHRASE[0], recipient=""
    )
    errors = json.dumps(server.queue(graph)["node_errors"])
    assert "There is no folder 'originals' in ComfyUI's input or output folder" in errors
    nodes_of(graph, "SirenVerifyModel")[0]["originals"] = "pictures"
    entry = server.run(graph)
    assert entry["status"]["status_str"] == "error"
    told = events(entry)["execution_error"]
    assert told["node_type"] == "SirenVerifyModel"
    assert "This coater is not keyed, so there is no message" in told["exception_message"]
    assert not list((server.base / "output").glob("**/model_00001*"))
