"""Receives uploads and sends files, within limits of size and time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_BLOCK = 256 << 10


class TooLargeError(Exception):
    """More bytes came than are taken."""


class TooSlowError(Exception):
    """The bytes did not come in time."""


async def store(stream: AsyncIterator[bytes], file: Path, max_bytes: int, seconds: float) -> int:
    """Write the body of a request to a new file that only this user can read.

    Parameters
    ----------
    stream : AsyncIterator[bytes]
        The body.
    file : Path
        The file; must not exist.
    max_bytes : int
        Most bytes, whatever the headers say.
    seconds : float
        Time in which all must come.

    Returns
    -------
    int
        Number of bytes.

    Raises
    ------
    TooLargeError, TooSlowError
        There are more bytes, or they take longer.
    OSError
        The file can't be written.
    """

    async def write() -> int:
        count = 0
        file.touch(mode=0o600, exist_ok=False)
        with file.open("wb") as target:
            async for block in stream:
                count += len(block)
                if count > max_bytes:
                    raise TooLargeError
                target.write(block)
        return count

    try:
        return await asyncio.wait_for(write(), seconds)
    except asyncio.TimeoutError as error:
        raise TooSlowError from error


class SentFile(Response):
    """A file as the body of an answer.

    Parameters
    ----------
    file : Path
        The file.
    media_type : str
        Its type.
    headers : dict[str, str]
        Further headers.
    seconds : float
        Time in which the client must take it; then the connection is closed.
    finished : Callable[[], None]
        Called when it is sent or can't be sent.
    """

    def __init__(
        self,
        file: Path,
        media_type: str,
        headers: dict[str, str],
        seconds: float,
        finished: Callable[[], None],
    ) -> None:
        self._file, self._seconds, self._finished = file, seconds, finished
        super().__init__(None, 200, headers, media_type)
        self.headers["content-length"] = str(file.stat().st_size)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            # an answer without its end makes the server close the connection
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._send(send), self._seconds)
        finally:
            self._finished()

    async def _send(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        with self._file.open("rb") as stream:
            while block := await asyncio.to_thread(stream.read, _BLOCK):
                body = {"type": "http.response.body", "body": block, "more_body": True}
                await send(body)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
