"""Commitments to the coins of twins."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from support.keyed_coating import SHAPE
from support.tiny_models import draw_images

from siren_ext.coater.coater import Coater
from siren_ext.coating.twins import RECORD_NAME, coat_twins
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import EvidenceError
from siren_ext.evidence.commitment import Commitment, check_commitment, make_commitment
from siren_ext.files import sha256_file


@pytest.fixture
def coater(tmp_path: Path) -> Coater:
    made = Coater(dataclasses.replace(SHAPE, message_bits=0), seed=1)
    made.save(tmp_path / "coater.safetensors")
    return made


def test_the_coins_are_fixed_by_their_hash(coater: Coater, tmp_path: Path) -> None:
    photos = ImageSet.open(draw_images(tmp_path / "photos", 3))
    coat_twins(photos, coater, tmp_path / "out", tmp_path / "private")
    record = tmp_path / "private" / RECORD_NAME
    made = make_commitment(tmp_path / "coater.safetensors", twins=tmp_path / "private")
    assert made.twins == sha256_file(record)
    file = tmp_path / "commitment.json"
    made.save(file)
    assert Commitment.load(file) == made
    assert made.twins in file.read_text()
    found = check_commitment(file, coater=coater.fingerprint, twins=sha256_file(record))
    assert found.status == "committed before"
    assert "the coins of the twins" in found.checked
    other = check_commitment(file, coater=coater.fingerprint, twins="0" * 64)
    assert other.status == "does not fit"
    assert "coins of the twins are not the committed ones" in other.text
    (tmp_path / "private" / "1.png").write_bytes(b"")
    with pytest.raises(EvidenceError, match="missing or was changed"):
        make_commitment(tmp_path / "coater.safetensors", twins=tmp_path / "private")


def test_a_commitment_without_twins_has_none(coater: Coater, tmp_path: Path) -> None:
    file = tmp_path / "commitment.json"
    make_commitment(tmp_path / "coater.safetensors").save(file)
    assert Commitment.load(file).twins is None
    assert "twins" not in file.read_text()
    found = check_commitment(file, coater=coater.fingerprint, twins="0" * 64)
    assert found.status == "does not fit"
