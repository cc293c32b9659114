"""Train a coater: generator and extractor against a surrogate diffusion model."""

from __future__ import annotations

import time
from pathlib import Path

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.data.dataset import ImageSet
from siren_ext.progress import NULL, Progress
from siren_ext.ranks import current
from siren_ext.training.config import TrainConfig
from siren_ext.training.surrogate import Surrogate
from siren_ext.training.trainer import CoaterTrainer

SAVE_SECONDS = 60.0
"""Seconds between two states on disk: at most this much work is lost by a kill."""


def train_coater(
    data: ImageSet,
    surrogate: Surrogate,
    config: TrainConfig,
    *,
    coater: CoaterConfig | None = None,
    start: Coater | None = None,
    device: str = "auto",
    progress: Progress = NULL,
    resume: Path | None = None,
) -> Coater:
    """Train a coater for a set of images against a surrogate diffusion model.

    Several processes (:mod:`siren_ext.ranks`) split the batch of each step.

    Parameters
    ----------
    data : ImageSet
        The owner's clean images.
    surrogate : Surrogate
        A diffusion model, usually personalised on the clean images.
    config : TrainConfig
        Settings of the training.
    coater : CoaterConfig or None
        Shape of a new coater; the default shape if None. Ignored with ``start``.
    start : Coater or None
        A trained coater to adapt; it is not changed.
    device : str
        ``auto`` or a torch device name.
    progress : Progress
        Reports steps and is asked whether to stop.
    resume : Path or None
        State file. A stopped or killed run resumes from it; a finished run deletes it.

    Returns
    -------
    Coater
        The trained coater, on the training device, with its provenance.

    Raises
    ------
    ConfigError
        There are no steps and nothing to fit, or a keyed coater is asked for with another
        objective than ``budget``.
    CoaterError
        The state file is damaged or belongs to another run.
    Cancelled
        The user stopped; the state file, if any, holds what was reached.
    ModelError
        The loss is no longer a finite number, or rehearsals are asked for and the surrogate can't
        be trained.

    References
    ----------
    SIREN (arXiv 2410.10437), sections 4 and 5; the objectives are in
    :mod:`siren_ext.training.objectives`.
    """
    trainer = CoaterTrainer(data, surrogate, config, coater=coater, start=start, device=device)
    if resume is not None:
        trainer.restore(resume)
        current().wait()  # before the main process writes the file
    try:
        _run(trainer, progress, resume)
        return trainer.finish()
    finally:
        trainer.close()


def _run(trainer: CoaterTrainer, progress: Progress, resume: Path | None) -> None:
    """All remaining steps; the state is kept every minute and when the run is stopped."""
    state, steps = trainer.state, trainer.config.steps
    if state.step == 0:
        trainer.begin(progress)
    progress.stage("Training the coater", steps, state.step)
    saved = time.monotonic()
    try:
        while state.step < steps:
            note = trainer.advance()
            progress.advance(1, note)
            if resume is not None and time.monotonic() - saved > SAVE_SECONDS:
                trainer.save(resume)
                saved = time.monotonic()
    except BaseException:
        if resume is not None and trainer.consistent:
            trainer.save(resume)
        raise
    if resume is not None and state.ranks.main:
        resume.unlink(missing_ok=True)
