"""API routes: ``POST /siren/v1/coat``, ``/score`` and ``/verify``.

Images are sent as base64 text, as in the web UI's own API. A request body is measured while it
arrives and rejected above the limit, before anything is parsed.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from siren_ext.data.dataset import ImageSet
from siren_ext.documents import parse_json
from siren_ext.errors import ConfigError, SirenError
from siren_ext.panels.actions import coat_step, verify_step
from siren_ext.panels.host import PanelHost
from siren_ext.panels.uploads import check_images
from siren_ext.scoring.score import score_folder

_MEGA = 1_000_000
_LOCK = threading.Lock()


def add_routes(app: FastAPI, host: PanelHost, *, max_mb: float, accounts: str | None) -> None:
    """Add the routes to the web UI's app.

    Parameters
    ----------
    app : FastAPI
        The app.
    host : PanelHost
        Limits and coaters.
    max_mb : float
        Size limit of a request body in megabytes (1e6 bytes).
    accounts : str | None
        ``user:password,...`` of the web UI's ``--api-auth``; None for no authentication.
    """
    for name, step in (("coat", _coat), ("score", _score), ("verify", _verify)):
        app.post(f"/siren/v1/{name}")(_route(step, host, max_mb, accounts))


def _route(
    step: Callable[[dict[str, Any], PanelHost, Path], dict[str, Any]],
    host: PanelHost,
    max_mb: float,
    accounts: str | None,
) -> Callable[..., Any]:
    async def answer(request: Request) -> JSONResponse:
        if accounts and not _is_known(request.headers.get("authorization", ""), accounts):
            headers = {"WWW-Authenticate": "Basic"}
            return JSONResponse({"error": "A user name and a password are required."}, 401, headers)
        body = bytearray()
        async for block in request.stream():
            body += block
            if len(body) > max_mb * _MEGA:
                text = f"The request is larger than {max_mb:g} MB. Send fewer or smaller images."
                return JSONResponse({"error": text}, 413)
        limit, name = int(max_mb * _MEGA), "The request body"
        try:
            values = parse_json(bytes(body), name=name, error=ConfigError, max_bytes=limit)
        except ConfigError as error:
            return JSONResponse({"error": str(error)}, 400)
        if not isinstance(values, dict):
            return JSONResponse({"error": "The request body is not a JSON object."}, 400)
        return await run_in_threadpool(_locked, step, values, host)

    return answer


def _locked(step: Callable[..., dict[str, Any]], values: dict[str, Any], host: PanelHost) -> Any:
    """Handle one request at a time, and delete its files at the end."""
    job = host.jobs.new("api")
    try:
        with _LOCK:
            return JSONResponse(step(values, host, job))
    except SirenError as error:
        return JSONResponse({"error": str(error)}, 422)
    finally:
        shutil.rmtree(job, ignore_errors=True)


def _is_known(header: str, accounts: str) -> bool:
    kind, _, text = header.partition(" ")
    try:
        given = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    known = [entry.strip().encode() for entry in accounts.split(",") if entry.strip()]
    matches = [secrets.compare_digest(given, entry) for entry in known]
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


def _coater(values: dict[str, Any], host: PanelHost) -> Any:
    return host.coaters.load(str(values.get("coater", "samples")))


def _coat(values: dict[str, Any], host: PanelHost, job: Path) -> dict[str, Any]:
    coater = _coater(values, host)
    data = ImageSet.open(_images(values, "images", host, job / "originals"))
    done = coat_step(data, coater, job, strength=_number(values, "strength", 1.0))
    images = [
        {
            "index": int(Path(entry.output).stem),
            "image": base64.b64encode((done.folder / entry.output).read_bytes()).decode(),
            "psnr_db": entry.psnr_db,
            "before": entry.clean_score,
            "after": entry.coated_score,
        }
        for entry in done.manifest.entries
    ]
    lost = [{"index": int(Path(f.source).stem), "error": f.error} for f in done.manifest.failures]
    return {"coater": done.manifest.coater, "images": images, "failures": lost}


def _score(values: dict[str, Any], host: PanelHost, job: Path) -> dict[str, Any]:
    coater = _coater(values, host)
    return score_folder(_images(values, "images", host, job / "images"), coater).to_dict()


def _verify(values: dict[str, Any], host: PanelHost, job: Path) -> dict[str, Any]:
    coater = _coater(values, host)
    suspect = _images(values, "suspect", host, job / "suspect")
    reference = _images(values, "reference", host, job / "reference")
    alpha = _number(values, "alpha", host.alpha)
    verification = verify_step(suspect, reference, coater, job, alpha=alpha)
    page = verification.report.html.read_text(encoding="utf-8")
    return {"verdict": verification.verdict.to_dict(), "report_html": page}
