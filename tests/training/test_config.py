"""Settings of coater training: presets, and what is written of them."""

from __future__ import annotations

import pytest

from siren_ext.errors import ConfigError
from siren_ext.training.config import TrainConfig

NEWER = {
    "rehearse_first", "rehearse_rounds", "order", "mirror", "rounding", "official_distortions",
}  # fmt: skip


@pytest.mark.parametrize("preset", ["default", "coarse", "keyed"])
def test_settings_that_came_later_are_written_only_if_changed(preset: str) -> None:
    """The signature of a stopped run of an earlier version is made from these values."""
    assert not NEWER & set(TrainConfig.preset(preset).to_dict())
    changed = TrainConfig.preset(
        preset, order="shuffled", mirror=False, rounding=False, official_distortions=True
    )
    written = changed.to_dict()
    assert {name: written[name] for name in NEWER & set(written)} == {
        "order": "shuffled",
        "mirror": False,
        "rounding": False,
        "official_distortions": True,
    }
    assert TrainConfig.from_dict(written) == changed


def test_official_does_what_the_published_code_does() -> None:
    official = TrainConfig.preset("official")
    assert (official.order, official.mirror, official.rounding) == ("listed", False, False)
    assert official.official_distortions
    assert official.official_lab
    assert (official.batch_size, official.learning_rate, official.extractor_rate) == (1, 1e-3, 1e-4)


def test_paper_has_none_of_the_slips_of_the_code() -> None:
    paper = TrainConfig.preset("paper")
    assert (paper.order, paper.mirror, paper.rounding) == ("shuffled", False, False)
    assert not paper.official_distortions
    assert not paper.official_lab


def test_wrong_order_is_refused() -> None:
    with pytest.raises(ConfigError, match="order"):
        TrainConfig.from_dict({"order": "sorted"})


def test_presets() -> None:
    assert TrainConfig.preset("default") == TrainConfig()
    official = TrainConfig.preset("official", steps=60 * 8)
    assert (official.objective, official.batch_size, official.steps) == ("published", 1, 480)
    assert (official.learning_rate, official.extractor_rate) == (1e-3, 1e-4)
    weights = (official.learn_weight, official.mse_weight, official.colour_weight)
    assert weights == (1, 1, 1e-3)
    assert official.official_lab
    assert official.distort
    paper = TrainConfig.preset("paper")
    assert (paper.objective, paper.sphere, paper.official_lab) == ("sum", "radius", False)
    assert paper.colour_weight == paper.learn_weight == 1
    with pytest.raises(
        ConfigError, match="expected one of default, coarse, keyed, official, paper"
    ):
        TrainConfig.preset("best")
    with pytest.raises(ConfigError, match="noise_low is 500; expected less than noise_high"):
        TrainConfig(noise_low=500)
