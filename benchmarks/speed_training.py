"""Speed of training: the coater's step beside the published one, and the pocket model's.

Rows for benchmarks/side_by_side.py. The published step is the trainer's own with what SIREN's code
does besides: autoencoder and denoiser are not frozen, and the prompt is encoded in every step.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from speed_rows import Row, interleaved, row
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from training_memory import (
    GB,
    Kept,
    Noise,
    move_twins,
    pipeline_of_shape,
    readable_numbers,
    trainer_for,
)

from siren_ext.coater.config import CoaterConfig
from siren_ext.diffusion import pipelines
from siren_ext.diffusion.load import load_pipeline
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.personalize.data import prepare
from siren_ext.personalize.run import Trainer
from siren_ext.progress import NULL
from siren_ext.samples.folder import sample_set
from siren_ext.suspects.base import PromptPlan
from siren_ext.suspects.local import LocalSuspect
from siren_ext.training.config import TrainConfig
from siren_ext.training.recipes import fitted_to
from siren_ext.training.surrogate import DiffusionSurrogate
from siren_ext.training.trainer import CoaterTrainer
from siren_ext.workflows.demo import DemoConfig

PROMPT = "a photo of a dog"
FORMER_STEP, FORMER_PICTURES = 0.45, 1.8
"""Seconds of a step and pictures a second on two cores, of which the goals ask 1.5 times."""
CORES = 2


class Unfrozen(DiffusionSurrogate):
    """The surrogate as the published code has it."""

    def __init__(self, pipeline: Any, prompt: str) -> None:
        super().__init__(pipeline, prompt)
        for part in (pipeline.vae, pipeline.unet):
            part.requires_grad_(True)

    def embeddings(self, count: int) -> Tensor:
        """The prompt's embedding, encoded again."""
        return pipelines.encode_prompts(self.pipeline, [self.prompt]).expand(count, -1, -1)


@contextmanager
def every_gradient() -> Iterator[None]:
    """Let the trainer's backward passes also compute the gradients of the unfrozen weights."""
    usual = torch.autograd.backward

    def backward(tensors: Any, gradients: Any = None, **_: Any) -> None:
        usual(tensors, gradients)

    with patch.object(torch.autograd, "backward", backward):
        yield


def _trainer(surrogate: DiffusionSurrogate, device: str) -> CoaterTrainer:
    shape, _ = fitted_to(surrogate.resolution, CoaterConfig.preset("official"))[:2]
    config = TrainConfig.preset("official", steps=10_000)
    given = {"coater": shape, "start": None, "device": device}
    run = CoaterTrainer(Noise(1000), surrogate, config, **given)  # type: ignore[arg-type]
    run._begun = True
    return run


def coater_step(rounds: int) -> list[Row]:
    """Time of a step on the pocket model; operations and memory for Stable Diffusion 1.5."""
    runs = {}
    for name, kind in (("published", Unfrozen), ("ours", DiffusionSurrogate)):
        runs[name] = _trainer(kind(load_pipeline("pocket"), PROMPT), "cpu")

    def published() -> None:
        pipeline = runs["published"].state.surrogate.pipeline  # type: ignore[attr-defined]
        with every_gradient():
            runs["published"].advance()
        for network in (pipeline.vae, pipeline.unet):
            network.zero_grad(set_to_none=False)

    best = interleaved({"published": published, "ours": runs["ours"].advance}, rounds)
    operations = {kind.__name__: _operations(kind) for kind in (Unfrozen, DiffusionSurrogate)}
    share = operations["DiffusionSurrogate"] / operations["Unfrozen"]
    return [
        row(
            "step of coater training, preset `official`, pocket model",
            1.3,
            best["published"] / best["ours"],
            f"{best['published']:.2f} and {best['ours']:.2f} s; in the small pocket model "
            "the coater's own networks are most of a step",
        ),
        row(
            "its operations for Stable Diffusion 1.5 at 512 pixels, as a share of the published",
            0.75,
            share,
            f"{operations['DiffusionSurrogate'] / 1e12:.2f} of "
            f"{operations['Unfrozen'] / 1e12:.2f} TFLOP: gradients of frozen weights are left out, "
            "those of activations are needed",
            most=True,
            unit="",
            rounds=1,
        ),
        row(
            "what it keeps for the backward pass, Stable Diffusion 1.5 at 512 pixels",
            6.5,
            _kept(),
            most=True,
            unit="GB",
            rounds=1,
        ),
    ]


def _operations(kind: type[DiffusionSurrogate]) -> float:
    """Floating-point operations of one step, counted on the meta device."""
    pipeline = pipeline_of_shape(512, torch.device("meta"), torch.float32)
    run = _trainer(kind(pipeline, PROMPT), "meta")
    counter = FlopCounterMode(display=False)
    everything = every_gradient() if kind is Unfrozen else nullcontext()
    with readable_numbers(), counter, everything:
        run.advance()
    return float(counter.get_total_flops())


def _kept() -> float:
    """GB that autograd keeps at most in a step, with the model in bfloat16."""
    asked = argparse.Namespace(
        preset="official", coater="official", batch_size=1, resolution=512, together=0
    )
    run = trainer_for(asked, torch.device("meta"))
    move_twins(run)
    pipeline = run.state.surrogate.pipeline  # type: ignore[attr-defined]
    pair = (run.state.coater.generator, run.state.coater.extractor)
    networks = (pipeline.unet, pipeline.vae, pipeline.text_encoder, *pair)
    kept = Kept({p.untyped_storage()._cdata for n in networks for p in n.parameters()})
    hooks = torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda held: held.tensor)
    with hooks, readable_numbers():
        run.advance()
    return kept.most / GB


def pocket(rounds: int) -> list[Row]:
    """Steps of personalisation and pictures on the pocket model, and what bounds them."""
    few = min(rounds, 3)  # each picture takes twenty passes of the network
    plan = DemoConfig()
    step, picture = _step(rounds, plan.training_batch), _picture(few)
    steps = 2 * plan.training_steps
    made = sum(plan.counts(keyed=True).values())
    minutes = (steps * step["seconds"] + made * picture["seconds"]) / 60
    limit = {"most": True, "unit": "s"}
    return [
        row(
            f"pocket personalisation, CPU seconds of a step of {plan.training_batch} images",
            CORES * FORMER_STEP / 1.5,
            step["seconds"],
            _bound(step, "a step"),
            **limit,
        ),
        row(
            "a picture from the pocket model, CPU seconds",
            CORES / (1.5 * FORMER_PICTURES),
            picture["seconds"],
            _bound(picture, "a picture"),
            rounds=few,
            **limit,
        ),
        row(
            f"`siren-ext demo`, CPU minutes of its {steps} steps and {made} pictures",
            5 * CORES,
            minutes,
            "see the two rows above",
            most=True,
            unit="min",
        ),
    ]


def _step(rounds: int, images: int) -> dict[str, float]:
    """A step of LoRA training."""
    every = sample_set()
    config = PersonalizeConfig(prompt="an icon", batch_size=images, precision="float32")
    pipeline = load_pipeline("pocket")
    data = prepare(replace(every, items=every.items[:8]), pipeline, config, NULL)
    trainer = Trainer(pipeline, data, config)
    trainer.advance()
    return _parts(trainer.advance, rounds)


def _picture(rounds: int) -> dict[str, float]:
    """A picture of the usual number of steps, of four that are made together."""
    suspect, count = LocalSuspect("pocket", device="cpu"), 4
    plan = PromptPlan(prompts=("an icon of a house",), count=count)

    def draw() -> None:
        assert len(list(suspect.generate(plan))) == count

    draw()
    found = _parts(draw, rounds)
    return found | {"seconds": found["seconds"] / count}


def _parts(work: Callable[[], object], rounds: int) -> dict[str, float]:
    """Least CPU seconds, how much of it convolutions and matrix products take, and their speed."""
    from torch.profiler import ProfilerActivity, profile

    best = interleaved({"all": work}, rounds)["all"]
    counter = FlopCounterMode(display=False)
    with counter:
        work()
    operations: dict[str, float] = {}
    for kind, count in counter.get_flop_counts()["Global"].items():
        name = "convolution" if "conv" in str(kind) else "product"
        operations[name] = operations.get(name, 0.0) + count
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        work()
    spent: dict[str, float] = {}
    for event in seen.key_averages():
        if "conv" in event.key:
            name = "convolution"
        elif any(part in event.key for part in ("mm", "attention", "linear")):
            name = "product"
        else:
            name = "other"
        spent[name] = spent.get(name, 0.0) + event.self_cpu_time_total / 1e6
    whole = sum(spent.values())
    return {
        "seconds": best,
        "convolutions": spent["convolution"] / whole,
        "products": spent["product"] / whole,
        "speed": operations["convolution"] / (best * spent["convolution"] / whole) / 1e9,
        "top": product_speed(rounds),
    }


def product_speed(rounds: int) -> float:
    """GFLOP/s of a large matrix product, which nothing on this core exceeds by much."""
    size = 1024
    matrix = torch.rand(size, size)
    best = interleaved({"product": lambda: matrix @ matrix}, 3 * rounds)["product"]
    return 2 * size**3 / best / 1e9


def _bound(found: dict[str, float], what: str) -> str:
    """What a step or picture spends its time on, in words."""
    others = 1 - found["convolutions"] - found["products"]
    saved = found["convolutions"] * max(0.0, 1 - found["speed"] / found["top"])
    return (
        f"convolutions are {found['convolutions']:.0%} of {what} and run at "
        f"{found['speed']:.0f} GFLOP/s, a large matrix product at {found['top']:.0f}, with which "
        f"it would take {found['seconds'] * (1 - saved):.2f} s; other products are "
        f"{found['products']:.0%}, everything else {others:.0%}"
    )


def demo(_: int) -> list[Row]:
    """CPU seconds of ``siren-ext demo`` in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "siren_ext", "demo", str(Path(folder) / "demo"), "--quiet"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return [demo_row(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)]


def demo_row(seconds: float) -> Row:
    """The row of a demo that took so many CPU seconds."""
    return row(
        "`siren-ext demo` as a whole, CPU minutes",
        5 * CORES,
        seconds / 60,
        "most of it trains two models and makes pictures with them; see the rows above",
        most=True,
        unit="min",
        rounds=1,
    )
