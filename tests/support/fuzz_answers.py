"""Readers of what comes over the network: answers of servers, and requests."""

from __future__ import annotations

import base64
import importlib
import io
import json
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.fuzz_reader import Reader, Sample, of_file
from support.metadata_files import smooth

from siren_ext.coater.coater import Coater
from siren_ext.errors import SirenError
from siren_ext.evidence import beacon
from siren_ext.panels.host import CoaterLibrary, JobFolders, PanelHost, UploadLimits
from siren_ext.suspects.a1111 import A1111Suspect
from siren_ext.suspects.base import PromptPlan
from siren_ext.suspects.comfyui import ComfyUISuspect
from siren_ext.suspects.comfyui_progress import read_message
from siren_ext.suspects.hosted import HostedConfig, HostedSuspect
from siren_ext.suspects.http import Client
from siren_ext.suspects.open import open_suspect
from siren_ext.suspects.remote import RequestLimits
from siren_ext.suspects.responses import decode_picture
from siren_ext.suspects.trust import Trust

PLAN = PromptPlan(prompts=("a fox",), count=1, seed=5, size=64)
LIMITS = RequestLimits(timeout=0.02, attempts=1, backoff=0.0)
JOB = "0000-1"
HOSTED = HostedConfig(
    url="https://api.example.com",
    create="/create",
    body='{"prompt": "%prompt%", "seed": "%seed%"}',
    image="output.0",
    poll="/poll/%id%",
    interval=0.01,
    error="error.detail",
)


def answer_readers(work: Path) -> list[Reader]:
    """All of them; ``work`` is for the files that they need."""
    return [
        *_suspects(), _messages(), _pictures(), _beacon(), _addresses(), _requests(work),
    ]  # fmt: skip


def _png(size: tuple[int, int] = (64, 64)) -> bytes:
    stream = io.BytesIO()
    smooth(size).save(stream, "PNG")
    return stream.getvalue()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


# -- answers of servers ---------------------------------------------------------------------


def _served(folder: Path, places: Mapping[str, str]) -> Any:
    """In place of the network: the file of the first path that the request's begins with."""

    def exchange(method: str, target: str, *_: Any) -> tuple[int, dict[str, str], bytes]:
        for path, file in places.items():
            if target.startswith(path):
                return 200, {}, (folder / file).read_bytes()
        return 404, {}, b"not found"

    return exchange


def _suspects() -> list[Reader]:
    webui = {
        "/sdapi/v1/sd-models": "models.json",
        "/sdapi/v1/loras": "loras.json",
        "/sdapi/v1/options": "options.json",
        "/sdapi/v1/txt2img": "picture.json",
    }
    comfy = {
        "/models/": "files.json",
        "/view_metadata": "metadata.json",
        "/prompt": "queued.json",
        "/history": "history.json",
        "/queue": "queue.json",
        "/view": "view.png",
    }
    hosted = {"/create": "created.json", "/poll": "polled.json", "/file": "file.png"}
    return [
        _server("answers of A1111", webui, _webui_answers(), _ask_webui),
        _server("answers of ComfyUI", comfy, _comfy_answers(), _ask_comfyui),
        _server("answers of APIs", hosted, _hosted_answers(), _ask_hosted),
    ]


def _server(name: str, places: Mapping[str, str], good: dict[str, bytes], ask: Any) -> Reader:
    samples = [Sample(file, data, file.rpartition(".")[2]) for file, data in good.items()]

    def read(folder: Path, place: str) -> object:
        name = place.rpartition("/")[2]  # another good answer to the same request has a folder
        chosen = {path: place if file == name else file for path, file in places.items()}
        return ask(_served(folder, chosen))

    return Reader(name, samples, read, good)


def _webui_answers() -> dict[str, bytes]:
    model = {"title": "a.safetensors [aaaa]", "model_name": "a", "hash": "aaaa", "sha256": "a" * 64}
    info = {
        "seed": 5, "width": 64, "height": 64, "sd_model_name": "a", "sd_model_hash": "aaaa",
        "infotexts": ['a fox\nSteps: 9, Lora hashes: "stolen: bbbb"'],
    }  # fmt: skip
    values: dict[str, Any] = {
        "models.json": [model],
        "loras.json": [{"name": "stolen", "alias": "s", "metadata": {"sshs_model_hash": "b"}}],
        "options.json": {"sd_model_checkpoint": "a.safetensors [aaaa]"},
        "picture.json": {"images": [_text(_png())], "info": json.dumps(info)},
    }
    return {name: json.dumps(value).encode() for name, value in values.items()}


def _ask_webui(exchange: Any) -> object:
    suspect = A1111Suspect("http://127.0.0.1:1", lora="stolen", limits=LIMITS)
    vars(suspect.client)["_exchange"] = exchange
    return suspect.describe(), suspect.draw(PLAN, 0, 1.0)


def _comfy_answers() -> dict[str, bytes]:
    image = {"filename": "a.png", "subfolder": "", "type": "temp"}
    status = {"status_str": "success", "completed": True, "messages": []}
    facts = {"node_type": "KSampler", "exception_message": "no", "exception_type": "E"}
    failed = {"status_str": "error", "messages": [["execution_error", facts]]}
    values: dict[str, Any] = {
        "files.json": ["stolen.safetensors"],
        "metadata.json": {"sshs_model_hash": "b" * 64},
        "queued.json": {"prompt_id": JOB, "number": 0, "node_errors": {}},
        "history.json": {JOB: {"outputs": {"output": {"images": [image]}}, "status": status}},
        "failed/history.json": {JOB: {"outputs": {}, "status": failed}},
        "queue.json": {"queue_running": [[0, JOB, {}, {}, []]], "queue_pending": []},
    }
    return {name: json.dumps(value).encode() for name, value in values.items()} | {
        "view.png": _png()
    }


def _ask_comfyui(exchange: Any) -> object:
    suspect = ComfyUISuspect("http://127.0.0.1:1", lora="stolen", limits=LIMITS)
    vars(suspect.client)["_exchange"] = exchange
    return suspect.describe(), suspect.draw(PLAN, 0, 1.0)


def _hosted_answers() -> dict[str, bytes]:
    values: dict[str, Any] = {
        "created.json": {"id": "job1", "status": "starting", "output": None},
        "polled.json": {"id": "job1", "status": "succeeded", "output": ["/file/a.png"]},
    }
    return {name: json.dumps(value).encode() for name, value in values.items()} | {
        "file.png": _png()
    }


def _ask_hosted(exchange: Any) -> object:
    suspect = HostedSuspect(HOSTED, LIMITS, Trust(hosts=("api.example.com",)))
    usual = Client._exchange
    try:
        Client._exchange = lambda self, *args: exchange(*args)  # type: ignore[method-assign]
        return suspect.draw(PLAN, 0, 1.0)
    finally:
        Client._exchange = usual  # type: ignore[method-assign]


def _messages() -> Reader:
    texts = [
        {"type": "progress", "data": {"value": 3, "max": 20, "prompt_id": JOB}},
        {"type": "executing", "data": {"node": None, "prompt_id": JOB}},
    ]
    samples = [
        Sample(f"{number}.json", json.dumps(text).encode(), "json")
        for number, text in enumerate(texts)
    ]

    def read(path: Path) -> object:
        return read_message(path.read_bytes().decode("utf-8", "replace"), JOB)

    return Reader("messages of ComfyUI", samples, of_file(read))


def _pictures() -> Reader:
    samples = [Sample("a.png", _png(), "png")]
    for kind in ("JPEG", "WEBP"):
        stream = io.BytesIO()
        smooth((64, 64)).save(stream, kind)
        samples.append(Sample(f"a.{kind.lower()}", stream.getvalue(), ""))
    return Reader("pictures of servers", samples, of_file(lambda p: decode_picture(p.read_bytes())))


def _beacon() -> Reader:
    from siren_ext.evidence import web

    answer = {"round": 1000, "randomness": "ab" * 32, "signature": "cd" * 48}
    chain = next(iter(beacon.CHAINS.values()))

    def read(path: Path) -> object:
        usual = web.get_safely
        try:
            web.get_safely = lambda *_, **__: path.read_bytes()
            found = beacon.fetch_round("https://beacon.example.com", chain, 1000)
            return beacon.check_round(found, chain, 1000)
        finally:
            web.get_safely = usual

    return Reader("answers of beacons", [Sample("a.json", json.dumps(answer).encode(), "json")],
                  of_file(read))  # fmt: skip


def _addresses() -> Reader:
    texts = (
        "a1111://127.0.0.1:7860?model=a&lora=stolen&scale=0.8&tls=yes",
        "comfyui://[::1]:8188?model=a.safetensors&output=7",
    )
    samples = [Sample(f"{n}.txt", text.encode(), "text") for n, text in enumerate(texts)]

    def read(path: Path) -> object:
        return open_suspect(path.read_bytes().decode("utf-8", "replace"), limits=LIMITS)

    return Reader("addresses of suspects", samples, of_file(read))


# -- requests to the web UI extension -------------------------------------------------------


class _Answer:
    """In place of FastAPI's, which need not be installed; refuses what JSON can't hold."""

    def __init__(self, content: Any, *_: Any) -> None:
        self.content = json.dumps(content, allow_nan=False)


def _api() -> Any:
    """The module of the routes."""
    stand_ins: dict[str, dict[str, Any]] = {
        "fastapi": {"FastAPI": object, "Request": object},
        "fastapi.responses": {"JSONResponse": _Answer},
        "starlette": {},
        "starlette.concurrency": {"run_in_threadpool": None},
    }
    for name, values in stand_ins.items():
        module = types.ModuleType(name)
        module.__dict__.update(values)
        sys.modules[name] = module
    return importlib.import_module("siren_a1111.api")


def _requests(work: Path) -> Reader:
    from siren_ext.documents import parse_json
    from siren_ext.errors import ConfigError

    api, images = _api(), [_text(_png((24, 20)))]
    coaters = work / "coaters"
    coaters.mkdir()
    Coater.load(work / "coater.safetensors").save(coaters / "mine.safetensors")
    host = PanelHost(
        coaters=CoaterLibrary(coaters, device="cpu"),
        jobs=JobFolders(),
        limits=UploadLimits(files=5, file_mb=1, total_mb=3, megapixels=1),
    )
    api.verify_step = _no_verdict  # the images are read before; a report takes a second
    bodies: dict[str, dict[str, Any]] = {
        "coat.json": {"coater": "mine.safetensors", "images": images, "strength": 1.0},
        "score.json": {"coater": "mine.safetensors", "images": images},
        "verify.json": {"coater": "mine.safetensors", "suspect": images, "reference": images},
    }
    steps = {"coat.json": api._coat, "score.json": api._score, "verify.json": api._verify}
    samples = [Sample(name, json.dumps(body).encode(), "json") for name, body in bodies.items()]

    def read(folder: Path, place: str) -> object:
        body = (folder / place).read_bytes()
        values = parse_json(body, name="body", error=ConfigError, max_bytes=3_000_000)
        if not isinstance(values, dict):
            raise SirenError("no object")
        return api._locked(steps[place], values, host, known=True)

    return Reader("requests to the web UI", samples, read)


def _no_verdict(*_: Any, **__: Any) -> object:
    raise SirenError("not here")
