"""What a report says of its commitment is made again from the files that belong to it."""

from __future__ import annotations

import pytest
from support.evidence_samples import SIGNS, known_key
from support.reports import resealed, states, texts
from support.score_sets import drawn
from support.time_authority import TimeAuthority

from siren_ext.evidence.chain import ChainFiles, check_chain
from siren_ext.evidence.commitment import Commitment
from siren_ext.evidence.ledger import count_test, priced, start_ledger
from siren_ext.report.chain_check import ChainEvidence
from siren_ext.report.check import check_report
from siren_ext.report.write import write_report
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.verify import verify

SUSPECT, KEY = drawn(5, lean=SIGNS), known_key()
PRINT = KEY.fingerprint()
CHOSEN = "The key was derived from the commitment, so its owner could not choose it."


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return TimeAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def files(tmp_path, authority):
    path = tmp_path / "c.json"
    prints = (PRINT,), (), "e" * 64
    Commitment("2026-01-01T00:00:00Z", "siren-ext", SUSPECT.coater, "d" * 64, *prints).save(path)
    return ChainFiles(path, authority.stamped(path), authority.root)


@pytest.fixture
def report(tmp_path, files):
    """A report of a counted test of a key that was committed to, with a time stamp."""
    return reported(tmp_path, files, ledger=True)


def reported(tmp_path, files, *, ledger):
    file = tmp_path / "keys.json"
    if ledger:
        start_ledger(file)
    found = check_chain(files, coater=SUSPECT.coater, keys=[PRINT], source=SUSPECT.source)
    found, price = priced(found, count_test(file, SUSPECT, PRINT), 1)
    config = VerifyConfig(price=price)
    write_report(
        verify(SUSPECT, None, config, key=KEY, precedence=found), SUSPECT, None, tmp_path / "r"
    )
    return tmp_path / "r"


def stating(**values):
    return lambda data: data["verdict"]["commitment"].update(values)


def test_an_honest_report_matches(report, files):
    found = check_report(report, chain=ChainEvidence(files))
    assert states(found)["commitment"] == "matches", texts(found)["commitment"]


def test_an_honest_report_without_a_ledger_matches(tmp_path, files):
    folder = reported(tmp_path, files, ledger=False)
    found = check_report(folder, chain=ChainEvidence(files))
    assert states(found)["commitment"] == "matches", texts(found)["commitment"]
    found = resealed(folder, stating(unchecked=[]), chain=ChainEvidence(files))
    assert states(found)["commitment"] == "differs"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"text": CHOSEN}, "its text"),
        ({"unchecked": ["nothing"]}, "what was not checked"),
        ({"checked": ["the coater", "the key", "its birth"]}, "what matches"),
        ({"stamped": "2020-01-01T00:00:00Z"}, "time stamp"),
    ],
)
def test_made_up_words_are_found(report, files, change, words):
    found = resealed(report, stating(**change), chain=ChainEvidence(files))
    assert states(found)["commitment"] == "differs"
    assert words in texts(found)["commitment"]


def test_a_sentence_added_to_the_count_is_found(report, files):
    def change(data):
        data["verdict"]["commitment"]["text"] += f" {CHOSEN}"

    found = resealed(report, change, chain=ChainEvidence(files))
    assert "its text" in texts(found)["commitment"]


def test_words_that_need_other_files_are_not_taken_for_checked(report, files):
    alone = check_report(report, chain=ChainEvidence(ChainFiles(files.commitment)))
    assert states(alone)["commitment"] == "not checked"
    assert "for which --timestamp must be given too" in texts(alone)["commitment"]
    none = check_report(report)
    assert states(none)["commitment"] == "not checked"
    assert "Not checked either: what the report says" in texts(none)["commitment"]
    change = stating(checked=["the coater", "the coater file", "the key", "96 coated files"])
    found = resealed(report, change, chain=ChainEvidence(files))
    assert "--coater and --coated must be given too" in texts(found)["commitment"]


def test_without_a_commitment_no_other_words_are_taken(tmp_path):
    write_report(verify(SUSPECT, None, key=KEY), SUSPECT, None, tmp_path)
    assert states(check_report(tmp_path))["commitment"] == "not checked"
    found = resealed(tmp_path, stating(text=CHOSEN))
    assert states(found)["commitment"] == "differs"
    assert "names no commitment" in texts(found)["commitment"]


def test_sentences_of_another_version_are_left_open(report, files):
    def change(data):
        data["verdict"]["wording"] -= 1

    found = resealed(report, change, chain=ChainEvidence(files))
    assert states(found)["commitment"] == "not checked"
    assert "those of another version" in texts(found)["commitment"]
