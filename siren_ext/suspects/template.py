"""Requests as JSON with ``%name%`` places in them, filled in without touching their structure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from siren_ext.documents import parse_json
from siren_ext.errors import ConfigError

_PLACE = re.compile(r"%([a-z]+)%")
NAMES = (
    "prompt",
    "negative",
    "seed",
    "steps",
    "guidance",
    "size",
    "sampler",
    "model",
    "lora",
    "scale",
    "image",
)


def read_template(text: str | bytes, where: str) -> dict[str, Any]:
    """A JSON object with places; raises :class:`ConfigError` naming ``where``."""
    value = parse_json(text, name=where, error=ConfigError)
    if not isinstance(value, dict):
        raise ConfigError(f"{where} is not a JSON object; expected one in braces.")
    unknown = sorted(places(value) - set(NAMES))
    if unknown:
        raise ConfigError(
            f"{where} has the unknown place %{unknown[0]}%; known are "
            f"{', '.join(f'%{name}%' for name in NAMES)}."
        )
    return value


def places(value: Any) -> set[str]:
    """The names of all places in ``value``."""
    if isinstance(value, dict):
        return set().union(*(places(item) for item in value.values())) if value else set()
    if isinstance(value, list):
        return set().union(*(places(item) for item in value)) if value else set()
    return set(_PLACE.findall(value)) if isinstance(value, str) else set()


def fill(value: Any, given: Mapping[str, Any]) -> Any:
    """``value`` with its places filled: a text that is one place becomes the value with its type.

    Places inside a longer text become text. What is filled in is not searched for places again.
    """
    if isinstance(value, dict):
        return {key: fill(item, given) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, given) for item in value]
    if not isinstance(value, str):
        return value
    whole = _PLACE.fullmatch(value)
    if whole and whole[1] in given:
        return given[whole[1]]
    return _PLACE.sub(lambda m: str(given[m[1]]) if m[1] in given else m[0], value)
