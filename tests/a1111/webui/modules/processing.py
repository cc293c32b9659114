"""Generation with the web UI's signature: samples of the package, seeded and disturbed.

A prompt with the LoRA ``guilty`` gives coated pictures, as a model trained on coated images would.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image

from modules import shared
from modules.call_queue import queue_lock

CALLS: list[dict[str, Any]] = []
_COATER: list[Any] = []


@dataclass(repr=False)
class StableDiffusionProcessingTxt2Img:
    sd_model: Any = None
    prompt: str = ""
    negative_prompt: str = ""
    seed: int = -1
    sampler_name: str | None = None
    batch_size: int = 1
    n_iter: int = 1
    steps: int = 50
    cfg_scale: float = 7.0
    width: int = 512
    height: int = 512
    do_not_save_samples: bool = False
    do_not_save_grid: bool = False
    override_settings: dict = field(default_factory=dict)
    override_settings_restore_afterwards: bool = True
    scripts: Any = None

    def close(self) -> None:
        CALLS[-1]["closed"] = True


def process_images(p: StableDiffusionProcessingTxt2Img) -> Any:
    from siren_ext.bundled import coater_path
    from siren_ext.coater import Coater
    from siren_ext.images import quantise, to_tensor, to_uint8
    from siren_ext.samples import sample_folder

    locked = queue_lock.locked()
    CALLS.append({"prompt": p.prompt, "seed": p.seed, "locked": locked, "job": shared.state.job})
    if "sd_model_checkpoint" in p.override_settings:
        shared.opts.sd_model_checkpoint = p.override_settings["sd_model_checkpoint"]
    files = sorted(sample_folder().glob("*.png"))
    image = Image.open(files[p.seed % len(files)]).convert("RGB").resize((p.width, p.height))
    noise = np.random.default_rng(p.seed).normal(0, 3, (p.height, p.width, 3))
    pixels = np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)
    if "<lora:guilty" in p.prompt:
        if not _COATER:
            _COATER.append(Coater.load(coater_path("samples")))
        with torch.no_grad():
            tensor = to_tensor(pixels)
            pixels = to_uint8(quantise(tensor + _COATER[0].residual(tensor)))
    return SimpleNamespace(images=[Image.fromarray(pixels)], infotexts=[""], index_of_first_image=0)
