"""The run button of the panel that coats, without a layout."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from siren_ext.panels.coat import FORMATS, LAYOUTS, _runner
from siren_ext.panels.host import PanelHost

SAME, KOHYA = LAYOUTS


def coated(host: PanelHost, uploads: Any, folder: str, layout: str = SAME) -> tuple[str, set[str]]:
    """What the card says, and the names in the archive."""
    gr = SimpleNamespace(Progress=lambda: lambda *_, **__: None, update=lambda **values: values)
    form = (
        uploads,
        folder,
        "mine.safetensors",
        None,
        None,
        "",
        "",
        1.0,
        layout,
        next(iter(FORMATS)),
    )
    card, archive, *_ = _runner(gr, host)(*form, "", gr.Progress())
    assert archive["value"], card
    with zipfile.ZipFile(archive["value"]) as found:
        return card, set(found.namelist())


def test_what_earlier_runs_left_is_told_and_not_packed_for_publishing(
    host: PanelHost, pictures: Path, tmp_path: Path
) -> None:
    host = replace(host, outputs=tmp_path / "outputs")
    card, names = coated(host, None, str(pictures))
    assert names == {f"p{i}.{kind}" for i in range(5) for kind in ("png", "txt")}
    assert "earlier runs" not in card
    for kind in ("png", "txt"):  # the owner doesn't want to publish it after all
        (pictures / f"p0.{kind}").unlink()
    card, names = coated(host, None, str(pictures))
    assert names == {f"p{i}.{kind}" for i in range(1, 5) for kind in ("png", "txt")}
    assert "coated/pictures still contains 2 files from earlier runs (p0.png, p0.txt)" in card
    _, names = coated(host, None, str(pictures), KOHYA)
    assert "p1.png" not in names
    assert len([name for name in names if name.endswith(".png")]) == 4


def test_the_training_folder_of_uploads_is_named_as_the_owner_named_them(
    host: PanelHost, pictures: Path, tmp_path: Path
) -> None:
    images = sorted(pictures.glob("*.png"))
    archive = tmp_path / "coated.ZIP"  # also the name of a folder of ours
    with zipfile.ZipFile(archive, "w") as target:
        for image in images:
            target.write(image, image.name)
    one = [str(path) for path in images]
    for uploads, words in ((str(archive), "coated"), (one, "images"), ([*one, archive], "images")):
        _, names = coated(host, uploads, "", KOHYA)
        assert {Path(name).parent.name for name in names if name.endswith(".png")} == {f"1_{words}"}
