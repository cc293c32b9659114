"""The figures of the preference study: one model's, and the table of all."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from siren_ext.errors import ConfigError
from siren_ext.experiments.pages import table
from siren_ext.preference.changes import MeanField, field_tests
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.keyed import contributions, keyed_test, whole_sums

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater

OTHER_KEYS = 1000
TITLES = {
    "clean": "clean",
    "coated": "all coated",
    "share_20": "20 % coated, rest own originals",
    "share_10": "10 % coated, rest own originals",
    "others_20": "20 % coated, rest other people's images",
    "others_10": "10 % coated, rest other people's images",
    "faint": "all coated, at strength .6",
    "crop": "all coated, then cropped",
    "handled": "all coated, then cropped, mirrored, JPEG 85",
    "weak": "all coated, rank 8, rate 1e-4, 200 steps",
    "weak_400": "all coated, rank 8, rate 1e-4, 400 steps",
    "weak_800": "all coated, rank 8, rate 1e-4, 800 steps",
    "weak_2000": "all coated, rank 8, rate 1e-4, 2,000 steps",
    "other images": "other images, clean",
}
"""How the table names the cases."""


def figures(
    found: ScoreSet, coater: Coater, message: Any, weights: Sequence[float] = ()
) -> dict[str, Any]:
    """The owner's p, and how often other keys would be found.

    Parameters
    ----------
    found : ScoreSet
        A preference.
    coater : Coater
        The coater that it was measured with.
    message : array_like, shape (k,)
        The owner's signs.
    weights : sequence of float
        Weights of the bits to compare with that which decides; ``p_weight_W`` for each.

    Returns
    -------
    dict
        ``p``, which decides; ``z``, the message's place in units of the spread of random messages;
        ``others_05`` and ``others_01``, the shares of 1,000 other keys with p up to .05 and .01.
        The same of the bits alone with ``bits_`` before the name, and ``bits_right``; these decide
        if the measurement holds no learnt field.

    Raises
    ------
    ConfigError
        If the set has no features.
    """
    if found.features is None:
        raise ConfigError("The preference has no features; measure it again.")
    own = keyed_test(found.features, message)
    summed = whole_sums(contributions(found.features))
    # each measurement has other ones, so that shares over several are as sure as their number
    seed = zlib.crc32(found.features.tobytes())
    others = np.random.default_rng((1, seed)).integers(0, 2, (OTHER_KEYS, len(summed))) * 2 - 1
    bits = [keyed_test(found.features, other).p_value for other in others]
    length = float(np.linalg.norm(summed)) or 1.0
    alone = {"p": own.p_value, "z": own.statistic / length, **_found(bits)}
    named: dict[str, Any] = {f"bits_{name}": value for name, value in alone.items()}
    named["bits_right"] = own.bits_right
    if MeanField.of(found) is None:
        return alone | named
    messages = np.concatenate([np.asarray(message)[None], others]).astype(np.float64)
    for weight in weights:
        one = field_tests(found, coater, messages[:1], sum_weight=weight)[0]
        named[f"p_weight_{weight:g}"] = one.p_value
    whole, *rest = field_tests(found, coater, messages)
    return {
        "p": whole.p_value,
        "z": whole.deviations,
        **_found([one.p_value for one in rest]),
        **named,
    }


def _found(p: list[float]) -> dict[str, float]:
    """Shares of other keys that would be found."""
    return {
        f"others_{name}": float(np.mean(np.array(p) <= alpha))
        for name, alpha in (("05", 0.05), ("01", 0.01))
    }


def markdown(rows: list[dict[str, Any]]) -> list[str]:
    """The table of p by case and control, and how often other keys are found.

    Parameters
    ----------
    rows : list[dict]
        Figures with ``case``, ``control``, ``reading``, ``model`` and what :func:`figures` gives.

    Returns
    -------
    list[str]
        Lines of Markdown.
    """
    cases = list(dict.fromkeys(row["case"] for row in rows))
    readings = {row["reading"] for row in rows}
    columns = list(
        dict.fromkeys(
            (row["control"], row["reading"], name)
            for row in rows
            for name in ("p", "bits_p", *(key for key in row if key.startswith("p_weight_")))
        )
    )
    lines = []
    for case in cases:
        cells = [
            ", ".join(
                f"{row[name]:.2g}"
                for row in rows
                if (row["case"], row["control"], row["reading"]) == (case, control, reading)
            )
            for control, reading, name in columns
        ]
        lines.append([TITLES[case], *cells])
    head = ["trained on"]
    head += [
        f"control: {control}"
        + (f", {reading} patterns" if len(readings) > 1 else "")
        + (", bits alone" if name == "bits_p" else "")
        + (f", weight {name[9:]}" if name.startswith("p_weight_") else "")
        for control, reading, name in columns
    ]
    return [*table(head, lines).splitlines(), "", other_keys(rows)]


def other_keys(rows: Sequence[Mapping[str, Any]]) -> str:
    """A sentence on how often other keys are found.

    Parameters
    ----------
    rows : sequence of dict
        Figures of :func:`figures`, also as read from a table.

    Returns
    -------
    str
        The mean over the measurements, and the highest of one.
    """
    said = []
    for name, alpha in (("others_05", ".05"), ("others_01", ".01")):
        shares = [100 * float(row[name]) for row in rows]
        said.append(f"up to {alpha} for {np.mean(shares):.1f} % (at most {max(shares):.1f} %)")
    return f"{OTHER_KEYS:,} other keys for each of {len(rows)} measurements: p {', '.join(said)}."
