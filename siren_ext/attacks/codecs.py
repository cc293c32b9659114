"""Re-encoding of pictures by real encoders: JPEG, WebP and 8-bit palettes.

As in :mod:`siren_ext.attacks.handling`, each function takes and returns a batch in [0,1], and it
accepts a generator, which none of them uses. Values are rounded to 8 bits first. Nothing is
differentiable here.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from siren_ext.attacks.checks import image_batch, within
from siren_ext.data.images import to_tensor, to_uint8
from siren_ext.errors import ConfigError, ImageError
from siren_ext.schema import shown

Chroma = Literal["4:4:4", "4:2:2", "4:2:0"]

_CHROMA = ("4:4:4", "4:2:2", "4:2:0")


def jpeg(
    images: Tensor,
    generator: torch.Generator | None = None,
    *,
    quality: int = 85,
    chroma: Chroma = "4:2:0",
) -> Tensor:
    """Encode each image as JPEG and decode it.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    generator : torch.Generator | None
        Not used.
    quality : int
        From 1 to 100, on the scale of the Independent JPEG Group (libjpeg). Platforms do not
        publish theirs; the default is the one for which the project's targets are set.
    chroma : {"4:2:0", "4:2:2", "4:4:4"}
        Resolution of the colour planes; 4:2:0 is the default of libjpeg.

    Returns
    -------
    Tensor
        B x 3 x H x W in [0,1], multiples of 1/255.

    Raises
    ------
    ConfigError
        If a setting is out of range.
    ImageError
        If ``images`` is not a batch of images, or too large for the format.
    """
    within("quality", quality, 1, 100, whole=True)
    if chroma not in _CHROMA:
        raise ConfigError(f"chroma is {shown(chroma)}; expected one of {', '.join(_CHROMA)}.")
    return _encoded(images, "JPEG", quality=quality, subsampling=chroma)


def webp(images: Tensor, generator: torch.Generator | None = None, *, quality: int = 80) -> Tensor:
    """Encode each image as lossy WebP and decode it.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1], sides of at most 16383 pixels.
    generator : torch.Generator | None
        Not used.
    quality : int
        From 0 to 100, on the scale of libwebp. The default is that of Pillow; that of libwebp's own
        encoder ``cwebp`` is 75.

    Returns
    -------
    Tensor
        B x 3 x H x W in [0,1], multiples of 1/255.

    Raises
    ------
    ConfigError
        If a setting is out of range.
    ImageError
        If ``images`` is not a batch of images or too large for the format, or if this Pillow was
        built without WebP.
    """
    within("quality", quality, 0, 100, whole=True)
    return _encoded(images, "WEBP", quality=quality)


def palette(
    images: Tensor,
    generator: torch.Generator | None = None,
    *,
    colours: int = 256,
    dither: bool = True,
) -> Tensor:
    """Reduce each image to a palette of its own, as an 8-bit PNG or a GIF has it.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    generator : torch.Generator | None
        Not used.
    colours : int
        Most colours of an image, from 2 to 256.
    dither : bool
        Spread the error of each pixel over its neighbours (Floyd and Steinberg 1976). Otherwise
        each pixel gets the nearest colour.

    Returns
    -------
    Tensor
        B x 3 x H x W in [0,1], multiples of 1/255.

    Raises
    ------
    ConfigError
        If a setting is out of range.
    ImageError
        If ``images`` is not a batch of images.

    References
    ----------
    Heckbert (1982), "Color image quantization for frame buffer display", SIGGRAPH: the median cut,
    which chooses the palette.
    """
    within("colours", colours, 2, 256, whole=True)
    kind = Image.Dither.FLOYDSTEINBERG if dither else Image.Dither.NONE

    def reduced(image: Image.Image) -> Image.Image:
        chosen = image.quantize(colours, method=Image.Quantize.MEDIANCUT)
        return image.quantize(palette=_filled(chosen), dither=kind)

    return _each(images, reduced)


def _filled(chosen: Image.Image) -> Image.Image:
    """An image with the palette of another, in which unused places repeat its first colour.

    Otherwise they are black, which the other image may not have.
    """
    used = 1 + int(np.asarray(chosen).max())
    values = (chosen.getpalette() or [])[: 3 * used]
    full = Image.new("P", (1, 1))
    full.putpalette(values + values[:3] * (256 - used))
    return full


def _encoded(images: Tensor, kind: str, **options: Any) -> Tensor:
    """Each image after encoding and decoding by Pillow."""

    def through(image: Image.Image) -> Image.Image:
        stream = io.BytesIO()
        try:
            image.save(stream, format=kind, **options)
            return Image.open(stream, formats=(kind,))
        except (OSError, ValueError, KeyError) as error:
            raise ImageError(
                f"Images of {image.width}x{image.height} pixels can't be encoded as {kind}: {error}"
            ) from error

    return _each(images, through)


def _each(images: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    """A batch whose images are changed as 8-bit pictures."""
    changed = [
        to_tensor(np.asarray(change(Image.fromarray(to_uint8(image))).convert("RGB")))
        for image in image_batch(images)
    ]
    return torch.cat(changed).to(images)
