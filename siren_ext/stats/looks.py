"""When a sequential test looks at its evidence."""

from __future__ import annotations

from siren_ext.errors import ScoreError

# Looks in percent of a plan, and the share of alpha of each; see planned_looks.
_PLANNED = {40: 0.1, 60: 0.5, 80: 0.1, 100: 0.2, 140: 0.1}


def look_schedule(first: int, last: int, ratio: float = 1.25) -> tuple[int, ...]:
    """Numbers of images at which to look, growing by a constant ratio.

    Parameters
    ----------
    first, last : int
        The first and the last number, 1 <= first <= last.
    ratio : float
        Above 1. Each number is about ``ratio`` times the one before, and at least one more.

    Raises
    ------
    ScoreError
        If a value is out of range.
    """
    if not 1 <= first <= last:
        raise ScoreError(f"Looks from {first} to {last} images; expected 1 <= first <= last.")
    if not ratio > 1:
        raise ScoreError(f"ratio is {ratio}; expected more than 1.")
    looks = [first]
    while looks[-1] < last:
        looks.append(min(last, max(looks[-1] + 1, round(looks[-1] * ratio))))
    return tuple(looks)


def planned_looks(images: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Looks at 40, 60, 80, 100 and 140 % of a plan, with 10, 50, 10, 20 and 10 % of alpha.

    With the planned effect, half of the tests reject by 60 % of the plan, and by 140 % more have
    rejected than a single test of the planned size would:
    ``python benchmarks/stats_calibration.py --only keyed-power``.

    Parameters
    ----------
    images : int
        Number of images of the fixed plan, at least 1.

    Returns
    -------
    looks : tuple of int
        Numbers of images, ascending. Looks that fall on the same number are merged.
    shares : tuple of float
        Each look's share of alpha; they sum to 1.

    Raises
    ------
    ScoreError
        If the plan has no images.
    """
    if images < 1:
        raise ScoreError(f"The plan has {images} images; expected at least 1.")
    shares: dict[int, float] = {}
    for percent, share in _PLANNED.items():
        look = max(1, images * percent // 100)
        shares[look] = shares.get(look, 0.0) + share
    return tuple(shares), tuple(shares.values())
