"""What the stand-ins on loopback for picture servers share, and their faults.

They check requests as the real ones do (types, ranges, unknown files) and, beyond that, refuse
fields that the real ones don't have, so that a misspelt one can't pass. ``faults`` is a list of
misbehaviours, one used up per request for a picture.
"""

from __future__ import annotations

import io
import json
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import numpy as np
from PIL import Image

Draw = Callable[[dict[str, Any]], Image.Image]


HANG_SECONDS = 5.0


def noise(request: dict[str, Any]) -> Image.Image:
    """A picture that is a function of seed, prompt and whether an adapter works."""
    key = zlib.crc32(json.dumps([request["prompt"], request["seed"]]).encode())
    pixels = np.random.default_rng(key).integers(0, 256, (request["height"], request["width"], 3))
    if request.get("lora"):
        pixels = 255 - pixels
    return Image.fromarray(pixels.astype(np.uint8))


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """A few kilobytes that claim 3.6 gigapixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1 << 20))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def spoilt(image: Image.Image, fault: str) -> bytes:
    """The file of a picture, with a fault in it."""
    whole = png(image)
    if fault == "truncated":
        return whole[: len(whole) // 2]
    if fault == "wrong size":
        return png(image.resize((image.width * 2, image.height)))
    if fault == "bomb":
        return bomb()
    if fault == "black":
        return png(Image.new("RGB", image.size))
    if fault == "text":
        return b"There is no picture here, only words."
    return whole


PICTURE_FAULTS = ("truncated", "wrong size", "bomb", "text")


LINE_FAULTS = (
    "500",
    "429",
    "html",
    "hang",
    "drip",
    "head drip",
    "cut",
    "giant",
    "endless",
    "gzip",
    "hang up",
)


class Standin:
    """A server in threads; ``seen`` are the requests as (method, path, body)."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.seen: list[tuple[str, str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.closing = threading.Event()
        self.elsewhere = "http://127.0.0.1:9/evil"
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                """Say nothing."""

            def do_GET(self) -> None:
                owner.serve(self, "GET", b"")

            def do_POST(self) -> None:
                owner.serve(self, "POST", self.rfile.read(int(self.headers["Content-Length"])))

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.place = f"127.0.0.1:{self.port}"

    def serve(self, handler: BaseHTTPRequestHandler, method: str, data: bytes) -> None:
        self.headers.append({k.lower(): v for k, v in handler.headers.items()})
        body: Any = data
        if handler.headers.get("Content-Type", "").startswith("application/json"):
            body = json.loads(data)
        self.seen.append((method, handler.path, body))
        parts = urlsplit(handler.path)
        try:
            self.answer(handler, method, unquote(parts.path), dict(parse_qsl(parts.query)), body)
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True

    def answer(
        self,
        handler: BaseHTTPRequestHandler,
        method: str,
        path: str,
        query: dict[str, str],
        body: Any,
    ) -> None:
        raise NotImplementedError

    def fault(self) -> str:
        return self.faults.pop(0) if self.faults else ""

    def send(
        self,
        handler: BaseHTTPRequestHandler,
        status: int,
        data: bytes,
        kind: str = "application/json",
        **headers: str,
    ) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    def json(self, handler: BaseHTTPRequestHandler, value: Any, status: int = 200) -> None:
        self.send(handler, status, json.dumps(value).encode())

    def misbehave(self, handler: BaseHTTPRequestHandler, fault: str) -> bool:
        """Answer badly on the level of HTTP; False when ``fault`` is of another kind."""
        handler.close_connection = True
        if fault == "500":
            self.send(handler, 500, b'{"error": "OutOfMemoryError"}')
        elif fault == "429":
            self.send(handler, 429, b"{}", Retry_After="0")
        elif fault == "html":
            self.send(handler, 200, b"<html><body>Please log in</body></html>", "text/html")
        elif fault == "hang":
            self.closing.wait(HANG_SECONDS)
        elif fault in ("drip", "head drip"):
            slow = b"X-Slow: "
            handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
            if fault == "drip":
                handler.wfile.write(b"Content-Length: 100000\r\n\r\n")
                slow = b" " * 100
            for letter in slow * 20:
                if self.closing.wait(0.02):
                    break
                handler.wfile.write(bytes([letter]))
        elif fault == "cut":
            handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{"images": ["')
        elif fault == "giant":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n[[[[")
            self.closing.wait(0.2)
        elif fault == "endless":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while not self.closing.is_set():
                handler.wfile.write(b"100000\r\n" + b" " * 0x100000 + b"\r\n")
        elif fault == "gzip":
            self.send(handler, 200, zlib.compress(b"{}"), Content_Encoding="gzip")
        elif fault == "hang up":
            pass
        elif fault == "redirect":
            self.send(handler, 307, b"", Location=self.elsewhere)
        elif fault == "forbidden":
            token = handler.headers.get("Authorization", "")
            self.send(handler, 403, f'{{"detail": "bad token {token}"}}'.encode())
        else:
            handler.close_connection = False
            return False
        return True


@contextmanager
def running(standin: Any) -> Iterator[Any]:
    thread = threading.Thread(target=standin.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield standin
    finally:
        standin.closing.set()
        standin.server.shutdown()
        standin.server.server_close()
