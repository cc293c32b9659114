"""What the host does for long nodes: progress bar, interrupt, device, memory, gradients."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from siren_ext.errors import Cancelled
from siren_ext.progress import Progress


def device() -> torch.device:
    """Where ComfyUI wants work to be done."""
    import comfy.model_management as management

    return management.get_torch_device()


class NodeProgress(Progress):
    """The bar on the node; an interrupt stops the step like any other cancellation."""

    def __init__(self) -> None:
        import comfy.model_management as management
        import comfy.utils

        super().__init__(management.processing_interrupted)
        self._make = comfy.utils.ProgressBar
        self._bar = self._make(1)

    def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
        """A new bar for each phase; ComfyUI shows no labels."""
        self._bar = self._make(max(1, total or 1))
        self._bar.current = done

    def advance(self, units: int = 1, note: str = "") -> None:
        """Move the bar, unless the user has asked to stop."""
        super().advance(units, note)
        self._bar.update(units)


@contextlib.contextmanager
def long_step() -> Iterator[NodeProgress]:
    """Progress for the block; its cancellation becomes ComfyUI's own interrupt."""
    import comfy.model_management as management

    try:
        yield NodeProgress()
    except Cancelled:
        # also resets the host's flag, as its own steps do
        management.throw_exception_if_processing_interrupted()
        raise management.InterruptProcessingException from None


@contextlib.contextmanager
def learning() -> Iterator[None]:
    """Gradients inside a node, in free memory; what the training took is given back afterwards."""
    import comfy.model_management as management

    # before gradients are on: the host takes patches off in the mode in which it put them on
    management.unload_all_models()
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        management.soft_empty_cache()
