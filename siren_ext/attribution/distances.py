"""How far a model's picture is from a key image.

The published text does not say which distance was used. Its bands and its threshold of 0.15 are
those of the pixel distance of Carlini et al. (2023), "Extracting training data from diffusion
models", so that is the default; a :data:`Distance` is any function of this kind.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from siren_ext.attribution.source_config import SourceConfig
from siren_ext.baselines.similarity import backbone
from siren_ext.diffusion import pipelines
from siren_ext.diffusion.load import POCKET
from siren_ext.errors import ImageError

Floats = NDArray[np.float64]
Distance = Callable[[Tensor, Tensor], Floats]
"""From two equal batches of pictures, B x 3 x S x S in [0,1], to B distances."""
Embedding = Callable[[Tensor], Floats]
"""From B x 3 x S x S in [0,1] to B x d."""

TILES = 4
_GRID = 4  # cells along a side to which the pocket model's latents are averaged


def l2(first: Tensor, second: Tensor) -> Floats:
    """Root mean square difference of the colours.

    Parameters
    ----------
    first, second : Tensor
        B x 3 x S x S in [0,1].

    Returns
    -------
    array, shape (B,)
        0 for equal pictures, 1 for black and white.

    Raises
    ------
    ImageError
        If the shapes differ.

    References
    ----------
    Carlini et al. (2023), "Extracting training data from diffusion models" (arXiv 2301.13188),
    section 4.1.
    """
    _check(first, second)
    found: Floats = (first.double() - second.double()).square().mean((1, 2, 3)).sqrt().cpu().numpy()
    return found


def l2_tiled(first: Tensor, second: Tensor) -> Floats:
    """The largest :func:`l2` of 4 x 4 tiles, so that a flat background does not hide a difference.

    Parameters, result and errors are those of :func:`l2`; the side must be a multiple of 4. The
    result is never smaller than that of :func:`l2`.
    """
    _check(first, second)
    if first.shape[2] % TILES or first.shape[3] % TILES:
        raise ImageError(
            f"Found pictures of {first.shape[3]} x {first.shape[2]} pixels; expected multiples of "
            f"{TILES}. Choose another resolution."
        )
    squares = (first.double() - second.double()).square().mean(1, keepdim=True)
    tile = (first.shape[2] // TILES, first.shape[3] // TILES)
    means = functional.avg_pool2d(squares, tile)
    found: Floats = means.flatten(1).amax(1).sqrt().cpu().numpy()
    return found


def embedded(embed: Embedding) -> Distance:
    """The distance of an embedding: 1 minus the cosine, from 0 to 2.

    Parameters
    ----------
    embed : callable
        Such as those of :func:`embedding`; copy detectors such as SSCD fit as well.
    """

    def distance(first: Tensor, second: Tensor) -> Floats:
        _check(first, second)
        one, other = (np.asarray(embed(part), np.float64) for part in (first, second))
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        cosine = (one * other).sum(1) / np.maximum(lengths, 1e-12)
        return np.asarray(1 - np.clip(cosine, -1, 1), np.float64)

    return distance


def embedding(config: SourceConfig) -> Embedding:
    """The embedding that settings name; that of the bundled model for ``l2`` and ``l2_tiled``.

    Parameters
    ----------
    config : SourceConfig
        Gives ``distance`` and ``embedding``.

    Raises
    ------
    ConfigError, MissingExtraError, ModelError
        As :func:`siren_ext.baselines.similarity.backbone`.
    """
    if config.distance in ("eff0", "dino", "clip"):
        return backbone(config.distance, config.embedding_folder)
    return pocket_embedding()


def distance_named(config: SourceConfig) -> Distance:
    """The distance that settings name; errors are those of :func:`embedding`."""
    if config.distance == "l2":
        return l2
    if config.distance == "l2_tiled":
        return l2_tiled
    return embedded(embedding(config))


def pocket_embedding() -> Embedding:
    """Latents of the bundled model's autoencoder, averaged to 4 x 4 cells: colours and layout.

    It needs no further weights, and knows less about contents than a network such as CLIP's.
    """
    pipeline = pipelines.load_pipeline(POCKET, device="cpu", dtype=torch.float32)
    size = pipelines.native_size(pipeline)

    @torch.no_grad()
    def embed(pictures: Tensor) -> Floats:
        view = functional.interpolate(pictures.float(), (size, size), mode="area")
        cells = functional.adaptive_avg_pool2d(pipelines.encode_latents(pipeline, view), _GRID)
        found: Floats = cells.flatten(1).double().numpy()
        return found

    return embed


def _check(first: Tensor, second: Tensor) -> None:
    if first.shape != second.shape or first.ndim != 4 or first.shape[1] != 3:
        raise ImageError(
            f"Found pictures of shapes {tuple(first.shape)} and {tuple(second.shape)}; expected "
            "equal batches of B x 3 x S x S."
        )
