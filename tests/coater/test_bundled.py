"""Names of the bundled coaters, and which of them training begins with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from siren_ext.coater import bundled
from siren_ext.coater.coater import Coater
from siren_ext.data.images import quantise
from siren_ext.errors import CoaterError
from siren_ext.keys.coating_key import CoatingKey
from siren_ext.metrics.quality import psnr
from siren_ext.samples.folder import sample_set
from siren_ext.stats.keyed import keyed_test


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package folder whose coaters the test puts there."""
    folder = tmp_path / "pocket" / "coaters"
    folder.mkdir(parents=True)
    monkeypatch.setattr(bundled, "__file__", str(tmp_path / "coater" / "bundled.py"))
    return folder


def test_the_generic_one_is_preferred(installed: Path) -> None:
    assert bundled.usual_start() == "samples"
    (installed / "samples.safetensors").touch()
    assert bundled.usual_start() == "samples"
    (installed / "start.safetensors").touch()
    assert bundled.usual_start() == "start"


def test_public_coaters_are_known_by_their_weights(tmp_path: Path) -> None:
    found = bundled.public_coaters()
    assert len(found) == len(bundled.BUNDLED_COATERS)
    copy = tmp_path / "mine.safetensors"
    copy.write_bytes(bundled.coater_path("samples").read_bytes())
    assert Coater.load(copy).fingerprint in found


def test_who_has_a_public_coater_reads_the_message_and_writes_it_elsewhere() -> None:
    """The figures of the warning, for two keys."""
    coater = Coater.load(bundled.coater_path("keyed"))
    assert bundled.public_warning(coater.fingerprint) == bundled.PUBLIC
    assert bundled.public_warning("ab" * 32) == ""
    samples = torch.cat(list(sample_set().tensors(128)))
    read = []
    for seed in range(2):
        signs = np.random.default_rng(seed).integers(0, 2, 48) * 2 - 1
        found = signs_read(coater, samples[:40], signs)
        read.append(int((found == signs).sum()))
        copied = features_of(coater, samples[40:70], found)
        assert keyed_test(copied, signs).p_value < 1e-3
    assert read == [44, 41]
    assert "41 to 47 of 48 bits from 40 pictures" in bundled.PUBLIC


def features_of(coater: Coater, pictures: torch.Tensor, signs: np.ndarray) -> np.ndarray:
    message = torch.tensor(signs, dtype=torch.float32)
    with torch.no_grad():
        return coater.features(quantise(pictures + coater.residual(pictures, message))).numpy()


def signs_read(coater: Coater, pictures: torch.Tensor, signs: np.ndarray) -> np.ndarray:
    """What is read from coated pictures alone."""
    return np.sign(np.tanh(features_of(coater, pictures, signs) / 4).sum(axis=0))


def test_names_and_paths(installed: Path) -> None:
    (installed / "samples.safetensors").touch()
    assert bundled.coater_path("samples") == installed / "samples.safetensors"
    assert bundled.coater_path("mine.safetensors") == Path("mine.safetensors")
    with pytest.raises(CoaterError, match="bundled coater 'start' is missing"):
        bundled.coater_path("start")


@pytest.mark.parametrize(
    ("name", "fingerprint"),
    [
        ("samples", "cd9e3561bdaf6102fd86a5b3e6cf3e3fd419915389c893e72935a1d3c5daf7f4"),
        ("start", "a2ce93a19f06eb8b548c08962e3864d5f6f47bbbfd41a6f5946ae16bf19e0ceb"),
        ("keyed", "04df90776c324cdf5b8f0d64fc727049d917bc675eafed2233c8c80c5f45c645"),
    ],
)
def test_fingerprints_stay_what_earlier_scores_were_made_with(name: str, fingerprint: str) -> None:
    assert Coater.load(bundled.coater_path(name)).fingerprint == fingerprint


def test_a_message_is_read_in_the_coated_samples_and_not_in_clean_ones() -> None:
    coater = Coater.load(bundled.coater_path("keyed"))
    assert coater.config.message_bits == 48
    key = CoatingKey(np.random.default_rng(3).choice([-1, 1], 48))
    message = torch.tensor(key.signs(), dtype=torch.float32)
    read, noise = {"clean": [], "coated": []}, []
    with torch.no_grad():
        for clean in sample_set().tensors(128):
            coated = quantise(clean + coater.residual(clean, message))
            noise.append(float(psnr(coated, clean)))
            read["clean"].append(coater.features(clean))
            read["coated"].append(coater.features(coated))
    found = {name: keyed_test(torch.cat(rows).numpy(), key.signs()) for name, rows in read.items()}
    assert np.mean(noise) >= 38.5
    assert min(noise) >= 37.9  # 38 before rounding to eight bits
    assert found["coated"].bits_right >= 42
    assert found["coated"].p_value < 1e-6
    assert found["clean"].p_value > 0.01
