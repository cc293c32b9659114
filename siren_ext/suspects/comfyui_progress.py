"""Live progress of a ComfyUI server by its websocket, where the package ``websockets`` is there.

It only tells how far a picture is and when to look for it; what counts is the server's history. So
without the package, or when the line breaks, the history is simply asked now and then.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack, suppress
from importlib import import_module
from types import TracebackType
from typing import Any

from siren_ext.progress import Progress
from siren_ext.suspects.http import Client
from siren_ext.suspects.responses import at_path

_LARGEST = 16 << 20
_OPEN_SECONDS = 10.0
_TICK = 0.25


class Listener:
    """A context that listens to a server; ``connected`` says whether it does."""

    def __init__(self, client: Client, client_id: str) -> None:
        self._client = client
        self._client_id = client_id
        self._line: Any = None
        self._open = ExitStack()

    @property
    def connected(self) -> bool:
        """Whether messages can come."""
        return self._line is not None

    def __enter__(self) -> Listener:
        try:
            connect = import_module("websockets.sync.client").connect
        except ImportError:
            return self
        client = self._client
        headers = {client.secret.header: client.secret.line} if client.secret else None
        address = f"ws{client.origin.removeprefix('http')}{client.prefix}/ws"
        try:
            line = connect(
                f"{address}?clientId={self._client_id}",
                additional_headers=headers,
                compression=None,
                max_size=_LARGEST,
                open_timeout=min(client.timeout, _OPEN_SECONDS),
                close_timeout=1.0,
            )
            self._line = self._open.enter_context(line)
        except Exception:  # whatever is wrong with the line: it is not needed
            self._line = None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._hang_up()

    def wait(self, job: str, seconds: float, progress: Progress) -> None:
        """Pass on the steps of ``job`` until it ends, ``seconds`` have gone, or the line breaks."""
        end = time.monotonic() + seconds
        while self._line is not None and (left := end - time.monotonic()) > 0:
            try:
                message = self._line.recv(timeout=min(left, _TICK))
            except TimeoutError:
                progress.advance(0)
                continue
            except Exception:  # a closed or broken line
                self._hang_up()
                return
            note, ended = read_message(message, job)
            progress.advance(0, note=note)
            if ended:
                return

    def _hang_up(self) -> None:
        self._line = None
        with suppress(Exception):  # it may be gone already
            self._open.close()


def read_message(message: Any, job: str) -> tuple[str, bool]:
    """A note for the person ("step 5 of 20"), and whether the message says that ``job`` ended."""
    if not isinstance(message, str):
        return "", False  # a preview picture
    try:
        value = json.loads(message)
    except (ValueError, RecursionError):
        return "", False
    if at_path(value, "data.prompt_id") != job:
        return "", False
    kind, done, of = (at_path(value, path) for path in ("type", "data.value", "data.max"))
    if kind == "progress" and isinstance(done, int) and isinstance(of, int):
        return f"step {done} of {of}", False
    ends = ("execution_success", "execution_error", "execution_interrupted")
    return "", kind in ends or (kind == "executing" and at_path(value, "data.node") is None)
