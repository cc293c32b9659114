"""Lets web UIs use the whole repository as an extension: loads the tab of ``a1111_extension``."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

_EXTENSION = Path(__file__).resolve().parents[1] / "a1111_extension"
# the web UI restores the path once the extension's scripts are loaded
sys.path.insert(0, str(_EXTENSION))
_SPEC = spec_from_file_location("siren_tab", _EXTENSION / "scripts" / "siren_tab.py")
_TAB = module_from_spec(_SPEC)
_SPEC.loader.exec_module(_TAB)
