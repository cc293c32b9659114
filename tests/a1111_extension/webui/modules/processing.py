"""Generation with the web UI's signature: samples of the package, seeded and disturbed.

A prompt with the LoRA ``guilty`` gives coated pictures, as a model trained on coated images would;
``misfit`` is passed over with a word in the log, as a LoRA for another kind of model is. The word
``fail`` in a prompt fails, ``black`` gives a black image; ``skip`` and ``interrupt`` are what
somebody does meanwhile.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image

from modules import sd_models, shared
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
    restore_faces: bool | None = None
    tiling: bool | None = None
    do_not_save_samples: bool = False
    do_not_save_grid: bool = False
    override_settings: dict = field(default_factory=dict)
    override_settings_restore_afterwards: bool = True
    scripts: Any = None

    def close(self) -> None:
        CALLS[-1]["closed"] = True


def process_images(p: StableDiffusionProcessingTxt2Img) -> Any:
    from siren_ext.coater.bundled import coater_path
    from siren_ext.coater.coater import Coater
    from siren_ext.data.images import quantise, to_tensor, to_uint8
    from siren_ext.samples.folder import sample_folder

    on_main_thread = None
    if "modules_forge.main_thread" in sys.modules:
        main_thread = sys.modules["modules_forge.main_thread"]
        on_main_thread = threading.get_ident() in main_thread.IDENTITY
    CALLS.append(
        {
            "prompt": p.prompt, "seed": p.seed, "locked": queue_lock.locked(),
            "job": shared.state.job, "on_main_thread": on_main_thread,
            "faces": p.restore_faces, "scheduler": getattr(p, "scheduler", None),
        }
    )  # fmt: skip
    wanted = p.override_settings.get("sd_model_checkpoint")
    if wanted in sd_models.checkpoint_aliases:  # another name is passed over, silently
        shared.opts.sd_model_checkpoint = wanted
    if "fail" in p.prompt:
        raise ValueError("Failed to recognize model type!")
    shared.state.skipped |= "skip" in p.prompt
    shared.state.interrupted |= "interrupt" in p.prompt
    files = sorted(sample_folder().glob("*.png"))
    image = Image.open(files[p.seed % len(files)]).convert("RGB").resize((p.width, p.height))
    style = any(f"<lora:{name}:" in p.prompt for name in ("guilty", "innocent"))
    noise = np.random.default_rng([p.seed, style]).normal(0, 3, (p.height, p.width, 3))
    pixels = np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)
    if "<lora:guilty" in p.prompt:
        if not _COATER:
            _COATER.append(Coater.load(coater_path("samples")))
        with torch.no_grad():
            tensor = to_tensor(pixels)
            pixels = to_uint8(quantise(tensor + _COATER[0].residual(tensor)))
    if "black" in p.prompt:
        pixels = np.zeros_like(pixels)
    return SimpleNamespace(images=[Image.fromarray(pixels)], infotexts=[""], index_of_first_image=0)
