"""The Gradio layout of every host, written once, and the headless steps behind it.

A host (the web UI extension, the Space) hands over its own ``gradio`` module and a
:class:`~siren_ext.panels.desk.Desk` with its limits; gradio itself is never imported here, since
every host brings another version. Only what versions 3.41, 4.40 and 6 have in common is used; the
few differences live in :mod:`siren_ext.panels.dialect`.
"""

from __future__ import annotations

from siren_ext.panels.coat import coat_panel
from siren_ext.panels.desk import Desk
from siren_ext.panels.lora import lora_panel
from siren_ext.panels.report import report_panel
from siren_ext.panels.train import train_panel
from siren_ext.panels.verify import verify_panel

__all__ = ["Desk", "coat_panel", "lora_panel", "report_panel", "train_panel", "verify_panel"]
