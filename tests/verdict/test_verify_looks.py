"""Pictures that look unlike the reference's are not judged."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

from support.evidence_samples import SIGNS, known_key
from support.looks import table
from support.score_sets import drawn

from siren_ext.scoring.score_set import ScoreSet
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.outcomes import LOWER, LOWER_RANK, NOT_COMPARABLE
from siren_ext.verdict.verify import verify

ALIKE = {"looks": table(40, 5)}


STRANGE = {"looks": table(40, 6, at0=-4.0)}


REFERENCE = drawn(10, 120, seed=1, looks=table(120, 7), features=None)


def test_a_find_among_unlike_pictures_is_no_find() -> None:
    found = verify(drawn(5, features=None, **ALIKE), REFERENCE)
    assert found.outcome == LOWER
    assert found.deciding.to_dict()["contrast"]["comparable"]
    strange = verify(drawn(5, features=None, **STRANGE), REFERENCE)
    assert strange.deciding.p_value == found.deciding.p_value < 1e-20
    assert strange.outcome == NOT_COMPARABLE
    assert "look unlike the reference's" in strange.headline
    assert "100 % of pairs they are darker" in strange.headline
    assert "use a key" in strange.headline
    assert not any("look unlike" in warning for warning in strange.warnings), "said once"
    nothing = verify(drawn(10, features=None, **STRANGE), REFERENCE)
    assert nothing.outcome == NOT_COMPARABLE, "whether or not p is small"
    assert "look unlike" in nothing.headline


def test_scores_without_a_record_of_looks_are_not_judged() -> None:
    silent = verify(drawn(5, features=None, looks=None), REFERENCE)
    assert silent.outcome == NOT_COMPARABLE
    assert "contrast" not in silent.deciding.to_dict()
    assert "no record of what the images look like" in silent.headline
    assert "Score both sets of images again" in silent.headline


def test_few_pictures_of_another_kind_are_not_judged() -> None:
    """An innocent model of other things, of which owners showed only six to nine pictures."""
    for count in (6, 9, 14):
        few = drawn(5, count, features=None, looks=table(count, 6, at0=-4.0))
        verdict = verify(few, REFERENCE, VerifyConfig(alpha=1e-3))
        assert verdict.deciding.p_value < 1e-3
        assert verdict.outcome == NOT_COMPARABLE
        assert f"too few images ({count} and 120) to tell whether they look" in verdict.headline
        assert "15 or more" in verdict.headline
    most = verify(drawn(5, 15, features=None, looks=table(15, 5)), REFERENCE)
    assert most.outcome == LOWER


def test_likeness_must_be_shown() -> None:
    """A contrast that would be allowed is not, if so few pictures leave more possible."""
    unclear = drawn(5, 16, features=None, looks=table(16, 3, at2=1.0))
    verdict = verify(unclear, REFERENCE)
    apart = verdict.deciding.contrast
    assert apart.share < 0.9 < apart.upper
    assert verdict.outcome == NOT_COMPARABLE
    assert "not shown to look like the reference's" in verdict.headline
    assert "with 90 % allowed" in verdict.headline
    more = drawn(5, 200, features=None, looks=table(200, 3, at2=1.0))
    assert verify(more, REFERENCE).outcome == LOWER


def test_a_key_needs_no_likeness() -> None:
    suspect = drawn(5, lean=SIGNS, **STRANGE)
    verdict = verify(suspect, REFERENCE, VerifyConfig(), key=known_key())
    assert (verdict.outcome, verdict.test) == ("coating found", "keyed")
    about = [warning for warning in verdict.warnings if "look unlike" in warning]
    assert len(about) == 1
    assert about[0].startswith("About the comparison with a reference model: ")


def test_one_innocent_model_that_draws_such_pictures_is_enough() -> None:
    config = VerifyConfig(alpha=0.05)
    suspect = drawn(5, features=None, **STRANGE)

    def innocent(seed: int, place: float) -> ScoreSet:
        return drawn(10, 40, seed=seed, features=None, looks=table(40, seed, at0=place))

    others = [innocent(100 + i, 0.0) for i in range(30)]
    alone = verify(suspect, None, config, innocents=others)
    assert alone.deciding.p_value < 0.05
    assert alone.outcome == NOT_COMPARABLE
    assert "unlike those of every innocent model" in alone.headline
    like = verify(suspect, None, config, innocents=[*others, innocent(200, -4.0)])
    assert like.outcome == LOWER_RANK
    silent = dataclasses.replace(others[0], looks=None)
    assert verify(suspect, None, config, innocents=[*others[1:], silent]).outcome == LOWER_RANK


def test_verdicts_are_reached_without_torch() -> None:
    code = "import sys, siren_ext.verdict.verify; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
