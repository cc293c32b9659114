"""What is learnt of each band: sizes, signs and resuming."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from siren_ext.experiments import spectrum as study
from siren_ext.experiments.spectrum import Condition, Spectrum, file_name
from siren_ext.experiments.spectrum_bands import BANDS, OWNER
from siren_ext.experiments.study import open_set
from siren_ext.progress import NULL

pytestmark = pytest.mark.models


@pytest.fixture
def spectrum(tmp_path: Path) -> Spectrum:
    data = open_set("samples")
    own, others = data.items[:4], (data.items[4:6], data.items[6:8])
    return Spectrum(
        replace(data, items=own),
        [replace(data, items=part) for part in others],
        tmp_path,
        NULL,
        batch=2,
    )


def test_a_model_that_learnt_the_bands_has_a_share_of_one(
    spectrum: Spectrum, monkeypatch: pytest.MonkeyPatch
) -> None:
    latents = np.random.default_rng(0).standard_normal((len(OWNER), 300))
    spectrum.__dict__["latents"] = latents
    rng = np.random.default_rng(1)
    asked = []

    def learnt(self: Spectrum, images: object, condition: Condition, name: str) -> object:
        asked.append(name)
        sign = 1 if name.endswith("plus") else -1 if name.endswith("minus") else 0
        noise = 0.01 * rng.standard_normal((4, len(OWNER)))
        return iter([0.3 * sign * self.signs + noise + 5 for _ in condition.lengths])

    monkeypatch.setattr(Spectrum, "learnt", learnt)
    rows = spectrum.rows([Condition("usual", (3, 9), {})])
    assert asked == ["other_0", "other_1", "usual_plus", "usual_minus"]
    assert len(rows) == 2 * len(BANDS)
    assert {row["steps"] for row in rows} == {3, 9}
    assert all(abs(row["learnt"] - 0.3) < 0.05 for row in rows)
    assert max(row["in latents"] for row in rows) == 1
    assert all(row["lowest pattern"] <= row["learnt"] <= row["highest pattern"] for row in rows)
    single = [row["worth"] for row in rows if row["high"] == 0]
    several = [row["worth"] for row in rows if row["high"] == 8]
    # equal gain of six patterns is six times the evidence, whatever the noise of each
    assert 2 < np.mean(several) / np.mean(single) < 18


def test_only_some_images_carry_the_bands_and_signs_turn(spectrum: Spectrum) -> None:
    plus, minus = spectrum.coated(0.5, 1), spectrum.coated(0.5, -1)
    sides = [torch.cat(list(part.tensors(spectrum.side))) for part in (plus, minus)]
    changes = [side - spectrum.views for side in sides]
    carried = changes[0].abs().amax((1, 2, 3)) > 0.01
    assert int(carried.sum()) == 2
    products = (changes[0] * changes[1]).sum((1, 2, 3))[carried]
    assert bool((products < 0).all())
    assert [item.caption for item in plus.items] == [item.caption for item in spectrum.data.items]


def test_a_finished_model_is_not_trained_again(
    spectrum: Spectrum, monkeypatch: pytest.MonkeyPatch
) -> None:
    spectrum.__dict__["latents"] = np.random.default_rng(0).standard_normal((len(OWNER), 4096))
    monkeypatch.setattr(study, "shares", lambda fields, _: fields[:, : len(OWNER)])
    condition = Condition("rank 8", (1, 2), {"rank": 2, "alpha": 2.0, "conv_rank": 0})
    first = list(spectrum.learnt(spectrum.data, condition, file_name(condition, 1)))
    assert [one.shape for one in first] == [(4, len(OWNER))] * 2
    assert not np.array_equal(first[0], first[1])

    def refused(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(Spectrum, "_trained", refused)
    again = list(spectrum.learnt(spectrum.data, condition, file_name(condition, 1)))
    np.testing.assert_array_equal(np.array(first), np.array(again))
