"""The service on a real port: answers, records, queue, stop."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.noise_files import noise
from support.serving import TOKEN, Serving, serving, wait_for

from siren_ext.coating.folder import coat_folder
from siren_ext.coating.manifest import CoatConfig
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import ConfigError, MissingExtraError
from siren_ext.files import sha256_file
from siren_ext.service.config import ServeConfig
from siren_ext.service.records import find_image, read_journal
from siren_ext.service.server import serve

httpx = pytest.importorskip("httpx", reason="needs httpx")
for _package in ("fastapi", "uvicorn", "prometheus_client"):
    pytest.importorskip(_package, reason="needs the extra 'service'")


@pytest.fixture
def photo(tmp_path: Path) -> bytes:
    return noise(tmp_path / "in" / "a.png", size=(40, 32)).read_bytes()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Serving]:
    with serving(tmp_path / "work", max_bytes=100_000, max_pixels=10_000, queue=1) as one:
        yield one


def post(one: Serving, content: Any, **parameters: Any) -> Any:
    headers = parameters.pop("headers", {})
    return httpx.post(
        f"{one.address}/coat", content=content, params=parameters, headers=headers, timeout=30
    )


def test_an_image_is_coated_and_recorded(service: Serving, photo: bytes, tmp_path: Path) -> None:
    answer = post(service, photo)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    coater: Any = service.coater
    coat_folder(ImageSet.open(tmp_path / "in"), coater, tmp_path / "out", CoatConfig())
    assert answer.content == (tmp_path / "out" / "a.png").read_bytes()
    got = tmp_path / "got.png"
    got.write_bytes(answer.content)
    ((head, line),) = find_image(service.journal, got)
    assert find_image(service.journal, tmp_path / "in" / "a.png") == [(head, line)]
    assert head.coater == service.coater.fingerprint
    assert line.id == answer.headers["x-siren-id"]
    assert answer.headers["x-siren-sha256"] == sha256_file(got) == line.entry.output_sha256
    assert answer.headers["x-siren-source-sha256"] == line.entry.source_sha256
    assert list(service.spool.iterdir()) == []


def test_formats_are_kept_or_chosen(service: Serving, photo: bytes) -> None:
    stream = io.BytesIO()
    Image.open(io.BytesIO(photo)).convert("RGB").save(stream, "JPEG")
    for content, choice, expected in (
        (stream.getvalue(), {}, "JPEG"),
        (stream.getvalue(), {"format": "png"}, "PNG"),
        (photo, {"format": "webp", "quality": "80"}, "WEBP"),
        (photo, {"format": "keep"}, "PNG"),
    ):
        answer = post(service, content, **choice)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == f"image/{expected.lower()}"
        assert Image.open(io.BytesIO(answer.content)).format == expected


def test_what_was_lost_is_told(service: Serving) -> None:
    stream = io.BytesIO()
    Image.new("CMYK", (40, 32)).save(stream, "JPEG")
    assert "CMYK was converted" in post(service, stream.getvalue()).headers["x-siren-notes"]


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"format": "gif"}, "format is 'gif'; expected"),
        ({"quality": "101"}, "quality is 101; expected"),
        ({"token": "secret"}, "Found 'token'; expected 'format' or 'quality'"),
    ],
)
def test_other_choices_are_refused(
    service: Serving, photo: bytes, choice: dict[str, str], words: str
) -> None:
    answer = post(service, photo, **choice)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_health_and_metrics(service: Serving, photo: bytes) -> None:
    assert httpx.get(f"{service.address}/health").json() == {"status": "ok", "requests": 0}
    post(service, photo)
    post(service, b"text")
    page = httpx.get(f"{service.address}/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    lines = page.text.splitlines()
    for line in (
        'siren_answers_total{status="200"} 1.0',
        'siren_answers_total{status="422"} 1.0',
        "siren_images_total 1.0",
        f"siren_pixels_total {40 * 32:.1f}",
        "siren_requests 0.0",
        'siren_seconds_count{stage="coat"} 1.0',
    ):
        assert line in lines
    assert httpx.get(f"{service.address}/coat").status_code == 405
    assert httpx.get(f"{service.address}/other").status_code == 404


def test_tokens(tmp_path: Path, photo: bytes) -> None:
    with serving(tmp_path / "work", TOKEN) as one:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
            answer = post(one, photo, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert httpx.get(f"{one.address}/metrics", headers=headers).status_code == 401
        assert httpx.get(f"{one.address}/health").status_code == 200
        good = {"Authorization": f"Bearer {TOKEN}"}
        assert post(one, photo, headers=good).status_code == 200
        assert httpx.get(f"{one.address}/metrics", headers=good).status_code == 200
        assert one.coater.begun == 1
    assert TOKEN not in one.journal.read_text()


def test_without_a_token_web_pages_are_refused(service: Serving, photo: bytes) -> None:
    for headers in (
        {"Origin": "https://example.org"},
        {"Host": "example.org"},
        {"Host": "127.0.0.1.example.org:8765"},
        {"Host": "[::1"},
        {"Host": ""},
    ):
        assert post(service, photo, headers=headers).status_code == 403
        assert httpx.get(f"{service.address}/metrics", headers=headers).status_code == 403
    assert service.coater.begun == 0
    for host in ("localhost", "[::1]:80", "127.0.0.1"):
        assert post(service, photo, headers={"Host": host}).status_code == 200


def test_a_full_queue_is_refused_at_once(service: Serving, photo: bytes) -> None:
    service.coater.free.clear()
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda: answers.append(post(service, photo))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    health = f"{service.address}/health"
    wait_for(lambda: httpx.get(health).json()["requests"] == 2)
    begun = time.monotonic()
    refused = post(service, photo)
    assert refused.status_code == 503
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert time.monotonic() - begun < 10
    service.coater.free.set()
    for thread in threads:
        thread.join(30)
    assert [answer.status_code for answer in answers] == [200, 200]
    wait_for(lambda: httpx.get(health).json()["requests"] == 0)
    assert post(service, photo).status_code == 200


def test_who_waits_too_long_is_sent_away(tmp_path: Path, photo: bytes) -> None:
    with serving(tmp_path / "work", wait_seconds=0.3) as one:
        one.coater.free.clear()
        first: list[Any] = []
        thread = threading.Thread(target=lambda: first.append(post(one, photo)))
        thread.start()
        wait_for(lambda: one.coater.begun == 1)
        assert post(one, photo).status_code == 503
        one.coater.free.set()
        thread.join(30)
        assert first[0].status_code == 200, "an image that has begun is finished"
    assert len(list(read_journal(one.journal))) == 1


def test_a_stop_finishes_what_was_accepted(service: Serving, photo: bytes) -> None:
    service.coater.free.clear()
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda: answers.append(post(service, photo))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    wait_for(lambda: httpx.get(f"{service.address}/health").json()["requests"] == 2)
    service.ask_to_stop()

    def closed() -> bool:
        try:
            httpx.get(f"{service.address}/health", timeout=5)
        except httpx.TransportError:
            return True
        return False

    wait_for(closed)
    assert service.thread.is_alive()
    service.coater.free.set()
    service.thread.join(30)
    for thread in threads:
        thread.join(30)
    assert [answer.status_code for answer in answers] == [200, 200]
    assert len(list(read_journal(service.journal))) == 2
    assert not service.spool.exists()


def test_one_service_for_a_journal(service: Serving, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is being written by another run"):
        serve(service.coater, service.journal, port=0)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"can't listen on .*, port \d+"):
        serve(service.coater, tmp_path / "j", port=service.port)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="but no token"):
        serve(service.coater, tmp_path / "j", host="0.0.0.0")  # type: ignore[arg-type]


def test_what_a_killed_service_left_is_deleted(tmp_path: Path, photo: bytes) -> None:
    spool = tmp_path / "work" / ".served.jsonl.uploads"
    spool.mkdir(parents=True)
    (spool / f"{'0' * 32}.in").write_bytes(photo)
    (spool / ".part-05e670f9-8923-97jri9ls.png").write_bytes(photo)
    with serving(tmp_path / "work") as one:
        assert list(one.spool.iterdir()) == []
        assert one.spool.stat().st_mode & 0o077 == 0


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    with pytest.raises(MissingExtraError, match=r"'uvicorn'.*siren-ext\[service\]"):
        serve(None, tmp_path / "j", ServeConfig())  # type: ignore[arg-type]
