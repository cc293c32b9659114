"""Packages that only some panels need, and that a host may not have installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from siren_ext.panels import html as cards

_NEEDED = ("diffusers", "transformers", "peft", "accelerate")


def missing_packages() -> list[str]:
    """Packages that running a diffusion model needs and that are not installed.

    Returns
    -------
    list[str]
        Their names; empty if nothing is missing.
    """
    return [name for name in _NEEDED if find_spec(name) is None]


def absent_notice(gr: Any, prefix: str, command: str, more: str = "") -> dict[str, Any]:
    """Say in place of a panel that its packages are not installed.

    Parameters
    ----------
    gr : Any
        The host's ``gradio`` module.
    prefix : str
        First part of the component's id.
    command : str
        The command that does the same as the panel.
    more : str
        What else to say, "" for nothing.

    Returns
    -------
    dict[str, Any]
        The notice by its ``elem_id``; empty if nothing is missing.
    """
    missing = missing_packages()
    if not missing:
        return {}
    text = (
        f"This needs packages that are not installed here: {', '.join(missing)}. Run '{command}' "
        f"in a separate Python environment instead. {more}"
    )
    name = f"{prefix}_absent"
    return {name: gr.HTML(cards.note(text.strip(), "Not available here"), elem_id=name)}
