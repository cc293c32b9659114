"""Train the pocket model from scratch: a resumable script with fixed seeds.

Stages, each skipped when its result is already in ``--work``:

1. ``tokenizer``: a byte-pair vocabulary in CLIP's format, learnt from the captions.
2. ``latents``: both mirror images of every corpus picture through the autoencoder, cached.
3. ``unet``: text encoder and UNet together, at log-normal noise levels (Karras et al. 2022). The
   pocket model predicts the velocity (Salimans and Ho 2022) as Stable Diffusion 2 does. A network
   that predicts noise must copy its input to well under a percent before it can express the class
   at high noise, and in bfloat16 it did not get that far. ``--design small`` is a narrower one that
   predicts noise; train it in float32. The learning rate is constant, with a linear decay at the
   end.
4. ``export``: averaged weights as a diffusers folder in float16 safetensors.

The autoencoder is TAESD (MIT), a small network with the latents of Stable Diffusion 1.x.

Examples: ``python -m siren_ext.pocket.train --corpus C --taesd T --work W --out OUT --steps 8000``,
``... --design small --seed 1 --precision float32 --pictures 8000 --no-mirror --steps 4000``
"""

from __future__ import annotations

import argparse
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
from siren_ext.pocket.captions import read_captions
from siren_ext.pocket.networks import DTYPES, Networks
from siren_ext.pocket.parts import (
    DESIGNS,
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


def chosen(count: int, pictures: int | None) -> NDArray[np.int64]:
    """Rows of the corpus to train on, spread evenly over it.

    Parameters
    ----------
    count : int
        Pictures in the corpus.
    pictures : int | None
        How many to take; None, or more than there are, takes all.
    """
    return np.unique(np.linspace(0, count - 1, min(count, pictures or count)).astype(np.int64))


@torch.no_grad()
def cache_latents(args: argparse.Namespace, batch: int = 32) -> None:
    """Encode the pictures, and by default their mirror images; a stopped call resumes.

    The latents are in ``latents.npy`` in ``--work``, 1 or 2 x n x 4 x H/8 x W/8 in float16. The
    number of finished rows is in a ``.done`` file beside it.

    Parameters
    ----------
    args : argparse.Namespace
        The command line; ``--corpus`` is a folder with ``images.npy``, N x H x W x 3 in uint8.
    batch : int
        Pictures encoded at once.

    Raises
    ------
    ConfigError
        If there are latents of another choice of pictures.
    """
    images = np.load(args.corpus / "images.npy", mmap_mode="r")
    rows, sides = chosen(len(images), args.pictures), 2 if args.mirror else 1
    out = args.work / "latents.npy"
    shape = (sides, len(rows), 4, images.shape[1] // 8, images.shape[2] // 8)
    counter = out.with_suffix(".done")
    start = int(counter.read_text()) if counter.exists() and out.exists() else 0
    if start and (found := np.load(out, mmap_mode="r").shape[:2]) != shape[:2]:
        raise ConfigError(
            f"{out} has latents of {found[1]} pictures, {found[0]} each; this call needs "
            f"{len(rows)}, {sides} each. Use the same --pictures and --mirror, or a new --work "
            "folder."
        )
    if start == len(rows):
        return
    mode = "r+" if start else "w+"
    store = np.lib.format.open_memmap(out, mode=mode, dtype=np.float16, shape=shape)
    dtype = DTYPES[args.precision]
    vae = load_taesd(args.taesd).to(dtype).to(memory_format=torch.channels_last)
    began = time.monotonic()
    for first in range(start, len(rows), batch):
        pixels = torch.from_numpy(images[rows[first : first + batch]])
        pixels = pixels.permute(0, 3, 1, 2).to(dtype) / 127.5 - 1
        for side in range(sides):
            latents = vae.encode(pixels.flip(3) if side else pixels).latents
            store[side, first : first + batch] = latents.float().numpy()
        if first % (batch * 20) == 0:
            store.flush()
            counter.write_text(str(first))
            log.info("latents %d of %d, %.0f s", first, len(rows), time.monotonic() - began)
    store.flush()
    counter.write_text(str(len(rows)))


def learning_rate(
    step: int, total: int, peak: float, warmup: int = 300, tail: float = 0.3
) -> float:
    """Learning rate of a step: linear warm-up, plateau, linear decay.

    Parameters
    ----------
    step, total : int
        The step, from 0, and the number of steps.
    peak : float
        Learning rate of the plateau.
    warmup : int
        Steps of the warm-up.
    tail : float
        Share of the steps in the decay.

    Returns
    -------
    float
        At most ``peak``, and in the decay at least 2 % of it.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * max(0.02, min(1.0, (total - step) / (tail * total)))


def vary_caption(caption: str, rng: np.random.Generator) -> str:
    """Replace a caption by the empty text (for guidance) or its subject, each 1 time in 10.

    Parameters
    ----------
    caption : str
        A caption of the corpus.
    rng : np.random.Generator
        Decides.

    Returns
    -------
    str
        The text to train on.
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
        One per picture.
    latents : array, shape (1 or 2, n, 4, h, w)
        Latents of every picture and, if there are 2, of its mirror image, in float16.
    tokenizer : Any
        The tokenizer of the text encoder.
    """

    captions: list[str]
    latents: NDArray[np.float16]
    tokenizer: Any

    @classmethod
    def open(cls, args: argparse.Namespace) -> TrainingSet:
        """Open the results of earlier stages in ``--work``; latents are read when needed.

        Parameters
        ----------
        args : argparse.Namespace
            The command line.
        """
        captions = [row.caption for row in read_captions(args.corpus)]
        latents = np.load(args.work / "latents.npy", mmap_mode="r")
        rows = chosen(len(captions), args.pictures)
        return cls(
            [captions[row] for row in rows], latents, load_tokenizer(args.work / "tokenizer")
        )

    def batch(self, size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Draw pictures, mirrored or not, and vary their captions.

        Parameters
        ----------
        size : int
            Number of pictures, drawn with replacement.
        rng : np.random.Generator
            Draws them.

        Returns
        -------
        latents : Tensor
            size x 4 x h x w, float32.
        tokens : Tensor
            size x 32 token numbers.
        """
        picks = rng.integers(len(self.captions), size=size)
        mirror = rng.integers(len(self.latents), size=size)
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
        The command line.

    Returns
    -------
    dict[str, Tensor]
        Averaged float32 weights by name; also exported to ``--out``.

    Raises
    ------
    FloatingPointError
        If the loss is not finite.
    """
    data = TrainingSet.open(args)
    networks = Networks(args, data.tokenizer)
    weights, first = networks.weights, networks.step
    mean, began = 0.0, time.monotonic()
    while networks.step < args.steps:
        step = networks.step
        # each step has its own generators, so a resumed run draws the same numbers
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
    if networks.step == first:  # already finished, so only write the result again
        export(args, weights.average, first)
    return weights.average


def export(args: argparse.Namespace, average: dict[str, Tensor], step: int) -> None:
    """Write the averaged weights as a diffusers folder in float16.

    Parameters
    ----------
    args : argparse.Namespace
        The command line.
    average : dict[str, Tensor]
        Weights by name.
    step : int
        Number of finished steps.
    """
    tokenizer = args.work / "tokenizer"
    design = DESIGNS[args.design]
    unet, text = make_unet(design), make_text_encoder(load_tokenizer(tokenizer))
    for name, module in (("unet", unet), ("text", text)):
        own = {k.split(".", 1)[1]: v for k, v in average.items() if k.startswith(f"{name}.")}
        module.load_state_dict({**module.state_dict(), **own}, strict=True)
    save_model(args.out, design=design, unet=unet, text=text, tokenizer=tokenizer, taesd=args.taesd)
    save_file({"step": torch.tensor(step)}, args.work / "exported.safetensors")
    log.info("exported step %d to %s", step, args.out)


def prepare_tokenizer(args: argparse.Namespace, captions: list[str]) -> None:
    """Learn the vocabulary, or copy that of the model that training starts from.

    Parameters
    ----------
    args : argparse.Namespace
        The command line.
    captions : list[str]
        Captions of the corpus.

    Raises
    ------
    ConfigError
        If the model has no tokenizer, or ``--work`` has a different one.
    """
    mine = args.work / "tokenizer"
    theirs = None if args.start is None else args.start / "tokenizer"
    if theirs is not None:
        absent = [name for name in TOKENIZER_FILES if not (theirs / name).exists()]
        if absent:
            raise ConfigError(
                f"{theirs} does not contain {', '.join(absent)}; expected an exported model."
            )
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
        The arguments; None takes those of the process.
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
    parser.add_argument("--design", choices=tuple(DESIGNS), default="pocket")
    parser.add_argument("--precision", choices=tuple(DTYPES), default="bfloat16")
    parser.add_argument("--pictures", type=int, help="so many, spread over the corpus (all)")
    parser.add_argument(
        "--mirror",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="also train on mirror images",
    )
    parser.add_argument("--start", type=Path, help="exported model to start from")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    args.work.mkdir(parents=True, exist_ok=True)
    rows = read_captions(args.corpus)
    prepare_tokenizer(args, [row.caption for row in rows])
    cache_latents(args)
    train(args)


if __name__ == "__main__":
    main()
