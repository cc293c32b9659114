"""Make the finished example of the web page's tab for images that were never coated.

    python benchmarks/passive_example.py runs/passive_example gradio_demo/uncoated.json

A LoRA for the pocket model is trained on 20 bundled images, which play the published ones, and 20
others play the unseen ones. The result is the report's JSON file, with one completed picture of
each set. The folder keeps the LoRA, so that a stopped run is resumed. Takes about half an hour on
two cores.
"""

from __future__ import annotations

import argparse
import random
import shutil
from pathlib import Path

import torch

from siren_ext.data.dataset import ImageSet
from siren_ext.passive.config import CompletionConfig
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.personalize.run import personalize
from siren_ext.samples.folder import sample_set
from siren_ext.suspects.local import LocalSuspect
from siren_ext.workflows.passive_evidence import passive_evidence

IMAGES, SEED = 20, 3
TRAINING = PersonalizeConfig(steps=400, rank=16)


def owned_sets() -> tuple[ImageSet, ImageSet]:
    """The published and the unseen images, by chance."""
    whole = sample_set()
    drawn = sorted(item.path.stem for item in whole.items)
    random.Random(SEED).shuffle(drawn)

    def part(name: str, stems: list[str]) -> ImageSet:
        items = tuple(item for item in whole.items if item.path.stem in stems)
        return ImageSet(items, whole.root, name)

    return part("published", drawn[:IMAGES]), part("unseen", drawn[IMAGES : 2 * IMAGES])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="keeps the LoRA and the report")
    parser.add_argument("out", type=Path, help="the JSON file of the page")
    options = parser.parse_args()
    published, unseen = owned_sets()
    lora = options.folder / "suspect.safetensors"
    lora.parent.mkdir(parents=True, exist_ok=True)
    personalize(published, "pocket", TRAINING, lora)
    found = passive_evidence(
        published,
        unseen,
        LocalSuspect("pocket", lora, dtype=torch.float32),
        LocalSuspect("pocket", dtype=torch.float32),
        options.folder / "report",
        completion=CompletionConfig(count=1),
    )
    shutil.copy(found.report.json, options.out)
    print(f"{found.verdict.outcome}: p = {found.verdict.comparison.p_value:.3g}")


if __name__ == "__main__":
    main()
