"""Adapters (LoRA and its kin): read strictly, merged exactly, written in kohya's format.

A suspicious adapter that loads without an error and does nothing would acquit its maker wrongly,
so every key of a file must be understood and every module found, or it is an error that lists
them. Reading gives one internal form, a :class:`Change` per module, whose weight difference is
merged (:func:`merge_adapter`) and can be taken out again bit for bit.
"""

from __future__ import annotations

from siren_ext.adapters.changes import Change, lora_delta
from siren_ext.adapters.embeddings import word_pattern
from siren_ext.adapters.files import MAX_BYTES, adapter_hash
from siren_ext.adapters.keys import TEXT_PREFIX, UNET_PREFIX
from siren_ext.adapters.merge import Merge, load_adapter, merge_adapter, resolve
from siren_ext.adapters.names import Layer, adaptable, kohya_names, text_name
from siren_ext.adapters.read import Adapter, read_adapter, read_summary
from siren_ext.adapters.summary import AdapterSummary
from siren_ext.adapters.write import LoraModules, save_kohya

__all__ = [
    "MAX_BYTES",
    "TEXT_PREFIX",
    "UNET_PREFIX",
    "Adapter",
    "AdapterSummary",
    "Change",
    "Layer",
    "LoraModules",
    "Merge",
    "adaptable",
    "adapter_hash",
    "kohya_names",
    "load_adapter",
    "lora_delta",
    "merge_adapter",
    "read_adapter",
    "read_summary",
    "resolve",
    "save_kohya",
    "text_name",
    "word_pattern",
]
