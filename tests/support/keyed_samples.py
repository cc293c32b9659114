"""A tiny keyed coater, a key whose message is in given pictures, and what must not be shown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from support.evidence_samples import PASSPHRASE

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.keys.coating_key import CoatingKey
from siren_ext.scoring.score import score_folder
from siren_ext.stats.keyed import contributions

BITS = 48


def coaters(folder: Path) -> Coater:
    """Write ``keyed.safetensors`` and ``plain.safetensors``, untrained; gives the keyed one."""
    folder.mkdir(exist_ok=True)
    shape = {"channels": 4, "generator_blocks": 1, "extractor_blocks": 1, "working_size": 32}
    Coater(CoaterConfig(**shape)).save(folder / "plain.safetensors")
    Coater(CoaterConfig(**shape, message_bits=BITS)).save(folder / "keyed.safetensors")
    return Coater.load(folder / "keyed.safetensors")


def noise(folder: Path, count: int, seed: int) -> Path:
    """Random images of 48 x 40 pixels."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for index in range(count):
        pixels = rng.integers(0, 256, (6, 6, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize((48, 40)).save(folder / f"{index}.png")
    return folder


def owners_key(coater: Coater, pictures: Path) -> CoatingKey:
    """The key that fits the pictures best, as if a model had learnt its message."""
    features = score_folder(pictures, coater).features
    assert features is not None
    summed = contributions(features).sum(axis=0)
    return CoatingKey(np.where(summed > 0, 1, -1), bytes(range(32)))


def secrets_of(key: CoatingKey) -> list[str]:
    """All ways in which a text could tell the message, the salt or the passphrase."""
    signs = key.signs()
    bits = "".join("1" if sign > 0 else "0" for sign in signs)
    lists = [
        json.dumps(signs.tolist(), separators=between) for between in ((", ", ": "), (",", ":"))
    ]
    return [bits, np.packbits(signs > 0).tobytes().hex(), key._salt.hex(), *lists, PASSPHRASE]
