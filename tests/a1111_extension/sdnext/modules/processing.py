"""Generation with SD.Next's signature; the pictures are those of ``webui``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

_FILE = Path(__file__).resolve().parents[2] / "webui" / "modules" / "processing.py"
_SPEC = importlib.util.spec_from_file_location("webui_processing", _FILE)
_WEBUI = importlib.util.module_from_spec(_SPEC)
CALLS: list[dict[str, Any]] = []


class StableDiffusionProcessingTxt2Img:
    def __init__(
        self, sd_model_checkpoint=None, sd_model=None, prompt="", negative_prompt="", seed=-1,
        sampler_name=None, batch_size=1, n_iter=1, steps=20, cfg_scale=6.0, width=1024,
        height=1024, tiling=False, detailer_enabled=False, do_not_save_samples=False,
        do_not_save_grid=False, override_settings=None, override_settings_restore_afterwards=True,
    ):  # fmt: skip
        values = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        self.__dict__.update(values)
        self.override_settings = override_settings or {}
        self.scripts = None

    def close(self) -> None:
        if CALLS:
            CALLS[-1]["closed"] = True


def process_images(p: StableDiffusionProcessingTxt2Img) -> Any:
    from modules import sd_checkpoint, sd_models

    if not hasattr(_WEBUI, "process_images"):
        sys.modules[_SPEC.name] = _WEBUI  # its data classes look there
        _SPEC.loader.exec_module(_WEBUI)
    if "unloaded" in p.prompt:  # SD.Next logs that no model is loaded and returns nothing
        return None
    sd_models.checkpoint_aliases = sd_checkpoint.checkpoint_aliases
    try:
        return _WEBUI.process_images(p)
    finally:
        del sd_models.checkpoint_aliases
        CALLS.append({**_WEBUI.CALLS.pop(), "detailer": p.detailer_enabled})
