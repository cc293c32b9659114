"""How scored images were made: read from the queued workflow, and kept with the images."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.fake_host import FakeHost, batch, nodes_of_pack, run

from siren_ext.coater.coater import Coater
from siren_ext.files import sha256_file
from siren_ext.scoring.score import score_folder


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


WORKFLOW = {
    "1": node("CheckpointLoaderSimple", ckpt_name="sd/base.safetensors"),
    "2": node(
        "LoraLoader",
        model=["1", 0],
        clip=["1", 1],
        lora_name="fox.safetensors",
        strength_model=0.8,
        strength_clip=1.0,
    ),
    "3": node("SirenPromptBatch", prompts="a fox\na red fox", count=3, seed=7),
    "4": node("CLIPTextEncode", clip=["2", 1], text=["3", 0]),
    "5": node("CLIPTextEncode", clip=["2", 1], text="blurry"),
    "6": node("EmptyLatentImage", width=512, height=640, batch_size=1),
    "7": node(
        "KSampler",
        model=["2", 0],
        positive=["4", 0],
        negative=["5", 0],
        latent_image=["6", 0],
        seed=["3", 1],
        steps=20,
        cfg=7.5,
        sampler_name="euler",
        scheduler="normal",
        denoise=1.0,
    ),
    "8": node("VAEDecode", samples=["7", 0], vae=["1", 2], api_key="my secret"),
    "9": node("SirenLoadCoater", name="samples (bundled)"),
    "10": node("SirenScoreCoating", image=["8", 0], coater=["9", 0]),
    "11": node("SaveImage", images=["8", 0], filename_prefix="unrelated"),
}


@pytest.fixture
def models(host: FakeHost) -> dict[str, Path]:
    """The model files of the workflow."""
    folder = host.base / "models"
    host.models["checkpoints"] = ([str(folder / "checkpoints")], {".safetensors"})
    files = {
        "checkpoints": folder / "checkpoints" / "sd" / "base.safetensors",
        "loras": folder / "loras" / "fox.safetensors",
    }
    for kind, path in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(kind.encode())
    return files


def made_by(workflow: Any, name: Any) -> dict[str, Any]:
    found: dict[str, Any] = sys.modules["comfy_nodes.record"].made_by(workflow, name, "image")
    return found


def test_models_settings_and_seeds_are_read(host: FakeHost, models: dict[str, Path]) -> None:
    found = made_by(WORKFLOW, "10")
    assert found["kind"] == "comfyui"
    assert found["models"] == [
        {
            "kind": "checkpoints",
            "name": "sd/base.safetensors",
            "sha256": sha256_file(models["checkpoints"]),
        },
        {
            "kind": "loras",
            "name": "fox.safetensors",
            "sha256": sha256_file(models["loras"]),
            "strength": 0.8,
        },
    ]
    settings = {
        "steps": 20,
        "guidance": 7.5,
        "sampler": "euler",
        "scheduler": "normal",
        "denoise": 1.0,
        "width": 512,
        "height": 640,
    }
    assert {name: found[name] for name in settings} == settings
    assert found["seeds"] == [7, 8, 9]
    # not the negative prompt
    assert found["prompts"] == ["a fox", "a red fox"]
    # the part that made the images can be queued again; what lies beside it is left out
    assert set(found["workflow"]) == set("12345678")
    assert found["workflow"]["7"] == WORKFLOW["7"]
    assert found["workflow"]["8"]["inputs"]["api_key"] == "(left out)"
    assert "my secret" not in json.dumps(found)


def test_changed_model_files_are_hashed_again(host: FakeHost, models: dict[str, Path]) -> None:
    before = made_by(WORKFLOW, "10")["models"][1]["sha256"]
    models["loras"].write_bytes(b"another one")
    after = made_by(WORKFLOW, "10")["models"][1]["sha256"]
    assert before != after == sha256_file(models["loras"])


@pytest.mark.parametrize(
    "workflow",
    [
        None,
        {},
        {"10": {}},
        {"10": node("SirenScoreCoating", image=["gone", 0])},
        # no end, and no files outside ComfyUI's folders
        {"10": node("A", image=["2", 0]), "2": node("B", x=["10", 0], lora_name="../../secret")},
    ],
)
def test_odd_workflows_end(host: FakeHost, workflow: Any) -> None:
    (host.base / "secret").write_text("x")
    found = made_by(workflow, "10")
    assert found["kind"] == "comfyui"
    assert "models" not in found


def test_a_lora_tag_in_a_text_is_recorded(host: FakeHost) -> None:
    workflow = {
        "1": node("Text", text="a fox <lora:artist:0.7>"),
        "10": node("SirenScoreCoating", image=["1", 0]),
    }
    expected = [{"kind": "loras", "name": "artist", "sha256": ""}]
    assert made_by(workflow, "10")["models"] == expected


def test_pictures_are_kept_and_score_alike_from_the_command_line(
    host: FakeHost, coater: Coater, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = nodes_of_pack()
    images = batch(pictures)
    hidden = SimpleNamespace(prompt=WORKFLOW, unique_id="10")
    monkeypatch.setattr(found["SirenScoreCoating"], "hidden", hidden)
    inputs = {"coater": [coater], "image": [images[:1], images[1:]]}
    result = run(found["SirenScoreCoating"], **inputs)
    scores = result.args[0]
    folder = host.base / "output" / scores.source["pictures"]
    kept = sorted(folder.glob("*.png"))
    assert scores.names == tuple(path.name for path in kept)
    assert scores.hashes == tuple(map(sha256_file, kept))
    assert scores.source["seeds"] == [7, 8, 9]
    again = score_folder(folder, coater)
    assert np.array_equal(again.scores, scores.scores)
    assert again.source["provenance"]["steps"] == 20
    # equal images are kept once
    assert run(found["SirenScoreCoating"], **inputs).args[0].hashes == scores.hashes
    assert len(list(folder.parent.iterdir())) == 1


def test_the_report_shows_them_and_can_be_checked(
    host: FakeHost, coater: Coater, pictures: Path
) -> None:
    from siren_ext.report.check import check_report

    found = nodes_of_pack()
    pools = [
        run(found["SirenScoreCoating"], coater=[coater], image=[batch(pictures).flip(flip)]).args[0]
        for flip in (1, 2)
    ]
    verify = found["SirenKSVerify"]
    case = run(verify, suspect=pools[0], reference=pools[1], alpha=0.05).args[0]
    result = run(found["SirenVerificationReport"], verdict=case, save_as="case")
    (card,) = result.ui["siren"]
    assert card["link"] == {
        "filename": "report.html",
        "subfolder": "case_00001",
        "type": "output",
    }
    page = host.base / "output" / result.args[0]
    assert page.read_text().count("data:image/") >= 6
    kept = sorted((host.base / "output" / "siren" / "scored").rglob("*.png"))
    points = {point.name: point for point in check_report(page, images=kept).points}
    assert points["images"].state == "matches"
    assert points["images"].text == "6 files are among the 6 scored images"
