"""JSON requests with ``%name%`` placeholders that are filled in without changing the structure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from siren_ext.documents import parse_json
from siren_ext.errors import ConfigError

_PLACEHOLDER = re.compile(r"%([a-z]+)%")
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
    """Parse a JSON object with placeholders.

    Parameters
    ----------
    text : str or bytes
        The JSON text.
    where : str
        Where it comes from, for the error message.

    Raises
    ------
    ConfigError
        If it is not a JSON object or has an unknown placeholder.
    """
    value = parse_json(text, name=where, error=ConfigError)
    if not isinstance(value, dict):
        raise ConfigError(f"{where} is not a JSON object; expected an object in braces.")
    unknown = sorted(placeholders(value) - set(NAMES))
    if unknown:
        raise ConfigError(
            f"{where} has the unknown placeholder %{unknown[0]}%; expected one of "
            f"{', '.join(f'%{name}%' for name in NAMES)}."
        )
    return value


def placeholders(value: Any) -> set[str]:
    """Names of all placeholders in a JSON value."""
    if isinstance(value, dict):
        return set().union(*(placeholders(item) for item in value.values())) if value else set()
    if isinstance(value, list):
        return set().union(*(placeholders(item) for item in value)) if value else set()
    return set(_PLACEHOLDER.findall(value)) if isinstance(value, str) else set()


def fill(value: Any, given: Mapping[str, Any]) -> Any:
    """Fill in the placeholders of a JSON value.

    Parameters
    ----------
    value : object
        The JSON value. A text that consists of one placeholder is replaced by the value with its
        type; placeholders inside a longer text become text.
    given : mapping of str to object
        Values by name. Placeholders without a value are left unchanged, and placeholders in the
        values are not filled in.

    Returns
    -------
    object
        A copy.
    """
    if isinstance(value, dict):
        return {key: fill(item, given) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, given) for item in value]
    if not isinstance(value, str):
        return value
    whole = _PLACEHOLDER.fullmatch(value)
    if whole and whole[1] in given:
        return given[whole[1]]
    return _PLACEHOLDER.sub(lambda m: str(given[m[1]]) if m[1] in given else m[0], value)
