"""Settings of attribution."""

from __future__ import annotations

import pytest

from siren_ext.attribution.config import AttributionConfig
from siren_ext.errors import ConfigError


def test_levels_are_spread_evenly() -> None:
    assert AttributionConfig(times=1).levels == (500,)
    assert AttributionConfig(times=4).levels == (125, 375, 625, 875)
    assert AttributionConfig(times=1000).levels == tuple(range(1000))


@pytest.mark.parametrize(
    ("name", "value"),
    [("noises", 1), ("output", "mean"), ("dimension", 0), ("ridge", 0.0), ("times", 1001)],
)
def test_what_is_out_of_range_is_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"AttributionConfig\.{name} is {value!r}; expected"):
        AttributionConfig.from_dict({name: value})
