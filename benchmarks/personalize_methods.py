"""Time a training step of each personalisation method on the pocket model.

Run: python benchmarks/personalize_methods.py [--steps 5] [--batch 4] [--into docs/personalize.md]

Each method gets 16 of the bundled icons. DreamBooth and Custom Diffusion also take as many class
images in each step. The shortest step is printed, as other work on the machine only adds time.
``--into`` replaces the table between the two marks of that page.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from siren_ext.diffusion import pipelines
from siren_ext.experiments.pages import write_between
from siren_ext.personalize.config import FOLDERS, METHODS, WITH_PRIOR, PersonalizeConfig
from siren_ext.personalize.data import prepare
from siren_ext.personalize.prior import class_data
from siren_ext.personalize.run import Trainer
from siren_ext.personalize.save import save
from siren_ext.progress import NULL
from siren_ext.samples.folder import sample_set

IMAGES = 16
HEAD = (
    "| method | numbers trained | seconds a step | first step, with preparation | written |\n"
    "| --- | --- | --- | --- | --- |"
)


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(one.stat().st_size for one in files)


def measure(method: str, steps: int, batch: int) -> str:
    """One row of the table."""
    config = PersonalizeConfig.from_dict(
        {
            "method": method, "batch_size": batch, "prompt": "an icon of <new1>",
            "class_prompt": "an icon", "class_images": 8, "class_steps": 4, "precision": "float32",
        }
    )  # fmt: skip
    every = sample_set()
    data = replace(every, items=every.items[:IMAGES])
    began = time.perf_counter()
    pipeline = pipelines.load_pipeline("pocket", device="cpu", dtype=torch.float32)
    prior = class_data(config, pipeline, None, NULL)
    trainer = Trainer(pipeline, prepare(data, pipeline, config, NULL), config, prior)
    trainer.advance()
    first, best = time.perf_counter() - began, float("inf")
    for _ in range(steps):
        began = time.perf_counter()
        trainer.advance()
        best = min(best, time.perf_counter() - began)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / ("model" if method in FOLDERS else "adapter.safetensors")
        save(out, pipeline, trainer.weights, config, {})
        kib = size(out) / 1024
    images = batch * (2 if method in WITH_PRIOR else 1)
    return (
        f"| `{method}` | {trainer.weights.vector.numel():,} | {best:.2f} ({images} images) | "
        f"{first:.1f} s | {kib:,.0f} KiB |"
    )


def main() -> None:
    """Print the table, or put it into a page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--into", type=Path)
    options = parser.parse_args()
    lines = [HEAD]
    for method in METHODS:
        lines.append(measure(method, options.steps, options.batch))
        print(lines[-1], flush=True)
    threads = torch.get_num_threads()
    lines.append(f"\ntorch {torch.__version__}, CPU, {threads} thread{'s' * (threads > 1)}.")
    if options.into is not None:
        write_between(options.into, "methods", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
