"""The list of checkpoints."""

from __future__ import annotations

from types import SimpleNamespace

checkpoints_list = {
    name: SimpleNamespace(title=f"{name} [0123456789]", filename=f"/models/{name}")
    for name in ("other.safetensors", "tiny.safetensors")
}
