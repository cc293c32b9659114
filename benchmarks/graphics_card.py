"""What a CUDA card gains: coating, scoring, a training step, and evidence at full size.

    python benchmarks/graphics_card.py [--only coat score train ...] \\
        [--json docs/results/graphics_card.json] [--page docs/graphics_card.md]

Coating and scoring run networks of the presets' shapes with random weights, or those of a file, on
images in memory, batch by batch: in float32, as the product does, and in float16. A training step
is the default preset's on Stable Diffusion 1.5 with random weights, with the model in float32 and
in bfloat16; evidence from a model's file and passive evidence run on the same shape. Parts that
are already in the JSON file are kept unless they run again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from training_memory import trainer_for

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import quantise
from siren_ext.diffusion import checkpoint_settings
from siren_ext.diffusion.load import load_pipeline
from siren_ext.passive.config import PassiveConfig
from siren_ext.passive.features import measure_features
from siren_ext.preference.config import PreferenceConfig
from siren_ext.preference.measure import measure_preference
from siren_ext.suspects.local import LocalSuspect

Figures = dict[str, Any]
CARD = torch.device("cuda")


def seconds(work: Callable[[], object], rounds: int = 5) -> float:
    """Shortest time of some runs, after one that does not count."""
    times = []
    for number in range(rounds + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - start) if number else np.inf)
    return float(min(times))


def _format(half: bool) -> str:
    return "float16" if half else "float32"


def pictures(count: int, size: int) -> torch.Tensor:
    """Smooth random pictures with some noise, N x 3 x size x size in [0,1], on the card."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 12, 12, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
    grain = 0.05 * torch.randn(smooth.shape, generator=generator)
    return quantise((smooth + grain).clamp(0, 1)).to(CARD)


def coater_of(name: str) -> Coater:
    """The coater of a preset's shape with random weights, or of a file."""
    if Path(name).suffix:
        return Coater.load(Path(name), device=CARD)
    return Coater(CoaterConfig.preset(name)).to(CARD)


@torch.no_grad()
def coating(args: argparse.Namespace) -> Figures:
    """Images coated a second, in memory."""
    found: Figures = {}
    images = pictures(args.images, args.size)
    for name in args.coaters:
        coater = coater_of(name)
        message = None
        if coater.keyed:
            signs = np.random.default_rng(1).integers(0, 2, coater.config.message_bits) * 2.0 - 1
            message = torch.from_numpy(signs).float().to(CARD)

        def coat(coater: Coater = coater, message: torch.Tensor | None = message) -> torch.Tensor:
            parts = [
                quantise(part + coater.residual(part, message))
                for part in torch.split(images, args.batch)
            ]
            return torch.cat(parts)

        result = {}
        for half in (False, True):
            with torch.autocast("cuda", torch.float16, enabled=half):
                result[half] = coat()
                found[f"{name}, {_format(half)}"] = args.images / seconds(coat)
        found[f"{name}, share of pixels that differ"] = float(
            (result[True] != result[False]).float().mean()
        )
    return found


@torch.no_grad()
def scoring(args: argparse.Namespace) -> Figures:
    """Images scored a second, and how far half precision moves scores."""
    found: Figures = {}
    images = pictures(args.images, args.size)
    for name in args.coaters:
        coater = coater_of(name)
        scores = {}

        def score(coater: Coater = coater) -> torch.Tensor:
            return torch.cat([coater.score(part) for part in torch.split(images, args.batch)])

        for half in (False, True):
            with torch.autocast("cuda", torch.float16, enabled=half):
                scores[half] = score()
                found[f"{name}, {_format(half)}"] = args.images / seconds(score)
        moved = (scores[True] - scores[False]).abs().max() / scores[False].std()
        found[f"{name}, largest change in units of the spread"] = float(moved)
    return found


def training(args: argparse.Namespace) -> Figures:
    """Seconds of a step of coater training."""
    found: Figures = {}
    options = argparse.Namespace(
        preset="default", coater="default", batch_size=0, resolution=args.size, together=0
    )
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        run = trainer_for(options, CARD, dtype)
        run.advance()
        found[f"{name}, seconds"] = seconds(run.advance, 3)
        found[f"{name}, peak GB"] = torch.cuda.max_memory_allocated() / 1e9
        del run
    return found


def random_model(folder: Path) -> None:
    """Save Stable Diffusion 1.5 with random weights and the tokenizer of the pocket model."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
    from diffusers import UNet2DConditionModel as Unet
    from transformers import CLIPTextConfig, CLIPTextModel

    sizes = checkpoint_settings.SD1
    torch.manual_seed(0)
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL.from_config(sizes["vae"]),
        text_encoder=CLIPTextModel(CLIPTextConfig(**sizes["text_encoder"])),
        tokenizer=load_pipeline("pocket").tokenizer,
        unet=Unet.from_config(sizes["unet"]),
        scheduler=DDIMScheduler.from_config(sizes["scheduler"]),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)


def some_images(folder: Path, count: int, size: int) -> ImageSet:
    """Write random pictures with captions."""
    folder.mkdir()
    for number, picture in enumerate(pictures(count, size).cpu()):
        values = (picture * 255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(values).save(folder / f"{number:03d}.png")
        (folder / f"{number:03d}.txt").write_text("a photo", encoding="utf-8")
    return ImageSet.open(folder)


def evidence(args: argparse.Namespace, kind: str) -> Figures:
    """Seconds and peak memory of evidence from a model's file, or of passive evidence."""
    with tempfile.TemporaryDirectory() as folder:
        random_model(Path(folder) / "model")
        count = args.probes if kind == "preference" else args.passive_images
        data = some_images(Path(folder) / "images", count, args.size)
        suspect = LocalSuspect(Path(folder) / "model", device="cuda", dtype=torch.float32)
        suspect.pipeline  # noqa: B018, loaded before the clock starts
        torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        if kind == "preference":
            measure_preference(suspect, data, coater_of("keyed"), PreferenceConfig(whole=False))
        else:
            measure_features(suspect, data, PassiveConfig.from_dict({"features": kind}))
        return {
            "images": count,
            "seconds": time.perf_counter() - start,
            "peak GB": torch.cuda.max_memory_allocated() / 1e9,
        }


PARTS: dict[str, Callable[[argparse.Namespace], Figures]] = {
    "coat": coating,
    "score": scoring,
    "train": training,
    "preference": lambda args: evidence(args, "preference"),
    "passive": lambda args: evidence(args, "grey"),
    "passive, all features": lambda args: evidence(args, "all"),
}


PAGE = """# What a graphics card gains

Written by `python benchmarks/graphics_card.py --page docs/graphics_card.md`, measured on one
{card} with torch {torch}. Networks have random weights; times are the shortest of five runs
(training: three), evidence ran once.

| {size} x {size} pixels, in memory | float32 | float16 | float16 changes |
| --- | --- | --- | --- |
{nets}

float32 uses the card's TF32 units, so float16 gains little. It moves some scores by more than a
hundredth of their spread, so the product coats and scores in float32.

| Stable Diffusion 1.5's shape, {size} pixels | time | peak memory |
| --- | --- | --- |
{runs}

A step of training is {gain:.2f} times as fast in bfloat16, which the product uses, as in float32.
The goal was three times: the surrogate's passes are only a part of the step, and the coater's own
networks are trained in float32.
"""
RUNS = {
    "preference": "evidence from a model's file, bits alone",
    "passive": "passive evidence, 14 features",
    "passive, all features": "passive evidence, all features",
}


def page(figures: Figures, size: int) -> str:
    """The page of all parts."""
    nets, runs = [], []
    for part, unit, change in (
        ("coat", "coated", "share of pixels that differ"),
        ("score", "scored", "largest change in units of the spread"),
    ):
        for name in sorted({key.split(",")[0] for key in figures[part]}):
            full, half, moved = (
                figures[part][f"{name}, {key}"] for key in ("float32", "float16", change)
            )
            nets.append(
                f"| `{name}`, images {unit} a second | {full:,.0f} | {half:,.0f} | "
                f"{change}: {moved:.2g} |"
            )
    train = figures["train"]
    for name in ("float32", "bfloat16"):
        runs.append(
            f"| a step of training, preset `default`, {name} | {train[f'{name}, seconds']:.2f} s | "
            f"{train[f'{name}, peak GB']:.1f} GB |"
        )
    for part, title in RUNS.items():
        one = figures[part]
        runs.append(
            f"| {title}, {one['images']} images | {one['seconds']:.0f} s | "
            f"{one['peak GB']:.1f} GB |"
        )
    return PAGE.format(
        card=figures["card"],
        torch=figures["torch"],
        size=size,
        nets="\n".join(nets),
        runs="\n".join(runs),
        gain=train["float32, seconds"] / train["bfloat16, seconds"],
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--coaters", nargs="+", default=["official", "default", "keyed"])
    parser.add_argument("--images", type=int, default=256, help="coated and scored")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=512, help="pixels")
    parser.add_argument("--probes", type=int, default=96, help="images of preference evidence")
    parser.add_argument("--passive-images", type=int, default=4)
    parser.add_argument("--json", type=Path, help="file of all figures")
    parser.add_argument("--page", type=Path, help="page to write from them")
    args = parser.parse_args()
    figures: Figures = {}
    if args.json and args.json.is_file():
        figures = json.loads(args.json.read_text(encoding="utf-8"))
    if args.only:
        figures |= {"card": torch.cuda.get_device_name(), "torch": torch.__version__}
        print(f"{figures['card']}, torch {figures['torch']}")
    for part in args.only:
        figures[part] = PARTS[part](args)
        for name, value in figures[part].items():
            print(f"{part}: {name}: {value:.4g}", flush=True)
        torch.cuda.empty_cache()
        if args.json:
            args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if args.page:
        args.page.write_text(page(figures, args.size), encoding="utf-8")


if __name__ == "__main__":
    main()
