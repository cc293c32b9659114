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
        "100 % with all, .40 without both; which of the others belongs to which row is not sure.",
        (
            _fitted("all terms", "100 %, 40.5 dB, FID 104.0"),
            _fitted("without the perceptual term", "100 %, 39.1 dB, FID 107.8", tint_weight=0.0),
            _fitted("without learnability", "83 %, 39.6 dB, FID 106.0", learn_weight=0.0),
            _fitted("without both", "40 %, 35.0 dB, FID 128.7", learn_weight=0.0, tint_weight=0.0),
            _fitted("without rehearsals", rehearse_every=0),
            _fitted("without rehearsals and learnability", rehearse_every=0, learn_weight=0.0),
        ),
        missing=(("without the image loss", "the preset has none: a mask and a lowest PSNR limit "
                  "how visible a coating is"),),
        difference="Every coater finds its three guilty models in all tests, even at 1e-9. So, "
        "unlike in the paper, learnability is not needed here. Rehearsed infringements, from whose "
        "pictures the extractor learns, do not stand in for it: the result is the same without "
        "them, and without both. The bundled model learns these coatings in any case; which part "
        "of the preset makes that so was not measured. With rehearsals the loss of the extractor "
        "ends at .2 to .3, and without them at .9. Without the perceptual term a coating is easier "
        "to see: the colour difference is 3.7, against 2.8 with all terms (the aim is 2), and 4.5 "
        "without both. FID-like does not tell the rows apart (165 to 177). KS accuses the innocent "
        "model in 3 to 23 % of tests at .01, and other people's photos always: it says that scores "
        "are lower than the reference's, whatever the reason. Three guilty models and one innocent "
        "model for each row.",
    ),
    "table_9": PaperTable(
        "Hypersphere or two classes",
        "Two classes accuse 100 and 96 % of photos, the hypersphere none.",
        (
            Cell("hypersphere", fitted=_NEW, paper="100 %, photos 0 and 0 %"),
            Cell("two classes", fitted=Fitted(shape={"head": "binary"}, start=False),
                 paper="100 %, photos 100 and 96 %"),
        ),
        difference="The hypersphere finds its guilty models in all tests, even at 1e-9. Two "
        "classes find theirs in 82 to 99 % of tests at 1e-4 and 5 to 31 % at 1e-9, but their "
        "coating is fainter (45.1 dB, against 43.4). Both accuse photos: the hypersphere of this "
        "preset always, two classes in 98 % of tests at .01 and 67 % at 1e-4. In the paper the "
        "hypersphere never does. So compare with a reference only pictures of the same kind. Three "
        "guilty models and one innocent model for each row.",
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
        difference="After equally many steps the loss of the extractor is .3 from the meta-learnt "
        "start and 1.1 from random weights. So the start saves training, as in the paper. All "
        "coaters find their three guilty models in every test, even at 1e-9, so the weight of "
        "learnability makes no difference there, as in the paper. The one innocent model is "
        "accused in 13 to 27 % of tests at .01, in no order of the weights.",
    ),
}  # fmt: skip
"""By the names that the command takes."""
