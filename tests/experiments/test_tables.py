"""Tables of studies."""

from __future__ import annotations

import pytest

from siren_ext.experiments import tables


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (1, "100 %"), (0.975, "97.5 %"), (0.9999, "99.99 %"), (0.0003, "0.03 %")],
)
def test_percent(share: float, text: str) -> None:
    assert tables.percent(share) == text
