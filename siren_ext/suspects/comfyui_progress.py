"""Live progress of a ComfyUI server over its websocket, if the package ``websockets`` is installed.

It only shows how far a picture is and when to fetch it; results come from the server's history.
Without the package, or if the connection breaks, the history is polled instead.
"""

from __future__ import annotations

import inspect
import json
import socket
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
    """A context manager that listens to a server, if it can.

    Parameters
    ----------
    client : Client
        The server.
    client_id : str
        The id under which workflows are queued.
    """

    def __init__(self, client: Client, client_id: str) -> None:
        self._client = client
        self._client_id = client_id
        self._socket: Any = None
        self._open = ExitStack()

    @property
    def connected(self) -> bool:
        """Whether the websocket is open."""
        return self._socket is not None

    def __enter__(self) -> Listener:
        try:
            connect = import_module("websockets.sync.client").connect
        except ImportError:
            return self
        client = self._client
        headers = {client.secret.header: client.secret.header_value} if client.secret else None
        address = f"ws{client.origin.removeprefix('http')}{client.prefix}/ws"
        seconds = min(client.timeout, _OPEN_SECONDS)
        try:
            # with a socket of its own it uses no proxy and follows no redirect, as for HTTP
            plain = socket.create_connection((client.host, client.port), seconds)
            self._open.enter_context(plain)
            connection = connect(
                f"{address}?clientId={self._client_id}",
                additional_headers=headers,
                compression=None,
                max_size=_LARGEST,
                open_timeout=seconds,
                sock=plain,
                close_timeout=1.0,
                **_direct(connect),
            )
            self._socket = self._open.enter_context(connection)
        except Exception:  # the websocket is optional, whatever is wrong with it
            self._socket = None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def wait(self, job: str, seconds: float, progress: Progress) -> None:
        """Report the steps of a job until it ends, the time is over or the connection breaks.

        Parameters
        ----------
        job : str
            Its id.
        seconds : float
            Longest wait.
        progress : Progress
            Receives the steps as notes, and decides about cancelling.

        Raises
        ------
        Cancelled
            If the user has asked to stop.
        """
        end = time.monotonic() + seconds
        while self._socket is not None and (left := end - time.monotonic()) > 0:
            try:
                message = self._socket.recv(timeout=min(left, _TICK))
            except TimeoutError:
                progress.advance(0)
                continue
            except Exception:  # a closed or broken connection
                self._close()
                return
            note, ended = read_message(message, job)
            progress.advance(0, note=note)
            if ended:
                return

    def _close(self) -> None:
        """Close the websocket."""
        self._socket = None
        with suppress(Exception):  # it may be closed already
            self._open.close()


def _direct(connect: Any) -> dict[str, Any]:
    """Settings without a proxy; versions before 15 know none."""
    return {"proxy": None} if "proxy" in inspect.signature(connect).parameters else {}


def read_message(message: Any, job: str) -> tuple[str, bool]:
    """What a message of the server says about a job.

    Parameters
    ----------
    message : str or bytes
        The message; bytes are preview pictures and are ignored.
    job : str
        The job's id.

    Returns
    -------
    note : str
        A note for the user, such as "step 5 of 20"; may be empty.
    ended : bool
        Whether the job has ended.
    """
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
