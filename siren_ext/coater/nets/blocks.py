"""The convolution block shared by generator and extractor."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from siren_ext.errors import ConfigError

NORMS = ("image", "running")


class ImageNorm(nn.BatchNorm2d):
    """Batch normalisation with the statistics of each single image.

    The published code runs batch normalisation in training mode on one image at a time. This layer
    gives the same numbers for any batch size, so a score never depends on the other images of its
    batch. Parameter and buffer names are those of ``BatchNorm2d``, so published weights load
    unchanged.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise B x C x H x W over H and W, then scale and shift by the learnt affine."""
        return F.instance_norm(
            x, weight=self.weight, bias=self.bias, use_input_stats=True, eps=self.eps
        )


class ConvBlock(nn.Module):
    """A 3 x 3 convolution, normalisation and GELU.

    Parameters
    ----------
    channels_in, channels_out : int
        Number of input and output channels.
    norm : {"image", "running"}
        Normalise with the statistics of each image, or with running averages.

    Raises
    ------
    ConfigError
        If ``norm`` is unknown.

    References
    ----------
    Zhu et al. (2018), "HiDDeN: hiding data with deep networks" (arXiv 1807.09937), with GELU as in
    the code of Stable Signature (arXiv 2303.15435).
    """

    def __init__(self, channels_in: int, channels_out: int, norm: str = "image") -> None:
        super().__init__()
        if norm not in NORMS:
            raise ConfigError(f"norm is {norm!r}; expected one of {', '.join(NORMS)}.")
        kind = ImageNorm if norm == "image" else nn.BatchNorm2d
        self.layers = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, padding=1),
            kind(channels_out, eps=1e-3),
            nn.GELU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map B x channels_in x H x W to B x channels_out x H x W."""
        out: Tensor = self.layers(x)
        return out


IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalise(images: Tensor) -> Tensor:
    """ImageNet normalisation of B x 3 x H x W images in [0,1]."""
    mean = torch.tensor(IMAGENET_MEAN, dtype=images.dtype, device=images.device)
    std = torch.tensor(IMAGENET_STD, dtype=images.dtype, device=images.device)
    return (images - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
