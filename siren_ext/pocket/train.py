"""Train the pocket model from scratch: a resumable script with fixed seeds.

Stages, each skipped when its result is already in ``--work``:

1. ``tokenizer``: a byte-pair vocabulary in CLIP's format, learnt from the captions.
2. ``latents``: both mirror images of every corpus picture through the autoencoder, cached.
3. ``unet``: text encoder and UNet together, predicting the velocity (Salimans and Ho 2022) as
   Stable Diffusion 2 does, at log-normal noise levels (Karras et al. 2022). A network that predicts
   noise has to copy its input to well under a percent before it can show anything of the class in
   high noise; this small one, in bfloat16, did not get that far. Constant learning rate and a
   linear decay at the end.
4. ``export``: averaged weights as a diffusers folder in float16 safetensors.

The autoencoder is TAESD (MIT): latents are those of Stable Diffusion 1.x at a fifth of the cost.

Example: ``python -m siren_ext.pocket.train --corpus C --taesd T --work W --out OUT --steps 8000``
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from siren_ext.errors import ConfigError
from siren_ext.pocket.networks import Networks
from siren_ext.pocket.parts import (
    MAX_TOKENS,
    TOKENIZER_FILES,
    load_taesd,
    load_tokenizer,
    make_text_encoder,
    make_tokenizer,
    make_unet,
    save_model,
)

log = logging.getLogger(__name__)

EMA_DECAY = 0.999


@torch.no_grad()
def cache_latents(corpus: Path, vae: Any, out: Path, batch: int = 32) -> None:
    """Encode every picture and its mirror image; a stopped call resumes.

    Parameters
    ----------
    corpus : Path
        folder with images.npy, (n, H, W, 3) in uint8.
    vae : Any
        the autoencoder.
    out : Path
        the file to write: (2, n, 4, H/8, W/8) in float16. The number of finished rows is beside it
        in ``.done``.
    batch : int
        pictures encoded at once.
    """
    images = np.load(corpus / "images.npy", mmap_mode="r")
    shape = (2, len(images), 4, images.shape[1] // 8, images.shape[2] // 8)
    counter = out.with_suffix(".done")
    start = int(counter.read_text()) if counter.exists() and out.exists() else 0
    mode = "r+" if start else "w+"
    store = np.lib.format.open_memmap(out, mode=mode, dtype=np.float16, shape=shape)
    vae = vae.to(torch.bfloat16).to(memory_format=torch.channels_last)
    began = time.monotonic()
    for first in range(start, len(images), batch):
        pixels = torch.from_numpy(np.array(images[first : first + batch]))
        pixels = pixels.permute(0, 3, 1, 2).to(torch.bfloat16) / 127.5 - 1
        for mirror in (0, 1):
            latents = vae.encode(pixels.flip(3) if mirror else pixels).latents
            store[mirror, first : first + batch] = latents.float().numpy()
        if first % (batch * 20) == 0:
            store.flush()
            counter.write_text(str(first))
            log.info("latents %d of %d, %.0f s", first, len(images), time.monotonic() - began)
    store.flush()
    counter.write_text(str(len(images)))


def learning_rate(
    step: int, total: int, peak: float, warmup: int = 300, tail: float = 0.3
) -> float:
    """Learning rate of a step: linear warm-up, plateau, linear decay.

    Parameters
    ----------
    step, total : int
        the step from 0, and the number of all.
    peak : float
        of the plateau.
    warmup : int
        steps of the warm-up.
    tail : float
        share of the steps in the decay.

    Returns
    -------
    float
        at most ``peak``.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * max(0.02, min(1.0, (total - step) / (tail * total)))


def vary_caption(caption: str, rng: np.random.Generator) -> str:
    """Replace a caption with the empty text (for guidance) or its subject, 1 in 10 times each.

    Parameters
    ----------
    caption : str
        of the corpus.
    rng : np.random.Generator
        decides.

    Returns
    -------
    str
        the text to train on.
    """
    roll = rng.random()
    if roll < 0.1:
        return ""
    if roll < 0.2:
        return caption.split(" of ", 1)[-1]
    return caption


@dataclass(frozen=True)
class TrainingSet:
    """What the networks are trained on.

    Attributes
    ----------
    captions : list[str]
        one per picture.
    latents : NDArray[np.float16]
        (2, n, 4, h, w): of every picture and its mirror image.
    tokenizer : Any
        of the text encoder.
    """

    captions: list[str]
    latents: NDArray[np.float16]
    tokenizer: Any

    @classmethod
    def open(cls, args: argparse.Namespace) -> TrainingSet:
        """Open what the earlier stages left in ``--work``.

        Parameters
        ----------
        args : argparse.Namespace
            of the command line.

        Returns
        -------
        TrainingSet
            its latents are read as they are needed.
        """
        rows = json.loads((args.corpus / "captions.json").read_text("utf-8"))
        return cls(
            [row["caption"] for row in rows],
            np.load(args.work / "latents.npy", mmap_mode="r"),
            load_tokenizer(args.work / "tokenizer"),
        )

    def batch(self, size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Draw pictures, mirrored or not, and vary their captions.

        Parameters
        ----------
        size : int
            number of pictures, drawn with replacement.
        rng : np.random.Generator
            draws them.

        Returns
        -------
        tuple[Tensor, Tensor]
            latents (size, 4, h, w) in float32 and token numbers (size, 77).
        """
        picks = rng.integers(len(self.captions), size=size)
        mirror = rng.integers(2, size=size)
        clean = torch.from_numpy(self.latents[mirror, picks].astype(np.float32))
        prompts = [vary_caption(self.captions[i], rng) for i in picks]
        tokens: Tensor = self.tokenizer(
            prompts,
            padding="max_length",
            max_length=MAX_TOKENS,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        return clean, tokens


def train(args: argparse.Namespace) -> dict[str, Tensor]:
    """Train text encoder and UNet, or resume training them.

    Parameters
    ----------
    args : argparse.Namespace
        of the command line.

    Returns
    -------
    dict[str, Tensor]
        averaged float32 weights by name; also exported to ``--out``.

    Raises
    ------
    FloatingPointError
        the loss is not finite.
    """
    data = TrainingSet.open(args)
    networks = Networks(args, data.tokenizer)
    weights, first = networks.weights, networks.step
    mean, began = 0.0, time.monotonic()
    while networks.step < args.steps:
        step = networks.step
        # Every step has generators of its own, so a resumed run draws what an unbroken one draws.
        rng = np.random.default_rng((args.seed, step))
        noise = torch.Generator().manual_seed(args.seed * 1_000_003 + step)
        clean, tokens = data.batch(args.batch, rng)
        loss = networks.loss(clean, tokens, noise)
        loss.backward()  # type: ignore[no-untyped-call]
        rate = learning_rate(step, args.steps, args.lr)
        weights.step(rate, min(EMA_DECAY, (step + 1) / (step + 10)))
        mean = loss.item() if mean == 0 else 0.99 * mean + 0.01 * loss.item()
        if not math.isfinite(mean):
            raise FloatingPointError(f"the loss is {mean} at step {step}; lower --lr")
        networks.step = step = step + 1
        if step % 50 == 0:
            pace = (time.monotonic() - began) / (step - first)
            log.info(
                "step %d of %d  loss %.4f  lr %.1e  %.2f s/step", step, args.steps, mean, rate, pace
            )
        if step % args.save_every == 0 or step == args.steps:
            networks.save()
            export(args, weights.average, step)
    if networks.step == first:  # nothing was left to do: write the result again
        export(args, weights.average, first)
    return weights.average


def export(args: argparse.Namespace, average: dict[str, Tensor], step: int) -> None:
    """Write the averaged weights as a diffusers folder in float16.

    Parameters
    ----------
    args : argparse.Namespace
        of the command line.
    average : dict[str, Tensor]
        weights by name.
    step : int
        number of finished steps.
    """
    tokenizer = args.work / "tokenizer"
    unet, text = make_unet(), make_text_encoder(load_tokenizer(tokenizer))
    for name, module in (("unet", unet), ("text", text)):
        own = {k.split(".", 1)[1]: v for k, v in average.items() if k.startswith(f"{name}.")}
        module.load_state_dict({**module.state_dict(), **own}, strict=True)
    save_model(args.out, unet=unet, text=text, tokenizer=tokenizer, taesd=args.taesd)
    save_file({"step": torch.tensor(step)}, args.work / "exported.safetensors")
    log.info("exported step %d to %s", step, args.out)


def prepare_tokenizer(args: argparse.Namespace, captions: list[str]) -> None:
    """Learn the vocabulary, or copy that of the model that training starts from.

    Parameters
    ----------
    args : argparse.Namespace
        of the command line.
    captions : list[str]
        of the corpus.

    Raises
    ------
    ConfigError
        the model lacks its tokenizer, or ``--work`` has another one.
    """
    mine = args.work / "tokenizer"
    theirs = None if args.start is None else args.start / "tokenizer"
    if theirs is not None:
        absent = [name for name in TOKENIZER_FILES if not (theirs / name).exists()]
        if absent:
            raise ConfigError(f"{theirs} lacks {', '.join(absent)}; expected an exported model.")
    if not (mine / "vocab.json").exists():
        if theirs is None:
            make_tokenizer(captions, mine)
            return
        mine.mkdir(parents=True, exist_ok=True)
        for name in TOKENIZER_FILES:
            shutil.copyfile(theirs / name, mine / name)
    elif theirs is not None:
        for name in TOKENIZER_FILES:
            if (theirs / name).read_bytes() != (mine / name).read_bytes():
                raise ConfigError(
                    f"{mine / name} differs from that of --start {args.start}, whose weights need "
                    "their own vocabulary. Use a new --work folder."
                )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the training script.

    Parameters
    ----------
    argv : Sequence[str] | None
        arguments; None for those of the process.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--taesd", type=Path, required=True, help="folder with TAESD's weights")
    parser.add_argument("--work", type=Path, required=True, help="latents and checkpoints")
    parser.add_argument("--out", type=Path, required=True, help="the diffusers folder to write")
    parser.add_argument("--steps", type=int, default=30_000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save-every", type=int, default=500)
    parser.add_argument("--start", type=Path, help="exported model to start from")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    args.work.mkdir(parents=True, exist_ok=True)
    rows = json.loads((args.corpus / "captions.json").read_text("utf-8"))
    prepare_tokenizer(args, [row["caption"] for row in rows])
    rows_done = args.work / "latents.done"
    if not rows_done.exists() or int(rows_done.read_text()) < len(rows):
        cache_latents(args.corpus, load_taesd(args.taesd), args.work / "latents.npy")
    train(args)


if __name__ == "__main__":
    main()
