"""The steps behind the panels: coating and verifying, and what the cards say."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from support.metadata_files import jpeg, segment
from support.noise_files import noise_folder
from support.stopping import StopAfter

from siren_ext.coating.outputs import folder_to_coat
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import Cancelled, ImageError
from siren_ext.panels import html as cards
from siren_ext.panels.actions import before_after, coat_step, verify_step
from siren_ext.panels.host import PanelHost


def test_coated_files_are_those_of_the_archive(host: PanelHost, pictures: Path) -> None:
    job = host.jobs.new("t")
    coater = host.coaters.load("mine.safetensors")
    data = ImageSet.open(pictures)
    done = coat_step(data, coater, job)
    with zipfile.ZipFile(done.archive) as archive:
        names = set(archive.namelist())
        assert names == {f"p{i}.{kind}" for i in range(5) for kind in ("png", "txt")}
        assert archive.read("p0.png") == done.files[0].read_bytes()
    assert done.record.is_file()
    assert done.record.name not in names  # it tells which images are coated
    tiles = before_after(done, data, job)
    assert len(tiles) == 3
    assert all(Path(path).suffix == ".png" for path, _ in tiles)
    card = cards.coat_card(done)
    assert "5 images coated" in card
    assert "dB" in card


def test_the_format_of_the_originals_and_what_is_lost_are_shown(
    host: PanelHost, tmp_path: Path
) -> None:
    credentials = segment(0xEB, b"JP\0\1\0\0\0\1jumb....c2pa")
    for number in range(5):
        jpeg(tmp_path / "in" / f"<{number}>.jpg", credentials)
    coater = host.coaters.load("mine.safetensors")
    data, job = ImageSet.open(tmp_path / "in"), host.jobs.new("t")
    done = coat_step(data, coater, job, file_format="keep")
    assert {path.suffix for path in done.files} == {".jpg"}
    assert len(before_after(done, data, job)) == 3
    card = cards.coat_card(done)
    assert "Content credentials (C2PA) were dropped" in card
    assert "(&lt;0&gt;.jpg, &lt;1&gt;.jpg, &lt;2&gt;.jpg and 2 more)" in card
    shares = [entry.compression.kept for entry in done.manifest.entries]
    assert ("After compression" in card) == any(share is not None for share in shares)


def test_stop_keeps_what_is_finished(host: PanelHost, pictures: Path) -> None:
    coater = host.coaters.load("mine.safetensors")
    data = ImageSet.open(pictures)
    with pytest.raises(Cancelled):
        coat_step(data, coater, host.jobs.new("t"), progress=StopAfter(3))
    done = coat_step(data, coater, host.jobs.new("t"), progress=StopAfter(7))
    assert done.stopped
    assert done.files
    assert all(path.is_file() for path in done.files)
    assert "then stopped" in cards.coat_card(done)


def test_a_run_that_was_stopped_at_once_shows_nothing_of_an_earlier_one(
    host: PanelHost, pictures: Path
) -> None:
    coater, data = host.coaters.load("mine.safetensors"), ImageSet.open(pictures)
    job = host.jobs.new("t")
    coat_step(data, coater, job)
    with pytest.raises(Cancelled):
        coat_step(data, coater, job, strength=0.5, progress=StopAfter(1))


def test_sets_of_one_name_are_kept_apart(host: PanelHost, pictures: Path, tmp_path: Path) -> None:
    coater, data = host.coaters.load("mine.safetensors"), ImageSet.open(pictures)
    (tmp_path / "client").mkdir()
    others = ImageSet.open(noise_folder(tmp_path / "client" / pictures.name, 3, 5, 99))
    place = tmp_path / "coated" / pictures.name
    assert folder_to_coat(place, data, coater, None) == place
    coat_step(data, coater, host.jobs.new("t"), out=place)
    assert folder_to_coat(place, data, coater, None) == place  # resumed
    second = folder_to_coat(place, others, coater, None)
    assert second == place.with_name(f"{place.name}-2")
    done = coat_step(others, coater, host.jobs.new("t"), out=second)
    assert folder_to_coat(place, others, coater, None) == second
    with zipfile.ZipFile(done.archive) as archive:
        assert len([name for name in archive.namelist() if name.endswith(".png")]) == 3


def test_bad_files_are_named_not_fatal(host: PanelHost, pictures: Path) -> None:
    (pictures / "<b>.png").write_bytes(b"no image")
    done = coat_step(
        ImageSet.open(pictures), host.coaters.load("mine.safetensors"), host.jobs.new("t")
    )
    assert len(done.files) == 5
    card = cards.coat_card(done)
    assert "&lt;b&gt;.png" in card
    assert "<b>.png" not in card


def test_only_bad_files(host: PanelHost, tmp_path: Path) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"None of the images.*a\.png"):
        coat_step(ImageSet.open(folder), host.coaters.load("mine.safetensors"), host.jobs.new("t"))


def test_a_verdict_with_report_and_tiles(host: PanelHost, tmp_path: Path) -> None:
    first, second = (
        noise_folder(tmp_path / "s", 20, 1, 255), noise_folder(tmp_path / "r", 21, 2, 255)
    )  # fmt: skip
    coater = host.coaters.load("mine.safetensors")
    job = host.jobs.new("t")
    verification = verify_step(first, second, coater, job, alpha=1e-3)
    assert verification.verdict.outcome == "no difference found"
    darker = noise_folder(tmp_path / "d", 21, 3, 60)
    other = verify_step(first, darker, coater, host.jobs.new("t"), alpha=1e-3)
    assert other.verdict.outcome == "not comparable"
    assert verification.report.html.is_file()
    order = sorted(verification.suspect.scores)
    assert len(verification.lowest) == len(verification.highest) == 4
    assert f"lowest: {order[0]:.3g}" in verification.lowest[0][1]
    assert f"highest: {order[-1]:.3g}" in verification.highest[-1][1]
    card = cards.verdict_card(verification.verdict, "a <remark>")
    assert verification.verdict.outcome in card
    assert "a &lt;remark&gt;" in card
    charts = cards.chart_card(verification.verdict, verification.suspect, verification.reference)
    assert charts.count("<svg") == 2
