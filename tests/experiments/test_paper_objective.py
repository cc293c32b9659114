"""The tables about a coater's training name settings that exist."""

from __future__ import annotations

import pytest

from siren_ext.coater.config import CoaterConfig
from siren_ext.experiments.paper_objective import OBJECTIVE
from siren_ext.training.config import TrainConfig


@pytest.mark.parametrize("name", OBJECTIVE)
def test_settings_exist_and_differ(name: str) -> None:
    plain, found = TrainConfig.preset("default"), []
    for cell in OBJECTIVE[name].cells:
        assert cell.fitted is not None
        assert cell.fitted.start != bool(cell.fitted.shape) or not cell.fitted.start
        config = TrainConfig.preset("default", **cell.fitted.training)
        assert (config == plain) == (not cell.fitted.training)
        shape = CoaterConfig.from_dict(cell.fitted.shape)
        found.append((config, shape, cell.fitted.start))
    assert len(set(found)) == len(found) > 1
