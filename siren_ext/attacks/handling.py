"""What ordinarily happens to pictures between publication and training.

Each function takes a batch B x 3 x H x W of float RGB in [0,1] and a generator on the CPU, and
returns a batch in [0,1] on the same device and of the same type. All images of a batch get the same
size, which may differ from the one that they had. Functions that draw nothing accept the generator
too, so that all can be called alike. :mod:`siren_ext.attacks.apply` applies them by name.

The defaults, and where they come from, are also in ``docs/handling.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from siren_ext.attacks.buckets import MAX_SIDE, Buckets, Size
from siren_ext.attacks.checks import image_batch, within
from siren_ext.data.images import resize
from siren_ext.errors import ConfigError, MissingExtraError

Pictures = Iterable[Image.Image]

_CHROMA = ("4:4:4", "4:2:2", "4:2:0")


def platform_resize(
    images: Tensor, generator: torch.Generator | None = None, *, longest: int = 1200
) -> Tensor:
    """Shrink images to a longest side, as image platforms do; smaller images are kept.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    generator : torch.Generator | None
        Not used.
    longest : int
        Largest side afterwards, from 8 to 16384. X shows photos within 680, 1200 or 2048 pixels
        ("small", "medium" and "large" in the data dictionary of its API, version 1.1).

    Returns
    -------
    Tensor
        B x 3 x h x w in [0,1].

    Raises
    ------
    ConfigError
        If a setting is out of range.
    ImageError
        If ``images`` is not a batch of images.
    """
    within("longest", longest, 8, MAX_SIDE, whole=True)
    height, width = image_batch(images).shape[2:]
    scale = longest / max(height, width)
    if scale >= 1:
        return images
    return resize(images, max(1, round(height * scale)), max(1, round(width * scale)))


def several_resolutions(
    images: Tensor,
    generator: torch.Generator,
    *,
    sizes: Sequence[Size] = ((512, 512), (384, 384), (256, 256), (128, 128)),
) -> Tensor:
    """One of several resolutions of the same file, drawn for the batch; never enlarged.

    Trainers who train at several resolutions make these files beforehand. Drawn afresh at each step
    it has the same effect.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    generator : torch.Generator
        Draws the resolution.
    sizes : Sequence[tuple[int, int]]
        Width and height of each resolution; only their product counts: it is the largest area.

    Returns
    -------
    Tensor
        B x 3 x h x w in [0,1], with the proportions of the images.

    Raises
    ------
    ConfigError
        If ``sizes`` is empty or a side is out of range.
    ImageError
        If ``images`` is not a batch of images.

    References
    ----------
    github.com/kohya-ss/sd-scripts, ``tools/resize_images_to_resolution.py``, whose default
    resolutions these are. There each resolution is made from the one before it, here from the file.
    """
    if not isinstance(sizes, tuple | list):
        raise ConfigError(f"sizes is {sizes!r}; expected pairs of width and height.")
    pairs = [tuple(size) if isinstance(size, tuple | list) else () for size in sizes]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise ConfigError(f"sizes is {sizes!r}; expected pairs of width and height.")
    for side in (side for pair in pairs for side in pair):
        within("a side in sizes", side, 8, MAX_SIDE, whole=True)
    height, width = image_batch(images).shape[2:]
    wide, high = pairs[int(torch.randint(len(pairs), (), generator=generator))]
    if height * width <= wide * high:
        return images
    scale = math.sqrt(wide * high / (height * width))
    return resize(images, max(1, int(height * scale)), max(1, int(width * scale)))


def aspect_bucket(
    images: Tensor,
    generator: torch.Generator,
    *,
    resolution: Size = (512, 512),
    min_side: int = 256,
    max_side: int = 1024,
    step: int = 64,
    no_upscale: bool = False,
    random_crop: bool = False,
) -> Tensor:
    """Resize and crop to an aspect bucket, as kohya's sd-scripts do.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    generator : torch.Generator
        Draws the crop if ``random_crop`` is set.
    resolution, min_side, max_side, step, no_upscale
        See :class:`siren_ext.attacks.buckets.Buckets`.
    random_crop : bool
        Cut each image at a random place instead of the centre (``--random_crop``).

    Returns
    -------
    Tensor
        B x 3 x h x w in [0,1], where w x h is the bucket.

    Raises
    ------
    ConfigError
        If the settings contradict each other or are out of range.
    ImageError
        If ``images`` is not a batch of images, or fits no bucket.

    Notes
    -----
    sd-scripts shrink with OpenCV's area filter and enlarge with Lanczos; here both are antialiased
    bicubic.
    """
    buckets = Buckets(resolution, min_side, max_side, step, no_upscale)
    height, width = image_batch(images).shape[2:]
    bucket, (wide, high) = buckets.choose(width, height)
    images = resize(images, high, wide)
    spare = (high - bucket[1], wide - bucket[0])
    cuts = []
    for image in torch.split(images, 1):
        top, left = _places(spare, generator) if random_crop else (spare[0] // 2, spare[1] // 2)
        cuts.append(image[..., top : top + bucket[1], left : left + bucket[0]])
    return torch.cat(cuts)


def crop_jitter(
    images: Tensor,
    generator: torch.Generator,
    *,
    low: float = 0.75,
    high: float = 1.0,
    keep_size: bool = True,
) -> Tensor:
    """Cut a random part out of each image; width and height shrink alike.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    generator : torch.Generator
        Draws the share and the place.
    low, high : float
        Limits of the share of each side that is kept, from 0.01 to 1; uniform. The defaults are the
        range for which the project's keyed evidence is measured.
    keep_size : bool
        Enlarge each part to H x W again, with one share per image. Otherwise the pixels of the part
        are kept, and all images of the batch have the same share.

    Returns
    -------
    Tensor
        B x 3 x H x W in [0,1], or the size of the part.

    Raises
    ------
    ConfigError
        If a limit is out of range or ``low`` is above ``high``.
    ImageError
        If ``images`` is not a batch of images.
    """
    within("low", low, 0.01, 1)
    within("high", high, 0.01, 1)
    if low > high:
        raise ConfigError(f"low is {low} and high {high}; expected low to be at most high.")
    height, width = image_batch(images).shape[2:]
    shares = [_uniform(generator, low, high) for _ in images]
    if not keep_size:
        shares = shares[:1] * len(images)
    cuts = []
    for image, share in zip(torch.split(images, 1), shares, strict=True):
        h, w = max(1, round(height * share)), max(1, round(width * share))
        top, left = _places((height - h, width - w), generator)
        part = image[..., top : top + h, left : left + w]
        cuts.append(resize(part, height, width) if keep_size else part)
    return torch.cat(cuts)


def mirror(images: Tensor, generator: torch.Generator, *, rate: float = 0.5) -> Tensor:
    """Mirror some images left to right (sd-scripts: ``--flip_aug``, half of them).

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    generator : torch.Generator
        Draws which ones.
    rate : float
        Probability for each image, from 0 to 1.

    Returns
    -------
    Tensor
        B x 3 x H x W in [0,1].

    Raises
    ------
    ConfigError
        If ``rate`` is out of range.
    ImageError
        If ``images`` is not a batch of images.
    """
    within("rate", rate, 0, 1)
    turned = torch.rand(len(image_batch(images)), generator=generator) < rate
    return torch.where(turned.view(-1, 1, 1, 1).to(images.device), images.flip(3), images)


def colour_jitter(
    images: Tensor,
    generator: torch.Generator,
    *,
    brightness: float = 0.1,
    contrast: float = 0.1,
    saturation: float = 0.1,
    hue: float = 16.0,
    gamma: float = 0.05,
) -> Tensor:
    """Change the colours of each image a little, in the order of the settings.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    generator : torch.Generator
        Draws the factors.
    brightness, contrast, saturation : float
        The factor is uniform in [1 - x, 1 + x], with x from 0 to 1; for contrast around the mean
        luminance of the image, for saturation around its grey version.
    hue : float
        Largest turn of the colour circle, from 0 to 180 degrees.
    gamma : float
        The exponent is uniform in [1 - x, 1 + x], with x from 0 to 0.9.

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

    Notes
    -----
    The limits of hue and gamma are those of ``--color_aug`` in sd-scripts (8 of OpenCV's 180 steps;
    0.95 to 1.05), which changes one image in three, in one of the two ways; here all images are
    changed in both. The limits of the others were chosen here; their definitions are those of
    ``ColorJitter`` in torchvision.
    """
    for name, value in (
        ("brightness", brightness),
        ("contrast", contrast),
        ("saturation", saturation),
    ):
        within(name, value, 0, 1)
    within("hue", hue, 0, 180)
    within("gamma", gamma, 0, 0.9)
    image_batch(images)
    changes: list[tuple[Callable[..., Any], float, float]] = [
        (change, middle, limit)
        for change, middle, limit in zip(
            _colour_changes(),
            (1.0, 1.0, 1.0, 0.0, 1.0),
            (brightness, contrast, saturation, math.radians(hue), gamma),
            strict=True,
        )
        if limit
    ]
    changed = []
    for image in torch.split(images, 1):
        for change, middle, limit in changes:
            image = change(image, _uniform(generator, middle - limit, middle + limit)).clamp(0, 1)
        changed.append(image)
    return torch.cat(changed).to(images)


def _colour_changes() -> tuple[Callable[..., Any], ...]:
    """kornia's functions for brightness, contrast, saturation, hue and gamma."""
    try:
        from kornia import enhance
    except ImportError as error:
        raise MissingExtraError("kornia", "attacks") from error
    return (
        enhance.adjust_brightness_accumulative,
        enhance.adjust_contrast_with_mean_subtraction,
        enhance.adjust_saturation_with_gray_subtraction,
        enhance.adjust_hue,
        enhance.adjust_gamma,
    )


def _uniform(generator: torch.Generator, low: float, high: float) -> float:
    """A number from ``low`` to ``high``."""
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def _places(spare: tuple[int, int], generator: torch.Generator) -> tuple[int, int]:
    """Top and left edge of a part, if so many rows and columns are left out."""
    top, left = (int(torch.randint(most + 1, (), generator=generator)) for most in spare)
    return top, left
