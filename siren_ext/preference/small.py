"""What a model has learnt as a small picture, and some of the images on which messages are seen.

Shared by the learnt tint (:mod:`siren_ext.preference.tint`) and by the comparison with what whole
messages change (:mod:`siren_ext.preference.changes`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from siren_ext.errors import CoaterError, ScoreError
from siren_ext.preference.patterns import SIDE, spread

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.keys.coating_key import CoatingKey
    from siren_ext.scoring.score_set import ScoreSet

IMAGES = 4
"""Images, spread evenly over those given, that are kept to see on them what a message adds."""
_BATCH = 64

Picture = NDArray[np.float32]
Images = NDArray[np.uint8]


def small_images(views: Tensor) -> Images:
    """Four of the images at a side of 32, some of them twice if there are fewer.

    Parameters
    ----------
    views : Tensor
        N x 3 x H x W in [0,1].
    """
    small = F.adaptive_avg_pool2d(views[spread(len(views), IMAGES)], SIDE)
    small = small[[row % len(small) for row in range(IMAGES)]]
    found: Images = (small * 255).round().to(torch.uint8).cpu().numpy()
    return found


def to_plain(name: str, picture: Picture, images: Images) -> dict[str, str]:
    """Plain values for JSON: the picture under its name and the images, both in base64."""
    arrays = {name: picture.astype("<f4"), "images": images}
    return {key: base64.b64encode(one.tobytes()).decode() for key, one in arrays.items()}


def from_plain(name: str, plain: Any) -> tuple[Picture, Images] | None:
    """What :func:`to_plain` wrote: 3 x 32 x 32 and 4 x 3 x 32 x 32; None if it is malformed."""
    try:
        picture = np.frombuffer(base64.b64decode(plain[name], validate=True), "<f4")
        images = np.frombuffer(base64.b64decode(plain["images"], validate=True), np.uint8)
        picture = picture.reshape(3, SIDE, SIDE)
        images = images.reshape(IMAGES, 3, SIDE, SIDE)
    except (TypeError, KeyError, ValueError, binascii.Error):
        return None
    return (picture, images) if np.isfinite(picture).all() else None


def signs_for(scores: ScoreSet, coater: Coater, key: CoatingKey) -> NDArray[np.int8]:
    """The signs of a key that suits the coater with which a measurement was made.

    Parameters
    ----------
    scores : ScoreSet
        The measurement.
    coater : Coater
        The coater.
    key : CoatingKey
        The owner's secret.

    Raises
    ------
    CoaterError
        If it is another coater.
    ScoreError
        If the key has another length.
    """
    if coater.fingerprint != scores.coater:
        raise CoaterError(
            f"The coater has the fingerprint {coater.fingerprint[:16]}, but the measurement was "
            f"made with {scores.coater[:16]}. Give the coater that the images were coated with."
        )
    signs = key.signs()
    if len(signs) != coater.config.message_bits:
        raise ScoreError(
            f"The key has {len(signs)} bits; this coater expects {coater.config.message_bits}. "
            "Give the key that the images were coated with."
        )
    return signs


def seed_of(picture: Picture, images: Images, coater: Coater) -> int:
    """A seed that follows from what was measured and from the coater."""
    known = hashlib.sha256(picture.tobytes() + images.tobytes())
    known.update(coater.fingerprint.encode())
    return int.from_bytes(known.digest()[:6], "big")


@torch.no_grad()
def changes_by(images: Images, coater: Coater, messages: NDArray[Any]) -> Iterator[Tensor]:
    """What messages change on small images.

    Parameters
    ----------
    images : array, shape (N, 3, s, s)
        uint8.
    coater : Coater
        The keyed coater.
    messages : array, shape (n, k)
        -1 and +1.

    Yields
    ------
    Tensor
        B x N x 3 x s x s, for the next B messages.
    """
    small = torch.from_numpy(images.copy()).to(coater.device).float() / 255
    given = torch.from_numpy(messages).float().to(coater.device)
    for part in torch.split(given, _BATCH // len(small)):
        many = small.repeat(len(part), 1, 1, 1)
        changed = coater.residual(many, part.repeat_interleave(len(small), 0))
        yield changed.view(len(part), len(small), *changed.shape[1:])
