"""What it costs to measure gradients of images on the pocket model.

    python benchmarks/attribution_cost.py [--images 100] [--noises 10] [--threads 1]

Prints the time of all images, and of each. The LoRA has the size that ``personalize`` trains by
default (2.1 million parameters), and is trained for two steps, because only time is measured; so
are the images, which are the bundled ones, mirrored and turned if more are needed. Loading the
model is not counted. Processor time is printed beside the time that passed, because on a busy
machine it changes less.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
from passive_cost import some_images

from siren_ext.attribution.config import AttributionConfig
from siren_ext.attribution.gradients import measure_gradients
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.personalize.run import personalize
from siren_ext.suspects.local import LocalSuspect


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--noises", type=int, help="noises at each of ten noise levels")
    parser.add_argument("--batch", type=int, help="gradients that are computed together")
    parser.add_argument("--threads", type=int, help="processor threads; all by default")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    given = {"noises": args.noises, "batch_size": args.batch}
    config = AttributionConfig.from_dict({name: value for name, value in given.items() if value})
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "images"
        folder.mkdir()
        data = some_images(folder, args.images)
        lora = Path(place) / "lora.safetensors"
        personalize(data, "pocket", PersonalizeConfig(steps=2, batch_size=2), lora)
        suspect = LocalSuspect("pocket", lora, dtype=torch.float32)
        _ = suspect.pipeline  # loaded here
        start, used = time.perf_counter(), time.process_time()
        measure_gradients(suspect, data, config)
        start, used = time.perf_counter() - start, time.process_time() - used
    print(
        f"{args.images} images, {config.times * config.noises} gradients each: "
        f"{used / args.images:.2f} s of processor an image; all: {used:.0f} s of processor, "
        f"{start:.0f} s with {torch.get_num_threads()} threads"
    )


if __name__ == "__main__":
    main()
