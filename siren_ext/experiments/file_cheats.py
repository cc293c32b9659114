"""What an owner could change in reports and records, and what the program makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from siren_ext.errors import EvidenceError
from siren_ext.evidence.chain import ChainFiles
from siren_ext.evidence.counting import FiledKey, counted
from siren_ext.evidence.ledger import ledger_of, start_ledger
from siren_ext.evidence.ots import PLACE, read_header
from siren_ext.experiments.owner_cheats import BITS, Scene, lean, scores_of
from siren_ext.keys.signing import Signer
from siren_ext.report.chain_check import ChainEvidence
from siren_ext.report.check import check_report
from siren_ext.report.integrity import JSON, write_seal
from siren_ext.report.points import CheckPoint
from siren_ext.report.write import write_report
from siren_ext.scoring.centre import centred
from siren_ext.scoring.control import control_message
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.verify import verify


def changed_ledger(set_: Scene, work: Path) -> str:
    """A line of the ledger is changed after a test that found nothing."""
    key = FiledKey(set_.key, work / "changed.json", 1)
    start_ledger(key.file)
    counted(key, set_.innocent, None)
    place = ledger_of(key.file)
    first, second = place.read_bytes().splitlines()
    place.write_bytes(first.replace(b'"time":"2', b'"time":"1') + b"\n" + second + b"\n")
    found, _ = counted(key, scores_of(lean(5), set_.innocent.coater, seed=5), None)
    said = "" if found is None else found.text.partition("The ledger")[2]
    return f"reported: The ledger{said}"


def removed_warnings(set_: Scene, work: Path) -> str:
    """The warnings are taken out of a report, which is sealed again."""

    def change(report: Any) -> None:
        report["verdict"]["warnings"] = []

    point = _changed(set_, work / "warnings", change, "verdict")
    return f"{point.state}: the warnings are made again from the figures and compared"


def earlier_commitment(set_: Scene, work: Path) -> str:
    """A report states that its commitment is ten years older, and is sealed again."""

    def change(report: Any) -> None:
        report["verdict"]["commitment"]["created"] = "2015-01-01T00:00:00Z"

    return _said(_changed(set_, work / "earlier", change, "commitment"))


def lower_price(set_: Scene, work: Path) -> str:
    """A report of test 3 states p without its price, and is sealed again."""

    def change(report: Any) -> None:
        report["verdict"]["commitment"]["number"] = 3

    return _said(_changed(set_, work / "price", change, "number of tests"))


def own_signature(set_: Scene, work: Path) -> str:
    """A report is signed with a key that nobody knows."""
    folder = work / "signed"
    said = verify(set_.innocent, None, VerifyConfig(), key=set_.key)
    write_report(said, set_.innocent, None, folder)
    write_seal(folder, Signer.draw())
    point = next(one for one in check_report(folder).points if one.name == "signature")
    return f"{point.state}: {point.text.partition(',')[0]}"


def both_ways(set_: Scene, work: Path) -> str:
    """The same pictures are tested with and without centring, to show the better result."""
    key = FiledKey(set_.key, work / "centred.json", 1)
    start_ledger(key.file)
    moved = centred(set_.innocent, scores_of(lean(2), set_.innocent.coater, seed=11))
    prices = [counted(key, scores, None)[1] for scores in (set_.innocent, moved)]
    return f"two tests: p is multiplied by {prices[0]}, then by {prices[1]}"


def other_prompts_again(set_: Scene, work: Path) -> str:
    """The same innocent model is asked other prompts until its pictures fit."""
    key = FiledKey(set_.key, work / "asked.json", 1)
    start_ledger(key.file)
    pools = [scores_of(lean(2), set_.innocent.coater, seed=seed) for seed in (31, 32)]
    prices = [counted(key, pool, None)[1] for pool in pools]
    return f"each set of pictures is a test: p is multiplied by {prices[0]}, then by {prices[1]}"


def made_up_block(_: Scene, __: Path) -> str:
    """The proof of OpenTimestamps leads to a block of one's own making."""
    try:
        read_header(bytes(36) + bytes(range(32)) + (1_700_000_000).to_bytes(4, "little") + bytes(8))
    except EvidenceError as error:
        refused = str(error).partition(" with hash ")[0]
        why = str(error).partition(" has ")[2].partition(". ")[0]
        place = PLACE.partition(" (")[0]
        return f"refused: {refused} has {why}; of other blocks, {place} is listed as not checked"
    return "accepted"


def hidden_message(set_: Scene, _: Path) -> str:
    """A guilty model paints what the coater reads alike in every picture, such as paintings.

    Of every bit the coater reads the same sign everywhere, far beyond the scale of tanh, and the
    message moves it as much as the control's message does.
    """
    kind, mark = 14.0 * np.sign(lean(12)), set_.innocent.coater
    suspect = scores_of(kind + 2.5 * set_.key.signs(), mark, seed=14)
    written = 2.5 * control_message(mark, BITS)
    suspect = replace(suspect, control=np.asarray(suspect.features) + written)
    moved = centred(suspect, scores_of(kind, mark, images=60, seed=15))
    alone, found = (verify(one, None, VerifyConfig(), key=set_.key) for one in (suspect, moved))
    return (
        f"{alone.outcome} (p = {alone.deciding.p_value:.1g}); centred by 60 uncoated pictures of "
        f"that kind: {found.outcome} (p = {found.deciding.p_value:.1g})"
    )


def _changed(set_: Scene, folder: Path, change: Callable[[Any], None], point: str) -> CheckPoint:
    """What the check says after a change to a report's record."""
    found = set_.standing(set_.key, set_.innocent, set_.innocent.source)
    config = VerifyConfig(price=max(1, found.keys))
    said = verify(set_.innocent, None, config, key=set_.key, precedence=found)
    write_report(said, set_.innocent, None, folder)
    report = json.loads((folder / JSON).read_text("utf-8"))
    change(report)
    (folder / JSON).write_text(json.dumps(report), "utf-8")
    write_seal(folder)
    given = ChainEvidence(ChainFiles(set_.commitment))
    return next(one for one in check_report(folder, chain=given).points if one.name == point)


def _said(point: CheckPoint) -> str:
    return f"{point.state}: {point.text}"
