"""Which files of a folder are coated images, whatever became of their names."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from siren_ext.coating.manifest import MANIFEST_NAME, CoatConfig, CoatEntry, CoatManifest
from siren_ext.evidence.coated_files import coated_hashes, differences, unrecorded
from siren_ext.files import sha256_file

NAMES = ("\u00e9.png", "b.png", "sub/c.png")


@pytest.fixture
def coated(tmp_path: Path) -> Path:
    """Three coated images and a copied one, with their record."""
    (tmp_path / "sub").mkdir()
    entries = []
    for level, name in enumerate((*NAMES, "copied.png")):
        Image.fromarray(np.full((20, 20, 3), level, np.uint8)).save(tmp_path / name)
        marks = ("0" * 64, sha256_file(tmp_path / name), name in NAMES)
        entries.append(CoatEntry(name, name, *marks, None, 1.0, None, (20, 20)))
    CoatManifest("ab" * 32, CoatConfig(), tuple(entries), ()).save(tmp_path / MANIFEST_NAME)
    return tmp_path


def test_names_that_file_systems_and_people_change_still_count(coated) -> None:
    before = coated_hashes(coated)
    assert {name for name, _ in before} == set(NAMES)
    (coated / "old name.png").write_bytes((coated / "b.png").read_bytes())  # of an earlier run
    assert coated_hashes(coated) == before
    (coated / "old name.png").unlink()
    (coated / NAMES[0]).rename(coated / unicodedata.normalize("NFD", NAMES[0]))
    (coated / "b.png").rename(coated / "final.png")
    after = coated_hashes(coated)
    assert len(after) == 3
    assert {digest for _, digest in after} == {digest for _, digest in before}
    assert differences(before, after) == ([], [])
    (coated / "sub/c.png").rename(coated / "sub/C.PNG")
    Image.new("RGB", (20, 20), "red").save(coated / "sub/C.PNG")
    (coated / "final.png").unlink()
    assert differences(before, coated_hashes(coated)) == (["sub/c.png"], ["b.png"])


def test_images_in_no_record_are_listed(coated) -> None:
    files = {name for name, _ in coated_hashes(coated)}
    assert unrecorded(coated, files) == []
    Image.new("RGB", (20, 20), "red").save(coated / "edited.png")
    assert {name for name, _ in coated_hashes(coated)} == files
    assert unrecorded(coated, files) == ["edited.png"]
    (coated / MANIFEST_NAME).unlink()
    assert unrecorded(coated, {name for name, _ in coated_hashes(coated)}) == []
