"""Fewer measurements where the server fits a keyed coater: half a minute instead of five.

These tests are about the server. How good a fitted coater is, is tested with the training.
"""

from __future__ import annotations

import os

from siren_ext.training import coarse_fit

if "SIREN_COMFYUI_COUNTS" not in os.environ:  # pictures worth showing take what users get
    coarse_fit._PROBES, coarse_fit.GENERATED = 32, 6

NODE_CLASS_MAPPINGS: dict[str, type] = {}
