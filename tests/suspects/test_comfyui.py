"""ComfyUI: the built-in workflow and given ones, on a stand-in and on the real server.

The real one runs when ``SIREN_COMFYUI_PYTHON`` names the interpreter that
``tests/support/install_comfyui.py`` prints.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support import comfy_server
from support.standin_comfyui import ComfyStandin
from support.standins import LINE_FAULTS, PICTURE_FAULTS, noise, png, running

from siren_ext.data.images import read_picture
from siren_ext.errors import AdapterError, Cancelled, ConfigError
from siren_ext.progress import Progress
from siren_ext.suspects.base import Missed, PromptPlan, generate_images, read_missed
from siren_ext.suspects.comfyui import ComfyUISuspect
from siren_ext.suspects.open import open_suspect
from siren_ext.suspects.remote import RequestLimits
from siren_ext.suspects.responses import SuspectError

PLAN = PromptPlan(prompts=("a cat", "a dog"), count=3, seed=5, steps=4, guidance=7.5, size=16)


QUICK = RequestLimits(backoff=0.0, timeout=20, attempts=2)


def plan(**changes: Any) -> PromptPlan:
    return PromptPlan.from_dict(PLAN.to_dict() | changes)


@pytest.fixture
def comfy() -> Iterator[ComfyStandin]:
    with running(ComfyStandin()) as standin:
        yield standin


def suspect(comfy: ComfyStandin, query: str = "", limits: RequestLimits = QUICK) -> ComfyUISuspect:
    found = open_suspect(f"comfyui://{comfy.place}{query}", limits=limits)
    assert isinstance(found, ComfyUISuspect)
    return found


def queued(comfy: ComfyStandin) -> list[dict[str, Any]]:
    return [body["prompt"] for _, path, body in comfy.seen if path == "/prompt"]


def test_built_in_workflow(comfy: ComfyStandin, tmp_path: Path) -> None:
    paths = generate_images(suspect(comfy), plan(negative="blur", sampler="ddim"), tmp_path)
    want = noise({"prompt": "a dog", "seed": 6, "width": 16, "height": 16})
    assert read_picture(paths[1]).rgb.tobytes() == want.tobytes()
    graph = queued(comfy)[1]
    assert graph["model"]["inputs"] == {"ckpt_name": "base.safetensors"}
    assert graph["negative"]["inputs"] == {"clip": ["model", 1], "text": "blur"}
    sampler = graph["sampler"]["inputs"]
    assert [sampler[key] for key in ("seed", "steps", "cfg", "sampler_name")] == [6, 4, 7.5, "ddim"]
    facts = json.loads((tmp_path / "provenance.json").read_text())["suspect"]
    assert facts["model"] == "base.safetensors"
    assert facts["adapter"] is None
    assert len(facts["workflow"]) == 64


def test_lora_is_compared_and_recorded(comfy: ComfyStandin, tmp_path: Path) -> None:
    found = suspect(comfy, "?lora=stolen&scale=0.5")
    generate_images(found, PLAN, tmp_path)
    strengths = [graph["lora"]["inputs"]["strength_model"] for graph in queued(comfy)]
    assert strengths == [0.0, 0.5, 0.5, 0.5]
    facts = json.loads((tmp_path / "provenance.json").read_text())["suspect"]
    assert facts["adapter"] == {"file": "stolen.safetensors", "hash": "b" * 64}
    with pytest.raises(AdapterError, match="changes nothing"):
        list(suspect(comfy, "?lora=dead.pt").generate(PLAN))


def test_what_is_not_there(comfy: ComfyStandin) -> None:
    with pytest.raises(ConfigError, match="no 'gone' among its checkpoints: base"):
        suspect(comfy, "?model=gone").describe()
    with pytest.raises(ConfigError, match="no 'gone' among its loras: stolen"):
        suspect(comfy, "?lora=gone").describe()
    comfy.files = {"checkpoints": ["a.safetensors", "b.safetensors"]}  # type: ignore[misc]
    with pytest.raises(ConfigError, match="has 2 checkpoints; choose one"):
        suspect(comfy).describe()


def test_a_name_that_two_files_have_is_refused(comfy: ComfyStandin) -> None:
    comfy.files = {"checkpoints": ["base.ckpt", "base.safetensors"]}  # type: ignore[misc]
    with pytest.raises(ConfigError, match=r"2 files 'base'.*base\.ckpt, base\.safetensors"):
        suspect(comfy, "?model=base").describe()
    assert suspect(comfy, "?model=base.safetensors").describe()["model"] == "base.safetensors"


@pytest.mark.parametrize(
    ("wanted", "file"),
    [
        ("dog", "styles/dog.safetensors"),
        ("dog.safetensors", "styles/dog.safetensors"),
        ("styles\\dog.safetensors", "styles/dog.safetensors"),
        ("Dog", "styles/dog.safetensors"),
        ("styles/cat.safetensors", "styles\\cat.safetensors"),  # as on Windows
        ("styles/cat", "styles\\cat.safetensors"),
        ("cat", "cat.pt"),
    ],
)
def test_folders_suffixes_and_capital_letters(comfy: ComfyStandin, wanted: str, file: str) -> None:
    listed = ["styles/dog.safetensors", "styles\\cat.safetensors", "cat.pt"]
    comfy.files = {"checkpoints": listed, "loras": listed}  # type: ignore[misc]
    query = f"?model={wanted}&lora={wanted}".replace("\\", "%5C")
    facts = suspect(comfy, query).describe()
    assert facts["model"] == facts["adapter"]["file"] == file


def test_a_name_in_two_folders_is_refused(comfy: ComfyStandin) -> None:
    files = ["a/dog.safetensors", "b\\dog.safetensors"]
    comfy.files = {"checkpoints": ["base.ckpt"], "loras": files}  # type: ignore[misc]
    with pytest.raises(ConfigError, match=r"2 files 'dog'.*a/dog.safetensors, b.dog.safetensors"):
        suspect(comfy, "?lora=dog").describe()
    assert suspect(comfy, "?lora=b/dog").describe()["adapter"]["file"] == files[1]


@pytest.mark.parametrize("fault", [*LINE_FAULTS, *PICTURE_FAULTS, "memory", "never"])
def test_bad_answers_never_become_pictures(comfy: ComfyStandin, tmp_path: Path, fault: str) -> None:
    found = suspect(comfy)
    if fault in ("hang", "drip", "head drip"):
        found.describe()
        found.client.timeout = 1.5  # good answers may be slow on a busy machine
    if fault == "never":
        found = suspect(comfy, limits=RequestLimits(backoff=0, timeout=1.5, attempts=2))
    comfy.faults = ["", fault, fault]
    paths = generate_images(found, PLAN, tmp_path)
    assert [p.name for p in paths] == ["00000.png", "00002.png"]
    assert sorted(p.name for p in tmp_path.glob("*.png")) == ["00000.png", "00002.png"]
    assert read_missed(tmp_path)[0][0] == "00001.png"


def test_failing_workflow_is_told_and_not_repeated(comfy: ComfyStandin, tmp_path: Path) -> None:
    comfy.faults = ["broken"]
    generate_images(suspect(comfy), PLAN, tmp_path)
    assert read_missed(tmp_path) == [("00000.png", "The workflow failed in KSampler: broken!")]
    assert len(queued(comfy)) == 3


def test_answers_with_odd_values(comfy: ComfyStandin) -> None:
    found = ComfyUISuspect(f"http://{comfy.place}")
    for entry in (
        {"status": {"status_str": "success"}, "outputs": {"output": {"images": 0.5}}},
        {"status": {"status_str": "success"}, "outputs": {"output": 3}},
        {"status": {"status_str": "error", "messages": 0.5}},
        {"status": 7},
        None,
    ):
        with pytest.raises(SuspectError):
            found._picture_of(entry)


@pytest.mark.parametrize("fault", ["redirect", "forbidden", "two pictures"])
def test_hopeless_answers_end_the_run(comfy: ComfyStandin, fault: str) -> None:
    comfy.faults = [fault]
    with pytest.raises(SuspectError):
        list(suspect(comfy).generate(PLAN))
    assert len(queued(comfy)) == 1


def test_stopping_takes_the_job_out_of_the_queue(comfy: ComfyStandin, tmp_path: Path) -> None:
    comfy.faults = ["never"]
    with pytest.raises(Cancelled):
        generate_images(suspect(comfy), PLAN, tmp_path, progress=Progress(lambda: True))
    posts = [(path, body) for method, path, body in comfy.seen if method == "POST"][1:]
    assert posts == [("/queue", {"delete": ["0000-0"]}), ("/interrupt", {"prompt_id": "0000-0"})]


GIVEN: dict[str, Any] = {
    "1": {
        "class_type": "EmptyImage",
        "inputs": {"width": 24, "height": 16, "batch_size": 1, "color": 0},
    },
    "2": {
        "class_type": "ImageAddNoise",
        "inputs": {"image": ["1", 0], "seed": "%seed%", "strength": 1.0},
        "_meta": {"title": "%prompt%"},
    },
    "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
}


def written(folder: Path, graph: Any) -> Path:
    path = folder / "workflow.json"
    path.write_text(json.dumps(graph))
    return path


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"2": {"class_type": "X", "inputs": {"a": "%prompt%"}}}, "no placeholder %seed%"),
        ({"2": {"class_type": "X", "inputs": {"a": "%seed%"}}}, "no placeholder %prompt%"),
        ({"4": {"class_type": "X", "inputs": {"a": "%lora%"}}}, "not %scale%"),
        ({"4": {"inputs": {}}}, "no class_type"),
        ({"nodes": [], "links": []}, r"Export \(API\)"),
        ({"4": {"class_type": "X", "inputs": {"a": "%image%"}}}, "give image="),
    ],
)
def test_workflows_that_can_not_serve(tmp_path: Path, change: Any, why: str) -> None:
    path = written(tmp_path, GIVEN | change)
    with pytest.raises(ConfigError, match=why):
        open_suspect(f"comfyui://127.0.0.1:1?workflow={path}")


def test_plan_has_to_fit_the_workflow(tmp_path: Path) -> None:
    address = f"comfyui://127.0.0.1:1?workflow={written(tmp_path, GIVEN)}"
    for changes in ({"negative": "x"}, {"sampler": "ddim"}, {"size": 512}):
        with pytest.raises(ConfigError, match="has no placeholder"):
            list(open_suspect(address).generate(PromptPlan(**changes)))
    with pytest.raises(ConfigError, match=r"model=... is given"):
        open_suspect(f"{address}&model=x")


# The real server.


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """(host:port, base folder) of a running ComfyUI without any pack."""
    python = comfy_server.interpreter()
    if python is None:
        pytest.skip(
            f"{comfy_server.VARIABLE} names no interpreter; see tests/support/install_comfyui.py"
        )
    base = tmp_path_factory.mktemp("comfyui")
    (base / "models" / "checkpoints").mkdir(parents=True)
    save_file({"x": torch.zeros(1)}, base / "models" / "checkpoints" / "empty.safetensors")
    running = comfy_server.Server(python, base, packs=())
    yield running.url.removeprefix("http://"), base
    running.close()


def core_noise(seed: int) -> np.ndarray[Any, Any]:
    """What ComfyUI's ImageAddNoise makes of a black picture, cut to bytes as PreviewImage does."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(1, 16, 24, 3, generator=generator).clip(0, 1)[0]
    return (values.numpy() * 255).astype(np.uint8)


@pytest.mark.slow
def test_real_server_makes_the_pictures_of_a_workflow(server, tmp_path: Path) -> None:
    place, base = server
    address = f"comfyui://{place}?workflow={written(tmp_path, GIVEN)}"
    found = open_suspect(address, limits=RequestLimits(timeout=60))
    paths = generate_images(found, plan(size=0), tmp_path / "out")
    assert len(paths) == 3
    for index, path in enumerate(paths):
        assert np.array_equal(read_picture(path).rgb, core_noise(5 + index))
    assert not list((base / "output").glob("*"))  # nothing left there
    again = open_suspect(address, limits=RequestLimits(timeout=60))
    (picture,) = again.generate(plan(size=0), indices=[1])  # from the server's cache
    assert picture.image.shape == (3, 16, 24)  # type: ignore[union-attr]


@pytest.mark.slow
def test_real_server_takes_uploads(server, tmp_path: Path) -> None:
    place, _ = server
    picture = tmp_path / "in.png"
    original = noise({"prompt": "", "seed": 1, "width": 24, "height": 16})
    picture.write_bytes(png(original))
    graph = GIVEN | {
        "1": {"class_type": "LoadImage", "inputs": {"image": "%image%"}},
        "2": {
            "class_type": "ImageAddNoise",
            "inputs": {"image": ["1", 0], "seed": "%seed%", "strength": 0.0},
            "_meta": {"title": "%prompt%"},
        },
    }
    address = f"comfyui://{place}?workflow={written(tmp_path, graph)}&image={picture}"
    (path,) = generate_images(open_suspect(address), plan(size=0, count=1), tmp_path / "out")
    assert np.array_equal(read_picture(path).rgb, np.asarray(original))


@pytest.mark.slow
def test_real_server_takes_the_built_in_workflow(server, tmp_path: Path) -> None:
    """Its check of types and ranges passes; the checkpoint is none, which is told as it is."""
    place, _ = server
    found = open_suspect(f"comfyui://{place}", limits=RequestLimits(timeout=60))
    assert found.describe()["model"] == "empty.safetensors"
    (missed,) = found.generate(plan(count=1, size=64, negative="blur"))
    assert isinstance(missed, Missed)
    assert missed.reason.startswith("The workflow failed in CheckpointLoaderSimple")
    with pytest.raises(SuspectError, match="The workflow failed in CheckpointLoaderSimple"):
        found.redraw(torch.rand(3, 64, 64), plan(count=1), 0, 0.5)


@pytest.mark.slow
def test_real_server_refuses_a_wrong_workflow(server, tmp_path: Path) -> None:
    place, _ = server
    graph = json.loads(json.dumps(GIVEN))
    graph["1"]["inputs"]["width"] = -5
    address = f"comfyui://{place}?workflow={written(tmp_path, graph)}"
    with pytest.raises(SuspectError, match=r"400: .*min"):
        list(open_suspect(address).generate(plan(size=0)))
    flat = GIVEN | {
        "2": {
            "class_type": "ImageAddNoise",
            "inputs": {"image": ["1", 0], "seed": "%seed%", "strength": 0.0},
            "_meta": {"title": "%prompt%"},
        }
    }
    address = f"comfyui://{place}?workflow={written(tmp_path, flat)}"
    (missed,) = open_suspect(address).generate(plan(size=0, count=1))
    assert isinstance(missed, Missed)
    assert "flat colour" in missed.reason


@pytest.mark.slow
def test_real_server_tells_its_progress(server, tmp_path: Path) -> None:
    pytest.importorskip("websockets")
    from siren_ext.suspects.comfyui_progress import Listener

    place, _ = server
    found = open_suspect(f"comfyui://{place}?workflow={written(tmp_path, GIVEN)}")
    assert isinstance(found, ComfyUISuspect)
    with Listener(found.client, found.client_id) as listener:
        assert listener.connected
        job = found._queue(
            {
                **GIVEN,
                "2": {**GIVEN["2"], "inputs": {"image": ["1", 0], "seed": 77, "strength": 1.0}},
            }
        )
        start = time.monotonic()
        listener.wait(job, 30.0, Progress())
        assert time.monotonic() - start < 20
        assert listener.connected
