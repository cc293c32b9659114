"""Generation with a stand-in web UI: LoRAs, checkpoints, stops."""

from __future__ import annotations

import importlib
import importlib.util
import threading
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from support.webui import WEBUI

from siren_ext.errors import AdapterError, Cancelled, ModelError
from siren_ext.panels.generation import ImageRequest
from siren_ext.progress import NULL, Progress

TINY = "small/tiny.safetensors [9876543210]"


def request(**changes: object) -> ImageRequest:
    values = {
        "checkpoint": TINY, "loras": (), "prompts": ("a dog", "a cat"),
        "count": 3, "seed": 40, "steps": 2, "guidance": 7.0, "size": 64,
    }  # fmt: skip
    return ImageRequest(**{**values, **changes})


def test_generation_through_the_web_ui(webui: Path) -> None:
    generator = importlib.import_module("siren_a1111.generator").WebuiGenerator()
    processing = importlib.import_module("modules.processing")
    shared = importlib.import_module("modules.shared")
    assert generator.checkpoints() == [TINY, "other.safetensors [0123456789]"]
    assert generator.loras() == ["guilty", "innocent", "misfit", "odd<name"]
    with_lora = request(loras=(("innocent", 0.8),))
    facts = generator.generate(with_lora, webui / "suspect", NULL)
    generator.generate(request(), webui / "reference", NULL)
    calls = processing.CALLS
    assert calls[0]["prompt"] == "a dog <lora:innocent:0.8>"
    assert (calls[1]["prompt"], calls[1]["seed"]) == ("a dog", 40)  # does the LoRA work at all?
    del calls[1]
    assert [call["seed"] for call in calls] == [40, 41, 42] * 2
    assert [call["prompt"] for call in calls[3:]] == ["a dog", "a cat", "a dog"]
    assert all(call["locked"] and call["closed"] and call["job"] == "siren" for call in calls)
    assert {(call["scheduler"], call["faces"]) for call in calls} == {("Automatic", False)}
    assert (shared.state.begun, shared.state.ended) == (7, 7)
    files = sorted((webui / "suspect").iterdir())
    assert [path.name for path in files] == ["00000.png", "00001.png", "00002.png"]
    with Image.open(files[0]) as image:
        assert (image.size, image.mode) == ((64, 64), "RGB")
    assert facts["prompts"] == ["a dog", "a cat"]
    assert (facts["model"], facts["model_hash"]) == (TINY, "9876543210" + "0" * 54)
    assert facts["loras"] == [{"name": "innocent", "weight": 0.8, "hash": ""}]


def test_files_of_models_are_found(webui: Path) -> None:
    generator = importlib.import_module("siren_a1111.generator").WebuiGenerator()
    networks = importlib.import_module("networks")
    networks.list_available_networks()
    file = webui / "innocent.safetensors"
    file.touch()
    networks.available_networks["innocent"].filename = str(file)
    found = generator.files(TINY, (("innocent", 0.8),))
    assert found.checkpoint.as_posix() == f"/models/{TINY.split(' ')[0]}"
    assert found.loras == ((file, 0.8),)
    assert generator.files("", ()).checkpoint == found.checkpoint
    with pytest.raises(ModelError, match="no checkpoint 'gone'"):
        generator.files("gone", ())
    file.unlink()
    for name in ("innocent", "gone"):
        with pytest.raises(AdapterError, match=f"no file for the LoRA '{name}'"):
            generator.files(TINY, ((name, 1.0),))


def test_another_checkpoint_is_asked_for(webui: Path) -> None:
    generator = importlib.import_module("siren_a1111.generator").WebuiGenerator()
    shared = importlib.import_module("modules.shared")
    other = "other.safetensors [0123456789]"
    generator.generate(request(checkpoint=other, count=2), webui / "x", NULL)
    assert shared.opts.sd_model_checkpoint == other


def test_a_checkpoint_that_is_gone(webui: Path) -> None:
    generator = importlib.import_module("siren_a1111.generator").WebuiGenerator()
    processing = importlib.import_module("modules.processing")
    with pytest.raises(ModelError, match=r"gone\.safetensors"):
        generator.generate(request(checkpoint="gone.safetensors"), webui / "x", NULL)
    assert processing.CALLS == []


def test_a_lora_that_the_web_ui_passes_over(webui: Path) -> None:
    generator = importlib.import_module("siren_a1111.generator").WebuiGenerator()
    with pytest.raises(AdapterError, match=r"misfit.* same image"):
        generator.generate(request(loras=(("misfit", 1.0),)), webui / "x", NULL)


def test_each_of_several_loras_has_to_work(webui: Path) -> None:
    generator = importlib.import_module("siren_a1111.generator").WebuiGenerator()
    for others in (("innocent", "misfit"), ("misfit", "innocent")):
        loras = tuple((name, 1.0) for name in others)
        with pytest.raises(AdapterError, match=r"^misfit: .* same image"):
            generator.generate(request(loras=loras), webui / "x", NULL)


def test_a_gpu_that_rounds_otherwise_each_time_hides_no_misfit(
    webui: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = importlib.import_module("siren_a1111.generator").WebuiGenerator()
    processing = importlib.import_module("modules.processing")
    inner, calls = processing.process_images, []

    def rounded(work: object) -> object:
        done = inner(work)
        calls.append(work)
        pixels = np.array(done.images[0])
        pixels[len(calls), :, 0] ^= 1  # some values by one level, others in each call
        done.images[0] = Image.fromarray(pixels)
        return done

    monkeypatch.setattr(processing, "process_images", rounded)
    with pytest.raises(AdapterError, match=r"misfit.* same image"):
        generator.generate(request(loras=(("misfit", 1.0),)), webui / "x", NULL)
    generator.generate(request(loras=(("innocent", 1.0),), count=1), webui / "y", NULL)


@pytest.mark.parametrize(
    ("word", "message"), [("fail", "Failed to recognize"), ("black", "single colour")]
)
def test_a_failed_generation_tells_why(webui: Path, word: str, message: str) -> None:
    generator = importlib.import_module("siren_a1111.generator").WebuiGenerator()
    shared = importlib.import_module("modules.shared")
    with pytest.raises(ModelError, match=message):
        generator.generate(request(prompts=(word,)), webui / "x", NULL)
    assert shared.state.ended == shared.state.begun == 1


@pytest.fixture
def forge(webui: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The host's modules with Forge's main thread, which runs."""
    monkeypatch.syspath_prepend(str(WEBUI.with_name("forge")))
    main_thread = importlib.import_module("modules_forge.main_thread")
    threading.Thread(target=main_thread.loop, daemon=True).start()
    return main_thread


def test_forge_generates_on_its_main_thread(forge: ModuleType, tmp_path: Path) -> None:
    generator = importlib.import_module("siren_a1111.generator").WebuiGenerator()
    processing = importlib.import_module("modules.processing")
    generator.generate(request(loras=(("innocent", 1.0),)), tmp_path / "x", NULL)
    assert all(call["on_main_thread"] and call["locked"] for call in processing.CALLS)
    with pytest.raises(ModelError, match="Failed to recognize"):
        generator.generate(request(prompts=("fail",)), tmp_path / "y", NULL)


def test_forge_does_not_lock_up_beside_another_job(forge: ModuleType, tmp_path: Path) -> None:
    generator = importlib.import_module("siren_a1111.generator").WebuiGenerator()
    lock = importlib.import_module("modules.call_queue").queue_lock
    begun, locked = threading.Event(), threading.Event()

    def txt2img() -> None:
        with lock:
            locked.set()
            begun.wait()
            time.sleep(0.5)  # meanwhile ours asks
            forge.run_and_wait_result(lambda: None)

    def generate() -> None:
        locked.wait()
        begun.set()
        generator.generate(request(count=1), tmp_path / "x", NULL)

    jobs = [threading.Thread(target=job, daemon=True) for job in (txt2img, generate)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(60)
    assert not any(job.is_alive() for job in jobs)
    assert (tmp_path / "x" / "00000.png").is_file()


@pytest.mark.parametrize("word", ["interrupt", "skip"])
def test_stop_in_the_web_ui(webui: Path, word: str) -> None:
    generator = importlib.import_module("siren_a1111.generator").WebuiGenerator()
    shared = importlib.import_module("modules.shared")
    with pytest.raises(Cancelled):
        generator.generate(request(count=9, prompts=("a dog", word)), webui / "x", NULL)
    # the second image is an unfinished one
    assert [path.name for path in (webui / "x").iterdir()] == ["00000.png"]
    assert shared.state.ended == shared.state.begun == 2


def test_stop_in_the_panel(webui: Path) -> None:
    generator = importlib.import_module("siren_a1111.generator").WebuiGenerator()
    processing = importlib.import_module("modules.processing")
    with pytest.raises(Cancelled):
        generator.generate(request(count=9), webui / "x", Progress(lambda: True))
    assert len(processing.CALLS) == 1


def test_a_name_that_would_break_the_prompt(webui: Path) -> None:
    generator = importlib.import_module("siren_a1111.generator").WebuiGenerator()
    with pytest.raises(AdapterError, match="odd<name"):
        generator.generate(request(loras=(("odd<name", 1.0),)), webui / "x", NULL)
