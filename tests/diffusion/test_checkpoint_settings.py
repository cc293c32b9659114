"""Settings of published checkpoints."""

from __future__ import annotations

import pytest
import torch
from support.tiny_models import need_models

from siren_ext.diffusion import checkpoint_settings

need_models()
pytestmark = pytest.mark.models

COUNTS = {
    "Stable Diffusion 1.x": {
        "unet": 859_520_964,
        "vae": 83_653_863,
        "text_encoder": 123_060_480,
    },
    "Stable Diffusion 2.x": {
        "unet": 865_910_724,
        "vae": 83_653_863,
        "text_encoder": 340_387_840,
    },
    "Stable Diffusion XL": {
        "unet": 2_567_463_684,
        "vae": 83_653_863,
        "text_encoder": 123_060_480,
        "text_encoder_2": 694_659_840,
    },
}


@pytest.mark.parametrize("known", checkpoint_settings.FAMILIES, ids=lambda family: family.name)
def test_known_settings_are_those_of_the_published_models(
    known: checkpoint_settings.Family,
) -> None:
    """Their parameter counts, without any memory taken."""
    import diffusers
    import transformers

    counts = {}
    for name in COUNTS[known.name]:
        settings = known.parts[name]
        with torch.device("meta"):
            if "text" in name:
                config = transformers.CLIPTextConfig(**settings)
                part = getattr(transformers, settings["architectures"][0])(config)
            else:
                part = getattr(diffusers, settings["_class_name"]).from_config(settings)
        counts[name] = sum(weight.numel() for weight in part.parameters())
    assert counts == COUNTS[known.name]
