"""Compares what a model has learnt with what each message really changes.

The keyed test of the fields (:mod:`siren_ext.preference.reading`) treats a coating as the sum of
the patterns of its bits. It is not one: it is limited where it would be visible, so what a bit adds
depends on the others. That sum explains two thirds of what messages change. Here the mean learnt
field is compared with the whole change by a message, T(m) = <field, change of images by m>, and
the true message with others drawn by :mod:`siren_ext.stats.tilted`. It was not better on every set,
and it needs the coater when the key is tested. So it does not decide; the study of preference
(:mod:`siren_ext.experiments.preference_study`) prints it beside the other.

The field is pulled back through the autoencoder to pixels once, at a side of 32, so that T needs
neither the model nor the images in full size.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from siren_ext.errors import CoaterError, ScoreError
from siren_ext.preference.reading import SIDE, spread
from siren_ext.scoring.score_set import FIELD, ScoreSet
from siren_ext.stats.tilted import TiltedResult, tilted_test

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.diffusion.load import Pipeline
    from siren_ext.keys.coating_key import CoatingKey

IMAGES = 4
"""Images, spread evenly over the set, on which changes are compared."""
DRAWN = 4000
"""Messages that the true one is compared with."""
_RIDGE = 0.3  # share of the largest eigenvalue; chosen on the samples, see docs/preference.md
_BATCH = 64

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MeanField:
    """What a model adds to the owner's images, as a direction in pixels.

    Like the features of a measurement it reveals the message of a model that learnt it, so it is
    not copied into reports.

    Attributes
    ----------
    direction : array, shape (3, 32, 32)
        float32, of any scale; the mean over images.
    images : array, shape (N, 3, 32, 32)
        uint8, some of the owner's images.
    """

    direction: NDArray[np.float32]
    images: NDArray[np.uint8]

    def to_plain(self) -> dict[str, str]:
        """Plain values for JSON: both arrays in base64."""
        arrays = {"direction": self.direction.astype("<f4"), "images": self.images}
        return {name: base64.b64encode(one.tobytes()).decode() for name, one in arrays.items()}

    @classmethod
    def of(cls, scores: ScoreSet) -> MeanField | None:
        """The field of a measurement; None if it was not recorded.

        Parameters
        ----------
        scores : ScoreSet
            A preference.

        Raises
        ------
        ScoreError
            If what was recorded is malformed.
        """
        plain = scores.source.get(FIELD)
        if plain is None:
            return None
        try:
            direction = np.frombuffer(base64.b64decode(plain["direction"], validate=True), "<f4")
            images = np.frombuffer(base64.b64decode(plain["images"], validate=True), np.uint8)
            field = cls(direction.reshape(3, SIDE, SIDE), images.reshape(-1, 3, SIDE, SIDE))
        except (TypeError, KeyError, ValueError, binascii.Error):
            field = None
        if field is None or not np.isfinite(field.direction).all() or len(field.images) != IMAGES:
            raise ScoreError(
                "The learnt field of this measurement is malformed; expected 3 x 32 x 32 numbers "
                "and four small images. Make it again."
            )
        return field


def pull_back(pipeline: Pipeline, views: Tensor, fields: Floats, patterns: Floats) -> MeanField:
    """Carry the mean of learnt fields from latents to pixels.

    Parameters
    ----------
    pipeline : Pipeline
        Gives the autoencoder.
    views : Tensor
        N x 3 x H x W in [0,1], some of the owner's images, spread evenly over the set.
    fields : array, shape (n, d)
        Learnt fields of n images.
    patterns : array, shape (k, d)
        Of the bits, from :func:`siren_ext.preference.reading.latent_patterns`. Directions in which
        messages change the latents most are given less weight.

    Returns
    -------
    MeanField
        <direction, change of the pixels> is, to first order, <whitened mean field, change of the
        latents>.
    """
    from siren_ext.diffusion import pipelines

    wanted = torch.from_numpy(_whiten(fields.mean(0), patterns)).float()
    total: Tensor | None = None
    for view in torch.split(views, 1):
        image = view.to(pipeline.unet.device).requires_grad_(True)
        with torch.enable_grad():
            latents = pipelines.encode_latents(pipeline, image)
            product = (latents.flatten() * wanted.to(latents)).sum()
            (gradient,) = torch.autograd.grad(product, image)
        total = gradient if total is None else total + gradient
    assert total is not None
    direction = F.adaptive_avg_pool2d(total.float(), SIDE)[0].cpu()
    direction = direction / direction.abs().max().clamp_min(1e-30)
    chosen = F.adaptive_avg_pool2d(views[spread(len(views), IMAGES)], SIDE)
    chosen = chosen[[row % len(chosen) for row in range(IMAGES)]]
    images = (chosen * 255).round().to(torch.uint8)
    return MeanField(direction.numpy(), images.cpu().numpy())


def _whiten(field: Floats, patterns: Floats) -> Floats:
    """The field, reduced where the patterns of the bits are strong."""
    _, sizes, axes = np.linalg.svd(patterns, full_matrices=False)
    power = (sizes / (sizes[0] or 1.0)) ** 2
    along = axes @ field
    whitened: Floats = field - ((1 - _RIDGE / (power + _RIDGE)) * along) @ axes
    return whitened


@torch.no_grad()
def agreement(field: MeanField, coater: Coater, messages: Floats) -> Floats:
    """How well what each message changes agrees with the field.

    Parameters
    ----------
    field : MeanField
        What a model has learnt.
    coater : Coater
        The keyed coater.
    messages : array, shape (n, k)
        -1 and +1.

    Returns
    -------
    array, shape (n,)
        T(m), the mean over the field's images.
    """
    device = coater.device
    direction = torch.from_numpy(field.direction.astype(np.float32)).to(device).flatten()
    images = torch.from_numpy(field.images.copy()).to(device).float() / 255
    found = []
    given = torch.from_numpy(messages).float().to(device)
    for part in torch.split(given, _BATCH // len(images)):
        many = images.repeat(len(part), 1, 1, 1)
        changes = coater.residual(many, part.repeat_interleave(len(images), 0))
        values = changes.flatten(1) @ direction
        found.append(values.view(len(part), -1).double().mean(1).cpu().numpy())
    return np.concatenate(found)


def field_test(scores: ScoreSet, coater: Coater, key: CoatingKey) -> TiltedResult | None:
    """Test a key against the mean field of a measurement.

    Parameters
    ----------
    scores : ScoreSet
        A preference, from :func:`siren_ext.preference.measure.measure_preference`.
    coater : Coater
        The coater that it was measured with.
    key : CoatingKey
        The owner's secret.

    Returns
    -------
    TiltedResult | None
        The figures; None if the measurement holds no field. The seed
        of the drawn messages follows from the measurement and the coater, so nobody can choose it.

    Raises
    ------
    CoaterError
        If it is another coater.
    ScoreError
        If the field is malformed, or the key has another length.
    """
    field = MeanField.of(scores)
    if field is None:
        return None
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
    known = hashlib.sha256(field.direction.tobytes() + field.images.tobytes())
    known.update(coater.fingerprint.encode())
    seed = int.from_bytes(known.digest()[:6], "big")
    return tilted_test(lambda some: agreement(field, coater, some), signs, seed=seed, drawn=DRAWN)
