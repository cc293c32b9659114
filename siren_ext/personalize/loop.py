"""Runs a training to its end, with progress, and saves its state so that it can be resumed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Protocol

import torch

from siren_ext.errors import Cancelled, ConfigError
from siren_ext.files import atomic
from siren_ext.progress import Progress
from siren_ext.ranks import RankLostError, current

SAVE_SECONDS = 30.0
"""So often the state is saved."""
LABEL = "Personalising"
"""What progress calls the training of a model."""


class Steps(Protocol):
    """A training of which one step at a time is made.

    Attributes
    ----------
    step : int
        Finished steps.
    mean_loss : float
        Running mean of the loss, which is shown.
    updating : bool
        Whether weights are being changed, so that the state must not be saved.
    """

    step: int
    mean_loss: float
    updating: bool

    def advance(self) -> None:
        """Make one step."""

    def snapshot(self) -> dict[str, Any]:
        """Everything that the next step depends on: tensors and plain values."""


def run_steps(
    trainer: Steps, steps: int, path: Path, run: str, progress: Progress, *, label: str = LABEL
) -> None:
    """Train to the end, saving the state now and then and when stopped.

    Parameters
    ----------
    trainer : Steps
        What is trained; steps that it has made already are not repeated.
    steps : int
        Number of steps at the end.
    path : Path
        The file of the state.
    run : str
        Hash of everything that determines the result.
    progress : Progress
        One unit per step.
    label : str
        What it calls the training.

    Raises
    ------
    Cancelled, RankLostError
        If the user stopped, or another process of the run has ended; the state is saved.
    """
    first, began = trainer.step, time.monotonic()
    last_save = began
    progress.stage(label, steps, first)
    try:
        while trainer.step < steps:
            trainer.advance()
            pace = (time.monotonic() - began) / (trainer.step - first)
            if time.monotonic() - last_save > SAVE_SECONDS:
                _write_state(trainer, path, run)
                last_save = time.monotonic()
            progress.advance(note=f"loss {trainer.mean_loss:#.3g}, {pace:.2f} s/step")
    except (KeyboardInterrupt, Cancelled, RankLostError):
        # in the middle of an update keep the last saved state
        if trainer.step and not trainer.updating:
            _write_state(trainer, path, run)
        raise


def begin(trainer: Any, path: Path, run: str, saved: dict[str, Any] | None) -> None:
    """Go back to the saved state of a run, or save what was generated for it.

    Parameters
    ----------
    trainer : Trainer
        The run.
    path : Path
        The file of the state.
    run : str
        As for :func:`run_steps`.
    saved : dict or None
        From :func:`read_state`.
    """
    if saved is not None:
        trainer.restore(saved)
    elif trainer.generated is not None:
        _write_state(trainer, path, run)  # not to be generated again if the run is killed


def _write_state(trainer: Steps, path: Path, run: str) -> None:
    """Save the state of a run."""
    if not current().main:
        return
    with atomic(path) as temporary:
        torch.save({"run": run, **trainer.snapshot()}, temporary)


def read_state(path: Path, run: str) -> dict[str, Any] | None:
    """The saved state of a run.

    Parameters
    ----------
    path : Path
        The file of the state.
    run : str
        As for :func:`run_steps`.

    Returns
    -------
    dict | None
        A snapshot; None if there is no file.

    Raises
    ------
    ConfigError
        If the file can't be read, or belongs to another run.
    """
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged files
        raise ConfigError(
            f"{path} can't be read as the state of a stopped run; it is damaged. Delete it to "
            "start again."
        ) from error
    if not isinstance(state, dict) or state.get("run") != run:
        raise ConfigError(
            f"{path} belongs to a stopped run with other images, model or settings. Delete it to "
            "start again, or choose another file name."
        )
    return state
