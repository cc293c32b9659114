"""Make the finished example of the web page's tab for the file of a model.

    python benchmarks/file_example.py gradio_demo/asked.json

Measures the LoRA of coated samples that ``example_loras.py`` made, on their originals. The key is
not used. Takes a few minutes on a processor.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from siren_ext.coater.bundled import coater_path
from siren_ext.coater.coater import Coater
from siren_ext.preference.measure import measure_preference
from siren_ext.samples.folder import sample_set
from siren_ext.suspects.local import LocalSuspect

LORA = Path(__file__).parents[1] / "comfy_nodes" / "example_loras" / "coated.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the JSON file of the page")
    out = parser.parse_args().out
    suspect = LocalSuspect("pocket", LORA, dtype=torch.float32)
    partial = out.with_name(out.name + ".partial")
    coater = Coater.load(coater_path("keyed"))
    measure_preference(suspect, sample_set(), coater, partial=partial).save(out)


if __name__ == "__main__":
    main()
