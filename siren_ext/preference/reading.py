"""Reads what a model has learnt along the patterns of the bits of a message.

The fields of :mod:`siren_ext.preference.measure` say which change of each image the model makes by
itself. They are compared with what a coating changes (:mod:`siren_ext.preference.patterns`). The
patterns of the bits overlap, so that a plain product with the pattern of one bit also sees its
neighbours; so all are fitted together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_RIDGE = 0.1  # share of the largest eigenvalue; chosen on the samples, see docs/preference.md
_FLOOR = 0.3  # variance in every direction, as a share of the mean; chosen on the samples too

Floats = NDArray[np.float64]


def read_fields(
    fields: Floats,
    patterns: Floats,
    others: Floats | None = None,
    *,
    removed: Floats | None = None,
) -> Floats:
    """Fit the patterns of all bits together to the field of each image.

    Parameters
    ----------
    fields : array, shape (n, d)
        Fields of n images.
    patterns : array, shape (k, d)
        From :func:`siren_ext.preference.patterns.latent_patterns`.
    others : array, shape (J, d) or None
        What adapters of other people's images add, from
        :func:`siren_ext.preference.others.other_fields`. Directions in which these differ from
        their base model count little: the fit is by generalised least squares.
    removed : array, shape (k, d) or None
        What the base model removes of the patterns, from
        :func:`siren_ext.preference.patterns.removed_patterns`: fields are compared with these, and
        the fit undoes how much of each the others contain. None compares with the patterns.

    Returns
    -------
    array, shape (n, k)
        How much of each bit's pattern is in each field, divided by the spread over all of them; all
        zero if the fields are.
    """
    weighted = patterns if removed is None else removed
    if others is not None:
        weighted = _whitened(weighted, others)
    overlap = weighted @ patterns.T
    overlap = (overlap + overlap.T) / 2
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
