"""The figures of the preference study: one model's, and the table of all."""

from __future__ import annotations

from typing import Any

import numpy as np

from siren_ext.errors import ConfigError
from siren_ext.experiments.pages import table
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.keyed import contributions, keyed_test, whole_sums

OTHER_KEYS = 1000
TITLES = {
    "clean": "clean",
    "coated": "all coated",
    "share_20": "20 % coated, rest own originals",
    "share_10": "10 % coated, rest own originals",
    "others_20": "20 % coated, rest other people's images",
    "others_10": "10 % coated, rest other people's images",
    "crop": "all coated, then cropped",
    "handled": "all coated, then cropped, mirrored, JPEG 85",
    "weak": "all coated, rank 8, rate 1e-4, 200 steps",
    "other images": "other images, clean",
}
"""How the table names the cases."""


def figures(found: ScoreSet, message: Any) -> dict[str, Any]:
    """The owner's p, and how often other keys would be found.

    Parameters
    ----------
    found : ScoreSet
        A preference.
    message : array_like, shape (k,)
        The owner's signs.

    Returns
    -------
    dict
        ``p``; ``z``, the message's place in units of the spread of random messages; ``bits_right``;
        ``others_05`` and ``others_01``, the shares of 1,000 other keys with p up to .05 and .01.

    Raises
    ------
    ConfigError
        If the set has no features.
    """
    if found.features is None:
        raise ConfigError("The preference has no features; measure it again.")
    own = keyed_test(found.features, message)
    summed = whole_sums(contributions(found.features))
    rng = np.random.default_rng(1)
    others = [
        keyed_test(found.features, rng.integers(0, 2, len(summed)) * 2 - 1).p_value
        for _ in range(OTHER_KEYS)
    ]
    return {
        "p": own.p_value,
        "z": own.statistic / (float(np.linalg.norm(summed)) or 1.0),
        "bits_right": own.bits_right,
        "others_05": float(np.mean(np.array(others) <= 0.05)),
        "others_01": float(np.mean(np.array(others) <= 0.01)),
    }


def markdown(rows: list[dict[str, Any]]) -> list[str]:
    """The table of p by case and control, and how often other keys are found.

    Parameters
    ----------
    rows : list[dict]
        Figures with ``case``, ``control``, ``reading``, ``model`` and what :func:`figures` gives;
        perhaps ``p_field``, see :func:`siren_ext.preference.changes.field_test`.

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
            for name in ("p", "p_field")
            if row.get(name) is not None
        )
    )
    lines = []
    for case in cases:
        cells = [
            ", ".join(
                f"{row[name]:.2g}"
                for row in rows
                if (row["case"], row["control"], row["reading"]) == (case, control, reading)
                and row.get(name) is not None
            )
            for control, reading, name in columns
        ]
        lines.append([TITLES[case], *cells])
    means = [
        100 * float(np.mean([row[name] for row in rows])) for name in ("others_05", "others_01")
    ]
    most = [100 * max(row[name] for row in rows) for name in ("others_05", "others_01")]
    head = ["trained on"]
    head += [
        f"control: {control}"
        + (f", {reading} patterns" if len(readings) > 1 else "")
        + (", whole changes" if name == "p_field" else "")
        for control, reading, name in columns
    ]
    return [
        *table(head, lines).splitlines(),
        "",
        f"{OTHER_KEYS:,} other keys, {len(rows)} measurements: p up to .05 for {means[0]:.1f} % "
        f"(at most {most[0]:.1f} % in one), up to .01 for {means[1]:.1f} % (at most "
        f"{most[1]:.1f} %).",
    ]
