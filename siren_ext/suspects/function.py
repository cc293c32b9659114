"""A suspect behind a Python function, for models and services that nothing else here can ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor

from siren_ext.progress import NULL, Progress
from siren_ext.suspects.base import Mimicry, PromptPlan, Redraw

Make = Callable[[str, int], Tensor]
"""From a prompt and a seed to a picture, 3 x H x W in [0,1]."""


class FunctionSuspect:
    """Asks a function for pictures. Nothing else of the model is needed.

    Parameters
    ----------
    name : str
        Identifies the model in records: pictures that were made under a name are not asked for
        again, so another model needs another name.
    make : callable
        From a prompt and a seed to a picture, 3 x H x W in [0,1].
    redraw : callable or None
        From a picture, a plan, the number in it and a strength to a picture, see
        :data:`siren_ext.suspects.base.Redraw`; None if it can't.
    """

    def __init__(self, name: str, make: Make, redraw: Redraw | None = None) -> None:
        self.name, self.make, self.redraw = name, make, redraw

    def describe(self) -> dict[str, Any]:
        """The record: kind and name."""
        return {"kind": "function", "name": self.name}

    def generate(
        self, plan: PromptPlan, *, indices: Sequence[int] | None = None, progress: Progress = NULL
    ) -> Iterator[Mimicry]:
        """Call the function for each picture; see :class:`siren_ext.suspects.base.Suspect`."""
        for index in sorted(range(plan.count) if indices is None else set(indices)):
            prompt, seed = plan.prompt(index), plan.seed + index
            yield Mimicry(self.make(prompt, seed), index, prompt, seed)
            progress.advance()
