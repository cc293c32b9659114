"""Opened bits: a third party tests these alone, and the owner can't choose them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from support.evidence_samples import SIGNS, known_key
from support.reports import states, texts
from support.score_sets import drawn
from support.stub_beacon import ROUND_1000, made_up_round, need_curves, without_signatures
from support.time_authority import TimeAuthority

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.errors import EvidenceError
from siren_ext.evidence.beacon import CHAINS, QUICKNET, read_round
from siren_ext.evidence.chain import ChainFiles, derive_keys
from siren_ext.evidence.commitment import make_commitment
from siren_ext.keys.derived import KeySalt
from siren_ext.keys.single_bits import bit_secrets, joint_hash, key_hashes
from siren_ext.report.chain_check import ChainEvidence
from siren_ext.report.check import check_report
from siren_ext.report.opening import (
    chosen_bits,
    open_bits,
    read_opening,
    read_sealed,
    save_opening,
    save_sealed,
    seal_bits,
)
from siren_ext.report.opening_check import OpeningEvidence
from siren_ext.report.write import write_report
from siren_ext.stats.keyed import contributions, whole_sums
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.verify import verify

SHAPE = CoaterConfig(channels=4, generator_blocks=1, extractor_blocks=1, working_size=16)
NAMES = ("opened bits", "choice of the bits", "opened test")


class Case:
    """A report, its private scores, and a commitment with the hashes of the key's bits."""

    def __init__(self, folder, key=None, *, lean=SIGNS, salt=None):
        self.folder, self.key = folder, key or known_key()
        Coater(SHAPE).save(folder / "coater.safetensors")
        self.commitment = folder / "c.json"
        if salt is None:
            print_ = self.key.fingerprint()
            bits = {print_: joint_hash(key_hashes(self.key))}
            made = make_commitment(folder / "coater.safetensors", bits, bits=bits)
            made.save(self.commitment)
        self.suspect = drawn(5, lean=lean)
        self.report = folder / "report"
        verdict = verify(self.suspect, None, VerifyConfig(alpha=1e-3), key=self.key)
        write_report(verdict, self.suspect, None, self.report)

    def sealed(self, **options):
        made = seal_bits(self.report, self.key, self.suspect, self.commitment, **options)
        (self.folder / "sealed.json").unlink(missing_ok=True)
        save_sealed(made, self.folder / "sealed.json")
        return read_sealed(self.folder / "sealed.json")

    def opened(self, name="round.json", number=None, **options):
        found = read_round(self.folder / name)
        text = self.sealed(**options)
        opening = open_bits(self.report, self.key, self.suspect, text, found, number)
        save_opening(opening, self.folder / "opening.json")
        return opening

    def checked(self, *, files=None, scores=None, **options):
        given = OpeningEvidence(self.folder / "opening.json", **options)
        chain = ChainEvidence(files or ChainFiles(self.commitment))
        return check_report(self.report, opening=given, chain=chain, suspect=scores)

    def changed(self, change):
        """As a cheating owner would write it."""
        path = self.folder / "opening.json"
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))
        return self.checked(named=1000)


@pytest.fixture
def case(tmp_path):
    (tmp_path / "round.json").write_text(json.dumps(ROUND_1000))
    return Case(tmp_path)


def test_a_third_party_tests_half_of_the_bits(case):
    need_curves()
    opening = case.opened()
    found = case.checked(named=1000, scores=case.suspect)
    assert [states(found)[name] for name in NAMES] == ["matches"] * 3
    said = texts(found)
    assert "F follows from your scores" in said["opened test"]
    alone = case.checked(named=1000)
    assert states(alone)["opened test"] == "not checked"
    assert "if F is that of the pictures" in texts(alone)["opened test"]
    assert "24 bits are those that were committed" in said["opened bits"]
    assert "24 of 48 bits were chosen by round 1,000, which you named" in said[NAMES[1]]
    assert said["opened test"].startswith("The opened bits alone say 'coating found', and F")
    assert len({one.index for one in opening.opened}) == 24


def test_the_other_bits_stay_secret(case):
    opening = case.opened()
    text = (case.folder / "opening.json").read_text()
    shown = {one.index for one in opening.opened}
    key = case.key
    for purpose in (b"", b"sums\0" + bytes.fromhex(opening.unsealed().report)):
        secrets = bit_secrets(key._salt, key.bits, purpose)
        assert [one.hex() in text for one in secrets] == [i in shown for i in range(key.bits)]
    assert key._salt.hex() not in text
    sealed = (case.folder / "sealed.json").read_text()
    assert not [one for one in bit_secrets(key._salt, key.bits) if one.hex() in sealed]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["opened"][0].update(sign=-d["opened"][0]["sign"]), "is not the sealed one"),
        (lambda d: d["opened"][3].update(sum=0), "F of bit"),
        (lambda d: d.update(opened=d["opened"][:20]), "Other bits were opened"),
        (lambda d: d["round"].update(made_up_round(1000)), "Other bits were opened"),
        (lambda d: d.update(sealed=d["sealed"].replace("24", "23", 1)), "opened"),
        (lambda d: d.update(sealed="{}"), "sealed part of the opening"),
    ],
)
def test_a_changed_opening_is_found(case, change, words):
    case.opened()
    found = case.changed(change)
    assert states(found)["opened bits"] == "differs"
    assert words in texts(found)["opened bits"]
    assert "opened test" not in states(found)


def test_a_sealed_file_with_other_values_of_f_does_not_fit_the_report(case):
    """F that fits the message in every bit, made up once the bits were known to be opened."""
    text = case.sealed()
    perfect = replace(case.suspect, features=np.tile(SIGNS * 1.0, (len(case.suspect), 1)))
    with pytest.raises(EvidenceError, match="not those of the report"):
        seal_bits(case.report, case.key, perfect, case.commitment)
    assert json.loads(text)["count"] == 24


def test_values_of_f_that_were_made_up_later_do_not_fit_the_reports_t(tmp_path):
    """The owner writes the sealed file by hand: F with the message's sign in every bit."""
    (tmp_path / "round.json").write_text(json.dumps(ROUND_1000))
    case = Case(tmp_path, lean=None)
    sums = np.abs(whole_sums(contributions(case.suspect.features)))
    fitting = np.tile(sums * SIGNS / sums.max() * 1e-3, (len(case.suspect), 1))
    case.suspect = replace(case.suspect, features=fitting)
    case.opened()
    found = case.checked(named=1000)
    assert states(found)["opened test"] == "differs"
    assert "impossible with the report's T" in texts(found)["opened test"]


def test_a_report_of_made_up_scores_is_found_by_scoring_the_images(case):
    """Report, sealed file and opening agree, but the pictures are those of an innocent model."""
    case.opened()
    trusted = texts(case.checked(named=1000))["opened test"]
    assert "if F is that of the pictures" in trusted
    honest = replace(case.suspect, features=drawn(5).features)
    found = case.checked(named=1000, scores=honest)
    assert states(found)["opened test"] == "differs"
    assert "is not that of your scores" in texts(found)["opened test"]
    others = case.checked(named=1000, scores=drawn(5, seed=8))
    assert "not of the report's images" in texts(others)["opened test"]


def test_the_round_must_be_the_named_one(case, monkeypatch):
    without_signatures(monkeypatch)
    (case.folder / "late.json").write_text(json.dumps(made_up_round(2000)))
    case.opened("late.json")
    assert "expected round 1,000" in texts(case.checked(named=1000))[NAMES[1]]
    unnamed = case.checked()
    assert states(unnamed)[NAMES[1]] == "not checked"
    assert "nothing shows that it was named before" in texts(unnamed)[NAMES[1]]
    with pytest.raises(EvidenceError, match="expected round"):
        case.opened("late.json", number=1999)


def test_a_time_stamp_of_the_sealed_file_names_the_round(case, tmp_path, monkeypatch):
    pytest.importorskip("rfc3161_client")
    without_signatures(monkeypatch)
    authority = TimeAuthority(tmp_path / "authority")
    case.sealed()
    text = read_sealed(case.folder / "sealed.json")
    stamp = authority.stamped(case.folder / "sealed.json")
    files = ChainFiles(case.folder / "sealed.json", stamp, authority.root)
    number = CHAINS[QUICKNET].first_after(files.stamp().latest)
    found = case.folder / "round.json"
    for given, words in ((number, "came first after the sealed"), (number + 9, "expected round")):
        found.write_text(json.dumps(made_up_round(given)))
        opening = open_bits(case.report, case.key, case.suspect, text, read_round(found))
        (case.folder / "opening.json").unlink(missing_ok=True)
        save_opening(opening, case.folder / "opening.json")
        seen = case.checked(timestamp=stamp, roots=authority.root)
        assert words in texts(seen)[NAMES[1]]
    assert "needs --root" in texts(case.checked(timestamp=stamp))[NAMES[1]]


def test_bits_that_were_not_committed_are_found(case, tmp_path):
    case.opened()
    (tmp_path / "other").mkdir()
    other = Case(tmp_path / "other", replace_key())
    found = case.checked(named=1000, files=ChainFiles(other.commitment))
    assert states(found)["opened bits"] == "differs"
    given = OpeningEvidence(case.folder / "opening.json", named=1000)
    alone = check_report(case.report, opening=given)
    assert states(alone)["opened bits"] == "not checked"
    with pytest.raises(EvidenceError, match="no hashes of this key's single bits"):
        seal_bits(case.report, case.key, case.suspect, other.commitment)


def replace_key():
    return type(known_key())(SIGNS, bytes(32))


def test_an_innocent_model_is_not_found_by_the_opened_bits(tmp_path):
    (tmp_path / "round.json").write_text(json.dumps(ROUND_1000))
    case = Case(tmp_path, lean=None)
    case.opened()
    found = case.checked(named=1000)
    assert states(found)["opened test"] == "not checked"
    assert "do not reach the accepted risk" in texts(found)["opened test"]


def test_at_most_half_is_opened(case):
    for count in (0, 25):
        with pytest.raises(EvidenceError, match="expected 1 to 24"):
            case.sealed(count=count)


def test_every_bit_is_chosen_equally_often():
    times = np.zeros(48)
    for number in range(2000):
        times[chosen_bits(f"{number:064x}", "ab" * 32, 48, 24)] += 1
    assert np.abs(times / 2000 - 0.5).max() < 0.05


def test_bits_of_a_derived_key_are_shown_to_follow_from_the_beacon(tmp_path, monkeypatch):
    pytest.importorskip("rfc3161_client")
    without_signatures(monkeypatch)
    authority, salt = TimeAuthority(tmp_path / "authority"), KeySalt()
    Coater(SHAPE).save(tmp_path / "coater.safetensors")
    commitment = tmp_path / "c.json"
    make_commitment(tmp_path / "coater.safetensors", salt=salt).save(commitment)
    files = ChainFiles(commitment, authority.stamped(commitment), authority.root, tmp_path / "d")
    number = CHAINS[QUICKNET].first_after(files.stamp().latest)
    files.round.write_text(json.dumps(made_up_round(number)))
    ring, _ = derive_keys(salt, files, read_round(files.round))
    key = ring.key()
    (tmp_path / "round.json").write_text(json.dumps(made_up_round(number + 100)))
    case = Case(tmp_path, key, lean=key.signs(), salt=salt)
    opening = case.opened()
    assert opening.unsealed().derived
    said = texts(case.checked(named=number + 100, files=files))
    assert "24 bits follow from commitment and beacon" in said["opened bits"]
    assert "needs --round" in texts(case.checked(named=number + 100))["opened bits"]
    path = tmp_path / "opening.json"
    data = json.loads(path.read_text())
    data["opened"][0]["sign"] *= -1
    path.write_text(json.dumps(data))
    found = case.checked(named=number + 100, files=files)
    assert "does not follow from commitment and beacon" in texts(found)["opened bits"]
    assert read_opening(path).opened[0].sign == data["opened"][0]["sign"]
