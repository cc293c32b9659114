"""The options of ``coat`` that sign content credentials."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.content_certificates import write_certificates

from siren_ext.coating.manifest import MANIFEST_NAME, CoatManifest

pytest.importorskip("c2pa")
pytest.importorskip("cryptography")


def test_files_are_signed(call, photos: Path, coater_file: Path, tmp_path: Path) -> None:
    certificate, key = write_certificates(tmp_path / "pems")
    line = ["coat", photos, "--coater", coater_file, "--out", tmp_path / "c"]
    line += ["--content-credentials", certificate, "--content-key", key]
    for _ in range(2):
        code, out, err = call(*line)
        assert code == 0, err
        assert "4 of 4 images coated" in out
        assert "4 files signed with content credentials: not for training or data mining" in out
    entries = CoatManifest.load(tmp_path / "c" / MANIFEST_NAME).entries
    assert len({entry.credentials for entry in entries}) == 1


def test_a_signed_source_loses_its_credentials_and_the_command_says_so(
    call, photos: Path, coater_file: Path, tmp_path: Path
) -> None:
    pems = write_certificates(tmp_path / "pems")
    line = ["--coater", coater_file, "--content-credentials", pems[0], "--content-key", pems[1]]
    assert call("coat", photos, "--out", tmp_path / "once", *line)[0] == 0
    code, out, err = call("coat", tmp_path / "once", "--out", tmp_path / "twice", *line[:2])
    assert code == 0
    assert "Content credentials (C2PA) were dropped" in err
    assert "Coat first, then sign." in err
    assert "files signed" not in out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--content-credentials", "{cert}"), "both --content-credentials and --content-key"),
        (("--content-key", "{key}"), "both --content-credentials and --content-key"),
        (
            ("--content-credentials", "{cert}", "--content-key", "{key}", "--twins", "{tmp}/t"),
            "Twins can't get content credentials",
        ),
        (("--content-credentials", "{key}", "--content-key", "{key}"), "contains no certificate"),
    ],
)
def test_mistakes_are_found_before_anything_is_written(
    call, photos: Path, coater_file: Path, tmp_path: Path, more: tuple[str, ...], words: str
) -> None:
    cert, key = write_certificates(tmp_path / "pems")
    places = {"cert": cert, "key": key, "tmp": tmp_path}
    line = [word.format(**places) for word in more]
    code, _, err = call("coat", photos, "--coater", coater_file, "--out", tmp_path / "c", *line)
    assert code == 2
    assert words in err
    assert "Traceback" not in err
    assert not (tmp_path / "c").exists()
