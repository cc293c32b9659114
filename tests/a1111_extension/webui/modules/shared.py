"""Options, flags and state with the web UI's names."""

from __future__ import annotations

import argparse
import json
import os
from types import SimpleNamespace
from typing import Any


class OptionInfo:
    def __init__(
        self, default=None, label="", component=None, component_args=None, onchange=None,
        section=None, refresh=None, comment_before="", comment_after="",
        infotext=None, restrict_api=False, category_id=None,
    ):  # fmt: skip
        self.default, self.label, self.component = default, label, component
        self.component_args, self.section = component_args, section


class Options:
    def __init__(self) -> None:
        self.data_labels: dict[str, OptionInfo] = {}
        self.sd_model_checkpoint = "tiny.safetensors [9876543210]"

    def add_option(self, key: str, info: OptionInfo) -> None:
        self.data_labels[key] = info

    def __getattr__(self, name: str) -> Any:
        chosen = json.loads(os.environ.get("SIREN_TEST_OPTIONS", "{}"))
        if name in chosen:
            return chosen[name]
        labels = self.__dict__.get("data_labels", {})
        if name in labels:
            return labels[name].default
        raise AttributeError(name)


class State:
    def __init__(self) -> None:
        self.job, self.begun, self.ended = "", 0, 0
        self.interrupted = self.skipped = self.stopping_generation = False

    def begin(self, job: str = "(unknown)") -> None:
        self.interrupted = self.skipped = self.stopping_generation = False
        self.job = job
        self.begun += 1

    def end(self) -> None:
        self.job = ""
        self.ended += 1


class TotalTQDM:
    def clear(self) -> None:
        pass


opts = Options()
state = State()
total_tqdm = TotalTQDM()
cmd_opts = argparse.Namespace()
sd_model = SimpleNamespace(name="tiny")
