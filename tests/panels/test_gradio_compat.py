"""Uploads of every Gradio are paths."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from siren_ext.panels.gradio_compat import upload_field, upload_paths


class File:
    """As in Gradio 3: any path is read."""

    def __init__(self, label: str) -> None:
        self.label = label

    def preprocess(self, value: Any) -> Any:
        return ("read", value)


class RefusalError(Exception):
    pass


def gradio(version: str) -> Any:
    return SimpleNamespace(__version__=version, File=File, Error=RefusalError)


def entry(path: object) -> dict[str, Any]:
    return {"name": str(path), "data": None, "is_file": True}


def test_gradio_3_reads_uploads_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads, outside = tmp_path / "uploads", tmp_path / "secret.json"
    (uploads / "ab12").mkdir(parents=True)
    good = uploads / "ab12" / "a.png"
    for path in (good, outside):
        path.write_text("x", encoding="utf-8")
    (uploads / "ab12" / "link.json").symlink_to(outside)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(uploads))
    monkeypatch.chdir(tmp_path)
    field = upload_field(gradio("3.41.2"), label="Key file")
    inline = {"name": "/etc/passwd", "data": "data:;base64,eA==", "is_file": False}
    for value in (None, entry(good), [entry(good), entry(good)], inline, [inline]):
        assert field.preprocess(value) == ("read", value)
    for path in (
        outside,
        "secret.json",
        f"{uploads}/../secret.json",
        f"{uploads}/ab12/link.json",
        uploads,
        f"{uploads}x/a.png",
        "/etc/passwd",
        "",
        "a\0b",
    ):
        for value in (entry(path), [entry(good), entry(path)]):
            with pytest.raises(RefusalError, match="outside the upload folder"):
                field.preprocess(value)


@pytest.mark.parametrize("version", ["4.40.0", "6.31.0"])
def test_later_versions_check_paths_themselves(version: str) -> None:
    field = upload_field(gradio(version), label="Key file")
    assert field.preprocess(entry("/etc/passwd")) == ("read", entry("/etc/passwd"))


def test_paths_of_every_gradio() -> None:
    assert upload_paths(None) == []
    assert upload_paths("a.png") == [Path("a.png")]
    assert upload_paths([SimpleNamespace(name="b.png"), "c.png"]) == [Path("b.png"), Path("c.png")]
