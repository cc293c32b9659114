"""The HTTP interface: POST /coat, GET /health, GET /metrics."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
import uuid
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from siren_ext.errors import ConfigError, ImageError
from siren_ext.files import no_more_files
from siren_ext.service.config import ServeConfig
from siren_ext.service.metrics import Metrics
from siren_ext.service.pool import Coated, CoatingPool
from siren_ext.service.receive import SentFile, TooLargeError, TooSlowError, store
from siren_ext.service.tokens import Tokens, is_loopback

LOG = logging.getLogger(__name__)
TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
_CHOICES = frozenset({"format", "quality"})
_LONGEST_NOTES = 4000
_PORT = re.compile(r":\d+\Z")


class _RefusedError(Exception):
    """A request that gets an answer other than a coated image."""

    def __init__(self, status: int, words: str, **headers: str) -> None:
        super().__init__(words)
        self.status, self.words = status, words
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Service:
    """Answers requests.

    Parameters
    ----------
    pool : CoatingPool
        Coats the images.
    config : ServeConfig
        Limits, format and quality.
    tokens : Tokens
        Who may use the service.
    spool : Path
        Folder for uploads and results until they are answered.
    """

    def __init__(self, pool: CoatingPool, config: ServeConfig, tokens: Tokens, spool: Path) -> None:
        self.pool, self.config, self.tokens, self.spool = pool, config, tokens, spool
        self.metrics = Metrics(lambda: pool.inside)

    def app(self) -> FastAPI:
        """The application for an ASGI server."""
        app = FastAPI(title="siren-ext", docs_url=None, redoc_url=None, openapi_url=None)
        app.add_api_route("/coat", self.coat, methods=["POST"], response_model=None)
        app.add_api_route("/health", self.health, methods=["GET"], response_model=None)
        app.add_api_route("/metrics", self.show_metrics, methods=["GET"], response_model=None)
        return app

    async def health(self, request: Request) -> Response:
        """Whether the service is up; open to everybody."""
        return JSONResponse({"status": "ok", "requests": self.pool.inside})

    async def show_metrics(self, request: Request) -> Response:
        """The counters; needs a token if there is one."""
        try:
            self._admit(request)
        except _RefusedError as refused:
            return _answer(refused)
        content, kind = self.metrics.text()
        return Response(content, media_type=kind)

    async def coat(self, request: Request) -> Response:
        """Coat the image in the body of the request."""
        begun, number = time.monotonic(), uuid.uuid4().hex
        response: Response
        try:
            response = await self._coat(request, number)
        except _RefusedError as refused:
            response = _answer(refused)
        except ClientDisconnect:
            response = JSONResponse({"error": "The client closed the connection."}, 400)
        except Exception:
            LOG.exception("%s failed", number)
            response = JSONResponse(
                {"error": "The service failed; see its log for the reason."}, 500
            )
        response.headers["X-Siren-Id"] = number
        self.metrics.answers.labels(str(response.status_code)).inc()
        LOG.info("%s %s %.3f s", number, response.status_code, time.monotonic() - begun)
        return response

    def _admit(self, request: Request) -> None:
        """Raise unless the request may pass."""
        if not self.tokens.admit(request.headers.get("authorization")):
            raise _RefusedError(
                401, "Expected 'Authorization: Bearer TOKEN'.", WWW_Authenticate="Bearer"
            )
        # without a token, no web page that is open on this machine may use the service
        if not self.tokens:
            host = _PORT.sub("", request.headers.get("host", ""))
            if "origin" in request.headers or not is_loopback(host):
                raise _RefusedError(
                    403, "Without a token, only programs on this machine may send requests."
                )

    async def _coat(self, request: Request, number: str) -> Response:
        self._admit(request)
        given = request.query_params
        if unknown := set(given) - _CHOICES:
            words = f"Found {sorted(unknown)[0][:80]!r}; expected 'format' or 'quality'."
            raise _RefusedError(400, words)
        try:
            config = self.config.coating(given.get("format"), given.get("quality"))
        except ConfigError as error:
            raise _RefusedError(400, str(error)) from error
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > self.config.max_bytes:
            raise self._too_large()
        if not self.pool.enter():
            raise self._busy()
        file = self.spool / f"{number}.in"
        try:
            await self._receive(request, file)
            coated = await self._work(file, number, config)
            return self._sent(coated, number)
        except BaseException:
            self._leave(number)
            raise

    async def _receive(self, request: Request, file: Path) -> None:
        begun = time.monotonic()
        try:
            count = await store(
                request.stream(), file, self.config.max_bytes, self.config.receive_seconds
            )
        except TooLargeError as error:
            raise self._too_large() from error
        except TooSlowError as error:
            words = f"The upload took more than {self.config.receive_seconds:g} seconds."
            raise _RefusedError(408, words, Connection="close") from error
        except OSError as error:
            raise _no_room(error) from error
        self.metrics.received.inc(count)
        self.metrics.seconds.labels("receive").observe(time.monotonic() - begun)

    async def _work(self, file: Path, number: str, config: object) -> Coated:
        """Wait for a worker, and for its result."""
        queued = self.pool.submit(file, number, config)  # type: ignore[arg-type]
        waiting = asyncio.wrap_future(queued)
        end = time.monotonic() + self.config.wait_seconds
        try:
            while not (queued.running() or queued.done()):
                if time.monotonic() > end and queued.cancel():
                    raise self._busy()
                await asyncio.wait({waiting}, timeout=0.05)
            coated = await asyncio.shield(waiting)
        except ImageError as error:
            raise _RefusedError(422, str(error)) from error
        except OSError as error:
            raise _no_room(error) from error
        width, height = coated.entry.size
        self.metrics.images.inc()
        self.metrics.pixels.inc(width * height)
        self.metrics.seconds.labels("wait").observe(coated.waited)
        self.metrics.seconds.labels("coat").observe(coated.worked)
        return coated

    def _sent(self, coated: Coated, number: str) -> Response:
        entry, begun = coated.entry, time.monotonic()
        size = coated.file.stat().st_size
        headers = {
            "X-Siren-Source-SHA256": entry.source_sha256,
            "X-Siren-SHA256": entry.output_sha256,
            "Cache-Control": "no-store",
        }
        notes = list(entry.notes)
        while len(json.dumps(notes)) > _LONGEST_NOTES:
            notes.pop()
        if notes:
            headers["X-Siren-Notes"] = json.dumps(notes)

        def finished() -> None:
            self.metrics.sent.inc(size)
            self.metrics.seconds.labels("send").observe(time.monotonic() - begun)
            self._leave(number)

        kind = TYPES[coated.file.suffix.lower()]
        return SentFile(coated.file, kind, headers, self.config.send_seconds, finished)

    def _leave(self, number: str) -> None:
        """Delete the files of a request and give its place back."""
        for path in self.spool.glob(f"{number}.*"):
            path.unlink(missing_ok=True)
        self.pool.leave()

    def _busy(self) -> _RefusedError:
        seconds = str(self.pool.retry_after())
        return _RefusedError(
            503, "Too many requests are waiting; try again later.", Retry_After=seconds
        )

    def _too_large(self) -> _RefusedError:
        words = f"Expected at most {self.config.max_bytes:,} bytes."
        return _RefusedError(413, words, Connection="close")


def _answer(refused: _RefusedError) -> Response:
    return JSONResponse({"error": refused.words}, refused.status, refused.headers)


def _no_room(error: OSError) -> _RefusedError:
    """The answer to a failure of the service's own files; raises what is none."""
    if no_more_files(error) is None:
        LOG.error("The service's files can't be written: %s", error.strerror)
        return _RefusedError(500, "The service can't write its files.")
    LOG.error("The service's disk is full: %s", error.strerror)
    return _RefusedError(507, "The service has no disk space left.", Retry_After="60")
