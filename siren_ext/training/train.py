"""Train a coater: generator and extractor against a surrogate diffusion model."""

from __future__ import annotations

import time
from pathlib import Path

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.data.dataset import ImageSet
from siren_ext.progress import NULL, Progress
from siren_ext.training.config import TrainConfig
from siren_ext.training.surrogate import Surrogate
from siren_ext.training.trainer import CoaterTrainer

SAVE_SECONDS = 60.0


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
    """Train a coater for ``data``.

    Parameters
    ----------
    data : ImageSet
        the owner's clean images.
    surrogate : Surrogate
        a diffusion model, usually personalised on the clean images.
    coater : CoaterConfig | None
        network shapes of a new pair (ignored with ``start``).
    start : Coater | None
        a trained coater to adapt; it is not changed.
    resume : Path | None
        a state file; a run stopped or killed goes on from it, a finished one removes it.

    Raises
    ------
    ConfigError
        no steps, and nothing that is fitted without any.
    Cancelled
        the state file (if any) holds what was reached.
    ModelError
        the loss stopped being finite.
    """
    trainer = CoaterTrainer(data, surrogate, config, coater=coater, start=start, device=device)
    if resume is not None:
        trainer.restore(resume)
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
    if resume is not None:
        resume.unlink(missing_ok=True)
