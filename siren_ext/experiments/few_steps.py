"""Trains the adapter with which the bundled model draws in a few steps, and measures it.

The adapter is a LoRA by consistency distillation (:mod:`siren_ext.personalize.consistency`),
trained on pictures of the pocket model's corpus. It is measured by how many pictures of photo
classes a classifier recognises, beside the model without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from siren_ext.adapters.read import read_adapter
from siren_ext.cli.common import command, say, watched
from siren_ext.data.dataset import ImageSet
from siren_ext.diffusion.load import POCKET, load_pipeline
from siren_ext.diffusion.sampling import scheduler_named
from siren_ext.experiments.rows import write_rows
from siren_ext.files import atomic
from siren_ext.personalize.consistency import ConsistencyConfig, distil
from siren_ext.pocket.fidelity import Eff0
from siren_ext.pocket.measure import EvaluateConfig, measure_recognition
from siren_ext.pocket.reference import Corpus
from siren_ext.pocket.train import chosen
from siren_ext.suspects.merging import merge_checked

WAYS = (
    ("ddim", 20, 4.0, False),
    ("ddim", 8, 4.0, False),
    ("ddim", 4, 4.0, False),
    ("lcm", 8, 1.0, True),
    ("lcm", 4, 1.0, True),
    ("lcm", 2, 1.0, True),
)
"""Sampler, steps, guidance, and whether the adapter is merged."""
SETTINGS: dict[str, Any] = {
    "rank": 32, "alpha": 32.0, "conv_rank": 16, "conv_alpha": 16.0, "batch_size": 6,
    "learning_rate": 5e-4, "schedule": "cosine", "warmup": 20, "caption_dropout": 0.0,
    "flip": False, "save_precision": "float16", "scale": 4.0,
}  # fmt: skip
_CLASSES = 20


def picture_folder(corpus: Path, pictures: int, folder: Path) -> ImageSet:
    """Pictures of the corpus as files with captions, written unless they exist.

    Parameters
    ----------
    corpus : Path
        Folder of :mod:`siren_ext.pocket.corpus`.
    pictures : int
        How many, spread evenly over it.
    folder : Path
        Where they belong.

    Raises
    ------
    DatasetError
        If the corpus can't be read.
    """
    known = Corpus(corpus, folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = chosen(len(known), pictures)
    for row in rows:
        path = folder / f"{row:05}.png"
        if not path.is_file():
            path.with_suffix(".txt").write_text(known.captions[row], encoding="utf-8")
            with atomic(path) as temporary:
                Image.fromarray(np.asarray(known.images[row])).save(temporary, "png")
    wanted = {f"{row:05}" for row in rows}
    found = ImageSet.open(folder)
    return replace(found, items=tuple(i for i in found.items if i.path.stem in wanted))


def recognition(
    corpus: Path, work: Path, adapter: Path, per_class: int
) -> Iterator[dict[str, Any]]:
    """How often classes are recognised in pictures, for every one of :data:`WAYS`.

    Parameters
    ----------
    corpus : Path
        Folder of :mod:`siren_ext.pocket.corpus`.
    work : Path
        Keeps features of its pictures.
    adapter : Path
        The adapter.
    per_class : int
        Pictures of each of 20 classes.

    Yields
    ------
    dict
        How the pictures were drawn, and the share that is recognised.
    """
    known, backbone = Corpus(corpus, work), Eff0()
    for sampler, steps, guidance, merged in WAYS:
        pipeline = load_pipeline(POCKET)
        if merged:
            merge_checked(pipeline, read_adapter(adapter))
        pipeline.scheduler = scheduler_named(pipeline, sampler)
        config = EvaluateConfig(
            steps=steps, guidance=guidance, classes=_CLASSES, per_class=per_class
        )
        found = measure_recognition(pipeline, known, backbone, config)
        assert found is not None  # the corpus has many classes
        asked = {"sampler": sampler, "steps": steps, "guidance": guidance, "adapter": merged}
        yield asked | {"pictures": _CLASSES * per_class, "recognised": found["recognised"]}


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@command(
    app,
    "few_steps",
    example="python -m siren_ext.experiments.few_steps --corpus C --work W --out few.safetensors",
)
def few_steps(
    corpus: Annotated[Path, typer.Option("--corpus", help="Folder of siren_ext.pocket.corpus.")],
    work: Annotated[Path, typer.Option("--work", help="Folder of pictures and features.")],
    out: Annotated[Path, typer.Option("--out", help="The .safetensors file to write.")],
    pictures: Annotated[int, typer.Option("--pictures", min=1, help="Training pictures.")] = 3000,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Training steps.")] = 1600,
    per_class: Annotated[
        int, typer.Option("--per-class", min=1, help="Pictures of each class, to measure.")
    ] = 10,
    table: Annotated[
        Path | None, typer.Option("--table", help="CSV table; by default in the folder.")
    ] = None,
) -> None:
    """Train an adapter with which the bundled model draws in a few steps, and measure it.

    A stopped run is resumed, and a finished one only measured.
    """
    config = ConsistencyConfig(steps=steps, **SETTINGS)
    with watched(False) as progress:
        data = picture_folder(corpus, pictures, work / "pictures")
        distil(data, POCKET, config, out, progress=progress)
        rows = []
        for row in recognition(corpus, work, out, per_class):
            rows.append(row)
            write_rows(rows, table or work / "few_steps.csv")
            say(", ".join(f"{name} {value}" for name, value in row.items()))


if __name__ == "__main__":
    app()
