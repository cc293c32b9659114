"""What tests of the commands share: a coater file and a folder of pictures."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.evidence_samples import PASSPHRASE
from support.score_sets import drawn

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.keys.coating_key import KeyRing


@pytest.fixture(scope="module")
def coater_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny, untrained coater."""

    config = CoaterConfig(
        channels=4, generator_blocks=1, extractor_blocks=1, bits=2, features=4, working_size=32
    )
    path = tmp_path_factory.mktemp("coater") / "coater.safetensors"
    Coater(config, seed=1).save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four small pictures with a caption."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "0.txt").write_text("a fox")
    return folder


@pytest.fixture
def secret_in_environment(monkeypatch):
    monkeypatch.setenv("SECRET", PASSPHRASE)
    monkeypatch.setenv("OTHER", "another passphrase")


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def case(work):
    """Keys, scores with and without features, and an empty folder."""
    KeyRing.draw(["a"]).save(work / "keys.json", PASSPHRASE)
    drawn(5).save(work / "scores.json")
    dataclasses.replace(drawn(5), features=None).save(work / "plain.json")
    (work / "empty").mkdir()
    return work
