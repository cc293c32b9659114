"""How fast a coater adapts to a new set, starting from start, from samples or from random weights.

    python benchmarks/start_coater.py photos --steps 60

Adapts against the base model itself. Prints, before and after ``--steps`` steps, the PSNR of the
coated images and how well the extractor separates coated from clean ones: as written, and after
noise and one denoising step by the base (area under the curve; 0.5 is chance, 1 perfect).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from siren_ext.coater.bundled import coater_path
from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import quantise
from siren_ext.devices import pick_device, pick_dtype
from siren_ext.diffusion.load import load_pipeline
from siren_ext.metrics.quality import psnr
from siren_ext.training import losses
from siren_ext.training.prompts import surrogate_prompt
from siren_ext.training.reptile import TaskConfig
from siren_ext.training.surrogate import DiffusionSurrogate
from siren_ext.training.trainer import CoaterTrainer

NOISE = (50, 200, 400)


@torch.no_grad()
def figures(trainer: CoaterTrainer) -> list[float]:
    """PSNR in dB, then the areas: as written, and denoised from each of NOISE."""
    clean = trainer.state.images.float() / 255
    coated = quantise(clean + trainer.state.coater.residual(clean))
    found = [float(psnr(clean, coated).mean())]
    pairs = [(coated, clean)]
    for time in NOISE:
        pairs.append(
            tuple(
                trainer.state.surrogate.renoise(
                    images, time, time + 1, generator=torch.Generator().manual_seed(time)
                )
                for images in (coated, clean)
            )
        )
    score = trainer.state.coater.score
    return found + [losses.separation(score(first), score(second)) for first, second in pairs]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("images", type=Path, help="folder of images that no coater has seen")
    parser.add_argument("--class-word", default="face")
    parser.add_argument("--base", default="pocket")
    parser.add_argument("--count", type=int, default=24, help="use only so many images")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--starts", nargs="+", default=["start", "samples", "none"])
    args = parser.parse_args()

    data = ImageSet.open(args.images)
    data = replace(data, items=data.items[: args.count])
    device = pick_device()
    pipeline = load_pipeline(args.base, device=device, dtype=pick_dtype(device))
    surrogate = DiffusionSurrogate(pipeline, surrogate_prompt(args.class_word))
    head = ["from", "steps", "PSNR", "written", *(f"t={time}" for time in NOISE)]
    print("| " + " | ".join(head) + " |\n|" + " --- |" * len(head), flush=True)
    for name in args.starts:
        fresh = name == "none"
        # random weights learn nothing with every term on: half the steps are detection alone
        config = TaskConfig(steps=args.steps, warmup=args.steps // 2 if fresh else 0)
        trainer = CoaterTrainer(
            data,
            surrogate,
            config,
            coater=CoaterConfig(working_size=surrogate.resolution // 2),
            start=None if fresh else Coater.load(coater_path(name)),
            device=str(device),
        )
        for steps in (0, args.steps):
            while trainer.state.step < steps:
                trainer.advance()
            cells = [f"{value:.3f}" for value in figures(trainer)]
            print(f"| {name} | {steps} | {cells[0][:-1]} | " + " | ".join(cells[1:]) + " |")


if __name__ == "__main__":
    main()
