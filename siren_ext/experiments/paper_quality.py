"""Quality of the pictures of models trained on coated images, beside those of clean training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from siren_ext.baselines.similarity import BACKBONES
from siren_ext.data.dataset import ImageSet
from siren_ext.experiments.pages import spread, table
from siren_ext.experiments.paper_cells import Cell
from siren_ext.experiments.paper_study import PaperStudy, Row
from siren_ext.experiments.picture_quality import FIGURES
from siren_ext.experiments.rows import given

HEAD = (
    "row", "network", "FID-like, coated", "FID-like, clean", "KID-like, coated", "KID-like, clean",
    "similarity, coated", "similarity, clean", "models",
)  # fmt: skip


def quality_rows(study: PaperStudy, table: str, cell: Cell) -> list[Row]:
    """The figures of a row, one for each guilty and innocent model.

    Parameters
    ----------
    study : PaperStudy
        Makes models and pictures, unless they exist; its networks compare them.
    table : str
        Name of the table.
    cell : Cell
        The row.

    Returns
    -------
    list of dict
        With the figures of :meth:`Quality.figures`.

    Raises
    ------
    Cancelled
        If the user stopped; the same call resumes.
    """
    found = []
    models = [(role, n) for role in ("guilty", "innocent") for n in study.config.numbers(role)]
    for role, number in models:
        pictures = ImageSet.open(study.pictures(role, number, cell))
        figures = study.looks.judge(pictures).figures(pictures)
        row = study.known(role, number, table, cell) | figures
        found.append(row | {"pictures": len(pictures)})
    return found


def quality_table(cells: Sequence[Cell], rows: Sequence[Mapping[str, Any]], missing: str) -> str:
    """The table of the page: a line per row and network.

    Parameters
    ----------
    cells : sequence of Cell
        The rows that there may be.
    rows : sequence of dict
        Of :func:`quality_rows`, or read from the CSV table.
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
        known = [name for name in BACKBONES if own and given(own, f"{name}_fid")]
        if not known:
            lines.append([cell.row, missing, *[""] * (len(HEAD) - 2)])
        for name in known:
            cells_of = [
                spread(given([row for row in own if row["role"] == role], f"{name}_{figure}"))
                for figure, role in product(FIGURES, ("guilty", "innocent"))
            ]
            count = sum(row["role"] == "guilty" for row in own)
            lines.append([cell.row, name, *cells_of, str(count)])
    return table(HEAD, lines)
