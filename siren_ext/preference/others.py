"""How adapters of other people's images differ from their base model, on the owner's images.

Every training changes what a model adds to images, along some directions much more than along
others, whatever the training images are. Adapters of other subjects on the same base model show
these directions, so that a reading may give them little weight
(:func:`siren_ext.preference.reading.read_fields`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from siren_ext.errors import ConfigError
from siren_ext.preference.fields import fields_of_items
from siren_ext.preference.models import base_of, frozen, identity
from siren_ext.preference.parts import Parts
from siren_ext.preference.patterns import spread
from siren_ext.progress import NULL, Progress
from siren_ext.ranks import current

if TYPE_CHECKING:
    from siren_ext.data.dataset import Item
    from siren_ext.preference.config import PreferenceConfig
    from siren_ext.suspects.local import LocalSuspect

SEEN = 32
"""Images, spread evenly over those given, on which the other adapters are seen."""

Floats = NDArray[np.float64]


def refuse_suspect(suspect: LocalSuspect, others: Sequence[LocalSuspect]) -> None:
    """Check that the suspicious model is none of the other adapters.

    Parameters
    ----------
    suspect : LocalSuspect
        The suspicious model.
    others : sequence of LocalSuspect
        Adapters that were trained on other images.

    Raises
    ------
    ConfigError
        If it is, or if one of the others has no adapter.
    """
    whole, own = _known(suspect)
    for other in others:
        base, found = _known(other)
        if not found:
            raise ConfigError(
                f"{other.model} was given as another adapter but is a whole model; expected "
                "adapters of other people's images, for the same base model."
            )
        if not suspect.adapters and base == whole:
            raise ConfigError(
                "Other adapters were given, but the suspicious model is a whole model here, into "
                "which they would be merged; leave them out, or give a suspicious adapter."
            )
        if found & own:
            raise ConfigError(
                "One of the other adapters is the suspicious one, so its own coating would be "
                "left out; expected adapters that were trained on other people's images."
            )


def _known(model: LocalSuspect) -> tuple[str, set[str]]:
    """Fingerprint of the whole model, and hashes of the merged adapters at any weight."""
    whole, adapters = identity(model)
    return whole, {found for found, _ in adapters}


def other_fields(
    others: Sequence[LocalSuspect],
    items: Sequence[Item],
    size: int,
    config: PreferenceConfig,
    parts: Parts,
    progress: Progress = NULL,
) -> Floats:
    """Mean fields of other adapters, minus those of their base models.

    Parameters
    ----------
    others : sequence of LocalSuspect
        J adapters in float32.
    items : sequence of Item
        The owner's images, of which at most :data:`SEEN` are used.
    size : int
        Side in pixels at which they are seen.
    config : PreferenceConfig
        Noise levels and seed.
    parts : Parts
        Adapters that are finished already, to which the others are added.
    progress : Progress
        One unit per adapter.

    Returns
    -------
    array, shape (J, d)
        Changes of the latents, means over images and noise levels.

    Raises
    ------
    ConfigError
        If the latents of one have another size.
    ModelError, AdapterError
        If a model can't be loaded or measured.
    Cancelled
        If the user stopped.
    """
    rows = spread(len(items), SEEN)
    batches = [
        rows[first : first + config.batch_size] for first in range(0, len(rows), config.batch_size)
    ]
    plain: dict[str, Floats] = {}

    def mean(model: LocalSuspect) -> Floats:
        network = frozen(model)
        parts = [fields_of_items(network, items, batch, size, config)[0] for batch in batches]
        model.release()
        found: Floats = np.concatenate(parts).mean(0)
        return found

    def measured(numbers: list[int]) -> tuple[Floats, Any]:
        found = []
        for number in numbers:
            other = others[number]
            if (base := str(other.model)) not in plain:
                plain[base] = mean(base_of(other))
            found.append(mean(other) - plain[base])
        return np.stack(found), np.zeros(len(found))

    progress.stage("Measuring other adapters", len(others), len(parts.done))
    left = [[number] for number in range(len(others)) if number not in parts.done]
    try:
        for batch, (fields, zeros) in current().shared(left, measured):
            parts.add(batch, fields, zeros)
            progress.advance(len(batch))
    finally:
        parts.save()
    return parts.tables(len(others))[0]
