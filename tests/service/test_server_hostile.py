"""Clients that lie, dawdle or go away, bombs and full disks."""

from __future__ import annotations

import errno
import io
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.noise_files import noise
from support.serving import Serving, serving, wait_for

from siren_ext.service.records import read_journal

httpx = pytest.importorskip("httpx", reason="needs httpx")
for _package in ("fastapi", "uvicorn", "prometheus_client"):
    pytest.importorskip(_package, reason="needs the extra 'service'")

LIMIT = 100_000


@pytest.fixture
def photo(tmp_path: Path) -> bytes:
    return noise(tmp_path / "in" / "a.png", size=(40, 32)).read_bytes()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Serving]:
    with serving(
        tmp_path / "work",
        max_bytes=LIMIT,
        max_pixels=250_000,
        queue=0,
        connections=20,
        head_seconds=0.5,
        receive_seconds=1.0,
        send_seconds=1.0,
    ) as one:
        yield one
        # whatever came before, a good client is served and nothing is left
        wait_for(lambda: httpx.get(f"{one.address}/health").json()["requests"] == 0)
        good = noise(tmp_path / "good.png", size=(40, 32)).read_bytes()
        assert httpx.post(f"{one.address}/coat", content=good, timeout=30).status_code == 200
        wait_for(lambda: list(one.spool.iterdir()) == [])


def connected(one: Serving) -> socket.socket:
    return socket.create_connection(("127.0.0.1", one.port), timeout=20)


def head(**fields: object) -> bytes:
    lines = ["POST /coat HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def answer(stream: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    parts = []
    try:
        while part := stream.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def test_an_announced_oversize_is_refused_before_it_is_sent(service: Serving) -> None:
    with connected(service) as stream:
        stream.sendall(head(Content_Length=10 * LIMIT, Expect="100-continue"))
        got = answer(stream)
    assert got.startswith(b"HTTP/1.1 413")
    assert b"Expected at most 100,000 bytes." in got
    assert b"100 Continue" not in got


def test_an_oversize_without_a_length_is_cut_off(service: Serving) -> None:
    block = b"%x\r\n%s\r\n" % (10_000, b"x" * 10_000)
    with connected(service) as stream:
        stream.sendall(head(Transfer_Encoding="chunked"))
        try:
            for _ in range(100):
                stream.sendall(block)
        except OSError:
            pass  # closed by the service
        got = answer(stream)
    assert got == b"" or got.startswith(b"HTTP/1.1 413")
    assert service.coater.begun == 0


@pytest.mark.parametrize("length", ["-1", "x", "1e9", "9" * 30])
def test_impossible_lengths(service: Serving, length: str) -> None:
    with connected(service) as stream:
        stream.sendall(head(Content_Length=length, Connection="close"))
        assert answer(stream).startswith((b"HTTP/1.1 400", b"HTTP/1.1 413"))


def test_a_length_that_is_too_small_cuts_the_image(service: Serving, photo: bytes) -> None:
    with connected(service) as stream:
        stream.sendall(head(Content_Length=len(photo) // 2, Connection="close") + photo)
        # 400 where the library for HTTP also refuses what comes after the body
        assert answer(stream).startswith((b"HTTP/1.1 422", b"HTTP/1.1 400"))
    assert service.coater.begun == 0


def test_a_length_that_is_too_large_is_waited_for_in_vain(service: Serving, photo: bytes) -> None:
    with connected(service) as stream:
        stream.sendall(head(Content_Length=len(photo) + 1) + photo)
        begun = time.monotonic()
        assert answer(stream).startswith(b"HTTP/1.1 408")
        assert time.monotonic() - begun < 15
    with connected(service) as stream:  # and one that gives up
        stream.sendall(head(Content_Length=len(photo) + 1) + photo)
    assert list(read_journal(service.journal)) == []


def test_a_slow_sender_loses_its_place(service: Serving, photo: bytes) -> None:
    with connected(service) as stream:
        stream.sendall(head(Content_Length=len(photo)))
        begun = time.monotonic()
        try:
            for start in range(len(photo)):
                stream.sendall(photo[start : start + 1])
                time.sleep(0.05)
                if time.monotonic() - begun > 10:
                    pytest.fail("was not cut off")
        except OSError:
            pass
        assert answer(stream)[:12] in (b"", b"HTTP/1.1 408")
    assert service.coater.begun == 0


def test_headers_that_do_not_end(service: Serving) -> None:
    for start in (b"", b"POST /coat HTTP/1.1\r\nHost: a\r\nX-"):
        with connected(service) as stream:
            stream.sendall(start)
            begun = time.monotonic()
            assert answer(stream) == b""
            assert time.monotonic() - begun < 10
    # also in a later request of a connection
    with connected(service) as stream:
        stream.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert stream.recv(4096).startswith(b"HTTP/1.1 200")
        stream.sendall(b"GET /health HTTP/1.1\r\nHost:")
        assert answer(stream)[:15] != b"HTTP/1.1 200 OK"
    with connected(service) as stream:
        stream.sendall(b"GET /health HTTP/1.1\r\nX: " + b"x" * 200_000)
        assert answer(stream)[:12] in (b"", b"HTTP/1.1 400")


@pytest.mark.parametrize("path", ["/coat?no=1", "/other", "/health"])
def test_a_body_that_nobody_reads(service: Serving, path: str) -> None:
    """The answer comes at once; then the rest of the request has as long as headers have."""
    request = head(Content_Length=5000).replace(b"/coat", path.encode(), 1)
    with connected(service) as stream:
        stream.sendall(request)
        begun = time.monotonic()
        assert stream.recv(4096)[:10] == b"HTTP/1.1 4"
        with suppress(OSError):
            while time.monotonic() - begun < 10:
                stream.sendall(b"x")
                time.sleep(0.1)
        assert time.monotonic() - begun < 9
    # a client that sends it in time can go on with the same connection
    with connected(service) as stream:
        stream.sendall(request)
        assert stream.recv(4096)[:10] == b"HTTP/1.1 4"
        stream.sendall(b"x" * 5000)
        stream.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        got = b""
        while b"HTTP/1.1 200" not in got and (part := stream.recv(4096)):
            got += part
        assert b"HTTP/1.1 200" in got


def test_a_reader_that_takes_nothing_loses_its_connection(
    tmp_path: Path,
) -> None:
    large = noise(tmp_path / "large.png", size=(1500, 1500)).read_bytes()
    with serving(tmp_path / "work", queue=0, send_seconds=0.5) as one:
        stream = socket.socket()
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stream.connect(("127.0.0.1", one.port))
        stream.sendall(head(Content_Length=len(large)) + large)
        wait_for(lambda: one.coater.begun == 1)
        wait_for(lambda: httpx.get(f"{one.address}/health").json()["requests"] == 0)
        wait_for(lambda: list(one.spool.iterdir()) == [])
        stream.close()


def test_a_client_that_goes_away(service: Serving, photo: bytes) -> None:
    service.coater.free.clear()
    with connected(service) as stream:
        stream.sendall(head(Content_Length=len(photo)) + photo)
        wait_for(lambda: service.coater.begun == 1)
    service.coater.free.set()


def test_too_many_connections(service: Serving) -> None:
    idle = [connected(service) for _ in range(30)]
    with connected(service) as stream:
        stream.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert answer(stream).startswith(b"HTTP/1.1 503")
    for one in idle:
        one.close()
    time.sleep(0.2)


def bomb() -> bytes:
    stream = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(stream, "PNG")
    return stream.getvalue()


def large() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (600, 600)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"", b"just some text", b"\x89PNG\r\n\x1a\n", b"GIF89a" + b"\xff" * 100, bomb(), large()],
    ids=["nothing", "text", "start of a PNG", "damaged GIF", "bomb", "too many pixels"],
)
def test_what_is_no_image(service: Serving, content: bytes) -> None:
    got = httpx.post(f"{service.address}/coat", content=content, timeout=30)
    assert got.status_code == 422
    assert got.json()["error"].startswith("The upload ")
    assert service.coater.begun == 0


@pytest.mark.parametrize("place", ["upload", "result", "journal"])
def test_a_full_disk(
    service: Serving, photo: bytes, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    where = {
        "upload": "siren_ext.service.receive.Path.touch",
        "result": "siren_ext.data.images.save_png",
        "journal": "siren_ext.service.records.os.fsync",
    }
    with monkeypatch.context() as patch:
        patch.setattr(where[place], full)
        got = httpx.post(f"{service.address}/coat", content=photo, timeout=30)
    assert got.status_code == 507
    assert got.json() == {"error": "The service has no disk space left."}
    assert got.headers["retry-after"] == "60"


def test_an_unexpected_error_is_not_shown(
    service: Serving, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a secret of the service")

    with monkeypatch.context() as patch:
        patch.setattr("siren_ext.service.upload.target_of", broken)
        got = httpx.post(f"{service.address}/coat", content=photo, timeout=30)
    assert got.status_code == 500
    assert "secret" not in got.text
