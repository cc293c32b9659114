"""Reads what a model has learnt along the patterns of the bits of a message.

The fields of :mod:`siren_ext.preference.measure` say which change of each image the model makes by
itself. They are compared with what a coating changes. The patterns of the bits overlap, so that a
plain product with the pattern of one bit also sees its neighbours; so all are fitted together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.diffusion.load import Pipeline

SIDE = 32
"""Side in pixels of the small pictures in which learnt fields are shown and compared."""
PLACES = 64
"""Images, spread evenly over the set, on which the patterns of bits are measured."""
CODINGS = 512
"""Coated copies that are passed through the autoencoder for them, over all these images."""
_PER_BIT = 10  # more of them for long messages
_ENCODE_BATCH = 8
_RIDGE = 0.1  # share of the largest eigenvalue; chosen on the samples, see docs/preference.md
_FLOOR = 0.3  # variance in every direction, as a share of the mean; chosen on the samples too
_SEED = 20_410

Floats = NDArray[np.float64]


def spread(count: int, places: int = PLACES) -> list[int]:
    """Positions of at most ``places`` images, spread evenly over ``count``."""
    rows = np.linspace(0, count - 1, min(places, count)).round().astype(int)
    return [int(row) for row in np.unique(rows)]


@torch.no_grad()
def latent_patterns(
    pipeline: Pipeline, views: Tensor, coater: Coater, *, mirrored: bool = True
) -> Floats:
    """What the +1 of each bit adds to the latents of images, on the average over images.

    A coating is limited where it would be visible, so what a bit adds depends on the others, and
    on the image. So images really are coated, with random messages, and passed through the
    autoencoder. The linear part of what that changes is found by least squares within each image.
    The messages are drawn from a fixed seed: no secret message is used.

    Parameters
    ----------
    pipeline : Pipeline
        Gives the autoencoder.
    views : Tensor
        N x 3 x H x W in [0,1], clean images.
    coater : Coater
        A keyed coater of k bits.
    mirrored : bool
        Take the mean of each pattern and its mirror image if the coater lays symmetric colour
        alone. What is not symmetric comes from the few images then, and is noise.

    Returns
    -------
    array, shape (k, d)
        Half the difference between +1 and -1.

    Notes
    -----
    512 coated copies of 64 images read the models of ``docs/preference.md`` as well as 600 copies
    of every image do.
    """
    from siren_ext.diffusion import pipelines

    bits = coater.config.message_bits
    rng = np.random.default_rng(_SEED)
    # few images get more copies each: the fit needs many more coatings than bits
    each = -(-max(CODINGS, _PER_BIT * bits) // len(views)) + 1
    power = np.eye(bits) * 1e-9
    product: NDArray[Any] = np.zeros((bits, 1))
    shape: tuple[int, ...] = ()
    for view in torch.split(views.to(coater.device), 1):
        signs = rng.integers(0, 2, (each, bits)) * 2.0 - 1
        changed = []
        for part in torch.split(torch.from_numpy(signs).float(), _ENCODE_BATCH):
            images = view.expand(len(part), -1, -1, -1)
            coated = (images + coater.residual(images, part.to(view))).clamp(0, 1)
            encoded = pipelines.encode_latents(pipeline, coated)
            shape = tuple(encoded.shape[1:])
            changed.append(encoded.flatten(1).double().cpu())
        latents = torch.cat(changed).numpy()
        signs -= signs.mean(0)
        power += signs.T @ signs
        product = product + signs.T @ (latents - latents.mean(0))
    found: Floats = np.linalg.solve(power, product)
    if mirrored and coater.symmetric:
        maps = found.reshape(bits, *shape)
        found = ((maps + maps[..., ::-1]) / 2).reshape(bits, -1)
    return found


def read_fields(fields: Floats, patterns: Floats, others: Floats | None = None) -> Floats:
    """Fit the patterns of all bits together to the field of each image.

    Parameters
    ----------
    fields : array, shape (n, d)
        Fields of n images.
    patterns : array, shape (k, d)
        From :func:`latent_patterns`.
    others : array, shape (J, d) or None
        What adapters of other people's images add, from
        :func:`siren_ext.preference.others.other_fields`. Directions in which these differ from
        their base model count little: the fit is by generalised least squares.

    Returns
    -------
    array, shape (n, k)
        How much of each bit's pattern is in each field, divided by the spread over all of them; all
        zero if the fields are.
    """
    weighted = patterns if others is None else _whitened(patterns, others)
    overlap = weighted @ patterns.T
    ridge = _RIDGE * float(np.linalg.eigvalsh(overlap)[-1])
    found: Floats = np.linalg.solve(overlap + ridge * np.eye(len(overlap)), weighted @ fields.T).T
    return found / (float(found.std()) or 1.0)


def _whitened(patterns: Floats, others: Floats) -> Floats:
    """The patterns times the inverse of the others' mean square plus a floor, up to a factor.

    By Woodbury's identity, because there are far fewer others than numbers in a field.
    """
    floor = _FLOOR * float((others**2).sum()) / others.shape[1]  # times J, as the products below
    if not floor:
        return patterns
    inner = floor * np.eye(len(others)) + others @ others.T
    found: Floats = patterns - (patterns @ others.T) @ np.linalg.solve(inner, others)
    return found
