"""Hooks with the names and shapes of the web UI's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

REGISTERED: dict[str, list[Callable[..., Any]]] = {}


def _register(kind: str, callback: Callable[..., Any]) -> None:
    REGISTERED.setdefault(kind, []).append(callback)


def on_ui_tabs(callback, *, name=None):
    _register("ui_tabs", callback)


def on_ui_settings(callback, *, name=None):
    _register("ui_settings", callback)


def on_app_started(callback, *, name=None):
    _register("app_started", callback)


def on_before_ui(callback, *, name=None):
    _register("before_ui", callback)


def on_script_unloaded(callback, *, name=None):
    _register("script_unloaded", callback)
