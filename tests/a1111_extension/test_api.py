"""The API routes with stand-ins for FastAPI's classes; ``test_extension.py`` has the real ones."""

from __future__ import annotations

import asyncio
import base64
import importlib
import io
import json
import sys
import threading
import types
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.panels.host import CoaterLibrary, JobFolders, PanelHost, UploadLimits

ACCOUNT = "Basic " + base64.b64encode(b"me:secret").decode()
OWN, KEYED = "mine.safetensors", "with a key.safetensors"


class Answer:
    def __init__(
        self, content: Any, status_code: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        self.content = json.loads(json.dumps(content))
        self.status_code, self.headers = status_code, headers or {}


class Request:
    def __init__(self, headers: dict[str, str], blocks: Sequence[bytes], delay: float = 0) -> None:
        self.headers, self.blocks, self.delay, self.read = headers, blocks, delay, 0

    async def stream(self) -> AsyncIterator[bytes]:
        for block in self.blocks:
            await asyncio.sleep(self.delay)
            self.read += 1
            yield block


class App:
    def __init__(self) -> None:
        self.routes: dict[str, Callable[[Request], Any]] = {}

    def post(self, path: str) -> Callable[[Any], Any]:
        return lambda answer: self.routes.setdefault(path.rpartition("/")[2], answer)


async def in_thread(work: Callable[..., Any], *args: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, work, *args)


@pytest.fixture
def api(webui: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    stand_ins = {
        "fastapi": {"FastAPI": App, "Request": Request},
        "fastapi.responses": {"JSONResponse": Answer},
        "starlette": {},
        "starlette.concurrency": {"run_in_threadpool": in_thread},
    }
    for name, values in stand_ins.items():
        module = types.ModuleType(name)
        module.__dict__.update(values)
        monkeypatch.setitem(sys.modules, name, module)
    return importlib.import_module("siren_a1111.api")


@pytest.fixture
def host(tmp_path: Path) -> PanelHost:
    shape = CoaterConfig(
        channels=4, generator_blocks=1, extractor_blocks=1, bits=2, features=4, working_size=16
    )
    folder = tmp_path / "coaters"
    folder.mkdir()
    Coater(shape, seed=3).save(folder / OWN)
    Coater(replace(shape, message_bits=8), seed=3).save(folder / KEYED)
    return PanelHost(
        limits=UploadLimits(files=10), coaters=CoaterLibrary(folder, device="cpu"),
        jobs=JobFolders(),
    )  # fmt: skip


def pictures(count: int) -> list[str]:
    rng = np.random.default_rng(count)
    texts = []
    for _ in range(count):
        stream = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(stream, "PNG")
        texts.append(base64.b64encode(stream.getvalue()).decode())
    return texts


def ask(
    app: App, name: str, body: Any, *, account: str = ACCOUNT, kind: str = "application/json"
) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"authorization": account, "content-type": kind}
    answer: Answer = asyncio.run(app.routes[name](Request(headers, [data])))  # type: ignore[arg-type]
    return answer


def app_of(api: Any, host: PanelHost, accounts: Sequence[str] = ("me:secret",)) -> App:
    app = App()
    api.add_routes(app, host, max_mb=1, accounts=accounts)
    return app


@pytest.mark.parametrize("coater", ["samples", "keyed", OWN, KEYED])
def test_scores_have_no_features(api: Any, host: PanelHost, coater: str) -> None:
    found = ask(app_of(api, host), "score", {"images": pictures(3), "coater": coater})
    assert found.status_code == 200, found.content
    assert [set(image) for image in found.content["images"]] == [{"name", "sha256", "score"}] * 3
    assert "features" not in json.dumps(found.content)


def test_a_verdict_has_no_features(api: Any, host: PanelHost) -> None:
    body = {"suspect": pictures(5), "reference": pictures(6), "coater": OWN, "alpha": 0.1}
    found = ask(app_of(api, host), "verify", body)
    assert found.status_code == 200, found.content
    assert '"features"' not in json.dumps(found.content["verdict"])
    assert "features" not in found.content["report_html"].partition("<body")[2]


def test_an_owners_coater_scores_for_accounts_only(api: Any, host: PanelHost) -> None:
    app, given = app_of(api, host, accounts=()), pictures(5)
    for name, body in (("score", {"images": given}), ("verify", {"suspect": given})):
        found = ask(app, name, {**body, "coater": OWN})
        assert found.status_code == 403
        assert "--api-auth" in found.content["error"]
    assert ask(app, "score", {"images": given, "coater": "samples"}).status_code == 200
    coated = ask(app, "coat", {"images": given, "coater": OWN})
    assert coated.status_code == 200
    assert {frozenset(image) for image in coated.content["images"]} == {
        frozenset({"index", "image", "psnr_db"})
    }
    coated = ask(app_of(api, host), "coat", {"images": given, "coater": OWN})
    assert {"before", "after"} <= set(coated.content["images"][0])


def test_errors_name_no_folder_of_the_machine(api: Any, host: PanelHost, tmp_path: Path) -> None:
    (tmp_path / "coaters" / "broken.safetensors").write_bytes(b"no coater")
    found = ask(app_of(api, host), "score", {"images": pictures(3), "coater": "broken.safetensors"})
    assert found.status_code == 422
    assert "broken.safetensors" in found.content["error"]
    assert str(tmp_path) not in found.content["error"]


@pytest.mark.parametrize("account", ["", "Basic", "Basic !!", "Bearer x", "Basic bWU6Z3Vlc3M="])
def test_accounts_are_checked_first(api: Any, host: PanelHost, account: str) -> None:
    request = Request({"authorization": account}, [b"{}"])
    found = asyncio.run(app_of(api, host).routes["score"](request))
    assert (found.status_code, request.read) == (401, 0)
    assert found.headers == {"WWW-Authenticate": "Basic"}


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 422),
        ("Application/JSON; charset=utf-8", 422),
        ("", 415),
        ("text/plain", 415),
        ("text/plain; application/json", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data", 415),
        ("application/json2", 415),
    ],
)
def test_json_has_to_be_declared(api: Any, host: PanelHost, kind: str, status: int) -> None:
    assert ask(app_of(api, host), "score", {}, kind=kind).status_code == status


def test_large_bodies_are_refused_before_they_arrived(api: Any, host: PanelHost) -> None:
    route = app_of(api, host).routes["score"]
    headers = {"authorization": ACCOUNT, "content-type": "application/json"}
    stated = Request({**headers, "content-length": "1000001"}, [b" "] * 5)
    assert asyncio.run(route(stated)).status_code == 413
    assert stated.read == 0
    silent = Request(headers, [b" " * 300_000] * 100)
    assert asyncio.run(route(silent)).status_code == 413
    assert silent.read == 4
    odd = Request({**headers, "content-length": "9" * 5000}, [b"{}"])
    assert asyncio.run(route(odd)).status_code == 413


def test_a_body_that_does_not_arrive(
    api: Any, host: PanelHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "MAX_SECONDS", 0.05)
    headers = {"authorization": ACCOUNT, "content-type": "application/json"}
    route = app_of(api, host).routes["score"]
    for _ in range(api.MAX_WAITING + 1):  # the slot is free again
        found = asyncio.run(route(Request(headers, [b" "] * 1000, delay=0.01)))
        assert found.status_code == 408


def test_only_a_few_requests_wait(
    api: Any, host: PanelHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    main, parsed_in, begun = threading.get_ident(), set(), threading.Event()
    read = api.parse_json

    def parse(*args: Any, **options: Any) -> Any:
        parsed_in.add(threading.get_ident())
        begun.wait(20)
        return read(*args, **options)

    monkeypatch.setattr(api, "parse_json", parse)
    route = app_of(api, host).routes["score"]
    headers = {"authorization": ACCOUNT, "content-type": "application/json"}

    async def many() -> list[int]:
        jobs = [asyncio.ensure_future(route(Request(headers, [b"{}"]))) for _ in range(7)]
        done, _ = await asyncio.wait(jobs, timeout=20, return_when=asyncio.FIRST_COMPLETED)
        assert all(job.result().status_code == 503 for job in done)
        begun.set()
        return sorted([(await job).status_code for job in jobs])

    assert asyncio.run(many()) == [422] * api.MAX_WAITING + [503] * 3
    assert main not in parsed_in
    assert asyncio.run(route(Request(headers, [b"{}"]))).status_code == 422


def test_files_are_deleted_at_the_end(api: Any, host: PanelHost) -> None:
    made: list[Path] = []
    new = host.jobs.new
    host.jobs.new = lambda kind: made.append(new(kind)) or made[-1]  # type: ignore[method-assign,func-returns-value]
    app = app_of(api, host)
    assert ask(app, "score", {"images": pictures(2)}).status_code == 200
    assert ask(app, "score", {"images": ["!"]}).status_code == 422
    assert len(made) == 2
    assert not any(folder.exists() for folder in made)
