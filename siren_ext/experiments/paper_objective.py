"""The paper's tables about how a coater is trained: each row has a coater of its own."""

from __future__ import annotations

from typing import Any

from siren_ext.experiments.paper_cells import Cell, Fitted, PaperTable


def _fitted(row: str, paper: str = "not in the paper", **training: Any) -> Cell:
    return Cell(row, fitted=Fitted(training), paper=paper)


_NEW = Fitted(start=False)
OBJECTIVE: dict[str, PaperTable] = {
    "table_8": PaperTable(
        "Parts of the training objective",
        ".40 without learnability, 100 % with all.",
        (
            _fitted("all terms", "100 %, 40.5 dB, FID 104.0"),
            _fitted("without the perceptual term", "100 %, 39.1 dB, FID 107.8", tint_weight=0.0),
            _fitted("without learnability", "83 %, 39.6 dB, FID 106.0", learn_weight=0.0),
            _fitted("without both", "40 %, 35.0 dB, FID 128.7", learn_weight=0.0, tint_weight=0.0),
            _fitted("without rehearsals", rehearse_every=0),
            _fitted("without rehearsals and learnability", rehearse_every=0, learn_weight=0.0),
        ),
        missing=(("without the image loss", "the preset keeps every image at a fixed PSNR instead "
                  "of weighing an image loss"),),
    ),
    "table_9": PaperTable(
        "Hypersphere or two classes",
        "Two classes accuse 100 and 96 % of photos, the hypersphere none.",
        (
            Cell("hypersphere", fitted=_NEW, paper="100 %, photos 0 and 0 %"),
            Cell("two classes", fitted=Fitted(shape={"head": "binary"}, start=False),
                 paper="100 %, photos 100 and 96 %"),
        ),
    ),
    "figure_11_13": PaperTable(
        "Meta-learning, and weights of the objective",
        "Faster training; results hardly depend on the weights.",
        (
            _fitted("from the meta-learnt start", "faster and smoother"),
            Cell("from random weights", fitted=_NEW),
            _fitted("learnability four times", learn_weight=4.0),
            _fitted("a quarter of learnability", learn_weight=0.25),
        ),
    ),
}  # fmt: skip
"""By the names that the command takes."""
