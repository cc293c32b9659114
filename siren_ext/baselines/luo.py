"""Luo et al.: the watermark DCT-DWT-SVD, the same string in every image.

Luo et al. (2023), "Steal my artworks for fine-tuning? A watermarking framework for detecting art
theft mimicry in text-to-image models" (arXiv 2311.13619). The embedding follows the description of
the public package invisible-watermark: the U channel, the low band of one Haar step, blocks of
4 x 4 and their largest singular value.

The discrete cosine transform of a block is orthonormal, so it changes neither the singular values
nor what they stand for: U S V^T becomes (D U) S (D V)^T. It is left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from siren_ext.baselines.base import Floats, Protected, all_captions, image_batch
from siren_ext.baselines.bits import BITS, RULES, balanced_string, bits_p_value
from siren_ext.data.images import quantise

STEP = 36.0
SMALLEST = 64  # pixels: 64 blocks, two for each of 32 bits
_BLOCK = 4
_TO_YUV = np.array([[0.299, 0.587, 0.114], [-0.147, -0.289, 0.436], [0.615, -0.515, -0.1]])


@dataclasses.dataclass(frozen=True)
class Luo:
    """The watermark of one owner.

    Attributes
    ----------
    seed : int
        Of the string.
    step : float
        q, the distance of two levels of a singular value, in grey levels.
    swap_details : bool
        Exchange the bands of horizontal and vertical detail, as the public code does. The bits stay
        the same, the image gets artefacts.
    """

    seed: int = 0
    step: float = STEP
    swap_details: bool = False
    name: str = dataclasses.field(default="Luo et al.", init=False)
    rules: tuple[str, ...] = dataclasses.field(default=RULES, init=False)

    @property
    def string(self) -> np.ndarray:
        """The owner's bits."""
        return balanced_string(self.seed, BITS)

    def protect(self, images: Tensor, captions: Sequence[str] = ()) -> Protected:
        """Write the string into every image; see :class:`~siren_ext.baselines.base.Baseline`.

        Raises
        ------
        ImageError
            If images are smaller than 64 pixels.
        """
        image_batch(images, SMALLEST)
        texts = all_captions(captions, len(images))
        marked = [self._write(image) for image in images.double().cpu().numpy() * 255]
        result = torch.from_numpy(np.stack(marked) / 255).to(images)
        return Protected(quantise(result.clamp(0, 1)), texts, (True,) * len(images))

    def evidence(self, mimicries: Tensor) -> Floats:
        """Bits of each picture, N x 32; a bit is 1 if most of its blocks say so."""
        image_batch(mimicries, SMALLEST)
        return np.stack([self._read(image) for image in mimicries.double().cpu().numpy() * 255])

    def p_value(self, evidence: Floats, rule: str = "published") -> float:
        """The p-value of bits, by :func:`~siren_ext.baselines.bits.bits_p_value`."""
        return bits_p_value(evidence, self.string, rule, self.seed)

    def _write(self, image: Floats) -> Floats:
        """One image in grey levels, 3 x H x W."""
        planes = np.rint(np.tensordot(_TO_YUV, image, 1))
        height, width = (side // 4 * 4 for side in planes.shape[1:])
        bands = _haar(planes[1, :height, :width] + 128)
        blocks = _blocks(bands[0])
        left, values, right = np.linalg.svd(blocks)
        which = self.string[np.arange(len(blocks)) % BITS]
        values[:, 0] = (values[:, 0] // self.step + 0.25 + 0.5 * which) * self.step
        bands[0] = _unblocks(left * values[:, None] @ right, bands[0])
        if self.swap_details:
            bands = bands[[0, 2, 1, 3]]
        planes[1, :height, :width] = np.rint(_unhaar(bands)).clip(0, 255) - 128
        back: Floats = np.tensordot(np.linalg.inv(_TO_YUV), planes, 1).clip(0, 255)
        return back

    def _read(self, image: Floats) -> Floats:
        """Bits of one picture in grey levels, 3 x H x W."""
        plane = np.rint(np.tensordot(_TO_YUV[1], image, 1)) + 128
        height, width = (side // 4 * 4 for side in plane.shape)
        values = np.linalg.norm(_blocks(_haar(plane[:height, :width])[0]), 2, axis=(1, 2))
        votes = values % self.step > self.step / 2
        which = np.arange(len(votes)) % BITS
        share = np.bincount(which, votes, BITS) / np.bincount(which, minlength=BITS)
        return (share > 0.5).astype(np.float64)


def _haar(plane: Floats) -> Floats:
    """One orthonormal Haar step: 4 x H/2 x W/2, the low band first."""
    a, b = plane[::2, ::2], plane[::2, 1::2]
    c, d = plane[1::2, ::2], plane[1::2, 1::2]
    return np.stack([a + b + c + d, a + b - c - d, a - b + c - d, a - b - c + d]) / 2


def _unhaar(bands: Floats) -> Floats:
    """The inverse of :func:`_haar`."""
    low, across, down, both = bands
    plane = np.empty((2 * low.shape[0], 2 * low.shape[1]))
    plane[::2, ::2] = low + across + down + both
    plane[::2, 1::2] = low + across - down - both
    plane[1::2, ::2] = low - across + down - both
    plane[1::2, 1::2] = low - across - down + both
    return plane / 2


def _blocks(band: Floats) -> Floats:
    """Whole blocks of 4 x 4 in rows, n x 4 x 4."""
    rows, columns = (side // _BLOCK for side in band.shape)
    cut = band[: rows * _BLOCK, : columns * _BLOCK]
    return cut.reshape(rows, _BLOCK, columns, _BLOCK).swapaxes(1, 2).reshape(-1, _BLOCK, _BLOCK)  # type: ignore[no-any-return]


def _unblocks(blocks: Floats, band: Floats) -> Floats:
    """The band with these blocks; what belongs to no whole block stays."""
    rows, columns = (side // _BLOCK for side in band.shape)
    result = band.copy()
    tiled = blocks.reshape(rows, columns, _BLOCK, _BLOCK).swapaxes(1, 2)
    result[: rows * _BLOCK, : columns * _BLOCK] = tiled.reshape(rows * _BLOCK, columns * _BLOCK)
    return result  # type: ignore[no-any-return]
