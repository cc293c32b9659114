"""A small coater and images for the panels' steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.evidence_samples import PASSPHRASE
from support.keyed_samples import coaters

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.keys.coating_key import KeyRing
from siren_ext.panels.host import CoaterLibrary, JobFolders, PanelHost, UploadLimits


@pytest.fixture
def coater_file(tmp_path: Path) -> Path:
    """An untrained coater, small enough for tests."""
    path = tmp_path / "coaters" / "mine.safetensors"
    config = CoaterConfig(channels=8, generator_blocks=1, extractor_blocks=1, working_size=32)
    Coater(config).save(path)
    return path


@pytest.fixture
def host(coater_file: Path) -> PanelHost:
    """A host whose visitors may name folders."""
    limits = UploadLimits(files=12, file_mb=0.5, total_mb=2, megapixels=0.1, folders=True)
    return PanelHost(
        limits=limits, coaters=CoaterLibrary(coater_file.parent, device="cpu"), jobs=JobFolders(5)
    )


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Five images with a caption each."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for index in range(5):
        pixels = rng.integers(0, 256, (6, 6, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize((48, 40)).save(folder / f"p{index}.png")
        (folder / f"p{index}.txt").write_text(f"picture {index}\n")
    return folder


@pytest.fixture
def keyed(tmp_path: Path) -> Coater:
    return coaters(tmp_path / "coaters")


@pytest.fixture
def plain(tmp_path: Path, keyed: Coater) -> Coater:
    return Coater.load(tmp_path / "coaters" / "plain.safetensors")


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    made = KeyRing.draw(["gallery", "printer"])
    made.save(tmp_path / "keys.json", PASSPHRASE)
    return made
