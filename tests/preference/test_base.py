"""The base model in the suspect's place: what is kept of it, and what it shows."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.keyed_coating import BITS, SHAPE
from support.measurements import beside, coarse_coater, measured_with_field
from support.tiny_attribution import adapted, tiny_lora
from support.tiny_models import draw_images, need_models, shared_model

from siren_ext.coater.bundled import coater_path
from siren_ext.coater.coater import Coater
from siren_ext.coating.apply import coat_images
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import Picture, read_picture, to_tensor, to_uint8, write_picture
from siren_ext.errors import Cancelled, ScoreError
from siren_ext.keys.coating_key import CoatingKey
from siren_ext.preference import patterns
from siren_ext.preference.base import base_scores
from siren_ext.preference.config import PreferenceConfig
from siren_ext.preference.measure import measure_preference
from siren_ext.samples.folder import sample_set
from siren_ext.scoring.score_set import BASE, FIELD, ScoreSet
from siren_ext.stats.keyed import keyed_test
from siren_ext.suspects.local import LocalSuspect

COATER = coarse_coater()
CONFIG = PreferenceConfig(draws=3, batch_size=2)


def with_base(learnt: int = 3) -> ScoreSet:
    """A measurement of a model beside one of a base model that fits some key."""
    return beside(measured_with_field(COATER), measured_with_field(COATER, learnt=learnt))


def test_the_base_is_a_measurement_of_its_own(tmp_path: Path) -> None:
    assert base_scores(measured_with_field(COATER)) is None
    with_base().save(tmp_path / "scores.json")
    found, expected = base_scores(ScoreSet.load(tmp_path / "scores.json")), with_base()
    assert found is not None
    assert np.array_equal(found.features, expected.source[BASE]["features"])  # type: ignore[arg-type,index]
    assert found.source[FIELD] == expected.source[BASE][FIELD] != expected.source[FIELD]  # type: ignore[index,call-overload]
    assert found.hashes == expected.hashes
    assert base_scores(found) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"features": [[1.0] * BITS]}, r"has figures of shape \(1, 16\); expected"),
        ({"features": [["x"]]}, "has figures of shape"),
        ({"features": None}, "has figures of shape"),
        ({FIELD: None}, "has no learnt field"),
        ({FIELD: {"direction": "x"}}, "is malformed"),
    ],
)
def test_a_malformed_base_is_told(change: dict[str, Any], words: str) -> None:
    good = with_base()
    plain: Any = good.source[BASE]
    bad = dataclasses.replace(good, source=good.source | {BASE: plain | change})
    with pytest.raises(ScoreError, match=words):
        base_scores(bad)
    wrong = dataclasses.replace(good, source=good.source | {BASE: 3})
    with pytest.raises(ScoreError, match="has figures of shape"):
        base_scores(wrong)


@pytest.fixture
def suspect(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> LocalSuspect:
    need_models()
    base = shared_model(tmp_path_factory.getbasetemp(), "kl", "epsilon")
    return adapted(base, tmp_path / "lora.safetensors")


@pytest.mark.models
def test_the_base_is_measured_like_the_suspect(
    suspect: LocalSuspect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patterns, "CODINGS", 40)
    data, coater = ImageSet.open(draw_images(tmp_path / "images", 5)), Coater(SHAPE, seed=1)
    base = LocalSuspect(suspect.model, dtype=torch.float32)
    tiny_lora(tmp_path / "other.safetensors", base.pipeline, seed=1)
    control = adapted(Path(str(suspect.model)), tmp_path / "other.safetensors", weight=0.5)
    for controls in ((), (control,)):
        found = measure_preference(suspect, data, coater, CONFIG, controls=controls)
        own = base_scores(found)
        assert own is not None
        assert own.features is not None
        if not controls:
            alone = measure_preference(base, data, coater, CONFIG)
            assert BASE not in alone.source  # it is the base itself
            assert np.allclose(own.features, alone.features, atol=1e-5)  # type: ignore[arg-type]
            assert own.source[FIELD] == alone.source[FIELD]
        else:  # the base minus the clean model is what this has learnt, with the other sign
            learnt = measure_preference(control, data, coater, CONFIG, controls=(base,))
            assert np.allclose(own.features, -learnt.features, atol=1e-4)  # type: ignore[operator]
    bits = dataclasses.replace(CONFIG, whole=False)
    assert BASE not in measure_preference(suspect, data, coater, bits).source


@pytest.mark.models
def test_a_stopped_measurement_of_the_base_is_resumed(
    suspect: LocalSuspect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from support.stopping import StopInStage

    monkeypatch.setattr(patterns, "CODINGS", 40)
    monkeypatch.setattr("siren_ext.preference.measure._of_base", {})
    data, coater = ImageSet.open(draw_images(tmp_path / "images", 5)), Coater(SHAPE, seed=1)
    partial = tmp_path / "partial"
    with pytest.raises(Cancelled):
        measure_preference(
            suspect, data, coater, CONFIG, partial=partial,
            progress=StopInStage("Measuring the base model", 1),
        )  # fmt: skip
    assert (tmp_path / "partial.base").is_file()
    found = measure_preference(suspect, data, coater, CONFIG, partial=partial)
    assert BASE in found.source
    assert not list(tmp_path.glob("partial*"))


@pytest.mark.slow
@pytest.mark.models
def test_images_with_the_opposite_message_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every model removes a part of them, so that all seem to have learnt the message."""
    need_models()
    monkeypatch.setattr(patterns, "CODINGS", 96)
    coater = Coater.load(coater_path("keyed"))
    own = CoatingKey.draw(coater.config.message_bits)
    opposite = CoatingKey(-own.signs(), bytes(32))
    (tmp_path / "images").mkdir()
    for item in sample_set().items[:12]:
        image = to_tensor(read_picture(item.path).rgb)
        coated = coat_images(image, coater, key=opposite)
        write_picture(Picture(to_uint8(coated[0])), tmp_path / "images" / item.path.name)
    data = ImageSet.open(tmp_path / "images")
    suspect = adapted(Path("pocket"), tmp_path / "lora.safetensors", weight=0.01)
    found = measure_preference(suspect, data, coater, PreferenceConfig(draws=2))
    base = base_scores(found)
    assert base is not None
    for one in (found, base):
        assert one.features is not None
        assert keyed_test(one.features, own.signs()).p_value < 1e-6
