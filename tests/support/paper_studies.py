"""The study of the paper's tables with a tiny model and a few images."""

from __future__ import annotations

from pathlib import Path

from support.keyed_coating import SHAPE
from support.tiny_models import draw_images, need_models, shared_model

from siren_ext.coater.coater import Coater
from siren_ext.data.dataset import ImageSet
from siren_ext.experiments.paper_cells import PaperConfig
from siren_ext.experiments.paper_study import PaperStudy
from siren_ext.progress import NULL

TINY = PaperConfig(
    seeds=1, innocents=1, steps=1, mimicries=3, reference=3, size=2, against=2, repeats=5,
    sampling_steps=1, file=False,
)  # fmt: skip


def tiny_study(folder: Path, root: Path) -> PaperStudy:
    """A study below ``folder`` with the model that all tests of the run share below ``root``."""
    need_models()
    base = shared_model(root, "kl", "epsilon")
    images = ImageSet.open(draw_images(folder / "photos", 4))
    return PaperStudy(images, Coater(SHAPE, seed=1), "cat", str(base), folder / "out", TINY, NULL)
