"""The test of a model's file in one call: stopped, resumed, and what both ways share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.keyed_coating import SHAPE, key
from support.stopping import StopInStage
from support.tiny_models import draw_images, need_models, shared_model

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import Cancelled, CoaterError, EvidenceError
from siren_ext.evidence.precedence import not_committed
from siren_ext.files import locked
from siren_ext.preference.config import PreferenceConfig
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.suspects.local import LocalSuspect
from siren_ext.verdict.config import VerifyConfig
from siren_ext.workflows.preference_evidence import preference_evidence

need_models()
pytestmark = [pytest.mark.models, pytest.mark.usefixtures("few_copies", "few_messages")]

PLAN = PreferenceConfig(draws=1, batch_size=1)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[LocalSuspect]:
    root = tmp_path_factory.getbasetemp()
    return [
        LocalSuspect(shared_model(root, "kl", prediction), dtype=torch.float32)
        for prediction in ("epsilon", "v_prediction")
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    folder = draw_images(tmp_path_factory.mktemp("data"), 4)
    (folder / "broken.png").write_bytes(b"no picture")
    return ImageSet.open(folder)


def test_a_stopped_call_is_resumed_and_its_report_is_the_same(
    models: list[LocalSuspect], data: ImageSet, tmp_path: Path
) -> None:
    coater, out = Coater(SHAPE, seed=1), tmp_path / "report"
    told: list[ScoreSet] = []

    def standing(scores: ScoreSet):
        told.append(scores)
        return not_committed(keyed=True)

    def call(place: Path, **options):
        config = VerifyConfig(alpha=0.01)
        return preference_evidence(
            models[0], data, coater, key(), place, PLAN, config, controls=models[1:], **options
        )

    with pytest.raises(Cancelled):
        call(out, progress=StopInStage("Measuring preference", 3))
    assert [path.name for path in tmp_path.iterdir() if path.name[0] != "."] == ["report.partial"]
    found = call(out, standing=standing)
    assert (found.verdict.test, found.verdict.alpha) == ("keyed", 0.01)
    assert told == [found.measured]
    assert found.problems[0][0] == "broken.png"
    assert {path.name for path in tmp_path.iterdir() if path.name[0] != "."} == {
        "report", "report.preference.json"
    }  # fmt: skip
    assert found.measurement.stat().st_mode & 0o077 == 0
    whole = call(tmp_path / "again")
    kept, again = (ScoreSet.load(one.measurement) for one in (found, whole))
    assert kept.features is not None
    assert again.features is not None
    assert np.array_equal(kept.features, again.features)
    assert whole.verdict.to_dict()["findings"] == found.verdict.to_dict()["findings"]


def test_a_failed_test_keeps_the_measurement_of_an_earlier_report(
    models: list[LocalSuspect], data: ImageSet, tmp_path: Path
) -> None:
    coater, out = Coater(SHAPE, seed=1), tmp_path / "report"

    def refused(scores: ScoreSet):
        raise EvidenceError("The commitment is another one.")

    def call(model: LocalSuspect, **options):
        config = VerifyConfig(alpha=0.01)
        return preference_evidence(model, data, coater, key(), out, PLAN, config, **options)

    with pytest.raises(
        EvidenceError, match=r"another one. The measurement was saved: give report\.pref"
    ):
        call(models[0], standing=refused)
    first = tmp_path / "report.preference.json"
    assert ScoreSet.load(first).preference
    call(models[0])
    before = first.read_bytes()
    with pytest.raises(EvidenceError, match=r"give new\.report\.preference\.json with --suspect"):
        call(models[1], standing=refused)
    assert first.read_bytes() == before
    assert ScoreSet.load(tmp_path / "new.report.preference.json").preference
    call(models[1])
    assert first.read_bytes() != before
    assert not (tmp_path / "new.report.preference.json").exists()


def test_what_is_refused_before_the_model_is_loaded(data: ImageSet, tmp_path: Path) -> None:
    gone = LocalSuspect(tmp_path / "gone")
    other = CoaterConfig(channels=4, generator_blocks=1, extractor_blocks=1, message_bits=48)
    with pytest.raises(CoaterError, match="The key has 16 bits, but this coater needs 48"):
        preference_evidence(gone, data, Coater(other), key(), tmp_path / "r")
    plain = CoaterConfig(channels=4, generator_blocks=1, extractor_blocks=1)
    with pytest.raises(CoaterError, match="not keyed"):
        preference_evidence(gone, data, Coater(plain), key(), tmp_path / "r")
    with locked(tmp_path / "r"), pytest.raises(Exception, match="written by another run"):
        preference_evidence(gone, data, Coater(SHAPE), key(), tmp_path / "r")
