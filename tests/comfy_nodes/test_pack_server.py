"""The pack in the real ComfyUI server: pixels, scores, messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.comfy_server import Server, events
from support.comfy_workflows import (
    COATER,
    EXAMPLES,
    ICONS,
    example,
    inputs_of,
    loaded,
    node,
    nodes_of,
    small_training,
    to_api,
)

from siren_ext.coater.bundled import coater_path
from siren_ext.coater.coater import Coater
from siren_ext.coating.folder import coat_folder
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import read_picture
from siren_ext.files import sha256_file
from siren_ext.samples.folder import sample_folder
from siren_ext.scoring.score import score_images
from siren_ext.scoring.score_set import ScoreSet

pytestmark = [pytest.mark.models, pytest.mark.slow, pytest.mark.timeout(1200)]

NODES = {
    "SirenLoadCoater",
    "SirenCoatImage",
    "SirenSaveCoatedImage",
    "SirenCoatFolder",
    "SirenRobustness",
    "SirenTrainCoater",
    "SirenTrainAdapter",
    "SirenImportCheckpoints",
    "SirenScoreCoating",
    "SirenLoadScores",
    "SirenSaveScores",
    "SirenKSVerify",
    "SirenVerificationReport",
    "SirenNewKey",
    "SirenLoadKey",
    "SirenCommit",
    "SirenKeyedVerify",
    "SirenVerifyModel",
    "SirenPassiveTest",
    "SirenWhichImages",
    "SirenPromptBatch",
    "SirenPocketSampler",
}


@pytest.fixture(scope="session")
def coater() -> Coater:
    return Coater.load(coater_path("samples"))


def by_the_core(factory: pytest.TempPathFactory, server: Server, batch_size: int) -> Path:
    """The same pictures coated without ComfyUI; equal batches give equal bits."""
    out = factory.mktemp("core") / "coated"
    data = ImageSet.open(server.base / "input" / "pictures")
    coat_folder(data, Coater.load(coater_path("samples")), out, batch_size=batch_size)
    return out


@pytest.fixture(scope="session")
def coated(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Path:
    return by_the_core(tmp_path_factory, server, 1)


def saved_scores(server: Server, name: str) -> ScoreSet:
    newest = sorted((server.base / "output" / "siren").glob(f"{name}_*.json"))[-1]
    return ScoreSet.load(newest)


def test_all_nodes_are_there_with_tooltips(info: dict[str, Any]) -> None:
    found = {name for name in info if name.startswith("Siren")}
    assert found == NODES
    for name in found:
        assert info[name]["description"], name
        assert info[name]["category"] == "siren"
        for field, _, options in inputs_of(info, name):
            assert options.get("tooltip"), (name, field)
    assert info["SirenLoadCoater"]["output"] == ["SIREN_COATER"]
    assert info["SirenScoreCoating"]["output"][0] == "SIREN_SCORES"
    assert info["SirenKSVerify"]["output"][0] == "SIREN_VERDICT"
    assert info["SirenPromptBatch"]["output_is_list"] == [True, True]


def test_help_pages_locales_and_model_folder_are_served(server: Server) -> None:
    for name in NODES:
        page = server.raw(f"extensions/siren_comfy_nodes/docs/{name}.md").decode()
        assert page.startswith("# "), name
    texts = server.get("i18n")
    for language in ("en", "zh", "ja"):
        assert set(texts[language]["nodeDefs"]) >= NODES, language
    assert "siren" in server.get("models")
    assert (server.base / "models" / "siren").is_dir()
    templates = server.get("workflow_templates")["siren_comfy_nodes"]
    assert sorted(templates) == EXAMPLES


@pytest.mark.parametrize("name", ICONS)
def test_saved_png_equals_the_cores(server: Server, info: Any, coated: Path, name: str) -> None:
    graph = to_api(example("coat_and_save"), info)
    assert nodes_of(graph, "SirenCoatImage")[0].pop("key")
    nodes_of(graph, "SirenLoadCoater")[0]["name"] = COATER
    graph = {n: one for n, one in graph.items() if one["class_type"] != "SirenNewKey"}
    nodes_of(graph, "LoadImage")[0]["image"] = name
    entry = server.run(graph)
    assert entry["status"]["status_str"] == "success"
    pictures = [
        image
        for out in entry["outputs"].values()
        for image in out.get("images", ())
        if image["type"] == "output"
    ]
    (picture,) = pictures
    (server.base / "seen.png").write_bytes(server.view(picture))
    with Image.open(server.base / "seen.png") as seen:
        assert seen.info == {}  # no workflow
        pixels = np.asarray(seen)
    assert "try-out" in picture["filename"]
    assert np.array_equal(pixels, read_picture(coated / name).rgb)
    assert not np.array_equal(pixels, read_picture(sample_folder() / name).rgb)


def test_coat_save_load_score_verify(server: Server, coater: Coater, coated: Path) -> None:
    for name in ICONS:
        graph = loaded(name) | {
            "coat": node(
                "SirenCoatImage", coater=["coater", 0], image=["picture", 0], strength=1.0
            ),
            "save": node("SaveImage", images=["coat", 0], filename_prefix=f"chain/{name}"),
        }
        assert server.run(graph)["status"]["status_str"] == "success"
    graph = {"coater": node("SirenLoadCoater", name=COATER)}
    for pool, pattern in (("suspect", "chain/{}_00001_.png [output]"), ("reference", "{}")):
        last = None
        for place, name in enumerate(ICONS):
            one = node("LoadImage", image=pattern.format(name))
            graph[f"{pool}{place}"] = one
            this = [f"{pool}{place}", 0]
            if last is not None:
                graph[f"{pool}join{place}"] = node("ImageBatch", image1=last, image2=this)
                this = [f"{pool}join{place}", 0]
            last = this
        graph[pool] = node("SirenScoreCoating", coater=["coater", 0], image=last)
        graph[f"keep {pool}"] = node("SirenSaveScores", scores=[pool, 0], save_as=pool)
    graph["verify"] = node(
        "SirenKSVerify", suspect=["suspect", 0], reference=["reference", 0], alpha=0.05
    )
    graph["report"] = node("SirenVerificationReport", verdict=["verify", 0], save_as="case/fox")
    entry = server.run(graph)
    assert entry["status"]["status_str"] == "success"
    expected = {
        "suspect": score_images([coated / name for name in ICONS], coater),
        "reference": score_images([sample_folder() / name for name in ICONS], coater),
    }
    for pool, scores in expected.items():
        found = saved_scores(server, pool)
        assert found.coater == coater.fingerprint
        np.testing.assert_allclose(found.scores, scores.scores, rtol=0, atol=1e-6)
    page = server.base / "output" / "case" / "fox_00001"
    report = json.loads((page / "report.json").read_text())
    assert report["verdict"]["outcome"] == "not comparable"  # fewer than 15 images
    assert report["verdict"]["finding"]["p_value"] == pytest.approx(1 / 70)
    assert "not comparable" in (page / "report.html").read_text().casefold()
    (plot,) = entry["outputs"]["verify"]["images"]
    assert server.view(plot).startswith(b"\x89PNG")

    # what was saved is listed and read again
    name = Path(entry["outputs"]["keep reference"]["text"][0]).name
    again = {
        "a": node("SirenLoadScores", name=entry["outputs"]["keep suspect"]["text"][0]),
        "b": node("SirenLoadScores", name=name),
        "verify": node("SirenKSVerify", suspect=["a", 0], reference=["b", 0], alpha=0.05),
    }
    assert server.run(again)["status"]["status_str"] == "success"
    assert name in server.get("object_info/SirenLoadScores")["SirenLoadScores"]["input"][
        "required"
    ]["name"][1].get("options", name)


def test_transparency_passes_through(server: Server) -> None:
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (40, 32, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(server.base / "input" / "clear.png")
    graph = loaded("clear.png") | {
        "alpha": node("JoinImageWithAlpha", image=["picture", 0], alpha=["picture", 1]),
        "coat": node("SirenCoatImage", coater=["coater", 0], image=["alpha", 0], strength=1.0),
        "save": node("SaveImage", images=["coat", 0], filename_prefix="clear"),
        "plain": node("SaveImage", images=["alpha", 0], filename_prefix="plain"),
    }
    assert server.run(graph)["status"]["status_str"] == "success"
    with Image.open(server.base / "output" / "clear_00001_.png") as seen:
        coated = np.asarray(seen)
    with Image.open(server.base / "output" / "plain_00001_.png") as seen:
        plain = np.asarray(seen)
    assert coated.shape == (40, 32, 4)
    assert np.array_equal(coated[..., 3], plain[..., 3])
    assert not np.array_equal(coated[..., :3], plain[..., :3])


def test_folder(server: Server, tmp_path_factory: pytest.TempPathFactory) -> None:
    coated = by_the_core(tmp_path_factory, server, 8)
    graph = {
        "coater": node("SirenLoadCoater", name=COATER),
        "folder": node(
            "SirenCoatFolder",
            coater=["coater", 0],
            folder="pictures",
            save_as="siren/kohya",
            layout="kohya",
            strength=1.0,
            share=1.0,
        ),
    }
    entry = server.run(graph)
    assert entry["status"]["status_str"] == "success"
    first, worth = entry["outputs"]["folder"]["text"][0].splitlines()
    assert first == "4 of 4 images coated in siren/kohya"
    assert worth.startswith("Public coater: try-out only. ")
    out = server.base / "output" / "siren" / "kohya"
    assert (out / "dataset.toml").is_file()
    for name in ICONS:
        (written,) = out.rglob(name)
        assert np.array_equal(read_picture(written).rgb, read_picture(coated / name).rgb)


def test_prompt_batch_makes_one_picture_per_seed(server: Server) -> None:
    graph = {
        "coater": node("SirenLoadCoater", name=COATER),
        "batch": node("SirenPromptBatch", prompts="a fox\na cat", count=3, seed=7),
        "draw": node(
            "SirenPocketSampler",
            prompts=["batch", 0],
            count=1,
            seed=["batch", 1],
            steps=2,
            guidance=1.0,
            lora="none",
            lora_strength=1.0,
        ),
        "score": node(
            "SirenScoreCoating", coater=["coater", 0], image=["draw", 0], prompts=["batch", 0]
        ),
        "keep": node("SirenSaveScores", scores=["score", 0], save_as="batch"),
    }
    assert server.run(graph)["status"]["status_str"] == "success"
    found = saved_scores(server, "batch")
    assert len(found) == 3
    assert len(set(found.scores.tolist())) == 3
    assert found.source["prompts"] == ["a cat", "a fox"]
    assert found.source["seeds"] == [7, 8, 9]
    assert found.source["steps"] == 2
    # the part of the workflow that made them can be queued again
    again = found.source["workflow"] | {
        "keep": node("SaveImage", images=["draw", 0], filename_prefix="again")
    }
    assert server.run(again)["status"]["status_str"] == "success"
    kept = sorted((server.base / "output" / found.source["pictures"]).glob("*.png"))
    assert tuple(map(sha256_file, kept)) == found.hashes
    for first, second in zip(
        kept, sorted((server.base / "output").glob("again_*.png")), strict=True
    ):
        assert np.array_equal(read_picture(first).rgb, read_picture(second).rgb)


def test_verify_example(server: Server, info: Any) -> None:
    graph = to_api(example("verify_a_lora"), info)
    absent = to_api(example("verify_a_lora"), info)
    for sampler in nodes_of(absent, "SirenPocketSampler"):
        sampler["lora"] = "gone.safetensors"
    answer = server.queue(absent)
    assert "prompt_id" not in answer
    assert "There is no LoRA 'gone.safetensors'" in json.dumps(answer["node_errors"])
    # as it comes: with its own LoRA, coater and key, and all its images
    entry = server.run(graph, 900)
    assert entry["status"]["status_str"] == "success"
    assert "Coating found" in json.dumps(entry["outputs"])
    folder = max((server.base / "output" / "siren").glob("report_*"))  # of several, the newest
    assert (folder / "report.html").is_file()
    verdict = json.loads((folder / "report.json").read_text())["verdict"]
    (finding,) = verdict["findings"]
    assert (finding["test"], finding["suspects"]) == ("keyed", 30)
    assert finding["p_value"] < 1e-6
    assert any("everybody has it" in line for line in verdict["warnings"])


def test_checkpoint_example(server: Server, info: Any) -> None:
    """With the test's tiny checkpoint in place of the loader, and without the LoRA."""
    graph = to_api(example("verify_a_checkpoint"), info)
    # no file is named: the front end then chooses the first one that the user has
    assert nodes_of(graph, "CheckpointLoaderSimple") == [{}]
    assert "lora_name" not in nodes_of(graph, "LoraLoader")[0]
    names = {entry["class_type"]: name for name, entry in graph.items()}
    checkpoint, lora = names["CheckpointLoaderSimple"], names["LoraLoader"]
    del graph[lora]
    for entry in graph.values():
        for field, value in entry["inputs"].items():
            if isinstance(value, list) and value[0] == lora:
                entry["inputs"][field] = [checkpoint, value[1]]
    graph[checkpoint] = node("TestTinyCheckpoint")
    graph[names["SirenPromptBatch"]]["inputs"]["count"] = 2
    graph[names["KSampler"]]["inputs"]["steps"] = 1
    graph[names["EmptyLatentImage"]]["inputs"].update(width=64, height=64)
    entry = server.run(graph)
    assert entry["status"]["status_str"] == "success", entry["status"]
    found = saved_scores(server, "suspect")
    assert len(found) == 2
    assert found.source["seeds"] == [1000, 1001]
    assert found.source["prompts"] == ["a drawing of a fox", "a photo of a fox"]
    assert (found.source["sampler"], found.source["width"]) == ("euler", 64)


def test_bad_wiring_is_told_on_the_node(server: Server) -> None:
    graph = loaded(ICONS[0]) | {
        "coat": node("SirenCoatImage", coater=["picture", 0], image=["picture", 0], strength=1.0),
        "save": node("SaveImage", images=["coat", 0], filename_prefix="never"),
    }
    errors = server.queue(graph)["node_errors"]["coat"]["errors"]
    assert errors[0]["type"] == "return_type_mismatch"
    assert "SIREN_COATER" in errors[0]["details"]


@pytest.mark.parametrize(
    ("kind", "inputs", "message"),
    [
        ("SirenLoadScores", {"name": "gone.json"}, "There is no score file 'gone.json'"),
        ("SirenLoadScores", {"name": "../../secret.json"}, "can't be used as a name"),
        ("SirenTrainCoater", {"folder": "nothing here"}, "There is no folder 'nothing here'"),
        ("SirenTrainCoater", {"folder": "/etc"}, "can't be used as a name"),
        ("SirenTrainCoater", {"save_as": "../outside"}, "can't be used as a name"),
        ("SirenTrainCoater", {"class_word": " "}, "The class word is empty"),
    ],
)
def test_missing_files_are_told_on_the_node(
    server: Server, kind: str, inputs: dict[str, str], message: str
) -> None:
    if kind == "SirenTrainCoater":
        graph = {"bad": small_training(inputs.pop("save_as", "unused"), **inputs)}
    else:
        graph = {
            "bad": node(kind, **inputs),
            "keep": node("SirenSaveScores", scores=["bad", 0], save_as="never"),
        }
    answer = server.queue(graph)
    assert message in json.dumps(answer["node_errors"]["bad"]["errors"])


def test_a_fault_while_running_is_one_plain_sentence(server: Server) -> None:
    Image.new("RGB", (8, 8)).save(server.base / "input" / "dot.png")
    graph = loaded("dot.png") | {
        "coat": node("SirenCoatImage", coater=["coater", 0], image=["picture", 0], strength=1.0),
        "save": node("SaveImage", images=["coat", 0], filename_prefix="never"),
    }
    fault = events(server.run(graph))["execution_error"]
    assert fault["node_id"] == "coat"
    assert fault["exception_message"].strip().startswith("Images of shape (1, 3, 8, 8) can't be")
    assert "\n" not in fault["exception_message"].strip()
