"""Connections of clients that are too slow are closed.

uvicorn limits the time between two requests, but neither that of a request's headers nor that of a
body that nobody reads, such as that of a refused request: a client that sends them byte by byte
would hold its connection for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


def guarded_protocol(seconds: float) -> type[H11Protocol]:
    """A protocol for uvicorn that gives a client a limited time for the headers of a request.

    Parameters
    ----------
    seconds : float
        Time from the opening of a connection, or the first byte of a later request, until all
        headers are there; and from the end of an answer until the rest of the request is there.

    Returns
    -------
    type[H11Protocol]
        For uvicorn's setting ``http``.
    """

    class Guarded(H11Protocol):
        """Closes the connection of a client that is too slow."""

        guard: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.guard = self.loop.call_later(seconds, self._close)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                self._unguard()
            elif self.guard is None and not self.transport.is_closing():
                self.guard = self.loop.call_later(seconds, self._close)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self.conn.their_state is h11.SEND_BODY:
                self.loop.call_later(seconds, self._close_unread, self.cycle)

        def connection_lost(self, exc: Exception | None) -> None:
            self._unguard()
            super().connection_lost(exc)

        def _unguard(self) -> None:
            if self.guard is not None:
                self.guard.cancel()
                self.guard = None

        def _close_unread(self, answered: Any) -> None:
            if self.cycle is answered and self.conn.their_state is h11.SEND_BODY:
                self.transport.close()

        def _close(self) -> None:
            self.guard = None
            if self.conn.their_state is h11.IDLE:
                self.transport.close()

    return Guarded
