"""The paper's table of changes of pictures, with the keyed coater and by KS with an unkeyed one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from siren_ext.attacks.apply import Step
from siren_ext.experiments.paper_cells import Cell, Fitted, PaperTable

PLAIN = Cell("nothing", paper="100 %")
"""Pictures as they are."""


def after(row: str, name: str, paper: str = "lost", **settings: Any) -> Cell:
    """A row in which the suspicious model's pictures are changed.

    Parameters
    ----------
    row : str
        Its name.
    name : str
        Of the change, in :data:`siren_ext.attacks.registry.ATTACKS`.
    paper : str
        What the paper reports.
    **settings
        Of the change.
    """
    return Cell(row, after=(Step(name, settings),), paper=paper)


_CHANGES = (
    after("crop to a tenth of the area", "centre-crop", keep=0.1),
    after("hue, a quarter turn", "hue", turn=0.25),
    after("JPEG 50", "jpeg", quality=50, chroma="4:2:0"),
    after("noise, sigma .05", "noise", sigma=0.05),
    after("brightness, twice", "brightness", factor=2.0),
    after("contrast, twice", "contrast", factor=2.0),
    after("palette of 256 colours", "palette"),
    after("saturation, twice", "saturation", factor=2.0),
    after("sharpness, twice", "sharpness", factor=2.0),
    after("blur, 7 pixels", "blur"),
    after("half size and back", "super-resolution"),
    after("text", "text"),
    after("three of them, at half strength", "combination"),
)


def _by_ks() -> Iterator[Cell]:
    """The changes of pictures with an unkeyed coater, and again with the reference changed too."""
    for cell in (PLAIN, *_CHANGES):
        yield replace(cell, fitted=Fitted(), paper="high, value lost")
        if cell.after:
            row = f"{cell.row}, reference too"
            yield replace(cell, row=row, fitted=Fitted(), paper="not in the paper", matched=True)


CHANGES: dict[str, PaperTable] = {
    "table_10": PaperTable(
        "Changes of generated pictures",
        "Surprisingly high for all thirteen, values lost.",
        (PLAIN, *_CHANGES),
        difference="The coating is coarse colour. JPEG, sharpness, blur, half size and text do not "
        "weaken it, and noise and a palette hardly do. Doubling the saturation weakens it much in "
        "two of three models (2e-5), and three changes at once weaken it more (4e-5 to 5e-4). "
        "Changes that shift all colours (hue, brightness, contrast) hide it, and so does a crop to "
        "a tenth of the area, which shows only a small part of the coarse pattern. In the paper no "
        "row fails. None of these changes the model's file.",
    ),
    "table_10_ks": PaperTable(
        "Changes of generated pictures, by KS with an unkeyed coater",
        "Surprisingly high for all thirteen, values lost.",
        tuple(_by_ks()),
        difference="As in the paper, KS finds the guilty models after every change. But after "
        "eight of the thirteen it accuses the innocent model just as surely (99 to 100 % at .01), "
        "because the change alone lowers the scores below those of the reference's unchanged "
        "pictures. If the reference's pictures are changed in the same way, the innocent model is "
        "accused in 0 to 18 % of tests, as without any change (17 %), and the guilty ones are "
        "still found after ten of the thirteen. A crop to a tenth, brightness and contrast then "
        "hide the coating from KS (0 to 27 % at .01). So a high rate after a change shows the "
        "change, unless the reference has been changed too. Three guilty models and one innocent "
        "one, with the coater of the row *all terms* of `table_8`.",
    ),
}  # fmt: skip
"""By the names that the command takes."""
