"""Make the two LoRAs of the ComfyUI example of a verification, as small as they still learn.

    python benchmarks/example_loras.py comfy_nodes/example_loras

Both are for the pocket model: one is trained on the bundled images coated with the bundled coater
``keyed`` and the key of the demo, the other on the originals. Takes a few minutes on a processor.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from siren_ext.coater.bundled import coater_path
from siren_ext.coater.coater import Coater
from siren_ext.coating.folder import coat_folder
from siren_ext.data.dataset import ImageSet
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.personalize.run import personalize
from siren_ext.samples.folder import sample_set
from siren_ext.workflows.demo import demo_key

SETTINGS = PersonalizeConfig(
    steps=300,
    batch_size=16,
    rank=4,
    alpha=4.0,
    conv_rank=4,
    conv_alpha=4.0,
    learning_rate=2e-3,
    save_precision="float16",
)
SEEDS = {"coated": 1, "clean": 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder for the two files")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as scratch:
        coated = Path(scratch) / "coated"
        coater = Coater.load(coater_path("keyed"))
        key = demo_key(0, coater.config.message_bits)
        coat_folder(sample_set(), coater, coated, key=key)
        for name, data in (("coated", ImageSet.open(coated)), ("clean", sample_set())):
            settings = replace(SETTINGS, seed=SEEDS[name])
            made = personalize(data, "pocket", settings, out / f"{name}.safetensors", force=True)
            print(f"{name}: {made}")


if __name__ == "__main__":
    main()
