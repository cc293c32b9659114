"""Tables in which each row has a coater of its own, trained with one part left out or changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from siren_ext.coater.bundled import coater_path
from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.data.dataset import ImageSet
from siren_ext.experiments.pages import shares, spread, table
from siren_ext.experiments.paper_cells import Cell, Fitted, digest
from siren_ext.experiments.paper_figures import picture_figures
from siren_ext.experiments.paper_study import PaperStudy, Row
from siren_ext.experiments.rows import given
from siren_ext.experiments.visibility import changes, pairs_of
from siren_ext.files import sibling
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.scoring.score import score_images
from siren_ext.training.config import TrainConfig
from siren_ext.training.prompts import surrogate_prompt
from siren_ext.training.recipes import fitted_to
from siren_ext.training.stand_in import personalised
from siren_ext.training.train import train_coater

STEPS = 200
"""Training steps of every coater: two thirds of the preset's, a quarter of an hour on a CPU."""
QUICK_STEPS = 110
"""Ten steps with all terms: too few for figures to be quoted."""
HEAD = (
    "row", "paper", "KS, .01", "KS, 1e-4", "KS, 1e-9", "innocent, .01", "photos, .01",
    "photos, 1e-4", "detection loss", "PSNR", "colour", "FID-like", "models",
)  # fmt: skip
_LEVELS = ("0.01", "0.0001")
_STRICTEST = "1e-09"
_OF_COATER = ("detection_loss", "coated_psnr", "coated_colour")
_VISIBLE = ("psnr", "colour")
_START = "start"


def fitted_coater(study: PaperStudy, fitted: Fitted, steps: int = STEPS) -> Coater:
    """The coater of a row, trained unless it exists, against one stand-in for all rows.

    Parameters
    ----------
    study : PaperStudy
        The images, the base model, and where models are kept.
    fitted : Fitted
        How the coater is trained.
    steps : int
        Of its training, at least 1.

    Returns
    -------
    Coater
        Of the row.

    Raises
    ------
    ConfigError
        If a setting is unknown or does not fit.
    Cancelled
        If the user stopped; the same call resumes.
    """
    config = TrainConfig.preset("default", **{"steps": steps, **fitted.training})
    learnt = PersonalizeConfig(steps=study.config.steps)
    made = digest(study.data.hash, study.of_base(study.base), study.class_word, learnt.to_dict())
    folder = study.out / "coaters"
    folder.mkdir(parents=True, exist_ok=True)
    name = digest(made, config.to_dict(), dict(fitted.shape), fitted.start)
    path = folder / f"{name}.safetensors"
    if path.is_file():
        return Coater.load(path)
    stand_in = personalised(
        study.data, study.base, surrogate_prompt(study.class_word), learnt,
        folder / f"{made}.surrogate.safetensors", "auto", study.progress,
    )  # fmt: skip
    shape, start = fitted_to(
        stand_in.resolution,
        None if fitted.start else CoaterConfig.from_dict(fitted.shape),
        Coater.load(coater_path(_START)) if fitted.start else None,
        progress=study.progress,
    )
    made_now = train_coater(
        study.data, stand_in, config, coater=shape, start=start, progress=study.progress,
        resume=sibling(path, ".state"),
    )  # fmt: skip
    made_now.save(path)
    return Coater.load(path)


def ablation_rows(study: PaperStudy, name: str, cell: Cell, steps: int = STEPS) -> list[Row]:
    """The figures of a row, one for each guilty and innocent model.

    Parameters
    ----------
    study : PaperStudy
        Its coater is not used, all else is.
    name : str
        Name of the table.
    cell : Cell
        The row, with ``fitted``.
    steps : int
        As for :func:`fitted_coater`.

    Returns
    -------
    list of dict
        What :meth:`PaperStudy.rows` gives of a coater without a key. Of guilty models whose
        pictures are not changed also:
        ``detection_loss``, the mean loss of the extractor at the end of the coater's training;
        ``coated_psnr`` in dB and ``coated_colour`` (CIEDE2000), means over the coated images;
        ``photos_ALPHA``, how many tests of ``size`` of other people's images accuse these, if
        there are any; and the figures of :meth:`Quality.figures`.

    Raises
    ------
    Cancelled
        If the user stopped; the same call resumes.
    """
    assert cell.fitted is not None
    coater = fitted_coater(study, cell.fitted, steps)
    own = dataclasses.replace(study, coater=coater)
    found = [row | {"study": study.name} for row in own.rows(name, cell)]
    if cell.after:
        return found
    of_coater = _visible(own) | {"detection_loss": coater.provenance["figures"]["q"]}
    of_coater |= _photos(own, cell)
    for row in found:
        if row["role"] == "guilty":
            pictures = ImageSet.open(own.pictures("guilty", row["model"], cell))
            quality = own.looks.judge(pictures).figures(pictures) if own.networks else {}
            row |= of_coater | quality
    return found


def _visible(study: PaperStudy) -> dict[str, float]:
    """Mean PSNR and local colour difference of the coated images."""
    found = list(changes(pairs_of(study.data, study.coated)))
    return {f"coated_{name}": float(np.mean([one[name] for one in found])) for name in _VISIBLE}


def _photos(study: PaperStudy, cell: Cell) -> dict[str, float]:
    """How often other people's images are accused as if they were a model's pictures."""
    if study.others is None:
        return {}
    files = [item.path for item in study.others.items]
    photos = score_images(files, study.coater, progress=study.progress)
    reference = study.scores("reference", 0, cell.clean)
    tests = picture_figures(photos, reference, (), study.config, 0)
    return {f"photos_{level}": tests[f"tpr_{level}"] for level in _LEVELS}


def ablation_table(cells: Sequence[Cell], rows: Sequence[Mapping[str, Any]], missing: str) -> str:
    """The table of the page: a line per row.

    Parameters
    ----------
    cells : sequence of Cell
        The rows that there may be.
    rows : sequence of dict
        Of :func:`ablation_rows`, or read from the CSV table.
    missing : str
        Stands in rows that are not measured.

    Returns
    -------
    str
        Markdown; the mean over models, and the lowest and highest if there are several.
    """
    lines = []
    for cell in cells:
        own = [row for row in rows if row["row"] == cell.row]
        guilty = [row for row in own if row["role"] == "guilty"]
        if not guilty:
            lines.append([cell.row, cell.paper, missing, *[""] * (len(HEAD) - 3)])
            continue
        innocent = [row for row in own if row["role"] == "innocent"]
        rates = [shares(guilty, f"tpr_{level}") for level in (*_LEVELS, _STRICTEST)]
        rates.append(shares(innocent, f"tpr_{_LEVELS[0]}"))
        # of the coater, which is the same for all models
        once = guilty[:1]
        rates += [shares(once, f"photos_{level}") for level in _LEVELS]
        loss, noise, colour = (given(once, figure) for figure in _OF_COATER)
        figures = (
            spread(loss, "{:.2f}"), spread(noise, "{:.1f}", " dB"), spread(colour, "{:.2f}"),
            spread(given(guilty, "eff0_fid"), "{:.0f}"),
        )  # fmt: skip
        lines.append([cell.row, cell.paper, *rates, *figures, str(len(guilty))])
    return table(HEAD, lines)
