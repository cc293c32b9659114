"""API routes: ``POST /siren/v1/coat``, ``/score`` and ``/verify``.

Images are sent as base64 text, as in the web UI's own API. A body must be declared as JSON, which
a page of another site can't do without the web UI's permission. It is measured while it arrives
and rejected above the limit, and is parsed in the thread pool, where it does not delay the web UI.

Scores made with an owner's coater help others to remove its coating. Without accounts
(``--api-auth``), such a coater can therefore only coat, and its scores are left out.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import secrets
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from siren_ext.coater.bundled import BUNDLED_COATERS
from siren_ext.data.dataset import ImageSet
from siren_ext.documents import parse_json
from siren_ext.errors import ConfigError, SirenError
from siren_ext.panels.actions import coat_step, verify_step
from siren_ext.panels.host import PanelHost
from siren_ext.panels.uploads import check_images
from siren_ext.report.redaction import clean
from siren_ext.scoring.score import score_folder

MAX_WAITING = 4
"""Requests that are received, waiting or worked on at the same time; further ones are refused."""
MAX_SECONDS = 300.0
"""Time for a body to arrive."""
MAX_DEFAULT_MB = 50
"""Size limit of a body in megabytes (1e6 bytes), if the settings name none."""
_MEGA = 1_000_000
_LOCK = threading.Lock()


def add_routes(app: FastAPI, host: PanelHost, *, max_mb: float, accounts: Sequence[str]) -> None:
    """Add the routes to the web UI's app.

    Parameters
    ----------
    app : FastAPI
        The app.
    host : PanelHost
        Limits and coaters.
    max_mb : float
        Size limit of a request body in megabytes (1e6 bytes).
    accounts : Sequence[str]
        ``user:password`` each, as the web UI's own API asks for; empty for no authentication.
    """
    slots = threading.BoundedSemaphore(MAX_WAITING)
    for name, step in (("coat", _coat), ("score", _score), ("verify", _verify)):
        app.post(f"/siren/v1/{name}")(_route(step, host, max_mb, accounts, slots))


def _route(
    step: Callable[[dict[str, Any], PanelHost, Path, bool], dict[str, Any]],
    host: PanelHost,
    max_mb: float,
    accounts: Sequence[str],
    slots: threading.BoundedSemaphore,
) -> Callable[..., Any]:
    limit = int(max_mb * _MEGA)

    def work(body: bytes) -> JSONResponse:
        try:
            values = parse_json(body, name="The request body", error=ConfigError, max_bytes=limit)
        except ConfigError as error:
            return _refusal(400, str(error))
        if not isinstance(values, dict):
            return _refusal(400, "The request body is not a JSON object.")
        return _locked(step, values, host, known=bool(accounts))

    async def answer(request: Request) -> JSONResponse:
        if accounts and not _is_known(request.headers.get("authorization", ""), accounts):
            text = "A user name and a password are required."
            return _refusal(401, text, {"WWW-Authenticate": "Basic"})
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return _refusal(415, "Send the header 'Content-Type: application/json'.")
        if not slots.acquire(blocking=False):
            text = f"{MAX_WAITING} requests are being worked on. Try again later."
            return _refusal(503, text, {"Retry-After": "10"})
        try:
            body = await asyncio.wait_for(_received(request, limit), MAX_SECONDS)
            if body is None:
                text = f"The request is larger than {max_mb:g} MB. Send fewer or smaller images."
                return _refusal(413, text)
            return await run_in_threadpool(work, body)
        except asyncio.TimeoutError:
            return _refusal(408, f"The request took longer than {MAX_SECONDS:g} s to arrive.")
        finally:
            slots.release()

    return answer


async def _received(request: Request, limit: int) -> bytes | None:
    """The body; None if it is larger than the limit."""
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated[:20]) > limit:
        return None
    body = bytearray()
    async for block in request.stream():
        body += block
        if len(body) > limit:
            return None
    return bytes(body)


def _refusal(status: int, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": text}, status, headers)


def _locked(
    step: Callable[..., dict[str, Any]], values: dict[str, Any], host: PanelHost, *, known: bool
) -> JSONResponse:
    """Handle one request at a time, and delete its files at the end."""
    job = host.jobs.new("api")
    try:
        with _LOCK:
            return JSONResponse(step(values, host, job, known))
    except _Forbidden as error:
        return _refusal(403, str(error))
    except SirenError as error:
        return _refusal(422, str(clean(str(error))))
    finally:
        host.jobs.remove(job)


class _Forbidden(ConfigError):  # noqa: N818 - a decision, not a fault
    """What is asked for needs an account."""


def _is_known(header: str, accounts: Sequence[str]) -> bool:
    kind, _, text = header.partition(" ")
    try:
        given = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    matches = [secrets.compare_digest(given, entry.encode()) for entry in accounts]
    return kind.lower() == "basic" and any(matches)


def _images(values: dict[str, Any], key: str, host: PanelHost, into: Path) -> Path:
    """Write the base64 images under ``key`` to files in ``into``."""
    texts = values.get(key)
    if not isinstance(texts, list) or not texts:
        raise ConfigError(f"'{key}' is missing; expected a list of images as base64 text.")
    if len(texts) > host.limits.files:
        raise ConfigError(
            f"'{key}' has {len(texts)} images; at most {host.limits.files} are accepted."
        )
    into.mkdir()
    for index, text in enumerate(texts):
        try:
            content = base64.b64decode(str(text).rpartition(",")[2], validate=True)
        except (binascii.Error, ValueError) as error:
            raise ConfigError(f"Image {index} of '{key}' is not base64 text.") from error
        # the format is read from the content; the name only has to be that of an image
        (into / f"{index:05d}.png").write_bytes(content)
    check_images(into, host.limits)
    return into


def _number(values: dict[str, Any], key: str, default: float) -> float:
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"'{key}' is not a number; expected one such as {default:g}.")
    return float(value)


def _coater_name(values: dict[str, Any]) -> str:
    return str(values.get("coater", "samples"))


def _judge(values: dict[str, Any], host: PanelHost, known: bool) -> Any:
    """The coater for scores: an owner's only if the API asks for an account."""
    name = _coater_name(values)
    if name not in BUNDLED_COATERS and not known:
        raise _Forbidden(
            "Scores made with your own coater would help others to remove its coating, so only "
            "users who log in get them. Start the web UI with --api-auth USER:PASSWORD (SD.Next: "
            "--auth), or use the tab."
        )
    return host.coaters.load(name)


def _coat(values: dict[str, Any], host: PanelHost, job: Path, known: bool) -> dict[str, Any]:
    name = _coater_name(values)
    coater = host.coaters.load(name)
    data = ImageSet.open(_images(values, "images", host, job / "originals"))
    done = coat_step(data, coater, job, strength=_number(values, "strength", 1.0))
    images: list[dict[str, Any]] = [
        {
            "index": int(Path(entry.output).stem),
            "image": base64.b64encode((done.folder / entry.output).read_bytes()).decode(),
            "psnr_db": entry.psnr_db,
        }
        for entry in done.manifest.entries
    ]
    if known or name in BUNDLED_COATERS:
        for image, entry in zip(images, done.manifest.entries, strict=True):
            image |= {"before": entry.clean_score, "after": entry.coated_score}
    lost = [{"index": int(Path(f.source).stem), "error": f.error} for f in done.manifest.failures]
    return {"coater": done.manifest.coater, "images": images, "failures": lost}


def _score(values: dict[str, Any], host: PanelHost, job: Path, known: bool) -> dict[str, Any]:
    coater = _judge(values, host, known)
    scores = score_folder(_images(values, "images", host, job / "images"), coater).to_dict()
    # features, and those of the positive control, reveal the message of a key
    shown = ("name", "sha256", "score")
    kept = [
        {key: value for key, value in image.items() if key in shown} for image in scores["images"]
    ]
    return {**scores, "images": kept}


def _verify(values: dict[str, Any], host: PanelHost, job: Path, known: bool) -> dict[str, Any]:
    coater = _judge(values, host, known)
    suspect = _images(values, "suspect", host, job / "suspect")
    reference = _images(values, "reference", host, job / "reference")
    alpha = _number(values, "alpha", host.alpha)
    verification = verify_step(suspect, reference, coater, job, alpha=alpha)
    page = verification.report.html.read_text(encoding="utf-8")
    return {"verdict": verification.verdict.to_dict(), "report_html": page}
