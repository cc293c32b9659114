"""A model's file is tested by whole changes and bits together."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from support.keyed_coating import BITS, SHAPE, key
from support.measurements import beside, coarse_coater, field_test, measured_with_field
from support.reports import resealed, states, texts

from siren_ext.coater import bundled
from siren_ext.coater.coater import Coater
from siren_ext.errors import CoaterError, ScoreError
from siren_ext.keys.coating_key import CoatingKey
from siren_ext.preference.changes import field_tests
from siren_ext.report.check import check_report
from siren_ext.report.write import write_report
from siren_ext.scoring.score_set import BASE, FIELD
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.verify import verify
from siren_ext.verdict.whole import Whole, rounded_up, whole_of, wholes_of

COATER = coarse_coater()
MEASURED = measured_with_field(COATER, other=1.6, bits=0.15)
CONFIG = VerifyConfig(alpha=2e-4)


pytestmark = pytest.mark.usefixtures("few_messages")


def report_in(folder: Path) -> Path:
    verdict = verify(MEASURED, config=CONFIG, key=key(), coater=COATER)
    write_report(verdict, MEASURED, None, folder)
    return folder


def test_both_together_decide() -> None:
    verdict = verify(MEASURED, config=CONFIG, key=key(), coater=COATER)
    finding = verdict.deciding
    assert finding.whole is not None
    exact = field_test(MEASURED, COATER, key())
    assert exact.p_value <= finding.p_value <= 1.28 * exact.p_value
    assert verdict.outcome == "coating found"
    # neither would be found alone
    assert finding.result.p_value > CONFIG.alpha
    assert field_test(MEASURED, COATER, key(), sum_weight=0).p_value > CONFIG.alpha
    dear = verify(MEASURED, config=VerifyConfig(alpha=2e-4, price=6), key=key(), coater=COATER)
    assert dear.deciding.p_value == pytest.approx(6 * finding.p_value)
    assert dear.outcome == "no evidence"
    assert "times 6" in dear.headline


def test_innocent_keys_are_accused_as_often_as_alpha_says() -> None:
    messages = np.random.default_rng(2).integers(0, 2, (1000, BITS)) * 2.0 - 1
    p = np.array([one.p_value for one in field_tests(MEASURED, COATER, messages)])
    for alpha in (0.2, 0.05, 0.01):
        assert np.mean(p <= alpha) <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / len(p))
    assert np.mean(p <= 0.2) > 0.1


def test_keys_are_tested_together_as_alone() -> None:
    keys = [key(number) for number in range(4)]
    together = wholes_of(MEASURED, keys, COATER)
    assert together == [whole_of(MEASURED, one, COATER) for one in keys]
    assert wholes_of(dataclasses.replace(MEASURED, source={}), keys, COATER) is None
    with pytest.raises(ScoreError, match="32 bits"):
        wholes_of(MEASURED, [key(), CoatingKey.draw(32)], COATER)


def test_a_find_does_not_count_if_the_base_model_is_found_too() -> None:
    strong = measured_with_field(COATER, bits=3.0)
    innocent, guilty = measured_with_field(COATER, learnt=3), measured_with_field(COATER)
    for alpha in (1e-3, 0.01):
        config = VerifyConfig(alpha=alpha)
        good = verify(beside(strong, innocent), config=config, key=key(), coater=COATER)
        assert good.outcome == "coating found"
        assert good.deciding.whole is not None
        assert good.deciding.whole.base_p is not None
        assert good.deciding.whole.base_p > 0.01
        bad = verify(beside(strong, guilty), config=config, key=key(), coater=COATER)
        assert bad.outcome == "inconclusive"
        assert "so does the base model in its place" in bad.headline
        assert bad.deciding.p_value == good.deciding.p_value
    silent = verify(beside(innocent, guilty), config=config, key=key(), coater=COATER)
    assert silent.outcome == "no evidence"


def test_a_find_without_a_test_of_the_base_model_is_said_to_rest_on_the_originals() -> None:
    """Whoever takes the base model out of a measurement, or tests bits alone, hides nothing."""
    strong, innocent = measured_with_field(COATER, bits=3.0), measured_with_field(COATER, learnt=3)
    bits = dataclasses.replace(strong, source={"kind": "preference", "settings": {"whole": False}})
    told = []
    for scores in (strong, bits, beside(strong, innocent), innocent):
        verdict = verify(scores, config=CONFIG, key=key(), coater=COATER)
        words = " ".join(verdict.warnings)
        told.append((verdict.outcome, "No base model was tested" in words))
    found, nothing = "coating found", "no evidence"
    assert told == [(found, True), (found, True), (found, False), (nothing, False)]


def test_the_base_model_counts_as_found_at_one_in_a_thousand_at_least() -> None:
    whole = Whole(1e-9, 4000, BITS, base_p=1e-3)
    assert whole.base_found(1e-6)
    assert not dataclasses.replace(whole, base_p=1.26e-3).base_found(1e-6)
    assert dataclasses.replace(whole, base_p=0.01).base_found(0.01)
    assert not dataclasses.replace(whole, base_p=None).base_found(0.01)
    assert "base_p_value" not in dataclasses.replace(whole, base_p=None).to_dict()


def test_a_report_says_what_the_base_model_shows(tmp_path: Path) -> None:
    scores = beside(MEASURED, measured_with_field(COATER, learnt=3))
    verdict = verify(scores, config=CONFIG, key=key(), coater=COATER)
    write_report(verdict, scores, None, tmp_path)
    data = json.loads((tmp_path / "report.json").read_text())
    assert BASE not in data["suspect"]["source"]
    assert "p of the base model in its place" in (tmp_path / "report.html").read_text()
    found = check_report(tmp_path, key=key(), suspect=scores, coater=COATER)
    assert states(found)["keyed statistic"] == "matches"
    found = check_report(tmp_path, key=key(4), suspect=scores, coater=COATER)
    assert states(found)["figures"] == "differs"
    assert f"tested the one with {key().fingerprint()[:12]}" in texts(found)["figures"]
    other = beside(MEASURED, measured_with_field(COATER, learnt=4))
    found = check_report(tmp_path, key=key(), suspect=other, coater=COATER)
    assert states(found)["keyed statistic"] == "differs"


def test_a_measurement_without_a_field_is_tested_by_its_bits() -> None:
    bare = dataclasses.replace(MEASURED, source={"kind": "preference"})
    finding = verify(bare, key=key()).deciding
    assert finding.whole is None
    assert finding.p_value == finding.result.p_value


def test_a_lost_field_is_told_and_no_other_scores_are_meant() -> None:
    lost = {name: value for name, value in MEASURED.source.items() if name != FIELD}
    with pytest.raises(ScoreError, match="its learnt field is missing"):
        verify(dataclasses.replace(MEASURED, source=lost), key=key(), coater=COATER)
    pictures = dataclasses.replace(MEASURED, source={"kind": "folder", FIELD: "a meadow"})
    assert verify(pictures, key=key()).deciding.whole is None


def test_a_risk_that_no_message_reaches_is_inconclusive() -> None:
    strong = measured_with_field(COATER, bits=3.0)
    finding = verify(strong, config=VerifyConfig(alpha=1.55e-5), key=key(), coater=COATER).deciding
    assert finding.smallest_p == 1.59e-5 > 2.0**-BITS
    assert finding.outcome == "inconclusive"
    silent = dataclasses.replace(strong, features=np.zeros((len(strong), BITS)))
    found = verify(silent, config=VerifyConfig(alpha=1e-3), key=key(), coater=COATER)
    assert found.outcome == "coating found"


def test_the_coater_is_needed_unless_it_is_bundled(monkeypatch, tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match=r"takes the coater that the images were coated with.*--"):
        verify(MEASURED, key=key())
    with pytest.raises(CoaterError, match="the measurement was made with"):
        verify(MEASURED, key=key(), coater=Coater(SHAPE, seed=2))
    known = verify(MEASURED, key=key(), coater=COATER).deciding
    COATER.save(tmp_path / "keyed.safetensors")
    monkeypatch.setattr(bundled, "_FINGERPRINTS", {"keyed": COATER.fingerprint})
    monkeypatch.setattr(bundled, "_bundled", lambda name: tmp_path / f"{name}.safetensors")
    assert verify(MEASURED, key=key()).deciding == known


def test_p_is_rounded_up_so_that_many_messages_share_it() -> None:
    assert [rounded_up(p) for p in (1.0, 0.9, 1e-6, 1.01e-6, 3.2e-9)] == [
        1.0, 1.0, 1e-6, 1.26e-6, 3.99e-9
    ]  # fmt: skip
    for p in np.random.default_rng(0).random(200) ** 8:
        assert p <= rounded_up(p) <= 1.28 * p
        assert rounded_up(rounded_up(p)) == rounded_up(p)
    messages = np.random.default_rng(1).integers(0, 2, (600, BITS)) * 2.0 - 1
    exact = [one.p_value for one in field_tests(MEASURED, COATER, messages)]
    assert len(set(exact)) > 500
    assert len({rounded_up(p) for p in exact}) < 30


def test_a_report_says_which_test_decides_and_holds_no_field(tmp_path: Path) -> None:
    folder = report_in(tmp_path / "report")
    text = (folder / "report.json").read_text()
    kept = json.loads(text)["verdict"]["findings"][0]
    assert kept["whole"] == {"p_value": kept["p_value"], "drawn": 400}
    assert FIELD not in json.loads(text)["suspect"]["source"]
    page = (folder / "report.html").read_text()
    assert "p, whole changes and bits together" in page
    assert "p of the bits alone, counted over all possible messages" in page


def test_a_report_is_checked_with_the_measurement_and_the_coater(tmp_path: Path) -> None:
    folder = report_in(tmp_path / "report")
    given = {"key": key(), "suspect": MEASURED}
    found = check_report(folder, **given, coater=COATER)
    assert found.sound
    assert states(found)["keyed statistic"] == "matches"
    assert states(found)["page"] == "matches"
    for part in (given, {}):  # without the coater, and without everything
        part_found = check_report(folder, **part)
        assert part_found.sound
        assert states(part_found)["keyed statistic"] == "not checked"
        words = "only with the coater (--" if part else "only with the key, the measurement and"
        assert words in texts(part_found)["keyed statistic"]
        assert "every figure but p of whole changes" in texts(part_found)["figures"]
    with pytest.raises(CoaterError, match="the measurement was made with"):
        check_report(folder, **given, coater=Coater(SHAPE, seed=2))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"p_value": 1e-6, "drawn": 400}, "keyed finding.whole.p_value"),
        (None, "is for a test of whole changes, but the keyed finding is of bits alone"),
        ({"p_value": 1.2345e-6, "drawn": 400}, "not rounded as it should be"),
        ({"p_value": 1e-12, "drawn": 400}, "which no message of 16 bits has among 400 others"),
        ({"p_value": 0, "drawn": 400}, "whole changes"),
        ({"p_value": 1e-6}, "whole changes"),
    ],
)
def test_a_made_up_p_is_found_with_the_key(tmp_path: Path, value, words: str) -> None:
    folder = report_in(tmp_path / "report")

    def change(data) -> None:
        one = data["verdict"]["findings"][0]
        one["whole"] = value
        if value is None:
            del one["whole"]

    found = resealed(folder, change, key=key(), suspect=MEASURED, coater=COATER)
    assert not found.sound
    assert not check_report(folder).sound
    assert any(words in text for text in texts(found).values())
