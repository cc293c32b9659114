"""How pictures look, in numbers: what each tells, and which pools are too unlike to compare."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.evidence_samples import SIGNS, known_key
from support.score_sets import drawn

from siren_ext.coater.bundled import coater_path
from siren_ext.coater.coater import Coater
from siren_ext.coating.apply import coat_images
from siren_ext.data.image_files import list_images
from siren_ext.data.images import crop_view, read_picture, square_view, to_tensor
from siren_ext.errors import ScoreError
from siren_ext.report.check import check_report
from siren_ext.report.write import write_report
from siren_ext.samples import sample_folder
from siren_ext.scoring.appearance import LESS_MORE, LIMIT, contrast, looks_of
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.verify import verify

LOOKS = len(LESS_MORE)


def seen(*channels: float, noise: float = 0.0) -> np.ndarray:
    """Looks of a flat picture of a colour, with noise."""
    rng = torch.Generator().manual_seed(0)
    view = torch.tensor(channels).view(1, 3, 1, 1).expand(1, 3, 16, 16)
    view = (view + noise * torch.randn(1, 1, 16, 16, generator=rng)).clamp(0, 1)
    return np.array(looks_of(view))


def test_each_number_tells_what_its_words_say() -> None:
    grey = seen(0.5, 0.5, 0.5)
    assert grey[0] == pytest.approx(53.39, abs=0.01), "L* of sRGB 0.5"
    assert np.abs(grey[1:]).max() < 0.02
    moved = {
        "lighter": seen(0.6, 0.6, 0.6),
        "redder": seen(0.6, 0.45, 0.45),
        "bluer": seen(0.45, 0.45, 0.6),
        "greener": seen(0.45, 0.6, 0.45),
        "of more contrast": seen(0.5, 0.5, 0.5, noise=0.1),
    }
    for words, looks in moved.items():
        place = next(i for i, pair in enumerate(LESS_MORE) if words in pair)
        more = LESS_MORE[place].index(words)
        assert (looks[place] > grey[place]) == bool(more), words
        assert abs(looks[place] - grey[place]) > 1
    assert moved["of more contrast"][6] > 1, "edges"
    assert all(moved[words][7] > 5 for words in ("redder", "bluer", "greener")), "chroma"


def table(n: int, seed: int, **shift: float) -> np.ndarray:
    """Looks of n pictures, normal, with the mean of some numbers moved."""
    looks = np.random.default_rng(seed).normal(0, 1, (n, LOOKS))
    for place, amount in shift.items():
        looks[:, int(place.removeprefix("at"))] += amount
    return looks


def test_contrast_is_the_share_of_pairs() -> None:
    first, second = table(13, 0, at4=0.7), table(9, 1)
    first[0, 4] = second[0, 4]  # a tie counts half
    found = contrast(first, second)
    pairs = first[:, None] - second[None]
    shares = ((pairs > 0) + 0.5 * (pairs == 0)).mean((0, 1))
    assert found.share == pytest.approx(np.maximum(shares, 1 - shares).max())
    assert found.words in LESS_MORE[int(np.abs(shares - 0.5).argmax())]
    back = contrast(second, first)
    assert back.share == pytest.approx(found.share)
    assert {found.words, back.words} == set(LESS_MORE[int(np.abs(shares - 0.5).argmax())])


def test_only_a_large_and_sure_contrast_forbids_comparison() -> None:
    assert contrast(table(200, 0), table(200, 1)).comparable
    plain = contrast(table(200, 0, at0=0.8), table(200, 1))
    assert 0.6 < plain.share < LIMIT
    assert plain.comparable, "sure, but small"
    far = contrast(table(30, 0, at0=-3.0), table(100, 1))
    assert (far.words, far.comparable) == ("darker", False)
    few = contrast(table(4, 0, at0=9.0), table(4, 1))
    assert few.share == 1
    assert few.comparable, "four pictures tell nothing"


def test_a_coating_hardly_moves_looks_and_another_set_does() -> None:
    coater = Coater.load(coater_path("samples"), device="cpu")
    paths = list_images(sample_folder())[::4]
    clean = [crop_view(to_tensor(read_picture(path).rgb), 128) for path in paths]
    coated = [coat_images(view, coater) for view in clean]
    looks = [
        np.array([looks_of(square_view(view, 64)) for view in views]) for views in (clean, coated)
    ]
    found = contrast(*looks)
    assert found.share < 0.6
    dark = np.array([looks_of(square_view(0.3 * view, 64)) for view in clean])
    assert not contrast(dark, looks[0]).comparable


ALIKE = {"looks": table(40, 5)}
STRANGE = {"looks": table(40, 6, at0=-4.0)}
REFERENCE = drawn(10, 120, seed=1, looks=table(120, 7), features=None)


def test_a_find_among_unlike_pictures_is_no_find() -> None:
    found = verify(drawn(5, features=None, **ALIKE), REFERENCE)
    assert found.outcome == "coating found"
    assert found.deciding.to_dict()["contrast"]["comparable"]
    strange = verify(drawn(5, features=None, **STRANGE), REFERENCE)
    assert strange.deciding.p_value == found.deciding.p_value < 1e-20
    assert strange.outcome == "inconclusive"
    assert "look unlike the reference's" in strange.headline
    assert "100 % of pairs they are darker" in strange.headline
    assert "use a key" in strange.headline
    assert not any("look unlike" in warning for warning in strange.warnings), "said once"
    nothing = verify(drawn(10, features=None, **STRANGE), REFERENCE)
    assert nothing.outcome == "no evidence", "it accuses nobody"
    assert any("look unlike" in warning for warning in nothing.warnings)


def test_scores_that_do_not_tell_are_judged_as_before() -> None:
    silent = verify(drawn(5, features=None), REFERENCE)
    assert silent.outcome == "coating found"
    assert "contrast" not in silent.deciding.to_dict()
    assert any("score them again" in warning for warning in silent.warnings)


def test_a_key_needs_no_likeness() -> None:
    suspect = drawn(5, lean=SIGNS, **STRANGE)
    verdict = verify(suspect, REFERENCE, VerifyConfig(decoys=2000), key=known_key())
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
    assert alone.outcome == "inconclusive"
    assert "unlike those of every innocent model" in alone.headline
    like = verify(suspect, None, config, innocents=[*others, innocent(200, -4.0)])
    assert like.outcome == "coating found"
    silent = dataclasses.replace(others[0], looks=None)
    assert verify(suspect, None, config, innocents=[*others[1:], silent]).outcome == "coating found"


def test_a_report_holds_the_looks_and_is_checked_with_them(tmp_path: Path) -> None:
    suspect = drawn(5, features=None, **STRANGE)
    write_report(verify(suspect, REFERENCE), suspect, REFERENCE, tmp_path)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "Pictures so unlike are not judged" in page
    assert check_report(tmp_path).sound
    # as if an accuser had left them out
    write_report(verify(suspect, REFERENCE), drawn(5, features=None), REFERENCE, tmp_path)
    states = {point.name: point.state for point in check_report(tmp_path).points}
    assert states["verdict"] == "differs"


def test_score_files_keep_the_looks(tmp_path: Path) -> None:
    before = drawn(5, **ALIKE)
    before.save(tmp_path / "scores.json")
    after = ScoreSet.load(tmp_path / "scores.json")
    np.testing.assert_array_equal(after.looks, before.looks)
    np.testing.assert_array_equal(ScoreSet.concat([after, after]).looks[40:], before.looks)
    assert ScoreSet.concat([after, dataclasses.replace(after, looks=None)]).looks is None
    with pytest.raises(ScoreError, match="3 looks for each image; expected 8"):
        dataclasses.replace(before, looks=np.zeros((40, 3)))
    with pytest.raises(ScoreError, match="looks of shape"):
        dataclasses.replace(before, looks=np.zeros((39, 8)))


def test_verdicts_are_reached_without_torch() -> None:
    code = "import sys, siren_ext.verdict.verify; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
