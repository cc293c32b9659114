"""The learnt tint in a report: figures, pictures on request, and their check."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.keyed_coating import BITS, key
from support.measurements import coarse_coater, measured_with_field
from support.reports import Page, resealed, states

from siren_ext.errors import EvidenceError
from siren_ext.preference.changes import MeanField
from siren_ext.preference.tint import Likeness, Tint, likeness
from siren_ext.report.check import check_report
from siren_ext.report.learnt import StoredLikeness, amplification, amplified, stored_likeness
from siren_ext.report.write import stored, write_report
from siren_ext.scoring.score_set import TINT, ScoreSet
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.verify import verify

HEADING = "What the model adds, as a picture"


def compared() -> Likeness:
    expected, noise = np.random.default_rng(0).normal(0, 0.01, (2, 3, 32, 32)).astype(np.float32)
    return Likeness((expected + noise) / 5, expected, 3, 1000)


def made(out: Path, learnt: dict | None) -> tuple[str, dict]:
    """A report on a model that has learnt the message."""
    drawn = np.random.default_rng(1).normal(size=(8, BITS))
    names = tuple(f"{row}.png" for row in range(8))
    source = {"kind": "preference", TINT: {"learnt": "secret", "images": "secret"}}
    scores = ScoreSet(
        np.zeros(8), names, ("",) * 8, "coater", source, features=key().signs() + drawn
    )
    verdict = verify(scores, config=VerifyConfig(alpha=1e-3), key=key())
    paths = write_report(verdict, scores, None, out, learnt=learnt)
    assert TINT not in stored(scores)["source"]
    page, text = paths.html.read_text(encoding="utf-8"), paths.json.read_text()
    assert "secret" not in json.dumps(json.loads(text)["suspect"])
    return page, json.loads(text)


def test_pictures_are_left_out_unless_they_are_asked_for(tmp_path: Path) -> None:
    page, data = made(tmp_path, stored_likeness(compared()))
    text = Page(page).text
    assert HEADING in text
    assert f"Correlation {compared().correlation:.2f} of both" in text
    assert "3 of 1,000" in text
    assert "so p = 0.004" in text
    assert 'class="tint"' not in page
    assert set(data["learnt_tint"]) == {"correlation", "at_least", "others"}
    found = check_report(tmp_path)
    assert found.sound
    assert states(found)["learnt tint"] == "not checked"
    assert states(found)["page"] == "matches"
    assert HEADING not in made(tmp_path / "other", stored_likeness(None))[0]


def test_pictures_are_shown_and_checked(tmp_path: Path) -> None:
    page, data = made(tmp_path, stored_likeness(compared(), pictures=True))
    assert page.count('<figure class="tint">') == 2
    assert "can work out the secret message" in Page(page).text
    assert "What the model adds, \u00d7 50 (grey = none)" in Page(page).text
    found = check_report(tmp_path)
    assert (states(found)["learnt tint"], states(found)["page"]) == ("matches", "matches")

    def forged(**values: object) -> dict[str, str]:
        changed = data["learnt_tint"] | values
        return states(resealed(tmp_path, lambda kept: kept.update(learnt_tint=changed)))

    assert forged(correlation=0.9)["learnt tint"] == "differs"
    assert forged(expected="AAAA")["learnt tint"] == "differs"
    assert forged(at_least=2000)["learnt tint"] == "differs"
    assert forged()["page"] == "matches"
    # a picture of something else on the page
    first, second = page.split('<figure class="tint"><img src="')[1:]
    other = page.replace(first.split('"')[0], second.split('"')[0])
    (tmp_path / "report.html").write_text(other, encoding="utf-8")
    assert forged()["page"] == "differs"


@pytest.mark.usefixtures("few_messages")
def test_the_measurement_the_coater_and_the_key_give_the_tint_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("siren_ext.preference.tint.DRAWN", 400)
    coater = coarse_coater()
    measured = measured_with_field(coater)
    field = MeanField.of(measured)
    assert field is not None
    tint = Tint(field.direction / 100, field.images)
    measured = replace(measured, source=measured.source | {TINT: tint.to_plain()})
    found = likeness(measured, coater, key())
    verdict = verify(measured, config=VerifyConfig(alpha=1e-3), key=key(), coater=coater)
    for pictures in (False, True):
        learnt = stored_likeness(found, pictures=pictures)
        folder = tmp_path / str(pictures)
        write_report(verdict, measured, None, folder, learnt=learnt)
        kept = json.loads((folder / "report.json").read_text())["learnt_tint"]
        given = {"suspect": measured, "key": key(), "coater": coater}

        def checked(folder: Path = folder, given: dict = given, **values: object) -> str:
            changed = kept | values  # noqa: B023 - called in this round alone
            resealed(folder, lambda data: data.update(learnt_tint=changed))
            return states(check_report(folder, **given))["learnt tint"]

        assert checked() == "matches"
        assert checked(at_least=kept["at_least"] + 300) == "differs"
        if not pictures:
            assert checked(correlation=0.3) == "differs"
    # both pictures alike, and the correlation with them
    swapped = {"learnt": kept["expected"], "correlation": 1.0, "at_least": 0}
    assert checked(**swapped) == "differs"


def test_amplified_pictures() -> None:
    values = np.zeros((3, 32, 32), np.float32)
    assert amplification(values) == 10_000
    values[0] = 0.03
    values[1] = -0.02
    assert amplification(values) == 10
    pixels = amplified(values, 10)
    assert pixels.shape == (192, 192, 3)
    assert pixels[0, 0].tolist() == [204, 77, 128]
    assert amplification(values + 2) == 1


@pytest.mark.parametrize("text", [None, "?", "AAAA"])
def test_half_a_pair_is_refused(text: str | None) -> None:
    with pytest.raises(EvidenceError, match="expected two pictures"):
        StoredLikeness(0.5, 0, 10, learnt="AAAA", expected=text).pictures()
