"""Reports on twins: the page, and figures that are recomputed from differences and coins."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.compared_twins import compared
from support.reports import Page

from siren_ext.coating.twins import RECORD_NAME, Twin, TwinsRecord
from siren_ext.files import sha256_file
from siren_ext.report.check import check_report
from siren_ext.report.integrity import write_seal
from siren_ext.report.points import CheckPoint
from siren_ext.report.twins_check import coins_point
from siren_ext.report.write import write_report
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.verify import verify


@pytest.fixture
def report(tmp_path: Path) -> Path:
    suspect = compared(0.6)
    verdict = verify(suspect, config=VerifyConfig(alpha=1e-4))
    write_report(verdict, suspect, None, tmp_path)
    return tmp_path


def states(folder: Path) -> dict[str, str]:
    return {point.name: point.state for point in check_report(folder).points}


def test_the_page_says_what_was_compared(report: Path) -> None:
    text = Page((report / "report.html").read_text(encoding="utf-8")).text
    assert "Does the model know the published copies?" in text
    assert "of which the model prefers the published copy to its twin" in text
    assert "images of the suspicious model" not in text
    assert "reference" not in text.split("What was fixed beforehand")[0].replace("preference", "")


def test_every_figure_follows_from_differences_and_coins(report: Path) -> None:
    found = states(report)
    assert found["figures"] == found["verdict"] == found["page"] == "matches"
    for change in ("coin", "score", "p"):
        data = json.loads((report / "report.json").read_text())
        good = json.dumps(data)
        if change == "coin":
            coins = data["suspect"]["source"]["coins"]
            coins[0] = 1 - coins[0]
        elif change == "score":
            data["suspect"]["images"][0]["score"] *= -1
        else:
            data["verdict"]["findings"][0]["result"]["p_value"] /= 2
        (report / "report.json").write_text(json.dumps(data))
        write_seal(report)
        assert states(report)["figures"] == "differs", change
        (report / "report.json").write_text(good)
    data["suspect"]["source"]["coins"] = "none"
    (report / "report.json").write_text(json.dumps(data))
    write_seal(report)
    assert states(report)["figures"] == "differs"


def test_coins_are_compared_with_their_record(tmp_path: Path) -> None:
    record = TwinsRecord("coater", bytes(32))
    side = record.side()
    twins = tuple(
        Twin(f"{row}.png", f"{row}.png", f"{row:064x}", "f" * 64, side.coin(f"{row}.png"))
        for row in range(80)
    )
    replace(record, images=twins).save(tmp_path)
    digest = sha256_file(tmp_path / RECORD_NAME)
    coins = [twin.coin for twin in twins]

    def state(**facts) -> str:
        return coins_point(compared(0.0, **{"coins": coins, **facts}), tmp_path).state

    assert state(record_sha256=digest) == "matches"
    assert state(record_sha256="0" * 64) == "differs"
    assert state(record_sha256=digest, coins=[1 - coins[0], *coins[1:]]) == "differs"
    assert state(record_sha256=digest, coins="0101") == "differs"
    whole = compared(0.0, coins=coins, record_sha256=digest)

    def chosen(*rows: int) -> CheckPoint:
        """The same comparison without the other images."""
        facts = whole.source | {"coins": [coins[row] for row in rows]}
        names, hashes = ([every[row] for row in rows] for every in (whole.names, whole.hashes))
        part = ScoreSet(whole.scores[[*rows]], tuple(names), tuple(hashes), "coater", facts)
        return coins_point(part, tmp_path)

    assert chosen(*range(50)).text.endswith("; the last 30 of the record were not compared")
    for rows in ([0, *range(2, 80)], [1, 0], [0, 0], [*range(80), 79]):
        assert chosen(*rows).state == "differs", "images were chosen or repeated"
    assert coins_point(compared(0.0), None).state == "not checked"
    assert coins_point(compared(0.0), tmp_path / "none").state == "differs"
