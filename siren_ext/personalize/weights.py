"""The weights that a run trains: live tensors inside the networks, and one float32 copy of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from siren_ext.diffusion.load import Pipeline


class VectorWeights:
    """Trained tensors inside a pipeline, and one float32 vector with all their values.

    The networks may run in bfloat16, whose rounding is much coarser than an update. So updates are
    made on the float32 vector and then copied to the networks. A single vector is used because an
    optimiser over hundreds of small tensors is mostly overhead.

    Parameters
    ----------
    live : list of Tensor
        The tensors that the networks use. They receive gradients from now on.

    Attributes
    ----------
    live : list of Tensor
        The same.
    vector : torch.nn.Parameter
        All values, float32.
    """

    def __init__(self, live: list[Tensor]) -> None:
        self.live = live
        for tensor in live:
            tensor.requires_grad_(True)
        self.vector = nn.Parameter(torch.cat([p.detach().float().flatten() for p in live]))

    def pieces(self, vector: Tensor | None = None) -> list[Tensor]:
        """Parts of a vector in the shapes of the live tensors, sharing its memory.

        Parameters
        ----------
        vector : Tensor or None
            As long as :attr:`vector`; None for that one.
        """
        whole = (self.vector if vector is None else vector).detach()
        parts = torch.split(whole, [p.numel() for p in self.live])
        return [part.view(p.shape) for part, p in zip(parts, self.live, strict=True)]

    def push(self) -> None:
        """Copy the vector into the networks."""
        with torch.no_grad():
            for live, value in zip(self.live, self.pieces(), strict=True):
                live.copy_(value)

    def collect(self) -> None:
        """Add the gradients of the live tensors to that of the vector, and clear theirs."""
        if self.vector.grad is None:
            self.vector.grad = torch.zeros_like(self.vector)
        for live, part in zip(self.live, self.pieces(self.vector.grad), strict=True):
            if live.grad is not None:
                part += live.grad
            live.grad = None

    def clear(self) -> None:
        """Clear all gradients."""
        self.vector.grad = None
        for live in self.live:
            live.grad = None

    def restore(self, vector: Tensor) -> None:
        """Set the vector and the networks to saved values."""
        with torch.no_grad():
            self.vector.copy_(vector)
        self.push()


class WholeWeights(VectorWeights):
    """Every weight of the UNet and, if wanted, of the text encoder: full fine-tuning.

    Parameters
    ----------
    pipeline : Pipeline
        The pipeline whose weights are trained in place.
    text : bool
        Also train the text encoder.
    """

    def __init__(self, pipeline: Pipeline, *, text: bool) -> None:
        networks = [pipeline.unet, *([pipeline.text_encoder] if text else [])]
        super().__init__([p for network in networks for p in network.parameters()])
