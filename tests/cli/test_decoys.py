"""The command ``decoys``, and what ``score``, ``verify`` and ``report check`` make of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.decoy_sets import shared_decoys


@pytest.fixture
def made(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> tuple[Path, Path, Path]:
    """Pictures, a coater's file and the folder of its decoys."""
    data, coater, folder = shared_decoys(tmp_path_factory.getbasetemp())
    coater.save(tmp_path / "coater.safetensors")
    return data.root, tmp_path / "coater.safetensors", folder


def test_decoys_passes_its_settings(
    call, made: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import siren_ext.training.decoys as module
    from siren_ext.scoring.decoys import DecoyIndex, Ends

    pictures, coater, _ = made
    seen: dict[str, object] = {}

    def stand_in(*args, **rest) -> DecoyIndex:
        seen.update(rest, args=args)
        return DecoyIndex(coater="a" * 64, recipe="b" * 64, ends=Ends(2, 1))

    monkeypatch.setattr(module, "make_decoys", stand_in)
    out = tmp_path / "decoys"
    code, text, err = call("decoys", coater, pictures, "--base", "pocket", "--out", out)
    assert code == 0, err
    assert text == f"0 decoys: {out}\n"
    assert (seen["args"][0], seen["args"][2:]) == (coater, ("pocket", out))
    assert (len(seen["args"][1].items), seen["count"], seen["surrogate"]) == (3, 39, None)
    code, _, err = call(
        "decoys", coater, pictures, "--base", "pocket", "--out", out, "-k", "99",
        "--surrogate", tmp_path / "lora.safetensors",
    )  # fmt: skip
    assert code == 0, err
    assert (seen["count"], seen["surrogate"]) == (99, tmp_path / "lora.safetensors")


def test_from_scores_to_a_checked_report(
    call, made: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    pictures, coater, folder = made
    scores, report = tmp_path / "scores.json", tmp_path / "report"
    line = ("score", pictures, "--coater", coater, "--out", scores, "--decoys")
    code, _, err = call(*line, tmp_path / "none")
    assert code == 2
    assert "decoys.json" in err
    assert not scores.exists()
    code, _, err = call(*line, folder)
    assert code == 0, err
    code, out, err = call("verify", "--suspect", scores, "--alpha", "0.4", "--out", report)
    assert code == 0, err
    assert "rank among decoys: " in out
    assert "of 4 decoys find as much" in out
    page = (report / "report.html").read_text(encoding="utf-8")
    assert "Does the true coater stand out among its decoys?" in page
    assert "scores by 4 decoys, in report.json" in page
    code, out, err = call("report", "check", report)
    assert code == 3, err
    assert "that the decoys were made like the coater" in out + err
    assert "differs" not in out

    stored = json.loads((report / "report.json").read_text(encoding="utf-8"))
    changed = tmp_path / "changed"
    shutil.copytree(report, changed)
    (changed / "report.seal.json").unlink()
    stored["suspect"]["source"]["decoys"]["decoys"][0]["scores"] = [-9.0, -9.0, -9.0]
    (changed / "report.json").write_text(json.dumps(stored), encoding="utf-8")
    code, out, _ = call("report", "check", changed)
    assert code == 2
    assert "figures" in out


def test_a_committed_coater_is_found_in_its_own_coating(
    call, made: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    pictures, coater, folder = made
    coated, scores = tmp_path / "coated", tmp_path / "scores.json"
    commitment, report = tmp_path / "commitment.json", tmp_path / "report"
    for line in (
        ("coat", pictures, "--coater", coater, "--out", coated),
        ("commit", "--coater", coater, "--coated", coated, "--out", commitment),
        ("score", coated, "--coater", coater, "--decoys", folder, "--out", scores),
    ):
        code, _, err = call(*line)
        assert code == 0, err
    line = ("verify", "--suspect", scores, "--alpha", "0.4", "--out", report)
    code, out, err = call(*line)
    assert code == 0, err
    assert out.startswith("inconclusive: The true coater takes a place that would count")
    code, out, err = call(*line, "--commitment", commitment, "--coater", coater)
    assert code == 0, err
    assert out.startswith("coating found: The true coater stands out among its decoys")
    assert "p = 0.4, " in out  # one of five places, twice for the first test
    assert "This is test 1 of the commitment; p is multiplied by 2." in err
    assert "no ledger" not in err  # 'commit' began it
    ledger = tmp_path / "commitment.json.ledger"
    check = ("report", "check", report, "--commitment", commitment)
    code, out, err = call(*check)
    assert code == 3, out + err
    assert "differs" not in out
    assert "no ledger was given to check it with" in out + err
    code, out, err = call(*check, "--ledger", ledger)
    assert code == 3, out + err
    assert "It is test 1, and p was multiplied by 2" in out + err


def test_tests_of_a_coater_are_counted(call, made: tuple[Path, Path, Path], tmp_path: Path) -> None:
    pictures, coater, folder = made
    commitment, ledger = tmp_path / "commitment.json", tmp_path / "commitment.json.ledger"
    code, _, err = call("commit", "--coater", coater, "--out", commitment)
    assert code == 0, err
    assert "Keep commitment.json.ledger beside it" in err
    for number in (1, 2):
        suspect = tmp_path / f"suspect {number}"
        shutil.copytree(pictures, suspect)
        (suspect / f"{number}.png").unlink()
        code, _, err = call(
            "score", suspect, "--coater", coater, "--decoys", folder,
            "--out", tmp_path / f"{number}.json",
        )  # fmt: skip
        assert code == 0, err

    def verify(number: int, *more: object) -> tuple[str, dict]:
        report = tmp_path / "reports" / str(len(list((tmp_path / "reports").glob("*"))))
        line = ("verify", "--suspect", tmp_path / f"{number}.json", "--alpha", "0.4")
        code, _, err = call(*line, "--out", report, *more)
        assert code == 0, err
        return err, json.loads((report / "report.json").read_text(encoding="utf-8"))["verdict"]

    verify(1)  # without a commitment nothing can be found, and nothing is counted
    assert len(ledger.read_text().splitlines()) == 1
    committed = ("--commitment", commitment)
    for number, again, price in ((1, "", 2), (2, "", 6), (1, " again", 2)):
        err, verdict = verify(number, *committed)
        assert f"This is test {number} of the commitment{again}; p is multiplied by {price}." in err
        (finding,) = verdict["findings"]
        assert verdict["settings"]["price"] == price
        assert finding["p_value"] == min(1, price * finding["result"]["p_value"])
        assert "earlier tests" not in err
    ledger.unlink()
    err, verdict = verify(2, *committed)
    assert "There was no ledger beside the commitment" in err
    assert "Not checked: " in err
    assert "earlier tests of the coater" in err
