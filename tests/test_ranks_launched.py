"""Two processes of ``accelerate launch`` on the CPU give what one process gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from support.launched_runs import launch
from support.tiny_models import draw_images, need_models, shared_model

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig

need_models()
pytestmark = [pytest.mark.models, pytest.mark.slow]
Call = Callable[..., tuple[int, str, str]]
RATE = 1e-3
SMALL = [
    "coater.channels=4", "coater.generator_blocks=1", "coater.extractor_blocks=1",
    "coater.message_bits=8", "coater.working_size=16", "batch_size=5", "warmup=1",
    f"learning_rate={RATE}", f"extractor_rate={RATE}", "rehearse_every=2", "rehearse_steps=1",
    "rehearse_first=1", "rehearse_images=3", "surrogate.steps=1", "surrogate.batch_size=3",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    draw_images(folder / "photos", 5)
    shape = CoaterConfig(
        channels=4, generator_blocks=1, extractor_blocks=1, message_bits=8, working_size=16
    )
    Coater(shape, seed=1).save(folder / "keyed.safetensors")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")


def furthest(first: Path, second: Path) -> float:
    """The largest difference of two files of weights."""
    one, two = load_file(first), load_file(second)
    assert one.keys() == two.keys()
    return max(float((one[name] - two[name]).abs().max()) for name in one)


def test_a_killed_process_is_started_again_and_the_weights_are_those_of_one(
    folder: Path, model: Path, call: Call
) -> None:
    """Batches of three images on two processes; the first kill is of process 1, in step 3."""
    line = ["personalize", folder / "photos", "--base", model, "--device", "cpu", "--steps", 5]
    line += ["--set", "batch_size=3", "--set", "learning_rate=0.001", "--set", "accumulation=2"]
    line += ["--set", "precision=float32"]  # bfloat16 rounds batches of another size otherwise
    done = launch(*line, "--out", folder / "two.safetensors", kill=folder / "killed")
    assert done.returncode == 0, done.stderr
    assert (folder / "killed").exists()
    assert done.stderr.count("Error: Another process of this run has ended") == 1
    assert "(resuming after 2)" in done.stderr
    assert done.stdout.count("LoRA written") == 1
    assert call(*line, "--out", folder / "one.safetensors")[0] == 0
    assert furthest(folder / "one.safetensors", folder / "two.safetensors") < 1e-4
    left = {path.name for path in folder.iterdir() if path.name.startswith((".", "two"))}
    assert left == {"two.safetensors"}


def test_a_coater_of_two_processes_is_that_of_one(folder: Path, model: Path, call: Call) -> None:
    line = ["train", folder / "photos", "--base", model, "--class-word", "fox", "--start", "none"]
    line += ["--preset", "default", "--steps", 3, "--device", "cpu"]
    line += [word for text in SMALL for word in ("--set", text)]
    done = launch(*line, "--out", folder / "c2.safetensors")
    assert done.returncode == 0, done.stderr
    assert call(*line, "--out", folder / "c1.safetensors")[0] == 0
    before = furthest(folder / "c1.safetensors", folder / "keyed.safetensors")
    apart = furthest(folder / "c1.safetensors", folder / "c2.safetensors")
    assert apart < 0.3 * RATE < before


def lines(folder: Path, model: Path) -> dict[str, list[Any]]:
    base = ["--base", model, "--device", "cpu"]
    keyed = ["--coater", folder / "keyed.safetensors"]
    small = ["--set", "batch_size=2", "--set", "draws=2"]
    return {
        "generate": ["--prompt", "fox", "-n", 5, "--steps", 2, "--batch-size", 2, *base],
        "score": [folder / "photos", *keyed, "--batch-size", 2, "--device", "cpu"],
        "preference": [folder / "photos", *keyed, *small, *base],
    }


@pytest.mark.parametrize("name", ["generate", "score", "preference"])
def test_what_is_shared_out_is_the_same(folder: Path, model: Path, call: Call, name: str) -> None:
    line = [name, *lines(folder, model)[name]]
    outs = [folder / f"{name}{number}" for number in (1, 2)]
    assert call(*line, "--out", outs[0])[0] == 0
    done = launch(*line, "--out", outs[1])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    if name == "generate":
        pictures = sorted(path.name for path in outs[0].iterdir())
        assert len(pictures) == 6
        assert all((outs[0] / n).read_bytes() == (outs[1] / n).read_bytes() for n in pictures)
    else:
        one, two = (json.loads(out.read_text()) for out in outs)
        assert one == two


def test_an_error_of_all_is_told_once(folder: Path, model: Path) -> None:
    done = launch("personalize", folder / "none", "--base", model, "--out", folder / "x")
    assert done.returncode != 0
    assert sum(line.startswith("Error: ") for line in done.stderr.splitlines()) == 1
    assert "siren_ext/" not in done.stderr  # no traceback of this project
    coater = ["--coater", folder / "keyed.safetensors"]
    alone = launch("coat", folder / "photos", *coater, "--out", folder / "coated")
    assert "'coat' was started in several processes by a launcher" in alone.stderr
    assert not (folder / "coated").exists()
