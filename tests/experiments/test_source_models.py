"""The models of the study of source attribution."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.toy_source import toy_study, write_scenes

from siren_ext.attribution.mixtures import read_mixture
from siren_ext.experiments.source_models import PARTS, SHARES, SOURCES, Length, SourceModels

SMALL = Length(("first",), each=1, innocent=4, source_steps=1, steps=1, source_batch=1, batch=1)


def test_sources_share_no_images_with_each_other_or_with_other_models(tmp_path: Path) -> None:
    data = write_scenes(tmp_path / "data", range(SMALL.needed))
    sets: dict[str, list[set[str]]] = {}
    for kind in SOURCES.values():
        models = SourceModels(kind, data, tmp_path / "out", SMALL)
        own, others = ({item.name for item in one.items} for one in (models.own, models.others))
        assert len(own) == SMALL.images
        assert len(others) == 2 * SMALL.images
        assert not own & others
        sets.setdefault(kind.base, []).append(own)
    for same_base in sets.values():
        assert len(set.union(*same_base)) == sum(len(one) for one in same_base)
    assert SMALL.needed == PARTS * SMALL.images


def test_models_are_trained_on_their_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = toy_study(tmp_path, monkeypatch, SMALL, "first")
    own = {item.caption for item in models.own.items}
    assert list(models.shares.values()) == [*SHARES, 0, 0, 0, 0]
    for name, share in models.shares.items():
        models.model(name)
        rows = read_mixture(models.out / "sets" / name)
        assert sum(row["origin"] == "generated" for row in rows) == round(SMALL.images * share)
        # only pictures of the source bear its captions: no model sees its training images
        assert {row["caption"] in own for row in rows if row["origin"] == "real"} <= {False}


def test_no_two_models_have_a_seed_in_common(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = Length(("first",), each=9, innocent=30, source_steps=1, steps=1, source_batch=1, batch=1)
    seeds: dict[str, int] = {}
    for name in SOURCES:
        for trial in (False, True):
            models = replace(toy_study(tmp_path, monkeypatch, many, name), trial=trial)
            for model in models.shares:
                seeds[model] = models.seed(model)
    assert len(set(seeds.values())) == len(seeds) == 6 * 2 * 9 * len(SHARES) + 2 * 2 * 30
