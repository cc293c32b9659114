"""The two LoRAs that come with the pack, so that the example of a verification runs at once.

``benchmarks/example_loras.py`` made them for the bundled model from the bundled images: one from
images coated with the bundled coater ``keyed`` and the key of :mod:`comfy_nodes.example_key`, one
from the originals.
"""

from __future__ import annotations

from pathlib import Path

from . import files

FOLDER = Path(__file__).resolve().parent / "example_loras"
FILES = {
    f"trained on coated samples{files.BUNDLED}": "coated.safetensors",
    f"trained on clean samples{files.BUNDLED}": "clean.safetensors",
}
"""What the nodes list, to a file in :data:`FOLDER`."""


def lora_names() -> list[str]:
    """List the LoRAs that the bundled model may use.

    Returns
    -------
    list[str]
        :data:`files.NO_ADAPTER`, the two examples, then the files that ComfyUI lists.
    """
    first, *others = files.adapter_names()
    return [first, *FILES, *others]


def lora_file(name: str) -> Path | None:
    """Find a listed LoRA.

    Returns
    -------
    Path | None
        Its file; None for :data:`files.NO_ADAPTER`.

    Raises
    ------
    SirenError
        There is no such LoRA.
    """
    return FOLDER / FILES[name] if name in FILES else files.adapter_file(name)
