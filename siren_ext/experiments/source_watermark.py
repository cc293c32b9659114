"""The watermark baseline of the study: the source marks its pictures, and outputs are read.

Infringing models are trained on the source's pictures with the 32-bit mark of Luo et al. in each.
The score of a model is the share of right bits in its pictures of the source's captions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from siren_ext.attribution.key_queries import Asking
from siren_ext.baselines.luo import Luo
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import Picture, read_picture, to_tensor, to_uint8, write_picture
from siren_ext.experiments.source_models import SourceModels
from siren_ext.experiments.source_tables import Row, mean_rows, score_rows
from siren_ext.files import atomic

KEYS = "watermark"
_SEED = 5000  # beyond those of infringing models


def watermark_rows(models: SourceModels, asking: Asking, share: float) -> list[Row]:
    """Bit accuracy of models that were trained on marked pictures, and of innocent ones.

    Parameters
    ----------
    models : SourceModels
        The source and its innocent models; as many marked models are trained as there are
        infringing ones for one rho.
    asking : Asking
        How pictures are made of captions.
    share : float
        Accepted share of innocent models above the threshold.

    Returns
    -------
    list of dict
        Mean bit accuracy for rho = 1 and 0, and Table 1 of this score.
    """
    mark, captions = Luo(seed=models.kind.seed), tuple(models.own.captions())
    marked = marked_pictures(models, mark)
    scores: dict[float, list[float]] = {1.0: [], 0.0: []}
    asked = {
        f"{models.kind.name}_marked_{number}": models.first_seed + _SEED + number
        for number in range(models.length.each)
    }
    innocents = [name for name, rho in models.shares.items() if not rho]
    for name in (*asked, *innocents):
        model = (
            models.suspect(name, marked, models.lora(asked[name]))
            if name in asked
            else models.model(name)
        )
        files = asking.pictures(name, model, captions, asking.config.pictures)
        found = bit_accuracy(mark, [file for file in files if file is not None])
        scores[1.0 if name in asked else 0.0].append(found)
    known, innocent = np.array(scores[1.0]), np.array(scores[0.0])
    rows = mean_rows("bits", KEYS, {1.0: known, 0.0: innocent})
    rows += score_rows("bits", KEYS, known, innocent, share, rho=1.0)
    return [{"source": models.kind.name, **row} for row in rows]


def marked_pictures(models: SourceModels, mark: Luo) -> ImageSet:
    """The source's pictures with the mark, and their captions, in a folder of the study.

    Parameters
    ----------
    models : SourceModels
        The source.
    mark : Luo
        The watermark.
    """
    folder = models.out / "marked" / models.kind.name
    folder.mkdir(parents=True, exist_ok=True)
    for item in models.made.items:
        clean = to_tensor(read_picture(item.path).rgb)
        written = mark.protect(clean).images[0]
        target = folder / f"{Path(item.name).stem}.png"
        write_picture(Picture(to_uint8(written)), target)
        with atomic(target.with_suffix(".txt")) as temporary:
            temporary.write_text(item.caption or "", encoding="utf-8")
    return ImageSet.from_folder(folder)


def bit_accuracy(mark: Luo, files: list[Path]) -> float:
    """Share of the mark's bits that are right, over all pictures; 0.5 is chance.

    Parameters
    ----------
    mark : Luo
        The watermark.
    files : list of Path
        Pictures, at least one.
    """
    batch: Tensor = torch.cat([to_tensor(read_picture(file).rgb) for file in files])
    return float((mark.evidence(batch) == mark.string).mean())
