"""What ``--out`` replaces and what it leaves alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.evidence_samples import PASSPHRASE
from support.score_sets import drawn

from siren_ext.cli.output import check_output
from siren_ext.errors import ConfigError, EvidenceError


def test_new_empty_and_earlier_files_are_written(tmp_path: Path) -> None:
    scores = tmp_path / "scores.json"
    check_output(scores, "scores")
    scores.touch()
    check_output(scores, "scores")
    drawn(5).save(scores)
    check_output(scores, "scores")
    with pytest.raises(
        ConfigError, match="exists and is not a file that siren-ext personalize wrote"
    ):
        check_output(scores, "adapter")
    check_output(scores, "adapter", force=True)


@pytest.mark.parametrize(
    "content", [b"\x89PNG\r\n", b"{}", b'{"format": "siren_ext.report"}', b" "]
)
def test_other_files_are_not_replaced(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "cat.png"
    file.write_bytes(content)
    for kind in ("scores", "adapter"):
        with pytest.raises(ConfigError, match=r"cat\.png exists and is not a .* not replaced"):
            check_output(file, kind)


def test_folders_and_files_do_not_replace_each_other(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(ConfigError, match="is a folder; expected the name of a file"):
        check_output(tmp_path, "scores", force=True)
    with pytest.raises(ConfigError, match="is a file; expected the name of a folder"):
        check_output(file, "report", force=True)


def test_pages_of_other_programs_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    check_output(tmp_path, "report")
    (tmp_path / "report.html").write_text("my page")
    with pytest.raises(ConfigError, match=r"contains a report\.html that is not a report"):
        check_output(tmp_path, "report")
    (tmp_path / "report.json").write_text('{"format": "something"}')
    with pytest.raises(ConfigError, match=r"contains a report\.json that is not a report"):
        check_output(tmp_path, "report")
    check_output(tmp_path, "report", force=True)


def test_rankings_of_other_programs_and_tables_are_not_replaced(tmp_path: Path) -> None:
    for kind in ("ranking", "robustness"):
        check_output(tmp_path / "new", kind)
        check_output(tmp_path, kind)
    (tmp_path / "attribution.html").write_text("mine")
    with pytest.raises(ConfigError, match=r"contains attribution\.html, which is not a ranking"):
        check_output(tmp_path, "ranking")
    (tmp_path / "attribution.json").write_text('{"format": "siren_ext.attribution"}')
    check_output(tmp_path, "ranking")
    with pytest.raises(ConfigError, match="already has files in it, and nothing was overwritten"):
        check_output(tmp_path, "robustness")
    for kind in ("ranking", "robustness"):
        check_output(tmp_path, kind, force=True)
        with pytest.raises(ConfigError, match="is a file; expected the name of a folder"):
            check_output(tmp_path / "attribution.html", kind, force=True)


def test_a_damaged_seal_is_kept(tmp_path: Path) -> None:
    (tmp_path / "report.seal.json").write_text("{")
    with pytest.raises(EvidenceError, match="a report with a damaged seal"):
        check_output(tmp_path, "report")


def test_score_keeps_a_picture(call, photos: Path, coater_file: Path) -> None:
    picture = photos / "0.png"
    before = picture.read_bytes()
    code, _, err = call("score", photos, "--coater", coater_file, "--out", picture)
    assert code == 2
    assert "is not a file of scores, so it was not replaced" in err
    assert picture.read_bytes() == before
    line = ("score", photos, "--coater", coater_file, "--out", picture, "--force")
    assert call(*line)[0] == 0
    assert json.loads(picture.read_text())["format"] == "siren_ext.scores"


def test_a_signed_report_is_kept(
    call, photos: Path, coater_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cryptography")
    monkeypatch.setenv("SECRET", PASSPHRASE)
    signing, scores, report = tmp_path / "sign.json", tmp_path / "s.json", tmp_path / "report"
    assert call("key", "signing", signing, "--passphrase-env", "SECRET")[0] == 0
    assert call("score", photos, "--coater", coater_file, "--out", scores)[0] == 0
    line = ("verify", "--suspect", scores, "--reference", scores, "--out", report)
    signed = (*line, "--sign", signing, "--passphrase-env", "SECRET")
    assert call(*line)[0] == 0
    assert call(*line)[0] == 0, "a report without a signature is replaced"
    assert call(*signed)[0] == 0
    before = (report / "report.seal.json").read_bytes()
    for again in (line, signed):
        code, _, err = call(*again)
        assert code == 2
        assert "contains a signed report, which was not replaced" in err
    assert (report / "report.seal.json").read_bytes() == before
    assert call(*line, "--force")[0] == 0
    assert (report / "report.seal.json").read_bytes() != before
