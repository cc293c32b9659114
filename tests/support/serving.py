"""The HTTP service in a thread, with a coater that can be held."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from support.fake_coater import FakeCoater
from torch import Tensor

from siren_ext.service.config import ServeConfig
from siren_ext.service.server import serve
from siren_ext.service.tokens import Tokens

TOKEN = "a-token-of-the-tests-0123"


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


class HeldCoater(FakeCoater):
    """Waits in every image while it is held."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()
        self.free.set()
        self.begun = 0

    def residual(self, images: Tensor) -> Tensor:
        self.begun += 1
        assert self.free.wait(30)
        return super().residual(images)


class Serving:
    """A running service."""

    def __init__(self, journal: Path, tokens: Tokens, **settings: Any) -> None:
        self.coater, self.journal = HeldCoater(), journal
        self._stop, self._ready = threading.Event(), threading.Event()
        self.address, self.error = "", None
        self._settings, self._tokens = settings, tokens
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        assert self._ready.wait(60)
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        def started(address: str) -> None:
            self.address = address
            self._ready.set()

        threads = torch.get_num_threads()
        try:
            serve(
                self.coater,  # type: ignore[arg-type]
                self.journal,
                ServeConfig(**self._settings),
                tokens=self._tokens,
                port=0,
                stopped=self._stop.is_set,
                started=started,
            )
        except BaseException as error:
            self.error = error
        finally:
            torch.set_num_threads(threads)
            self._ready.set()

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def spool(self) -> Path:
        return self.journal.parent / f".{self.journal.name}.uploads"

    def ask_to_stop(self) -> None:
        self._stop.set()

    def end(self) -> None:
        self.coater.free.set()
        self._stop.set()
        self.thread.join(60)
        assert not self.thread.is_alive()
        if self.error is not None:
            raise self.error


@contextmanager
def serving(folder: Path, *tokens: str, **settings: Any) -> Iterator[Serving]:
    """Run a service whose journal is in a folder."""
    one = Serving(folder / "served.jsonl", Tokens(tokens), **settings)
    try:
        yield one
    finally:
        one.end()
