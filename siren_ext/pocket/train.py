"""Train the pocket model from scratch: a resumable script with fixed seeds.

Stages, each skipped when its result is already in ``--work``:

1. ``tokenizer``: a byte-pair vocabulary in CLIP's format, learnt from the captions.
2. ``latents``: both mirror images of every corpus picture through the autoencoder, cached.
3. ``unet``: text encoder and UNet together, predicting the velocity (Salimans and Ho 2022) as
   Stable Diffusion 2 does, at log-normal noise levels (Karras et al. 2022). A network that predicts
   noise must copy its input to well under a percent before anything about the class can show in
   high noise; this small one, in bfloat16, did not get there. Constant learning rate and a linear
   decay at the end.
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
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from siren_ext.errors import ConfigError
from siren_ext.pocket.parts import (
    MAX_TOKENS,
    TOKENIZER_FILES,
    load_taesd,
    load_tokenizer,
    load_weights,
    make_text_encoder,
    make_tokenizer,
    make_unet,
    predicts_velocity,
    save_model,
)

log = logging.getLogger(__name__)

EMA_DECAY = 0.999


@torch.no_grad()
def cache_latents(corpus: Path, vae: Any, out: Path, batch: int = 32) -> None:
    """Encode every picture and its mirror image; rows done are kept over interruptions."""
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


class MasterWeights:
    """Float32 weights, AdamW and averages behind bfloat16 modules.

    The modules compute in bfloat16, which matrix units make several times faster; updates are far
    smaller than bfloat16's steps, so they are made on float32 copies.
    """

    def __init__(self, modules: dict[str, nn.Module], lr: float) -> None:
        self.live = {f"{m}.{n}": p for m, mod in modules.items() for n, p in mod.named_parameters()}
        self.master = {k: p.detach().float().clone() for k, p in self.live.items()}
        self.average = {k: p.clone() for k, p in self.master.items()}
        decay = [p for p in self.master.values() if p.ndim > 1]
        plain = [p for p in self.master.values() if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [{"params": decay, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}],
            lr=lr,
            betas=(0.9, 0.99),
            foreach=True,
        )

    def push(self) -> None:
        """Copy the float32 weights into the live modules."""
        with torch.no_grad():
            torch._foreach_copy_(list(self.live.values()), list(self.master.values()))

    def step(self, lr: float, decay: float, clip: float = 1.0) -> float:
        """One update from the live gradients; returns the gradient norm."""
        for name, parameter in self.live.items():
            self.master[name].grad = (
                None if parameter.grad is None else parameter.grad.detach().float()
            )
            parameter.grad = None
        norm = float(nn.utils.clip_grad_norm_(list(self.master.values()), clip))
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self.optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.values()), list(self.master.values()), 1 - decay)
        self.push()
        return norm


def learning_rate(
    step: int, total: int, peak: float, warmup: int = 300, tail: float = 0.3
) -> float:
    """Linear warm-up, a plateau, then linear decay over the last ``tail`` of the steps."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * max(0.02, min(1.0, (total - step) / (tail * total)))


def noise_levels(log_ratio: Tensor, centre: float = -1.0, spread: float = 2.0) -> Tensor:
    """Probability of each diffusion step, for normally distributed log signal-to-noise ratios.

    ``log_ratio``: log(kept / (1 - kept)) of every step, decreasing. Returns as many probabilities.
    """
    density = torch.exp(-0.5 * ((log_ratio - centre) / spread).square())
    width = -torch.gradient(log_ratio)[0]  # how much of the axis one step covers
    return density * width / (density * width).sum()


def vary_caption(caption: str, rng: np.random.Generator) -> str:
    """Sometimes the empty text (for guidance), sometimes the bare subject."""
    roll = rng.random()
    if roll < 0.1:
        return ""
    if roll < 0.2:
        return caption.split(" of ", 1)[-1]
    return caption


def train(args: argparse.Namespace) -> dict[str, Tensor]:
    """Train text encoder and UNet; returns the averaged float32 weights."""
    from diffusers.models.attention_processor import AttnProcessor

    rows = json.loads((args.corpus / "captions.json").read_text("utf-8"))
    captions = [row["caption"] for row in rows]
    latents = np.load(args.work / "latents.npy", mmap_mode="r")
    tokenizer = load_tokenizer(args.work / "tokenizer")
    torch.manual_seed(args.seed)  # a script of its own: initial weights come from the global seed
    unet = make_unet()
    text = make_text_encoder(tokenizer)
    checkpoint = args.work / "unet.pt"
    if args.start is not None and not checkpoint.exists():
        load_weights(args.start, unet=unet, text=text)
        if not predicts_velocity(args.start):  # the last layer says something else: learn it anew
            nn.init.zeros_(unet.conv_out.weight)
            nn.init.zeros_(unet.conv_out.bias)
        log.info("starting from %s", args.start)
    weights = MasterWeights({"unet": unet, "text": text}, args.lr)
    unet.to(torch.bfloat16).train()
    text.to(torch.bfloat16).train()
    # for sequences this short the fused attention's backward on a CPU costs more than it saves
    unet.set_attn_processor(AttnProcessor())
    if hasattr(text, "set_attn_implementation"):  # older transformers know nothing but eager
        text.set_attn_implementation("eager")
    weights.live = {
        f"{m}.{n}": p
        for m, mod in (("unet", unet), ("text", text))
        for n, p in mod.named_parameters()
    }
    step = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        step = state["step"]
        pairs = ((weights.master, state["master"]), (weights.average, state["average"]))
        for mine, theirs in pairs:
            for name, value in theirs.items():
                mine[name].copy_(value)
        weights.optimiser.load_state_dict(state["optimiser"])
        log.info("resumed at step %d", step)
    weights.push()
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    kept = torch.cumprod(1 - betas, 0)
    ratio = kept / (1 - kept)
    chance = noise_levels(ratio.log())
    mean, began, since = 0.0, time.monotonic(), step
    while step < args.steps:
        # every step has a generator of its own, so a resumed run draws what an unbroken one draws
        rng = np.random.default_rng((args.seed, step))
        noise_rng = torch.Generator().manual_seed(args.seed * 1_000_003 + step)
        picks = rng.integers(len(captions), size=args.batch)
        mirror = rng.integers(2, size=args.batch)
        clean = torch.from_numpy(latents[mirror, picks].astype(np.float32))
        prompts = [vary_caption(captions[i], rng) for i in picks]
        tokens = tokenizer(
            prompts,
            padding="max_length",
            max_length=MAX_TOKENS,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        noise = torch.randn(clean.shape, generator=noise_rng)
        times = torch.multinomial(chance, args.batch, replacement=True, generator=noise_rng)
        level = kept[times].view(-1, 1, 1, 1)
        noisy = level.sqrt() * clean + (1 - level).sqrt() * noise
        hidden = text(tokens).last_hidden_state
        velocity = level.sqrt() * noise - (1 - level).sqrt() * clean
        guess = unet(noisy.bfloat16(), times, hidden).sample.float()
        loss = (guess - velocity).square().mean()
        loss.backward()
        rate = learning_rate(step, args.steps, args.lr)
        weights.step(rate, min(EMA_DECAY, (step + 1) / (step + 10)))
        mean = loss.item() if mean == 0 else 0.99 * mean + 0.01 * loss.item()
        if not math.isfinite(mean):
            raise FloatingPointError(f"the loss is {mean} at step {step}; lower --lr")
        step += 1
        if step % 50 == 0:
            pace = (time.monotonic() - began) / (step - since)
            log.info(
                "step %d of %d  loss %.4f  lr %.1e  %.2f s/step", step, args.steps, mean, rate, pace
            )
        if step % args.save_every == 0 or step == args.steps:
            temporary = checkpoint.with_suffix(".tmp")
            torch.save(
                {
                    "step": step,
                    "master": weights.master,
                    "average": weights.average,
                    "optimiser": weights.optimiser.state_dict(),
                },
                temporary,
            )
            temporary.replace(checkpoint)
            export(args, weights.average, step)
    if step == since:  # nothing was left to do: write the result once more
        export(args, weights.average, step)
    return weights.average


def export(args: argparse.Namespace, average: dict[str, Tensor], step: int) -> None:
    """Write the averaged weights as a diffusers folder in float16."""
    tokenizer = args.work / "tokenizer"
    unet, text = make_unet(), make_text_encoder(load_tokenizer(tokenizer))
    for name, module in (("unet", unet), ("text", text)):
        own = {k.split(".", 1)[1]: v for k, v in average.items() if k.startswith(f"{name}.")}
        module.load_state_dict({**module.state_dict(), **own}, strict=True)
    save_model(args.out, unet=unet, text=text, tokenizer=tokenizer, taesd=args.taesd)
    save_file({"step": torch.tensor(step)}, args.work / "exported.safetensors")
    log.info("exported step %d to %s", step, args.out)


def prepare_tokenizer(args: argparse.Namespace, captions: list[str]) -> None:
    """Learn the vocabulary, or take over that of the model from which training starts."""
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
                    f"{mine / name} differs from that of --start {args.start}, whose weights "
                    "belong to its own vocabulary. Use a new --work folder."
                )


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of the training script; ``argv`` replaces the process's arguments."""
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
    parser.add_argument("--start", type=Path, help="exported model whose weights to begin with")
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
