"""What ComfyUI provides for long nodes: progress bar, interrupt, device, memory, gradients."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import sys
from collections.abc import Iterator

import torch

from siren_ext.errors import Cancelled
from siren_ext.progress import Progress


def device() -> torch.device:
    """The device that ComfyUI computes on.

    Returns
    -------
    torch.device
        Its device for models.
    """
    import comfy.model_management as management

    return management.get_torch_device()


class NodeProgress(Progress):
    """The progress bar on the node. ComfyUI's interrupt cancels the step."""

    def __init__(self) -> None:
        import comfy.model_management as management
        import comfy.utils

        super().__init__(management.processing_interrupted)
        self._make = comfy.utils.ProgressBar
        self._bar = self._make(1)

    def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
        """Start a new bar. ComfyUI shows no labels."""
        self._bar = self._make(max(1, total or 1))
        self._bar.current = done

    def advance(self, units: int = 1, note: str = "") -> None:
        """Move the bar.

        Raises
        ------
        Cancelled
            The user pressed Interrupt.
        """
        super().advance(units, note)
        self._bar.update(units)

    def notice(self, text: str) -> None:
        """Write a message to ComfyUI's log, because a running node can't show text."""
        logging.getLogger(__name__).warning(text)


@contextlib.contextmanager
def long_step() -> Iterator[NodeProgress]:
    """Provide progress for a block, and turn its cancellation into ComfyUI's interrupt.

    Yields
    ------
    NodeProgress
        The progress to pass on.
    """
    import comfy.model_management as management

    try:
        yield NodeProgress()
    except Cancelled:
        # also resets ComfyUI's flag, as its own nodes do
        management.throw_exception_if_processing_interrupted()
        raise management.InterruptProcessingException from None


@contextlib.contextmanager
def learning() -> Iterator[None]:
    """Enable gradients inside a node, with models unloaded before and memory freed afterwards."""
    import comfy.model_management as management

    # before enabling gradients: ComfyUI must remove patches in inference mode, as it applied them
    management.unload_all_models()
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        gc.collect()  # a training's graph has circles
        management.soft_empty_cache()
        _return_memory()


def _return_memory() -> None:
    """Give freed memory back to the system, which the C library of Linux else keeps."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
