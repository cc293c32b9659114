"""Reads what a model has learnt along the patterns of the bits of a message.

The fields of :mod:`siren_ext.preference.measure` say which change of each image the model makes by
itself. They are compared with what a coating changes. The patterns of the bits overlap, so that a
plain product with the pattern of one bit also sees its neighbours; so all are fitted together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from siren_ext.diffusion import pipelines

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.diffusion.load import Pipeline

SIDE = 32
"""Side of the images on which the patterns of bits are measured. Coatings that a model learns are
coarse."""
PLACES = 16
"""Images, spread evenly over the set, on which they are measured."""
_ENCODED = 4  # of these are passed through the autoencoder
_MESSAGES = 64  # random messages on each image
_BATCH = 64
_ENCODE_BATCH = 8
_RIDGE = 0.1  # share of the largest eigenvalue; chosen on the samples, see docs/preference.md
_SEED = 20_410

Floats = NDArray[np.float64]


def spread(count: int, places: int = PLACES) -> list[int]:
    """Positions of at most ``places`` images, spread evenly over ``count``."""
    rows = np.linspace(0, count - 1, min(places, count)).round().astype(int)
    return [int(row) for row in np.unique(rows)]


@torch.no_grad()
def bit_patterns(views: Tensor, coater: Coater) -> Tensor:
    """What the +1 of each bit adds to an image, on the average over images and other bits.

    A coating is limited where it would be visible, so what a bit adds depends on the others. The
    linear part is found by least squares over random messages. These are drawn from a fixed seed:
    no secret message is used.

    Parameters
    ----------
    views : Tensor
        N x 3 x H x W in [0,1], clean images.
    coater : Coater
        A keyed coater of k bits.

    Returns
    -------
    Tensor
        k x 3 x 32 x 32, in the range of the images.
    """
    bits = coater.config.message_bits
    rng = np.random.default_rng(_SEED)
    small = F.adaptive_avg_pool2d(views, SIDE).to(coater.device)
    # few images get more messages each: the fit needs many more coatings than bits
    each = -(-_MESSAGES * PLACES // len(small))
    power, changes = np.eye(bits + 1) * 1e-9, np.zeros((bits + 1, small[0].numel()))
    for image in small:
        signs = rng.integers(0, 2, (each, bits)) * 2.0 - 1
        for start in range(0, each, _BATCH):
            part = torch.from_numpy(signs[start : start + _BATCH]).to(coater.device, torch.float32)
            change = coater.residual(image.expand(len(part), -1, -1, -1), part)
            design = np.c_[part.double().cpu().numpy(), np.ones(len(part))]
            power += design.T @ design
            changes += design.T @ change.flatten(1).double().cpu().numpy()
    fitted = np.linalg.solve(power, changes)[:bits]
    return torch.from_numpy(fitted).float().view(bits, 3, SIDE, SIDE)


@torch.no_grad()
def latent_patterns(pipeline: Pipeline, views: Tensor, patterns: Tensor) -> Floats:
    """What the patterns add to the latents of images, on the average over the images.

    Parameters
    ----------
    pipeline : Pipeline
        Gives the autoencoder.
    views : Tensor
        N x 3 x H x W in [0,1], of which four are used.
    patterns : Tensor
        k x 3 x s x s, from :func:`bit_patterns`.

    Returns
    -------
    array, shape (k, d)
        Half the difference of the latents with the pattern added and taken away.
    """
    device = pipeline.unet.device
    chosen = views[spread(len(views), _ENCODED)].to(device)
    whole = F.interpolate(
        patterns.to(device), size=chosen.shape[2:], mode="bilinear", align_corners=False
    )
    rows = []
    for part in torch.split(whole, max(1, _ENCODE_BATCH // len(chosen))):
        pairs = (chosen + part[:, None]).flatten(0, 1), (chosen - part[:, None]).flatten(0, 1)
        more, less = (pipelines.encode_latents(pipeline, images) for images in pairs)
        change = (more - less).flatten(1).view(len(part), len(chosen), -1).mean(1) / 2
        rows.append(change.double().cpu().numpy())
    found: Floats = np.concatenate(rows)
    return found


def read_fields(fields: Floats, patterns: Floats) -> Floats:
    """Fit the patterns of all bits together to the field of each image.

    Parameters
    ----------
    fields : array, shape (n, d)
        Fields of n images.
    patterns : array, shape (k, d)
        From :func:`latent_patterns`.

    Returns
    -------
    array, shape (n, k)
        How much of each bit's pattern is in each field, divided by the spread over all of them; all
        zero if the fields are.
    """
    overlap = patterns @ patterns.T
    ridge = _RIDGE * float(np.linalg.eigvalsh(overlap)[-1])
    found: Floats = np.linalg.solve(overlap + ridge * np.eye(len(overlap)), patterns @ fields.T).T
    return found / (float(found.std()) or 1.0)
