"""Readers of reports, and of what a person checks a report with."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from support.compared_twins import compared
from support.evidence_samples import SIGNS, known_key
from support.feature_pairs import tables
from support.fuzz_reader import Reader, Sample, of_file, sample_of
from support.passive_reports import written as passive_report
from support.reports import written as written_report
from support.score_sets import drawn
from support.stub_beacon import made_up_round

from siren_ext.cli.output import check_output
from siren_ext.coating.twins import RECORD_NAME, Twin, TwinsRecord
from siren_ext.errors import SirenError
from siren_ext.evidence import beacon
from siren_ext.evidence.beacon import read_round
from siren_ext.evidence.chain import ChainFiles
from siren_ext.evidence.commitment import make_commitment
from siren_ext.evidence.ledger import count_test, ledger_of, start_ledger
from siren_ext.files import sha256_file
from siren_ext.keys.signing import Signer
from siren_ext.keys.single_bits import joint_hash, key_hashes
from siren_ext.panels.recheck import recheck_step
from siren_ext.passive.table import FeatureTable
from siren_ext.report import page_check, passive_check
from siren_ext.report.chain_check import ChainEvidence
from siren_ext.report.check import check_report
from siren_ext.report.keyed_summary import keyed_summary
from siren_ext.report.opening import open_bits, read_sealed, save_opening, save_sealed, seal_bits
from siren_ext.report.opening_check import OpeningEvidence
from siren_ext.report.write import write_report
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.verify import verify

BEFORE = Path(__file__).resolve().parents[1] / "fixtures" / "before"
ALPHA = VerifyConfig(alpha=1e-3)


def report_readers(work: Path, coater: Path) -> list[Reader]:
    """All of them; their good files are made in ``work``."""
    return [
        _reports(work), _passive_reports(work), _twins_records(work), _twins_reports(work),
        _preference_reports(work), _joint_reports(work), _openings(work, coater), _tables(work),
        _outputs(work),
    ]  # fmt: skip


def _samples(kept: dict[str, bytes]) -> list[Sample]:
    return [
        Sample(name, data, "json" if name.endswith("json") else "text")
        for name, data in kept.items()
    ]


def _files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def _checking(
    check: Callable[[Path, str], object], one_in: int = 64
) -> Callable[[Path, str], object]:
    """A check that makes the page anew for few mutants, because that takes longest."""

    def read(folder: Path, place: str) -> object:
        usual: Any = page_check.render_page, passive_check.render_passive
        if zlib.crc32((folder / place).read_bytes()) % one_in:
            page_check.render_page = passive_check.render_passive = lambda *_, **__: ""
        try:
            return check(folder, place)
        finally:
            page_check.render_page, passive_check.render_passive = usual

    return read


# -- reports --------------------------------------------------------------------------------


def _reports(work: Path) -> Reader:
    out = work / "report"
    written_report(drawn(2, 12), drawn(5, 12, seed=1), out, signer=Signer.draw())
    kept = _files(out)
    for old in ("report_keyed", "report_ks"):
        kept |= {f"{old}/{name}": data for name, data in _files(BEFORE / old).items()}

    def check(folder: Path, place: str) -> object:
        if place.endswith("report.json"):
            recheck_step(folder / place)
        return check_report((folder / place).parent)

    return Reader("reports", _samples(kept), _checking(check, 8), kept)


def _passive_reports(work: Path) -> Reader:
    out = work / "passive_report"
    passive_report(out, 12, permutations=19, control_permutations=19)
    kept = _files(out)

    def check(folder: Path, place: str) -> object:
        return check_report(folder)

    return Reader("passive reports", _samples(kept), _checking(check), kept)


def _twins(work: Path) -> Path:
    """A folder with the record of 40 twins."""
    folder, record = work / "twins", TwinsRecord("coater", bytes(32))
    folder.mkdir(exist_ok=True)
    side = record.side()
    names = [f"{row}.png" for row in range(40)]
    twins = [
        Twin(name, name, f"{row:064x}", "f" * 64, side.coin(name)) for row, name in enumerate(names)
    ]
    dataclasses.replace(record, images=tuple(twins)).save(folder)
    return folder


def _twins_records(work: Path) -> Reader:
    record = sample_of(_twins(work) / RECORD_NAME, "json")
    return Reader("records of twins", [record], of_file(TwinsRecord.load))


def _twins_reports(work: Path) -> Reader:
    twins, out = _twins(work), work / "twins_report"
    coins = [twin.coin for twin in TwinsRecord.load(twins).images]
    digest = sha256_file(twins / RECORD_NAME)
    suspect = compared(0.6, 40, coins=coins, record_sha256=digest)
    write_report(verify(suspect, config=ALPHA), suspect, None, out)
    kept = _files(out) | _files(twins)

    def check(folder: Path, place: str) -> object:
        return check_report(folder, chain=ChainEvidence(twins=folder))

    return Reader("reports on twins", _samples(kept), _checking(check), kept)


def _preference_reports(work: Path) -> Reader:
    out, key = work / "preference_report", known_key()
    drawn_anew = drawn(0, 12, lean=SIGNS)
    suspect = dataclasses.replace(drawn_anew, source={"kind": "preference"}, control=None)
    write_report(verify(suspect, config=ALPHA, key=key), suspect, None, out)
    suspect.save(work / "private.json")
    kept = _files(out)

    def check(folder: Path, place: str) -> object:
        return check_report(folder, key=key, suspect=suspect)

    return Reader("reports on preference", _samples(kept), _checking(check), kept)


def _joint_reports(work: Path) -> Reader:
    """A report on the keyed test, and one on passive evidence that states both together."""
    folder, key = work / "joint", known_key()
    suspect = drawn(0, 12, lean=SIGNS)
    write_report(verify(suspect, config=ALPHA, key=key), suspect, None, folder / "keyed")
    few = {"permutations": 19, "control_permutations": 19}
    passive_report(folder / "passive", 12, keyed=keyed_summary(folder / "keyed"), **few)
    kept = {
        f"{part}/{name}": data
        for part in ("keyed", "passive")
        for name, data in _files(folder / part).items()
    }

    def check(folder: Path, place: str) -> object:
        if place.startswith("keyed"):
            return keyed_summary(folder / place)
        return check_report(folder / "passive")

    return Reader("reports with keyed and passive evidence", _samples(kept), _checking(check), kept)


# -- what a report is checked with ----------------------------------------------------------


def _openings(work: Path, coater: Path) -> Reader:
    """A report on a keyed test, and half of the key's bits, its commitment and its ledger."""
    folder, key = work / "opened", known_key()
    folder.mkdir()
    bits = {key.fingerprint(): joint_hash(key_hashes(key))}
    make_commitment(coater, bits, bits=bits).save(folder / "commitment.json")
    suspect = drawn(5, 12, lean=SIGNS)
    write_report(verify(suspect, None, ALPHA, key=key), suspect, None, folder / "report")
    made = seal_bits(folder / "report", key, suspect, folder / "commitment.json")
    save_sealed(made, folder / "sealed.json")
    (folder / "round.json").write_text(json.dumps(made_up_round(1000)))
    text, found = read_sealed(folder / "sealed.json"), read_round(folder / "round.json")
    with mock.patch.object(beacon, "_signed", return_value=True):  # the round is made up
        opened = open_bits(folder / "report", key, suspect, text, found)
    save_opening(opened, folder / "opening.json")
    start_ledger(folder / "keys.json")
    count_test(folder / "keys.json", suspect, key.fingerprint())
    ledger = ledger_of(folder / "keys.json").name
    names = ("sealed.json", "opening.json", "commitment.json", ledger)
    kinds = {ledger: "lines"}
    samples = [sample_of(folder / name, kinds.get(name, "json")) for name in names]
    kept = {one.place: one.data for one in samples}
    kept |= {f"report/{name}": data for name, data in _files(folder / "report").items()}

    def check(folder: Path, place: str) -> object:
        if place == "sealed.json":
            return read_sealed(folder / place)
        given = OpeningEvidence(folder / "opening.json", named=1000)
        chain = ChainEvidence(ChainFiles(folder / "commitment.json"), ledger=folder / ledger)
        with mock.patch.object(beacon, "_signed", return_value=True):
            return check_report(folder / "report", opening=given, chain=chain, suspect=suspect)

    return Reader("opened bits", samples, _checking(check), kept)


# -- what is kept, and what is in the way ---------------------------------------------------


def _tables(work: Path) -> Reader:
    tables(6)[0].save(work / "features.json")
    return Reader("feature tables", [sample_of(work / "features.json", "json")],
                  of_file(FeatureTable.load))  # fmt: skip


def _outputs(work: Path) -> Reader:
    """Files that are where a command is going to write."""
    kept = _files(work / "report")
    samples = [
        *_samples(kept),
        sample_of(work / "private.json", "json", "out"),
        sample_of(work / "coater.safetensors", "safetensors", "out"),
    ]

    def check(folder: Path, place: str) -> object:
        if place != "out":
            return check_output(folder, "report")
        for kind in ("scores", "adapter"):
            try:
                check_output(folder / place, kind)
            except SirenError as error:
                refused = error
            else:
                return kind
        raise refused

    return Reader("files in the way", samples, check, kept)
