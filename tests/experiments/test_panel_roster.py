"""The roster of the panel of innocents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support.tiny_models import draw_images

from siren_ext.experiments.panel_roster import PanelConfig, find_sets, roster, theme


def test_roster_is_as_large_as_promised_with_or_without_other_sets() -> None:
    for others in ([], [f"set {i}" for i in range(30)]):
        models = roster(PanelConfig(), others, keyed=True)
        innocent = [m for m in models if m.kind not in ("reference", "guilty")]
        assert len(innocent) >= 40
        for coating in ("unkeyed", "keyed"):
            guilty = [m for m in models if m.coating == coating]
            assert len(guilty) == 10
            assert {m.share for m in guilty} == {1.0, 0.5, 0.2, 0.1}
        assert len({m.name for m in models}) == len(models)
        assert sum(theme(m.data) is not None for m in models) == (4 if others else 18)
    plain = roster(PanelConfig(), [], keyed=False)
    assert {m.coating for m in plain} == {"", "unkeyed"}
    assert (
        plain == models[: len(plain)]
        or [m.name for m in plain][:20] == [m.name for m in models][:20]
    )


def test_no_two_models_share_seeds_and_a_reduced_panel_keeps_them() -> None:
    config = PanelConfig()
    models = roster(config, [], keyed=True)
    assert len({m.training_seed(config) for m in models}) == len(models)
    starts = sorted(m.noise_seed(config) for m in models)
    assert min(np.diff(starts)) >= 1_000_000
    few = roster(PanelConfig(reduced=1), [], keyed=True)
    assert all(model in models for model in few)
    kinds = [(m.kind, m.coating) for m in few if m.kind != "reference"]
    assert len(kinds) == len(set(kinds)) == 7
    assert sum(m.kind == "reference" for m in few) == 2


def test_other_sets_are_found_in_turn(tmp_path: Path) -> None:
    for name in ("pets/cat", "pets/dog", "toys"):
        draw_images(tmp_path / name, 3)
    (tmp_path / "empty").mkdir()
    found = find_sets(tmp_path)
    assert list(found) == ["cat", "toys", "dog"]
    assert list(find_sets(tmp_path, at_most=2, largest=2)) == ["cat", "toys"]
    assert len(find_sets(tmp_path, largest=2)["toys"]) == 2
