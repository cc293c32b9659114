"""What the run button checks before a job waits in a queue, with a stand-in for Gradio."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.noise_files import noise_folder

from siren_ext.errors import ConfigError, DatasetError
from siren_ext.panels.host import StopRequests, UploadLimits
from siren_ext.panels.uploads import check_given
from siren_ext.panels.widgets import RunButtons, connect


class RefusedError(Exception):
    """Stands in for ``gr.Error``."""


class Chain:
    """Runs the events of a click in order, as Gradio does; remembers which ones were queued."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, Callable[..., Any], dict[str, Any]]] = []

    def _add(self, how: str) -> Callable[..., Chain]:
        def add(function: Callable[..., Any], _inputs: Any, _outputs: Any, **options: Any) -> Chain:
            self.steps.append((how, function, options))
            return self

        return add

    def __getattr__(self, how: str) -> Callable[..., Chain]:
        return self._add(how)


def panel(check: Callable[..., object]) -> list[tuple[str, Callable[..., Any], dict[str, Any]]]:
    """The events of a panel with one field, a card and a file."""
    chain, stops = Chain(), StopRequests()
    gr = SimpleNamespace(
        State=lambda value: value,
        update=lambda **values: values,
        Error=RefusedError,
        __version__="4.40",
    )
    buttons = RunButtons(chain, None, "", stops)
    connect(gr, buttons, check, lambda value, job: (value, job), ["field"], ["card", "file"])
    return chain.steps


def test_a_bad_form_is_answered_outside_the_queue() -> None:
    def check(value: str) -> None:
        raise ConfigError(f"{value} is of no use. Choose another one.")

    (_, look, first), (_, begin, second), (how, _, third) = panel(check)
    fault, card, file = look("x")
    assert fault == "x is of no use. Choose another one."
    assert fault in card
    assert file == {"value": None, "visible": False}
    with pytest.raises(RefusedError, match="of no use"):
        begin(fault, "")
    # the job follows only where nothing was wrong, and it alone may wait
    assert how == "success"
    assert (first["queue"], second["queue"]) == (False, False)
    assert "queue" not in third


def test_a_good_form_leaves_the_last_result_and_starts_a_job() -> None:
    (_, look, _), (_, begin, _), _ = panel(lambda value: None)
    fault, *outputs = look("x")
    assert (fault, outputs) == ("", [{}, {}])
    first, second = begin("", ""), begin("", "")
    assert first
    assert first != second


def test_what_is_given_is_checked_without_a_copy(tmp_path: Path) -> None:
    limits = UploadLimits(files=3, file_mb=1, megapixels=0.01)
    given = sorted(noise_folder(tmp_path / "in", 3, 1, 255).glob("*.png"))
    check_given([str(path) for path in given], "", limits)
    (tmp_path / "page.pdf").write_bytes(b"%PDF-1.4")
    with pytest.raises(DatasetError, match="No image files were found"):
        check_given([str(tmp_path / "page.pdf")], "", limits)
    with pytest.raises(DatasetError, match="No images were given"):
        check_given(None, " ", limits)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "page.pdf"]
