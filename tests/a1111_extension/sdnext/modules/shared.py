"""SD.Next's state and options: ``begin`` takes a title, and there is no ``total_tqdm``."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from types import SimpleNamespace

_FILE = Path(__file__).resolve().parents[2] / "webui" / "modules" / "shared.py"
_SPEC = importlib.util.spec_from_file_location("webui_shared", _FILE)
_WEBUI = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_WEBUI)
OptionInfo = _WEBUI.OptionInfo


class State:
    def __init__(self) -> None:
        self.job, self.begun, self.ended = "", 0, 0
        self.interrupted = self.skipped = False

    def begin(self, title: str = "", task_id: object = 0, api: object = None) -> str:
        self.interrupted = self.skipped = False
        self.job = title
        self.begun += 1
        return str(self.begun)

    def end(self, task_id: object = None, api: object = None) -> None:
        self.job = ""
        self.ended += 1


opts = _WEBUI.Options()
opts.sd_model_checkpoint = "small/tiny [9876543210]"
state = State()
cmd_opts = argparse.Namespace()
sd_model = SimpleNamespace(name="tiny")
