"""The node pack without a server: its files, and its nodes on a stand-in host."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.comfy_server import PACK, ROOT
from support.comfy_workflows import EXAMPLES, example
from support.fake_host import FakeHost, Interrupt, ProgressBar, install, nodes_of_pack
from support.processes import with_support
from support.score_sets import pool

from siren_ext.coater.bundled import BUNDLED_COATERS
from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.coating.folder import coat_folder
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import read_picture, to_tensor
from siren_ext.errors import CoaterError, DatasetError, ImageError, ModelError, ScoreError
from siren_ext.scoring.score import score_images

LANGUAGES = ("en", "zh", "ja")


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeHost:
    return install(monkeypatch, tmp_path / "comfyui")


def nodes(host: FakeHost) -> dict[str, Any]:
    return nodes_of_pack()


def run(node: Any, **inputs: Any) -> Any:
    return node.execute(**inputs)


@pytest.fixture
def coater() -> Coater:
    shape = CoaterConfig(
        channels=4, generator_blocks=1, extractor_blocks=1, bits=2, features=4, working_size=16
    )
    return Coater(shape, seed=3)


@pytest.fixture
def pictures(host: FakeHost) -> Path:
    rng = np.random.default_rng(4)
    folder = host.base / "input" / "pictures"
    folder.mkdir()
    for index in range(3):
        pixels = rng.integers(0, 256, (24, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def batch(folder: Path) -> torch.Tensor:
    """As Load Image would give them."""
    images = [to_tensor(read_picture(path).rgb) for path in sorted(folder.glob("*.png"))]
    return torch.cat(images).movedim(1, -1)


def test_import_loads_nothing() -> None:
    heavy = ("torch", "numpy", "siren_ext")
    code = f"import sys, comfy_nodes; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_loading_all_nodes_pulls_no_heavy_library(tmp_path: Path) -> None:
    code = (
        "import sys, time; import pytest, torch; from support import fake_host\n"
        "from pathlib import Path\n"
        "fake_host.PARTS, parts = (), fake_host.PARTS\n"
        "try: fake_host.install(pytest.MonkeyPatch(), Path(sys.argv[1]))\n"
        "except KeyError: pass\n"
        "import importlib; start = time.process_time()\n"
        "for part in parts: importlib.import_module('comfy_nodes' + part)\n"
        "took = time.process_time() - start\n"
        "heavy = ('diffusers', 'transformers', 'peft', 'scipy', 'matplotlib', 'jinja2')\n"
        "print([name for name in heavy if name in sys.modules], took)"
    )
    found = []
    for attempt in range(3):
        command = [sys.executable, "-c", code]
        done = subprocess.run(
            [*command, str(tmp_path / str(attempt))],
            capture_output=True,
            text=True,
            check=True,
            env=with_support(),
        )
        heavy, took = done.stdout.rsplit(maxsplit=1)
        assert heavy == "[]"
        found.append(float(took))
    assert min(found) < 0.1


def test_requirements_touch_no_shared_package() -> None:
    lines = (PACK / "requirements.txt").read_text().split()
    names = {re.split(r"[\[<>=~!;]", line)[0].casefold() for line in lines}
    assert not names & {"torch", "torchvision", "numpy", "transformers", "opencv-python", "pillow"}
    assert not any("==" in line for line in lines)


def test_project_file_is_what_the_registry_reads() -> None:
    text = (PACK / "pyproject.toml").read_text()
    assert re.search(r'^name = "[a-z-]+"$', text, re.MULTILINE)
    assert "comfyui" not in re.findall(r'^name = "(.*)"', text, re.MULTILINE)[0].casefold()
    assert "[tool.comfy]" in text
    assert 'license = { file = "LICENSE" }' in text
    assert (PACK / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_every_node_has_a_page_and_words_in_each_language(host: FakeHost) -> None:
    found = nodes(host)
    assert {path.stem for path in (PACK / "web" / "docs").glob("*.md")} == set(found)
    for language in LANGUAGES:
        words = json.loads((PACK / "locales" / language / "nodeDefs.json").read_text("utf-8"))
        assert set(words) == set(found)
        for name, node in found.items():
            schema = node.define_schema()
            assert set(words[name]["inputs"]) == {part.id for part in schema.inputs}, name
            assert words[name]["display_name"]
            assert words[name]["description"]
            for entry in words[name]["inputs"].values():
                assert entry["name"]
                assert entry["tooltip"]
        if language == "en":
            for name, node in found.items():
                schema = node.define_schema()
                assert words[name]["display_name"] == schema.options["display_name"]
                for part in schema.inputs:
                    assert words[name]["inputs"][part.id]["tooltip"] == part.options["tooltip"]


def test_float_widgets_say_how_to_round(host: FakeHost) -> None:
    for node in nodes(host).values():
        for part in node.define_schema().inputs:
            assert part.options["tooltip"].endswith("."), part.id
            if type(part).__qualname__ == "Input" and isinstance(
                part.options.get("default"), float
            ):
                assert {"step", "round", "min", "max"} <= set(part.options), part.id


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_fit_the_nodes(host: FakeHost, name: str) -> None:
    found = nodes(host)
    ours = [node for node in example(name)["nodes"] if node["type"].startswith("Siren")]
    assert ours
    for node in ours:
        schema = found[node["type"]].define_schema()
        assert [entry["name"] for entry in node["inputs"]] == [part.id for part in schema.inputs]
        shown = [part.options["display_name"] for part in schema.outputs]
        assert [entry["name"] for entry in node["outputs"]] == shown


def test_coat_image_equals_the_folder(host: FakeHost, coater: Coater, pictures: Path) -> None:
    out = host.base / "core"
    coat_folder(ImageSet.open(pictures), coater, out, batch_size=1)
    images = batch(pictures)
    coated, difference = run(
        nodes(host)["SirenCoatImage"], coater=coater, image=images, strength=1.0
    ).args
    # what Save Image does
    saved = np.clip(255.0 * coated.numpy(), 0, 255).astype(np.uint8)
    for index, pixels in enumerate(saved):
        assert np.array_equal(pixels, read_picture(out / f"{index}.png").rgb)
    expected = ((coated - images) * 10 + 0.5).clamp(0, 1)
    assert torch.allclose(difference, expected)
    assert difference.std() > 0


def test_transparency_and_mask(host: FakeHost, coater: Coater, pictures: Path) -> None:
    coat = nodes(host)["SirenCoatImage"]
    images = batch(pictures)
    alpha = torch.rand(3, 24, 20, 1)
    whole = torch.cat([images, alpha], dim=-1)
    keep = torch.zeros(1, 24, 20)
    keep[:, :, :10] = 1
    coated = run(coat, coater=coater, image=whole, strength=1.0, keep=keep).args[0]
    assert torch.equal(coated[..., 3:], alpha)
    assert torch.equal(coated[:, :, :10, :3], images[:, :, :10])
    assert not torch.equal(coated[:, :, 10:, :3], images[:, :, 10:])
    # Load Image's empty mask is no mask; another one of a wrong size is a fault
    run(coat, coater=coater, image=images, strength=1.0, keep=torch.zeros(1, 64, 64))
    with pytest.raises(ImageError, match="The mask has shape"):
        run(coat, coater=coater, image=images, strength=1.0, keep=torch.ones(1, 64, 64))


def test_other_tensors_are_refused(host: FakeHost, coater: Coater) -> None:
    coat = nodes(host)["SirenCoatImage"]
    with pytest.raises(ImageError, match="expected ComfyUI's IMAGE"):
        run(coat, coater=coater, image=torch.zeros(1, 3, 24, 24), strength=1.0)


def test_an_interrupt_stops_between_pictures(
    host: FakeHost, coater: Coater, pictures: Path
) -> None:
    seen = []

    def stop(current: int, total: int) -> None:
        seen.append((current, total))
        host.interrupted = True

    ProgressBar.hook = stop
    with pytest.raises(Interrupt):
        run(nodes(host)["SirenCoatImage"], coater=coater, image=batch(pictures), strength=1.0)
    assert seen == [(1, 3)]
    assert not host.interrupted


def test_coat_folder(host: FakeHost, coater: Coater, pictures: Path) -> None:
    node = nodes(host)["SirenCoatFolder"]
    inputs = {"layout": "plain", "strength": 1.0, "share": 1.0}
    result = run(node, coater=coater, folder="pictures", save_as="siren/out", **inputs)
    assert result.args == ("siren/out", "3 of 3 pictures coated in siren/out")
    assert len(list((host.base / "output" / "siren" / "out").glob("*.png"))) == 3
    assert node.validate_inputs(folder="pictures", save_as="x") is True
    assert node.validate_inputs(folder=None, save_as=None) is True
    assert "no folder 'other'" in str(node.validate_inputs(folder="other", save_as="x"))


@pytest.mark.parametrize(
    "name",
    ["", "..", "../x", "a/../b", "/etc", "C:\\x", "\\\\host\\x", ".git", "a/.b", "a\nb", "a|b"],
)
def test_no_name_leads_out_of_the_folders(host: FakeHost, name: str) -> None:
    from comfy_nodes import paths

    for check, error in (
        (paths.image_folder, DatasetError),
        (paths.new_output, DatasetError),
        (paths.new_coater_file, CoaterError),
        (paths.score_file, ScoreError),
    ):
        with pytest.raises(error, match="can't be used as a name"):
            check(name)


def test_outputs_are_numbered_not_replaced(host: FakeHost) -> None:
    from comfy_nodes import paths

    first = paths.free_output("siren/a", ".json")
    assert first == host.base / "output" / "siren" / "a_00001.json"
    first.parent.mkdir()
    first.touch()
    assert paths.free_output("siren/a", ".json").name == "a_00002.json"


def test_load_coater(host: FakeHost, coater: Coater) -> None:
    node = nodes(host)["SirenLoadCoater"]
    coater.save(host.base / "models" / "siren" / "mine.safetensors")
    (host.base / "models" / "siren" / "mine.surrogate.safetensors").touch()
    (names,) = [part.options["options"] for part in node.define_schema().inputs]
    assert names == [*(f"{name} (bundled)" for name in BUNDLED_COATERS), "mine.safetensors"]
    loaded = run(node, name="mine.safetensors").args[0]
    assert loaded.fingerprint == coater.fingerprint
    assert run(node, name="mine.safetensors").args[0] is loaded
    other = Coater(coater.config, seed=9)
    other.save(host.base / "models" / "siren" / "mine.safetensors")
    assert run(node, name="mine.safetensors").args[0].fingerprint == other.fingerprint
    assert "There is no coater 'gone'" in str(node.validate_inputs(name="gone"))
    assert node.validate_inputs(name="samples (bundled)") is True


def test_scores_travel(host: FakeHost, coater: Coater, pictures: Path) -> None:
    found = nodes(host)
    images = batch(pictures)
    scores, mean = run(
        found["SirenScoreCoating"],
        coater=[coater],
        image=[images[:1], images[1:]],
        prompts=["a cat\na dog", "a cat"],
    ).args
    expected = score_images(sorted(pictures.glob("*.png")), coater)
    np.testing.assert_allclose(scores.scores, expected.scores, rtol=0, atol=1e-6)
    assert mean == pytest.approx(expected.scores.mean())
    assert scores.source["prompts"] == ["a cat", "a dog"]
    (name,) = run(found["SirenSaveScores"], scores=scores, save_as="pool").args
    load = found["SirenLoadScores"]
    (options,) = [part.options["options"] for part in load.define_schema().inputs]
    assert options == [name]
    assert np.array_equal(run(load, name=name).args[0].scores, scores.scores)
    assert "no score file" in str(load.validate_inputs(name="gone.json"))


def test_verdict_plot_and_report(host: FakeHost) -> None:
    found = nodes(host)
    suspect, reference = (
        pool(np.linspace(*ends), hashed=False, source={}) for ends in ((0, 1, 30), (2, 3, 100))
    )
    case, p, gap, plot, text = run(
        found["SirenKSVerify"], suspect=suspect, reference=reference, alpha=1e-6
    ).args
    assert case.verdict.outcome == "coating found"
    assert p < 1e-20
    assert gap == 1.0
    assert plot.ndim == 4
    assert plot.shape[-1] == 3
    assert 0.02 < float((plot < 0.9).float().mean()) < 0.5
    assert text.startswith("COATING FOUND: The images of the suspicious model carry")
    assert "Limit: It does not say who owns the images" in text
    (page,) = run(found["SirenVerificationReport"], verdict=case, save_as="case/a").args
    assert page == "case/a_00001/report.html"
    assert (host.base / "output" / page).read_text().startswith("<!")


def test_prompt_batch(host: FakeHost) -> None:
    node = nodes(host)["SirenPromptBatch"]
    prompts, seeds = run(node, prompts=" a cat \n\n a dog", count=3, seed=5).args
    assert prompts == ["a cat", "a dog", "a cat"]
    assert seeds == [5, 6, 7]
    assert run(node, prompts="", count=1, seed=0).args == ([""], [0])


def test_trained_coaters_are_not_replaced_and_parts_come_together(
    host: FakeHost, coater: Coater, pictures: Path
) -> None:
    node = nodes(host)["SirenTrainCoater"]
    inputs = {"folder": "pictures", "class_word": "cat", "steps": 1, "batch_size": 1, "seed": 0}
    inputs |= {"resolution": 64, "rehearse": False}
    coater.save(host.base / "models" / "siren" / "mine.safetensors")
    with pytest.raises(CoaterError, match=r"mine\.safetensors exists already"):
        run(node, save_as="mine", **inputs)
    with pytest.raises(ModelError, match="Only some of model, clip and vae are wired"):
        run(node, save_as="new", model=object(), **inputs)
    assert "class word is empty" in str(node.validate_inputs(class_word=" "))
