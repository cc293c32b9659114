"""What it costs to measure images for passive evidence on the pocket model.

    python benchmarks/passive_cost.py [--images 200] [--features white] [--control]

Prints passes of the model and seconds per image, and the time of all images. ``--images 200`` is a
test of 100 published and 100 unpublished images. The images are the bundled ones, mirrored and
turned if more are needed, because only time is measured. Processor time is printed beside the time
that passed, because on a busy machine it changes less.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from siren_ext.data.dataset import ImageSet
from siren_ext.passive.config import PassiveConfig
from siren_ext.passive.features import measure_features
from siren_ext.samples.folder import sample_set
from siren_ext.suspects.local import LocalSuspect


def some_images(folder: Path, count: int) -> ImageSet:
    """Write as many different pictures as are wanted, with captions."""
    items = sample_set().items
    turns: list[Any] = [None, *Image.Transpose]
    if count > len(items) * len(turns):
        raise SystemExit(f"--images is {count}; expected {len(items) * len(turns)} or fewer.")
    for number in range(count):
        turn, place = divmod(number, len(items))
        item = items[place]
        with Image.open(item.path) as picture:
            shown = picture.convert("RGB")
        if turns[turn] is not None:
            shown = shown.transpose(turns[turn])
        shown.save(folder / f"{number:04d}.png")
        (folder / f"{number:04d}.txt").write_text(item.caption or "", encoding="utf-8")
    return ImageSet.open(folder)


class Passes:
    """Counts the images that pass a network forward, and those that also pass it backward."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.forward = self.backward = 0
        network.register_forward_pre_hook(self._count)

    def _count(self, network: torch.nn.Module, given: tuple[Any, ...]) -> None:
        self.forward += len(given[0])
        if given[0].requires_grad:
            self.backward += len(given[0])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=200, help="of both sets together")
    parser.add_argument("--features", default="white", help="set of features")
    parser.add_argument("--batch", type=int, help="images that pass together")
    parser.add_argument("--control", action="store_true", help="measure a control as well")
    args = parser.parse_args()
    known = {"features": args.features} | ({"batch_size": args.batch} if args.batch else {})
    config = PassiveConfig.from_dict(known)
    suspects = [
        LocalSuspect("pocket", dtype=torch.float32) for _ in range(2 if args.control else 1)
    ]
    passes = [Passes(suspect.pipeline.unet) for suspect in suspects]
    with tempfile.TemporaryDirectory() as folder:
        data = some_images(Path(folder), args.images)
        start, used = time.perf_counter(), time.process_time()
        measure_features(suspects[0], data, config, control=(suspects[1:] or [None])[0])
        start, used = time.perf_counter() - start, time.process_time() - used
    forward, backward = (
        sum(getattr(one, kind) for one in passes) for kind in ("forward", "backward")
    )
    models = "suspect and control" if args.control else "suspect alone"
    print(
        f"{args.features}, {models}: {args.images} images, {forward / args.images:.0f} passes and "
        f"{backward / args.images:.0f} backward an image; {used / args.images:.2f} s of processor "
        f"an image; all: {used:.0f} s of processor, {start:.0f} s with {torch.get_num_threads()} "
        "threads"
    )


if __name__ == "__main__":
    main()
