"""The one interface of all methods: protect images, read pictures, give a p-value."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from siren_ext.errors import ConfigError, ImageError, ScoreError

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class Protected:
    """What an owner publishes.

    Attributes
    ----------
    images : Tensor
        B x 3 x H x W in [0,1], with values of 8-bit files.
    captions : tuple[str, ...]
        One per image; empty if none were given.
    marked : tuple[bool, ...]
        Which images were changed.
    """

    images: Tensor
    captions: tuple[str, ...]
    marked: tuple[bool, ...]


class Baseline(Protocol):
    """A method of the comparison.

    Attributes
    ----------
    name : str
        Its name in tables.
    rules : tuple[str, ...]
        Names of its rules for p; ``published`` is the one of the paper.
    """

    @property
    def name(self) -> str: ...

    @property
    def rules(self) -> tuple[str, ...]: ...

    def protect(self, images: Tensor, captions: Sequence[str] = ()) -> Protected:
        """Protect images.

        Parameters
        ----------
        images : Tensor
            B x 3 x H x W in [0,1].
        captions : Sequence[str]
            One per image, or none.

        Returns
        -------
        Protected
            Images of the same shape.
        """
        ...

    def evidence(self, mimicries: Tensor) -> Floats:
        """What the method reads from each picture of a suspicious model.

        Parameters
        ----------
        mimicries : Tensor
            N x 3 x H x W in [0,1].

        Returns
        -------
        array
            One row per picture.
        """
        ...

    def p_value(self, evidence: Floats, rule: str = "published") -> float:
        """The p-value of a sample of pictures.

        Parameters
        ----------
        evidence : array
            Rows of :meth:`evidence`.
        rule : str
            One of :attr:`rules`.

        Returns
        -------
        float
            In [0, 1]; small if the pictures look as if the images had been used.
        """
        ...


def image_batch(images: Tensor, smallest: int) -> None:
    """Check a batch of images.

    Parameters
    ----------
    images : Tensor
        The batch.
    smallest : int
        Shortest side that the method can use, in pixels.

    Raises
    ------
    ImageError
        If it is no B x 3 x H x W batch of numbers in [0,1], or too small.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not len(images):
        raise ImageError(
            f"Found an array of shape {tuple(images.shape)}; expected B x 3 x H x W, B at least 1."
        )
    if min(images.shape[2:]) < smallest:
        raise ImageError(
            f"Found images of {images.shape[3]} x {images.shape[2]} pixels; this method needs "
            f"sides of at least {smallest}. Enlarge them first."
        )
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 1):
        raise ImageError(f"Found values from {low:g} to {high:g}; expected values in [0,1].")


def all_captions(captions: Sequence[str], count: int) -> tuple[str, ...]:
    """The captions, if there are none or one per image; else raises ConfigError."""
    if captions and len(captions) != count:
        raise ConfigError(
            f"Found {len(captions)} captions for {count} images; expected one per image, or none."
        )
    return tuple(captions)


def evidence_rows(evidence: Floats, width: int, *, bits: bool = False) -> Floats:
    """Check the evidence of a sample.

    Parameters
    ----------
    evidence : array
        The rows.
    width : int
        Numbers per picture.
    bits : bool
        Whether they must be 0 or 1.

    Returns
    -------
    array
        N x width, N at least 2.

    Raises
    ------
    ScoreError
        If it has another shape, or holds what is no finite number or no bit.
    """
    rows = np.asarray(evidence, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != width or len(rows) < 2:
        raise ScoreError(
            f"Found evidence of shape {rows.shape}; expected N x {width} with at least 2 pictures."
        )
    if not np.isfinite(rows).all():
        raise ScoreError("The evidence contains values that are not finite numbers; read it again.")
    if bits and not np.isin(rows, (0, 1)).all():
        raise ScoreError("The evidence has other values than 0 and 1; expected that of evidence().")
    return rows


def known_rule(rule: str, rules: Sequence[str]) -> None:
    """Raise ConfigError if a method has no such rule."""
    if rule not in rules:
        raise ConfigError(f"There is no rule {rule!r}; expected {' or '.join(rules)}.")
