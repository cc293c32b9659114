"""The pocket model's networks while they are trained: loss, float32 weights, checkpoint."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from siren_ext.pocket.parts import (
    DESIGNS,
    load_weights,
    make_text_encoder,
    make_unet,
    predicts,
)

log = logging.getLogger(__name__)

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
NOISE_WEIGHT = 5.0
"""Largest weight of an error in the predicted noise, where the least is 1."""


class MasterWeights:
    """Float32 weights, AdamW and averages of modules that may compute in bfloat16.

    Bfloat16 is several times faster on matrix units. Updates are far smaller than its steps, so
    they are made on float32 copies.

    Parameters
    ----------
    modules : dict[str, nn.Module]
        The modules, still in float32.
    lr : float
        Learning rate.
    """

    def __init__(self, modules: dict[str, nn.Module], lr: float) -> None:
        self.live: dict[str, nn.Parameter] = {}
        self.attach(modules)
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

    def attach(self, modules: dict[str, nn.Module]) -> None:
        """Use the parameters of these modules from now on.

        Parameters
        ----------
        modules : dict[str, nn.Module]
            Modules with the same parameters by name, in any number format.
        """
        self.live = {f"{m}.{n}": p for m, mod in modules.items() for n, p in mod.named_parameters()}

    def push(self) -> None:
        """Copy the float32 weights into the modules."""
        with torch.no_grad():
            torch._foreach_copy_(list(self.live.values()), list(self.master.values()))

    def step(self, lr: float, decay: float, clip: float = 1.0) -> float:
        """Make one update from the modules' gradients.

        Parameters
        ----------
        lr : float
            Learning rate.
        decay : float
            Decay of the averages, from 0 to 1.
        clip : float
            Largest norm of the gradient.

        Returns
        -------
        float
            Norm of the gradient before clipping.
        """
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


def noise_levels(log_ratio: Tensor, centre: float = -1.0, spread: float = 2.0) -> Tensor:
    """Probability of each diffusion step, for normally distributed log signal-to-noise ratios.

    Parameters
    ----------
    log_ratio : Tensor
        T values of log(kept / (1 - kept)), one per step, decreasing.
    centre, spread : float
        Mean and standard deviation of the distribution.

    Returns
    -------
    Tensor
        T values that sum to 1.

    References
    ----------
    Karras et al. (2022), "Elucidating the design space of diffusion-based generative models" (arXiv
    2206.00364), Table 1.
    """
    density = torch.exp(-0.5 * ((log_ratio - centre) / spread).square())
    width = -torch.gradient(log_ratio)[0]  # how much of the axis one step covers
    return density * width / (density * width).sum()


class Networks:
    """UNet and text encoder in the precision of training, with their float32 weights.

    Parameters
    ----------
    args : argparse.Namespace
        The command line; the initial weights come from ``--seed`` or ``--start``.
    tokenizer : Any
        The tokenizer of the text encoder.
    """

    def __init__(self, args: argparse.Namespace, tokenizer: Any) -> None:
        from diffusers.models.attention_processor import AttnProcessor

        # Initial weights are drawn from the global generator. Seeding it is fine in a script.
        torch.manual_seed(args.seed)
        self.design, self.dtype = DESIGNS[args.design], DTYPES[args.precision]
        self.unet, self.text = make_unet(self.design), make_text_encoder(tokenizer)
        self.checkpoint = args.work / "unet.pt"
        if args.start is not None and not self.checkpoint.exists():
            self._begin_from(args.start)
        modules = {"unet": self.unet, "text": self.text}
        self.weights = MasterWeights(modules, args.lr)
        self.unet.to(self.dtype).train()
        self.text.to(self.dtype).train()
        # on a CPU the backward pass of fused attention is slower for such short sequences
        self.unet.set_attn_processor(AttnProcessor())
        if hasattr(self.text, "set_attn_implementation"):  # older transformers have no other
            self.text.set_attn_implementation("eager")
        self.weights.attach(modules)
        self.step = self._resume()
        self.weights.push()
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
        self.kept = torch.cumprod(1 - betas, 0)
        self.chance = noise_levels((self.kept / (1 - self.kept)).log())

    def loss(self, clean: Tensor, tokens: Tensor, generator: torch.Generator) -> Tensor:
        """Mean squared error of the prediction at random noise levels.

        An error e in the noise is one of e / sqrt(a) in the velocity, so errors in the noise are
        weighted by 1 / a. The weight has a limit, because a is close to 0 at high noise.

        Parameters
        ----------
        clean : Tensor
            B x 4 x h x w latents.
        tokens : Tensor
            B x 32 token numbers.
        generator : torch.Generator
            Draws noise and noise levels.

        Returns
        -------
        Tensor
            A scalar.

        References
        ----------
        Salimans and Ho (2022), arXiv 2202.00512, appendix D: v = sqrt(a) noise - sqrt(1 - a) x.
        """
        noise = torch.randn(clean.shape, generator=generator)
        times = torch.multinomial(self.chance, len(clean), replacement=True, generator=generator)
        level = self.kept[times].view(-1, 1, 1, 1)
        noisy = level.sqrt() * clean + (1 - level).sqrt() * noise
        hidden = self.text(tokens).last_hidden_state
        guess = self.unet(noisy.to(self.dtype), times, hidden).sample.float()
        if self.design.prediction == "epsilon":
            weight = (1 / level).clamp(max=NOISE_WEIGHT)
            error: Tensor = (weight * (guess - noise).square()).mean()
            return error
        velocity = level.sqrt() * noise - (1 - level).sqrt() * clean
        error = (guess - velocity).square().mean()
        return error

    def save(self) -> None:
        """Write the checkpoint, atomically."""
        temporary = self.checkpoint.with_suffix(".tmp")
        torch.save(
            {
                "step": self.step,
                "master": self.weights.master,
                "average": self.weights.average,
                "optimiser": self.weights.optimiser.state_dict(),
            },
            temporary,
        )
        temporary.replace(self.checkpoint)

    def _begin_from(self, start: Path) -> None:
        """Copy the weights of an exported model."""
        load_weights(start, unet=self.unet, text=self.text)
        if predicts(start) != self.design.prediction:  # then its last layer cannot be used
            nn.init.zeros_(self.unet.conv_out.weight)
            nn.init.zeros_(self.unet.conv_out.bias)
        log.info("starting from %s", start)

    def _resume(self) -> int:
        """Restore the checkpoint if there is one; returns the number of finished steps."""
        if not self.checkpoint.exists():
            return 0
        state = torch.load(self.checkpoint, weights_only=True)
        pairs = ((self.weights.master, state["master"]), (self.weights.average, state["average"]))
        for mine, saved in pairs:
            for name, value in saved.items():
                mine[name].copy_(value)
        self.weights.optimiser.load_state_dict(state["optimiser"])
        log.info("resumed at step %d", state["step"])
        return int(state["step"])
