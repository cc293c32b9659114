"""Changes to generated pictures that anybody can make in an image editor.

As in :mod:`siren_ext.attacks.handling`, each function takes a batch B x 3 x H x W of float RGB in
[0,1] and a generator on the CPU, and returns a batch of the same size in [0,1]. JPEG, WebP and
palettes are in :mod:`siren_ext.attacks.codecs`, changes of colour in
:mod:`siren_ext.attacks.colours`.

References
----------
SIREN (arXiv 2410.10437), Table X, lists thirteen transforms. Of their parameters it states the
kernel of the blur (7) and the 8 bits of the quantisation. The others are those customary for
evaluations of watermarks: Fernandez et al. (2023), "The Stable Signature" (arXiv 2303.15435), and
github.com/XuandongZhao/WatermarkAttacker.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from siren_ext.attacks.checks import image_batch, within
from siren_ext.attacks.colours import kornia_module
from siren_ext.data.images import quantise, resize
from siren_ext.errors import ConfigError
from siren_ext.schema import shown

MAX_LETTERS = 200


def centre_crop(
    images: Tensor, generator: torch.Generator | None = None, *, keep: float = 0.1
) -> Tensor:
    """Cut out the middle and enlarge it to the size before.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    generator : torch.Generator | None
        Not used.
    keep : float
        Share of the area that is kept, from 0.01 to 1.

    Returns
    -------
    Tensor
        B x 3 x H x W in [0,1].

    Raises
    ------
    ConfigError
        If ``keep`` is out of range.
    ImageError
        If ``images`` is not a batch of images.
    """
    within("keep", keep, 0.01, 1)
    height, width = image_batch(images).shape[2:]
    h, w = (max(1, round(side * math.sqrt(keep))) for side in (height, width))
    top, left = (height - h) // 2, (width - w) // 2
    return resize(images[..., top : top + h, left : left + w], height, width)


def noise(
    images: Tensor, generator: torch.Generator | None = None, *, sigma: float = 0.05
) -> Tensor:
    """Add Gaussian noise.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    generator : torch.Generator | None
        Draws the noise; None for a fixed seed.
    sigma : float
        Standard deviation, from 0 to 1.

    Returns
    -------
    Tensor
        B x 3 x H x W in [0,1].

    Raises
    ------
    ConfigError
        If ``sigma`` is out of range.
    ImageError
        If ``images`` is not a batch of images.
    """
    within("sigma", sigma, 0, 1)
    drawn = torch.randn(image_batch(images).shape, generator=_drawer(generator))
    return (images + sigma * drawn.to(images)).clamp(0, 1)


def blur(
    images: Tensor,
    generator: torch.Generator | None = None,
    *,
    kernel: int = 7,
    sigma: float = 1.4,
) -> Tensor:
    """Smooth with a Gaussian.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    generator : torch.Generator | None
        Not used.
    kernel : int
        Side of the window in pixels, odd, from 1 to 63; 7 in the paper.
    sigma : float
        Standard deviation in pixels, from 0 to 20. The default is what OpenCV and torchvision
        take for a window of 7: 0.3 ((7 - 1) / 2 - 1) + 0.8.

    Returns
    -------
    Tensor
        B x 3 x H x W in [0,1].

    Raises
    ------
    ConfigError
        If a setting is out of range.
    ImageError
        If ``images`` is not a batch of images.
    MissingExtraError
        If kornia is not installed.
    """
    within("kernel", kernel, 1, 63, whole=True)
    within("sigma", sigma, 0, 20)
    if kernel % 2 == 0:
        raise ConfigError(f"kernel is {kernel}; expected an odd number.")
    if kernel == 1 or not sigma:
        return image_batch(images)
    around = "reflect" if min(image_batch(images).shape[2:]) > kernel // 2 else "replicate"
    smoothed: Tensor = kornia_module("filters").gaussian_blur2d(
        images.float(), (kernel, kernel), (float(sigma), float(sigma)), around
    )
    return smoothed.clamp(0, 1).to(images)


def round_to_bits(
    images: Tensor, generator: torch.Generator | None = None, *, bits: int = 8
) -> Tensor:
    """Round every value to so many bits, as saving a file does.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    generator : torch.Generator | None
        Not used.
    bits : int
        Bits of each channel, from 1 to 8. 8 is the trivial reading of the paper's "quantisation to
        8 bits"; a palette of 256 colours is the other one.

    Returns
    -------
    Tensor
        B x 3 x H x W in [0,1].

    Raises
    ------
    ConfigError
        If ``bits`` is out of range.
    ImageError
        If ``images`` is not a batch of images.
    """
    within("bits", bits, 1, 8, whole=True)
    if bits == 8:
        return quantise(image_batch(images))
    top = 2**bits - 1
    rounded: Tensor = (image_batch(images) * top).round() / top
    return rounded


def super_resolution(
    images: Tensor, generator: torch.Generator | None = None, *, shrink: float = 2.0
) -> Tensor:
    """Shrink each image and enlarge it again, as a detour over an upscaler does.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    generator : torch.Generator | None
        Not used.
    shrink : float
        How many times smaller both sides become, from 1 to 16.

    Returns
    -------
    Tensor
        B x 3 x H x W in [0,1].

    Raises
    ------
    ConfigError
        If ``shrink`` is out of range.
    ImageError
        If ``images`` is not a batch of images.

    Notes
    -----
    Shrinks with an antialiased bicubic filter and enlarges with Lanczos. A learned upscaler adds
    detail of its own; none is bundled.
    """
    within("shrink", shrink, 1, 16)
    height, width = image_batch(images).shape[2:]
    small = resize(images, max(1, round(height / shrink)), max(1, round(width / shrink)))
    if small.shape == images.shape:
        return images
    planes = small.float().cpu().numpy().reshape(-1, *small.shape[2:])
    enlarged = [
        np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.LANCZOS))
        for plane in planes
    ]
    return torch.from_numpy(np.stack(enlarged)).view(images.shape).clamp(0, 1).to(images)


def text_overlay(
    images: Tensor,
    generator: torch.Generator | None = None,
    *,
    text: str = "a sample watermark",
    height: float = 0.1,
) -> Tensor:
    """Write white text over each image.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    generator : torch.Generator | None
        Draws the place of the text; None for a fixed seed.
    text : str
        1 to 200 characters.
    height : float
        Height of the text as a share of the image's height, from 0 to 1; smaller where the text
        would be wider than the image.

    Returns
    -------
    Tensor
        B x 3 x H x W in [0,1].

    Raises
    ------
    ConfigError
        If a setting is out of range.
    ImageError
        If ``images`` is not a batch of images.
    """
    within("height", height, 0, 1)
    if not isinstance(text, str) or not text.strip() or len(text) > MAX_LETTERS:
        raise ConfigError(f"text is {shown(text)}; expected 1 to {MAX_LETTERS} characters.")
    rows, columns = image_batch(images).shape[2:]
    letters = _letters(text)
    scale = min(height * rows / letters.height, columns / letters.width)
    size = (round(letters.width * scale), round(letters.height * scale))
    if not scale or min(size) < 1:
        return images
    opaque = torch.from_numpy(np.array(letters.resize(size), dtype=np.float32) / 255)
    drawer, written = _drawer(generator), images.clone()
    for image in written:
        top, left = (
            int(torch.randint(most + 1, (), generator=drawer))
            for most in (rows - size[1], columns - size[0])
        )
        part = image[:, top : top + size[1], left : left + size[0]]
        part += (1 - part) * opaque.to(part)
    return written.clamp_(0, 1)


def _letters(text: str) -> Image.Image:
    """The text in white on black, with no border."""
    font = ImageFont.load_default()
    try:
        left, top, right, bottom = font.getbbox(text)
    except UnicodeEncodeError:  # versions of Pillow without FreeType
        raise ConfigError(f"text is {shown(text)}; expected Latin letters.") from None
    sheet = Image.new("L", (int(right) + 2, int(bottom) + 2))
    ImageDraw.Draw(sheet).text((0, 0), text, fill=255, font=font)
    return sheet.crop(sheet.getbbox() or (int(left), int(top), int(right) + 1, int(bottom) + 1))


def _drawer(generator: torch.Generator | None) -> torch.Generator:
    """The generator, or one with a fixed seed."""
    return torch.Generator().manual_seed(0) if generator is None else generator
