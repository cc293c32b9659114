"""The digests of a report's fields: one per value, and bounded whatever the report holds."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import pytest

from siren_ext.report.integrity import changed_fields, field_digests


def test_each_field_has_a_digest_by_its_path() -> None:
    data = {
        "verdict": {"p": 0.5, "findings": [{"test": "ks"}]},
        "suspect": {"images": [{"name": "a"}, {"name": "b"}]},
        "empty": {},
        "sizes": [1, 2],
    }
    sealed = field_digests(data)
    assert list(sealed) == [
        "verdict.p",
        "verdict.findings.length",
        "verdict.findings[0].test",
        "suspect.images.length",
        "suspect.images[0]",
        "suspect.images[1]",
        "empty",
        "sizes",
    ]
    data["verdict"]["p"] = 0.25
    data["suspect"]["images"][1]["name"] = "c"
    data["more"] = 1
    del data["sizes"]
    assert changed_fields(sealed, field_digests(data)) == [
        "verdict.p",
        "suspect.images[1]",
        "more",
        "sizes",
    ]


def nested(name: str, levels: int, inside: Any) -> Any:
    for _ in range(levels):
        inside = {name: inside}
    return inside


@pytest.mark.parametrize(
    "data",
    [
        {"y" * 1_000_000: {f"k{i}": 1 for i in range(2000)}},
        nested("y" * 50, 60, {f"k{i}": 1 for i in range(20_000)}),
        {"y" * 1_000_000: [{"k": 1}] * 2000},
    ],
    ids=["long name", "deep", "long name of a list"],
)
def test_long_paths_cost_no_time_or_memory(data: Any) -> None:
    tracemalloc.start()
    began = time.monotonic()
    try:
        sealed = field_digests(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.monotonic() - began < 5
    assert peak < 20e6
    value = data
    while isinstance(value, dict):
        above, name = value, next(iter(value))
        value = value[name]
    above[name] = 2
    assert len(changed_fields(sealed, field_digests(data))) == 1
