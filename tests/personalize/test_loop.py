"""The loop of a training: it stops with its state saved, and resumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.stopping import StopAfter

from siren_ext.errors import Cancelled, ConfigError
from siren_ext.personalize import loop
from siren_ext.personalize.loop import read_state, run_steps
from siren_ext.progress import NULL


class Counting:
    """Adds up the numbers of its steps; one of them may be interrupted inside an update."""

    def __init__(self, interrupted: int = -1) -> None:
        self.step, self.mean_loss, self.updating, self.total = 0, 0.0, False, 0
        self.interrupted = interrupted

    def advance(self) -> None:
        self.updating = True
        self.total += self.step
        if self.step == self.interrupted:
            raise KeyboardInterrupt
        self.step += 1
        self.updating = False

    def snapshot(self) -> dict[str, Any]:
        return {"step": self.step, "total": torch.tensor(self.total)}


def test_a_stopped_training_is_resumed(tmp_path: Path) -> None:
    path, first = tmp_path / "a.state", Counting()
    with pytest.raises(Cancelled):
        run_steps(first, 6, path, "one", StopAfter(4))
    state = read_state(path, "one")
    assert state is not None
    assert 0 < state["step"] < 6
    second = Counting()
    second.step, second.total = state["step"], int(state["total"])
    run_steps(second, 6, path, "one", NULL)
    assert (second.step, second.total) == (6, 15)


def test_half_an_update_is_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.state"
    with pytest.raises(KeyboardInterrupt):
        run_steps(Counting(interrupted=3), 6, path, "one", NULL)
    assert read_state(path, "one") is None
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1.0)
    with pytest.raises(KeyboardInterrupt):
        run_steps(Counting(interrupted=3), 6, path, "one", NULL)
    state = read_state(path, "one")
    assert state is not None
    assert (state["step"], int(state["total"])) == (3, 0 + 1 + 2)


def test_other_states_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.state"
    with pytest.raises(Cancelled):
        run_steps(Counting(), 6, path, "one", StopAfter(2))
    with pytest.raises(ConfigError, match="belongs to a stopped run with other images"):
        read_state(path, "two")
    path.write_bytes(b"nonsense")
    with pytest.raises(ConfigError, match="can't be read as the state"):
        read_state(path, "one")
