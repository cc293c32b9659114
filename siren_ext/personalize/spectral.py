"""SVDiff: train only shifts of the singular values of the UNet's weights.

Source: Han et al. (2023), "SVDiff: Compact parameter space for diffusion fine-tuning" (arXiv
2303.11305), section 3.2. The file has the keys of the usual implementation: a vector ``delta`` for
each module of the UNet.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from siren_ext.adapters.changes import spectral_parts, spectral_shift
from siren_ext.adapters.names import adaptable
from siren_ext.diffusion.load import Pipeline
from siren_ext.personalize.weights import VectorWeights


class Spectral(nn.Module):
    """A weight whose singular values are shifted: W + U (relu(s + delta) - s) V.

    Parameters
    ----------
    weight : Tensor
        The weight of a linear layer or convolution, which stays as it is. The kernel of a
        convolution is folded into its columns.

    Attributes
    ----------
    delta : torch.nn.Parameter
        The shifts, float32, in descending order of the singular values; zeros at first.
    """

    left: Tensor
    values: Tensor
    right: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        left, values, right = spectral_parts(weight.detach())
        self.register_buffer("left", left, persistent=False)
        self.register_buffer("values", values, persistent=False)
        self.register_buffer("right", right, persistent=False)
        self.delta = nn.Parameter(torch.zeros_like(values))

    def forward(self, weight: Tensor) -> Tensor:
        """The shifted weight, in the shape and number format of the original."""
        parts = (self.left, self.values, self.right)
        change = spectral_shift(parts, self.delta).reshape(weight.shape)
        return weight + change.to(weight.dtype)


class SpectralWeights(VectorWeights):
    """The shifts of every linear layer and convolution of the UNet.

    Parameters
    ----------
    pipeline : Pipeline
        The pipeline; the weights of its UNet get :class:`Spectral` parametrizations.

    Notes
    -----
    The singular values are computed once, which takes a minute or two for Stable Diffusion, and
    their vectors double the memory of the UNet.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.names: list[str] = []
        live: list[Tensor] = []
        for path, module in sorted(adaptable(pipeline.unet), key=lambda pair: pair[0]):
            spectral = Spectral(module.weight)
            # unsafe only skips a trial call; the shape and the format are kept
            parametrize.register_parametrization(module, "weight", spectral, unsafe=True)
            self.names.append(path)
            live.append(spectral.delta)
        super().__init__(live)

    def tensors(self) -> dict[str, Tensor]:
        """The shifts by key: ``<module>.delta``, with diffusers' names of the modules."""
        pairs = zip(self.names, self.pieces(), strict=True)
        return {f"{name}.delta": shift.clone() for name, shift in pairs}
