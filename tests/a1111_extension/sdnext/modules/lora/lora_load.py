"""SD.Next's list of LoRAs: names have ``_`` for dots."""

from __future__ import annotations

from types import SimpleNamespace

available_networks: dict = {}


def list_available_networks():
    available_networks.clear()
    for name in ("guilty", "innocent", "style_v2"):
        file = f"/nowhere/{name.replace('_v2', '.v2')}.safetensors"
        available_networks[name] = SimpleNamespace(name=name, filename=file)
    return available_networks
