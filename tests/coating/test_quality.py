"""Figures of written files, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from siren_ext.coating.manifest import CoatConfig, CoatEntry, CoatManifest
from siren_ext.coating.quality import below_every_clean, measure_files
from siren_ext.data.images import Picture, write_picture


def entry(name: str, *, coated: bool = True, clean: float = 2.0, score: float = 1.0) -> CoatEntry:
    return CoatEntry(
        source=name,
        output=name,
        source_sha256="0",
        output_sha256=f"hash of {name}",
        coated=coated,
        psnr_db=None,
        clean_score=clean,
        coated_score=score if coated else None,
        size=(16, 16),
        notes=(),
    )


def test_rows_of_the_coated_files(tmp_path: Path) -> None:
    before = np.full((16, 16, 3), 100, dtype=np.uint8)
    for name, change in (("a.png", 2), ("b.png", 0)):
        write_picture(Picture(before), tmp_path / "in" / name)
        write_picture(Picture(before + np.uint8(change)), tmp_path / "out" / name)
    entries = (entry("a.png"), entry("b.png"), entry("c.png", coated=False))
    manifest = CoatManifest("coater", CoatConfig(), entries, (), (), True)
    originals = {name: tmp_path / "in" / name for name in ("a.png", "b.png")}
    first, second = measure_files(manifest, originals, tmp_path / "out")
    assert first["psnr_db"] == pytest.approx(20 * np.log10(255 / 2))
    assert second["psnr_db"] is None
    assert second["ssim"] == pytest.approx(1)
    assert second["local_de00_p99"] == pytest.approx(0, abs=1e-3)
    assert (first["sha256"], first["clean_score"], first["coated_score"]) == ("hash of a.png", 2, 1)


def test_below_every_clean_file() -> None:
    rows = [
        {"clean_score": clean, "coated_score": coated}
        for clean, coated in ((3.0, 1.0), (2.0, 2.0), (5.0, 1.9))
    ]
    assert below_every_clean(rows) == 2
