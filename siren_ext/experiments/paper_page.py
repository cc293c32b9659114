"""The page of the paper's tables: what the paper reports, what was measured, and what was not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from siren_ext.errors import ConfigError
from siren_ext.experiments.pages import shares, table
from siren_ext.experiments.paper_ablation import ablation_table
from siren_ext.experiments.paper_attacks import notes
from siren_ext.experiments.paper_cells import Cell
from siren_ext.experiments.paper_quality import quality_table
from siren_ext.experiments.paper_tables import STUDY, TABLES
from siren_ext.experiments.rows import given

_LEVELS = ("0.01", "0.0001")
_HEAD = (
    "row", "paper", "KS, .01", "KS, 1e-4", "innocent, .01", "key, 30 pictures", "key, all pictures",
    "key, model's file", "key, file's bits", "innocent by key", "models",
)  # fmt: skip
_LOOKS = (("similarity", "eff0_similarity", "{:.3f}"), ("PSNR", "psnr", "{:.1f} dB"))
_NOT_YET = "not measured, because no run of it is finished yet"
_OTHER_STUDY = (
    "**Some figures of this page are of other images, another coater or model, or of a quick "
    "run.** They are not the ones that the project quotes.\n"
)
_SMALLEST_P = 1e-3
_BY_KEY = ("p_pictures", "p_file")
_PLACE = ("table", "row", "set")


def check_table(rows: Sequence[dict[str, Any]], path: Path, study: str, data: str) -> None:
    """Refuse a table of something else, before hours of work are added to it.

    Parameters
    ----------
    rows : sequence of dict
        The table.
    path : Path
        Its file.
    study : str
        Stands for the images, coater, base model and settings that are to be added.
    data : str
        Name of the images.

    Raises
    ------
    ConfigError
        If it has other columns, or has measured other things under the same name.
    """
    check_columns(rows, path)
    for row in rows:
        if row["set"] == data and row.get("study") not in (None, "", study):
            raise ConfigError(
                f"{path} has figures of {data} with other images, another coater, base model or "
                "other settings. Give another name with --csv."
            )


def check_columns(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Refuse a table of something else, or by an earlier version.

    Parameters
    ----------
    rows : sequence of dict
        The table.
    path : Path
        Its file.

    Raises
    ------
    ConfigError
        If it has other columns.
    """
    if not rows:
        return
    if missing := [name for name in (*_PLACE, "role", "model") if name not in rows[0]]:
        raise ConfigError(
            f"{path} is another table: it has no column {missing[0]}. Give another name with --csv."
        )
    if "p_bits" not in rows[0] and any(row.get("p_file") not in (None, "") for row in rows):
        raise ConfigError(
            f"{path} is by an earlier version, whose p_file is of the bits alone. Rename that "
            f"column to p_bits to keep its figures, or give another name with --csv."
        )


def merged(old: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of earlier runs, replaced where the same model was measured again.

    Parameters
    ----------
    old, new : sequence of dict
        With ``table``, ``row``, ``set``, ``role`` and ``model``, by which they are known.
    """

    def place(row: dict[str, Any]) -> tuple[str, ...]:
        return (*(row[name] for name in _PLACE), row["role"], str(row["model"]))

    again = {place(row) for row in new}
    return [row for row in old if place(row) not in again] + list(new)


def _spoken_of(name: str, rows: Sequence[dict[str, Any]]) -> bool:
    """Whether the rows are there that the sentence below a table speaks of, and of its study."""
    one, known = TABLES[name], [row for row in rows if row["table"] == name]
    needed = set(one.about) or {cell.row for cell in one.cells}
    complete = needed <= {row["row"] for row in known}
    return complete and {row.get("study") for row in known} == {STUDY}


def page_text(
    rows: Sequence[dict[str, Any]], pictures: Mapping[str, str] = MappingProxyType({})
) -> str:
    """The whole page in Markdown.

    Parameters
    ----------
    rows : sequence of dict
        Everything that was measured.
    pictures : Mapping[str, str]
        Links of plots by the name of their table.
    """
    parts = [_INTRODUCTION]
    if any(row.get("study") not in (None, "", STUDY) for row in rows):
        parts.append(_OTHER_STUDY)
    for name, one in TABLES.items():
        lines = [f"## {one.title}", "", f"`{name}`. The paper: {one.reported}", ""]
        sets = list(dict.fromkeys(row["set"] for row in rows if row["table"] == name))
        for data in sets:
            known = [row for row in rows if row["table"] == name and row["set"] == data]
            if len(sets) > 1:
                lines += [f"**{data}**", ""]
            if any(cell.quality for cell in one.cells):
                lines.append(quality_table(one.cells, known, _NOT_YET))
            elif any(cell.fitted for cell in one.cells) and not any(x.after for x in one.cells):
                lines.append(ablation_table(one.cells, known, _NOT_YET))
            else:
                lines.append(_table(one.cells, known))
                lines += notes(known)
                if name in pictures and len(sets) == 1:
                    lines += [f"![{one.title}]({pictures[name]})", ""]
        lines += [one.difference, ""] if one.difference and _spoken_of(name, rows) else []
        if one.cells and not sets:
            waiting = "; ".join(cell.row for cell in one.cells)
            lines += [f"{_NOT_YET[0].upper()}{_NOT_YET[1:]}: {waiting}.", ""]
        gaps = [(row, f"not measured, because {reason}") for row, reason in one.missing]
        lines += [f"- {row}: {reason}." for row, reason in gaps]
        lines += [""] if gaps else []
        lines += [f"{one.elsewhere}.", ""] if one.elsewhere else []
        parts.append("\n".join(lines))
    return "\n".join(parts).rstrip("\n") + "\n"


def _table(cells: Sequence[Cell], rows: Sequence[dict[str, Any]]) -> str:
    """The rows of a table, and how pictures look; columns that no row fills are left out."""
    guilty = [row for row in rows if row["role"] == "guilty"]
    looks = [(title, name, form) for title, name, form in _LOOKS if given(guilty, name)]
    lines = []
    for cell in cells:
        own = [row for row in guilty if row["row"] == cell.row]
        values = [(form, given(own, name)) for _, name, form in looks]
        shown = [form.format(float(np.mean(found))) if found else "" for form, found in values]
        lines.append([*_line(cell, rows), *shown])
    head = (*_HEAD, *(title for title, _, _ in looks))
    filled = [place for place in range(len(head)) if any(line[place] for line in lines)]
    return table([head[at] for at in filled], [[line[at] for at in filled] for line in lines])


def _line(cell: Cell, rows: Sequence[dict[str, Any]]) -> list[str]:
    """One row of a table."""
    own = [row for row in rows if row["row"] == cell.row]
    guilty = [row for row in own if row["role"] == "guilty"]
    innocent = [row for row in own if row["role"] == "innocent"]
    if not guilty:
        return [cell.row, cell.paper, _NOT_YET, *[""] * (len(_HEAD) - 3)]
    rates = [shares(guilty, f"tpr_{level}") for level in _LEVELS]
    wrong = shares(innocent, f"tpr_{_LEVELS[0]}")
    keys = [_chances(guilty, name) for name in ("p_few", "p_pictures", "p_file", "p_bits")]
    tested = [[p for name in _BY_KEY for p in given([row], name)] for row in innocent]
    accused = [min(found) for found in tested if found]
    by_key = f"{sum(p <= _SMALLEST_P for p in accused)} of {len(accused)}" if accused else ""
    return [cell.row, cell.paper, *rates, wrong, *keys, by_key, str(len(guilty))]


def _chances(rows: Sequence[dict[str, Any]], name: str) -> str:
    """The p of every model."""
    found = given(rows, name)
    return ", ".join(f"{p:.1g}" for p in found) if len(found) == len(rows) else ""


_INTRODUCTION = """# The paper's experiments

Every table and figure of SIREN's paper, what the paper reports, and what was measured here on the
bundled model. This page is written by

```
python -m siren_ext.experiments NAME --class-word icon --out runs/paper \\
    --csv docs/results/experiments.csv --page docs/experiments.md
```

where NAME is the name below a title, or `all`. A stopped run is resumed, and no model is trained
twice. `--list` names all rows, of which `--row` takes single ones. Rows in which somebody else
trains on images of their own need `--others FOLDER` (here photos of faces). `--quick` takes minutes
for a row; its figures are not for this page. All figures are in
[the table](results/experiments.csv).

- **KS** is SIREN's test. The column gives the share of draws of 30 pictures that are accused,
  compared with 100 pictures of a clean model, at two levels; the CSV table has more levels, down to
  1e-9. SIREN's code compares with 300 pictures and draws from 1,000. Here there are 150, because
  more would take hours for each row. **Innocent** models are trained on clean images, and otherwise
  made and asked like the guilty ones.
- **Key** is p of the keyed test: of 30 pictures, of all of them, and of the
  [model's file](preference.md#what-is-measured) without a control, with p of its bits alone in the
  next column. **Innocent by key** counts innocent models with p up to .001, by pictures or by file.
- **Similarity** and **PSNR** say how the tested pictures look, because a low rate means little if
  the change has ruined the pictures. Similarity is the mean cosine over all pairs of a picture and
  a clean image. PSNR compares changed pictures with unchanged ones. For changes of pictures both
  are measured on the first guilty model only.
- Where each row has a coater of its own, that coater has no key and is trained for 200 steps with
  the preset `default`. **Photos** are other people's images, tested as if a model had made them.
  **Detection loss** is the loss of the extractor at the end of training. **PSNR** and **colour**
  then say how visible the coating is ([details](figures.md#how-visible-a-coating-is)).
- **Quality** compares pictures with the clean training images, at the size of the pictures.
  **FID-like** is the Frechet distance. With few pictures it is too large, so only the difference
  between coated and clean training counts, for which there are equal numbers of pictures.
  **KID-like** does not depend on the number of pictures; 0 is the best.
- All three use the network EfficientNet-Lite0 (`eff0`, in the extra `pocket`), so they can't be
  compared with published figures. `--network dino=FOLDER` and `--network clip=FOLDER` add the
  networks of DINO and CLIP scores.
- A mean over models is followed by the lowest and the highest in brackets. p is given for each
  model.
- Models and pictures depend a little on the machine. On two machines p of all pictures of the first
  model of figure_4 was 1e-9 and 3e-9.

The bundled model is small, and its trainings are short. So the figures show which changes matter,
but say little about how high a rate will be with Stable Diffusion.
"""
TITLE = _INTRODUCTION.partition("\n")[0]
"""First line of the page."""
