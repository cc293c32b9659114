"""Speed of evidence from a model's file, for benchmarks/side_by_side.py."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch
from speed_rows import Row, row
from speed_training import CORES

from siren_ext.coater.bundled import coater_path
from siren_ext.coater.coater import Coater
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.personalize.run import personalize
from siren_ext.preference.config import PreferenceConfig
from siren_ext.preference.measure import measure_preference
from siren_ext.samples.folder import sample_set
from siren_ext.suspects.local import LocalSuspect

MINUTES = 3


def preference(_: int) -> list[Row]:
    """CPU minutes of asking the file of a pocket LoRA, with the default plan and all samples."""
    data, coater = sample_set(), Coater.load(coater_path("keyed"))
    with tempfile.TemporaryDirectory() as folder:
        adapter = Path(folder) / "lora.safetensors"
        personalize(data, "pocket", PersonalizeConfig(steps=1, batch_size=1), adapter, device="cpu")
        suspect = LocalSuspect("pocket", adapter, device="cpu", dtype=torch.float32)
        begun = time.process_time()
        found = measure_preference(suspect, data, coater, PreferenceConfig())
        seconds = time.process_time() - begun
    images = len(found.scores)
    return [
        row(
            f"evidence from a pocket LoRA's file, default plan, {images} images, CPU minutes",
            MINUTES * CORES,
            seconds / 60,
            "most of it runs the denoiser and the autoencoder",
            most=True,
            unit="min",
            rounds=1,
        )
    ]
