"""Reads and checks the owner's two sets before any model is loaded."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from siren_ext.data.dataset import ImageSet
from siren_ext.passive.image_facts import balanced, check_sets, read_facts, require_enough
from siren_ext.progress import NULL, Named, Progress


@dataclass(frozen=True, eq=False)
class OwnedSets:
    """Two sets that may be compared.

    Attributes
    ----------
    published, unpublished : ImageSet
        n readable images each.
    looks : tuple[array, array]
        n x 8 numbers of what the images of both look like.
    notes : tuple[str, ...]
        What weakens the comparison, in sentences.
    problems : tuple[tuple[str, str], ...]
        Name and reason of every image that was left out because it can't be read.
    """

    published: ImageSet
    unpublished: ImageSet
    looks: tuple[NDArray[np.float64], NDArray[np.float64]]
    notes: tuple[str, ...]
    problems: tuple[tuple[str, str], ...]

    @property
    def both(self) -> ImageSet:
        """Published images, then unpublished ones."""
        items = (*self.published.items, *self.unpublished.items)
        return dataclasses.replace(self.published, items=items, decoded=True)


def read_owned_sets(
    published: ImageSet,
    unpublished: ImageSet,
    *,
    captions: bool = True,
    progress: Progress = NULL,
) -> OwnedSets:
    """Leave out what can't be read, make both sets equally large, and check them.

    Parameters
    ----------
    published, unpublished : ImageSet
        The owner's published images, and others of the same kind that nobody has seen.
    captions : bool
        Whether captions will be used.
    progress : Progress
        One unit per image.

    Returns
    -------
    OwnedSets
        The sets.

    Raises
    ------
    DatasetError
        There are too few images, an image is in both sets, or sizes or captions differ.
    Cancelled
        The user stopped.
    """
    sets = [
        given.checked(progress=Named(progress, name))
        for given, name in ((published, "published"), (unpublished, "unpublished"))
    ]
    require_enough(*map(len, sets))
    first, second, left_out = balanced(*sets)
    facts = [
        read_facts(given, progress=Named(progress, name))
        for given, name in ((first, "published"), (second, "unpublished"))
    ]
    notes = ((left_out,) if left_out else ()) + check_sets(*facts, captions=captions)
    problems = sets[0].problems + sets[1].problems
    return OwnedSets(first, second, (facts[0].looks, facts[1].looks), notes, problems)
