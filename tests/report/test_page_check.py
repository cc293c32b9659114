"""The page is rendered again: a page that says something else is found, even re-sealed."""

from __future__ import annotations

import pytest
from support.reports import evidence, save, states, texts, written
from support.score_sets import drawn

from siren_ext.files import sha256_file
from siren_ext.report.check import check_report
from siren_ext.report.integrity import write_seal
from siren_ext.report.pictures import CoatEvidence


@pytest.fixture
def report(tmp_path):
    """A report with pictures of the coating and of both models."""
    shown = [save(tmp_path / f"m{i}.png", 50 + i) for i in range(4)]
    suspect = drawn(
        5, 20, hashes=tuple([*map(sha256_file, shown), *(f"{i:064x}" for i in range(16))])
    )
    pairs = CoatEvidence(tuple(evidence(tmp_path)), "a coater")
    written(suspect, drawn(10, 60, seed=1), tmp_path / "r", coated=pairs, mimicries=shown)
    return tmp_path / "r"


def forged(report, old, new):
    """Change the page and make the seal fit again."""
    page = report / "report.html"
    text = page.read_text(encoding="utf-8")
    assert old in text
    page.write_text(text.replace(old, new), encoding="utf-8")
    write_seal(report)
    return check_report(report)


def test_an_untouched_page_matches_with_its_pictures(report):
    assert (report / "report.html").read_text(encoding="utf-8").count("<img ") == 13
    found = check_report(report)
    assert found.sound
    assert states(found)["page"] == "matches"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('<div class="outcome">', '<div class="outcome">not '),
        ("<title>SIREN report:", "<title>SIREN report: x"),
        ("accepted risk of a false alarm", "no risk of a false alarm"),
        ("<h3>Suspect: lowest scores</h3>", "<h3>Suspect: highest scores</h3>"),
        ('alt="image ', 'alt="image x'),
        ("</main>", "<p>The owner lies.</p></main>"),
        ("data:image/jpeg;base64,", "https://somewhere.example/"),
        ("</style>", ".outcome { display: none }</style>"),
    ],
)
def test_a_page_that_says_something_else_is_found_under_a_fresh_seal(report, old, new):
    found = forged(report, old, new)
    assert states(found)["files"] == "matches"
    assert states(found)["page"] == "differs", texts(found)
    assert not found.sound


def test_the_first_difference_is_named(report):
    found = forged(report, "accepted risk of a false alarm", "no risk of a false alarm")
    assert "no risk of a false alarm" in texts(found)["page"]
    assert "where '" in texts(found)["page"]


def test_a_page_of_another_version_or_none_is_not_checked(report):
    (report / "report.html").unlink()
    assert states(check_report(report))["page"] == "not checked"
