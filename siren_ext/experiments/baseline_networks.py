"""The networks that published methods train before they can protect or test anything."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from siren_ext.baselines.diagnosis import ClassifierTraining, Diagnosis, train_diagnosis
from siren_ext.baselines.warp import Warp
from siren_ext.baselines.yu import Yu, YuTraining, train_yu
from siren_ext.errors import ModelError
from siren_ext.progress import Progress

SEEDS, LEAST = 5, 0.9
"""How many trainings of a pair are tried, and the share of bits that one must read."""


def yu_pair(corpus: Tensor, steps: int, path: Path, progress: Progress) -> Yu:
    """The pair of Yu et al., trained unless its file exists.

    A short training often learns nothing, by the luck of its seed. So the first pair is taken that
    reads its bits on the pictures that it was trained on; no test picture has a part in that.

    Parameters
    ----------
    corpus : Tensor
        N x 3 x H x W in [0,1].
    steps : int
        Training steps.
    path : Path
        Its file.
    progress : Progress
        One unit per step; may cancel.

    Raises
    ------
    ModelError
        If no pair of :data:`SEEDS` reads :data:`LEAST` of its bits.
    """
    if path.is_file():
        return Yu.load(path)
    best = 0.0
    for seed in range(SEEDS):
        settings = YuTraining(
            32, steps, batch=16, rate=5e-4, free=int(0.3 * steps), ramp=int(0.4 * steps), seed=seed
        )
        pair = train_yu(corpus, settings, progress)
        marked = pair.protect(corpus[:60]).images
        read = float((pair.evidence(marked) == pair.string).mean())
        if read >= LEAST:
            pair.save(path)
            return pair
        best = max(best, read)
    raise ModelError(
        f"No pair of {SEEDS} trainings of {steps} steps reads its own bits ({best:.2f} of them at "
        f"best, {LEAST:g} are needed). Give another --corpus, or leave out --quick."
    )


def diagnosis_of(owned: Tensor, mode: str, steps: int, progress: Progress) -> Diagnosis:
    """DIAGNOSIS with a classifier for the owner's images.

    Parameters
    ----------
    owned : Tensor
        N x 3 x H x H in [0,1].
    mode : {"unconditional", "trigger"}
        Whether all images are warped, or those with the trigger in their captions.
    steps : int
        Training steps of the classifier.
    progress : Progress
        One unit per step; may cancel.
    """
    size = owned.shape[-1]
    warp = Warp("trigger" if mode == "trigger" else "unconditional", size=size, points=13)
    settings = ClassifierTraining(size=size, crop=64, steps=steps)
    return train_diagnosis(owned, warp, settings, progress)
