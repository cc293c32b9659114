"""The structure of SIREN's published code, which benchmarks/side_by_side.py compares with.

It is written from the description of the method (arXiv 2410.10437 and its code): one image at a
time, batch normalisation in training mode, the message as constant channels, the extractor run
twice to print scores, and two PNG files per image at the usual compression.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from siren_ext.coater.coater import Coater
from siren_ext.coater.nets.blocks import IMAGENET_MEAN, IMAGENET_STD

RING = ((1, 1, 1, 1, 1), (1, 2, 2, 2, 1), (1, 2, 0, 2, 1), (1, 2, 2, 2, 1), (1, 1, 1, 1, 1))
SOBEL = ((-1, 0, 1), (-2, 0, 2), (-1, 0, 1))


class Reference:
    """The published structure with the weights of a coater."""

    def __init__(self, coater: Coater) -> None:
        made, read = coater.generator, coater.extractor
        self.trunk = nn.Sequential(*[self._block(block) for block in made.conv_bns])
        self.mixer, self.head = self._block(made.after_concat_layer), made.final_layer
        self.message = (2 * made.msg - 1).view(1, -1, 1, 1)
        blocks = [self._block(block) for block in read.layers[:-1]]
        self.extractor = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), read.linear)
        self.centre, self.strength = coater.center, coater.config.strength

    @staticmethod
    def _block(block: Any) -> nn.Sequential:
        convolution, norm, _ = block.layers
        batch_norm = nn.BatchNorm2d(norm.num_features, eps=1e-3)
        batch_norm.load_state_dict(norm.state_dict())
        return nn.Sequential(convolution, batch_norm.train(), nn.GELU())

    def mask(self, image: Tensor) -> Tensor:
        """The visibility mask by three convolutions."""
        luma = 255 * (image * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, True)
        mean = F.conv2d(luma, torch.tensor(RING)[None, None] / 32, padding=2)
        dark, light = 17 * (1 - (mean / 127).sqrt()) + 3, 3 / 128 * (mean - 127) + 3
        luminance = torch.where(mean <= 127, dark, light)
        sobel = torch.tensor(SOBEL, dtype=torch.float32)
        slopes = [F.conv2d(luma, k[None, None], padding=1) for k in (sobel, sobel.T)]
        slope = (slopes[0] ** 2 + slopes[1] ** 2).sqrt()
        contrast = 0.117 * 16 * slope**2.4 / (slope**2 + 26**2)
        heat = (luminance + contrast - 0.3 * torch.minimum(luminance, contrast)) / 255
        heat[..., 0, :] = heat[..., -1, :] = heat[..., 0] = heat[..., -1] = 0
        return heat

    @torch.no_grad()
    def coat(self, source: Path, out: Path) -> None:
        """Coat a file: two files are written, and two scores calculated."""
        image = self.read(source)
        view = (image - self.mean) / self.std
        features = self.trunk(view)
        message = self.message.expand(-1, -1, *view.shape[2:])
        pattern = torch.tanh(self.head(self.mixer(torch.cat((message, features, view), 1))))
        coated = view + self.strength * self.mask(image) * pattern
        coated = (coated * self.std + self.mean).clamp(0, 1)
        for name, one in (("original", image), ("coated", coated)):
            levels = (one[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
            Image.fromarray(levels).save(out / f"{source.stem}_{name}.png")
            self.score(one)

    @torch.no_grad()
    def score(self, image: Tensor) -> float:
        """Distance of the features to the centre."""
        return float((self.extractor((image - self.mean) / self.std) - self.centre).norm())

    @staticmethod
    def read(source: Path) -> Tensor:
        with Image.open(source) as image:
            levels = np.asarray(image.convert("RGB"))
        return Reference.to_float(levels)

    @staticmethod
    def to_float(levels: np.ndarray) -> Tensor:
        return torch.from_numpy(levels.copy()).permute(2, 0, 1)[None].contiguous().float().div_(255)

    mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth colours with fine grain, as in a photograph."""
    rng = np.random.default_rng(seed)
    broad = Image.fromarray(rng.integers(40, 215, (12, 12, 3), dtype=np.uint8))
    smooth = np.asarray(broad.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    grain = rng.integers(-6, 7, (height, width, 1), dtype=np.int16)
    return np.clip(smooth + grain, 0, 255).astype(np.uint8)
