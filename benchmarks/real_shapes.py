"""Runs evidence from a model's file, and a step of training a coater, at the sizes of real models.

    python benchmarks/real_shapes.py --out runs/shapes [--only sd15,sd21,sdxl] [--page PAGE.md]

Models have the published shapes and random weights, so the figures are time and memory, and say
nothing of what is found. Each run is a process of its own on one image at the model's own size: one
noise level, and few coatings of the image instead of hundreds, because they take the same memory.
Finished runs are kept in OUT. What whole plans take is counted in operations, on torch's meta
device, and divided by the rate of a card; the page says which.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from published_structure import picture
from torch.utils.flop_counter import FlopCounterMode

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.data.dataset import ImageSet
from siren_ext.diffusion import checkpoint_settings
from siren_ext.diffusion.load import POCKET, load_pipeline
from siren_ext.preference import patterns
from siren_ext.preference.config import PreferenceConfig
from siren_ext.preference.measure import measure_preference
from siren_ext.suspects.local import LocalSuspect
from siren_ext.training.surrogate import DiffusionSurrogate

Figures = dict[str, Any]
SHAPES: dict[str, tuple[str, Any, int]] = {
    "sd15": ("Stable Diffusion 1.5", checkpoint_settings.SD1, 512),
    "sd21": ("Stable Diffusion 2.1", checkpoint_settings.SD2, 768),
    "sdxl": ("Stable Diffusion XL", checkpoint_settings.XL, 1024),
}
KINDS = ("evidence", "training")
CODINGS = 4
PLAN = PreferenceConfig()
CARDS = {"RTX 3060, 12 GB": (12.7, 12), "RTX 4090, 24 GB": (82.6, 24)}
"""Peak rate in float32, 10^12 operations a second, and memory in 2^30 bytes, by the maker."""
USE = 0.5
TERA, GB = 1e12, 1e9


def random_model(folder: Path, name: str) -> None:
    """Save a model with random weights, in 16 bits, and the tokenizer of the pocket model."""
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    parts, xl = SHAPES[name][1], name == "sdxl"
    torch.manual_seed(0)
    tokenizer = load_pipeline(POCKET).tokenizer
    given = {
        "vae": diffusers.AutoencoderKL.from_config(parts["vae"]).half(),
        "unet": diffusers.UNet2DConditionModel.from_config(parts["unet"]).half(),
        "text_encoder": CLIPTextModel(CLIPTextConfig(**parts["text_encoder"])).half(),
        "tokenizer": tokenizer,
        "scheduler": diffusers.DDIMScheduler.from_config(checkpoint_settings.SD1["scheduler"]),
    }
    if xl:
        second = CLIPTextModelWithProjection(CLIPTextConfig(**parts["text_encoder_2"])).half()
        pipeline = diffusers.StableDiffusionXLPipeline(
            **given, text_encoder_2=second, tokenizer_2=tokenizer
        )
    else:
        rest = {"safety_checker": None, "feature_extractor": None}
        pipeline = diffusers.StableDiffusionPipeline(**given, **rest, requires_safety_checker=False)
    pipeline.save_pretrained(folder)


def evidence(suspect: LocalSuspect, data: Any, coater: Coater, size: int) -> Figures:
    """One image and one noise level, through the product's own call."""
    patterns.CODINGS, patterns._PER_BIT = CODINGS - 1, 0
    config = PreferenceConfig(draws=1, images=1, batch_size=1, resolution=size)
    found = measure_preference(suspect, data, coater, config)
    assert found.features is not None
    return {"bits read": int(found.features.shape[1])}


def training(suspect: LocalSuspect, data: Any, coater: Coater, size: int) -> Figures:
    """The denoising loss of one coated image at one time step, and its gradient."""
    surrogate = DiffusionSurrogate(suspect.pipeline, "a photo")
    image = next(iter(data.tensors(size)))
    residual = torch.zeros_like(image).requires_grad_()
    loss = surrogate.denoising_loss(image + residual, generator=torch.Generator().manual_seed(0))
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert residual.grad is not None
    return {"gradient": float(residual.grad.norm())}


def one(out: Path, name: str, kind: str) -> None:
    """A single run, in a process of its own: writes the model, or the figures of a kind."""
    size = SHAPES[name][2]
    model, images = out / name, out / f"images_{size}"
    if kind == "model":
        random_model(model, name)
        return
    images.mkdir(exist_ok=True)
    Image.fromarray(picture(size, size)).save(images / "0.png")
    (images / "0.txt").write_text("a photo", encoding="utf-8")
    coater = Coater(CoaterConfig.preset("keyed"))
    suspect = LocalSuspect(model, device="cpu", dtype=torch.float32)
    before = time.process_time()
    suspect.pipeline  # noqa: B018, loaded before the clock starts
    loaded = time.process_time()
    run = evidence if kind == "evidence" else training
    figures = run(suspect, ImageSet.open(images), coater, size)
    figures |= {
        "loading, CPU s": loaded - before,
        "CPU s": time.process_time() - loaded,
        "peak GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GB,
    }
    (out / f"{name}_{kind}.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")


def counted(name: str) -> dict[str, float]:
    """10^12 operations of a pass of the network and of the encoder, and GB of all weights."""
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    _, parts, size = SHAPES[name]
    with torch.device("meta"), torch.no_grad():
        unet = diffusers.UNet2DConditionModel.from_config(parts["unet"])
        vae = diffusers.AutoencoderKL.from_config(parts["vae"])
        texts = [CLIPTextModel(CLIPTextConfig(**parts["text_encoder"]))]
        if name == "sdxl":
            texts.append(CLIPTextModelWithProjection(CLIPTextConfig(**parts["text_encoder_2"])))
        latents, text = (
            torch.zeros(1, 4, size // 8, size // 8),
            torch.zeros(1, 77, parts["unet"]["cross_attention_dim"]),
        )
        more = {}
        if name == "sdxl":
            more["added_cond_kwargs"] = {
                "text_embeds": torch.zeros(1, 1280),
                "time_ids": torch.zeros(1, 6),
            }
        with FlopCounterMode(display=False) as network:
            unet(latents, torch.zeros(1), text, **more)
        with FlopCounterMode(display=False) as encoder:
            vae.encode(torch.zeros(1, 3, size, size))
    weights = sum(one.numel() for part in (unet, vae, *texts) for one in part.parameters())
    return {
        "weights": 4 * weights / GB,
        "network": network.get_total_flops() / TERA,
        "encoder": encoder.get_total_flops() / TERA,
    }


def plan(operations: dict[str, float], controls: int) -> float:
    """10^12 operations of the default plan for a LoRA: all images, noise levels and patterns."""
    copies = patterns.CODINGS + patterns.PLACES
    passes = PLAN.images * PLAN.draws * (2 + controls)  # the suspect, and its base in its place
    passes += copies  # what the base model removes of them
    return passes * operations["network"] + (PLAN.images + copies) * operations["encoder"]


def page(out: Path) -> str:
    """Tables of all finished runs."""
    rows, costs = [], []
    for name, (title, _, size) in SHAPES.items():
        for kind in KINDS:
            file = out / f"{name}_{kind}.json"
            if file.is_file():
                found = json.loads(file.read_text(encoding="utf-8"))
                rows.append(
                    f"| {title}, {size} px | {kind} | {found['CPU s']:.0f} s "
                    f"| {found['peak GB']:.1f} GB |"
                )
        operations = counted(name)
        for controls in (0, 3):
            total = plan(operations, controls)
            weights = operations["weights"]
            times = " | ".join(
                f"{total / rate / USE / 60:.1f} min"
                if weights < memory * 2**30 / GB
                else "too large"
                for rate, memory in CARDS.values()
            )
            costs.append(
                f"| {title}, {size} px | {controls} | {total:,.0f} | {weights:.1f} GB | {times} |"
            )
    return PAGE.format(
        rows="\n".join(rows),
        costs="\n".join(costs),
        cards=" | ".join(CARDS),
        lines=" --- |" * len(CARDS),
        use=round(100 * USE),
        images=PLAN.images,
        draws=PLAN.draws,
        codings=patterns.CODINGS + patterns.PLACES,
        few=CODINGS,
    )


PAGE = """# Sizes of real models

Written by `python benchmarks/real_shapes.py --out runs/shapes --page docs/real_shapes.md`. The
models have the published shapes and random weights: this shows that everything runs at these sizes
and what it takes, and nothing about what is found.

## On a processor

One image at one noise level, in 32 bits. "Evidence" is evidence from a model's file, with {few}
coatings of the image; "training" is the denoising loss of one coated image and its gradient, which
training a coater computes for each image of a batch. Memory is the most that the process had,
weights and libraries included.

| | | processor time | memory |
| --- | --- | --- | --- |
{rows}

A coater is trained on Stable Diffusion 1.x or 2.x, and its images may be used with any model:
evidence from a file does not depend on the model that the coater was trained with. So there is no
row of training for XL.

## What evidence from a model's file takes on a card

The default plan has {images} images at {draws} noise levels, for the suspicious LoRA, for its base
model and for each clean control, and {codings} coated copies that pass the autoencoder and the
base model.
Its operations are counted; times are these operations at {use} % of the card's rate in float32. One
model is on the card at a time, in 32 bits: "weights" are its own, and "too large" means that these
alone do not fit. A pass takes some GB more.

| | controls | 10^12 operations | weights | {cards} |
| --- | --- | --- | --- |{lines}
{costs}

One measurement on a real card is on the page [graphics card](graphics_card.md).
"""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of models and results")
    parser.add_argument("--only", default=",".join(SHAPES), help="of sd15, sd21, sdxl")
    parser.add_argument("--page", type=Path, help="also write this page")
    parser.add_argument("--one", nargs=2, metavar=("SHAPE", "KIND"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(args.out, *args.one)
        return
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.only.split(","):
        kinds = [kind for kind in KINDS if (name, kind) != ("sdxl", "training")]
        left = [kind for kind in kinds if not (args.out / f"{name}_{kind}.json").is_file()]
        if left and not (args.out / name / "model_index.json").is_file():
            left.insert(0, "model")  # in a process of its own too, which gives its memory back
        for kind in left:
            call = [sys.executable, __file__, "--out", str(args.out), "--one", name, kind]
            subprocess.run(call, check=True)
    text = page(args.out)
    print(text)
    if args.page:
        args.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
