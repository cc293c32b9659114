"""Messages of ComfyUI's websocket."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from siren_ext.suspects.comfyui_progress import Listener, _direct, read_message
from siren_ext.suspects.http import Client


def test_the_websocket_uses_no_proxy() -> None:
    def old(uri: str, *, compression: str) -> None: ...
    def new(uri: str, *, proxy: str | bool | None = True) -> None: ...

    assert _direct(old) == {}
    assert _direct(new) == {"proxy": None}


def test_the_websocket_follows_no_redirect() -> None:
    pytest.importorskip("websockets")
    seen: list[str] = []

    class Moved(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_response(302)
            self.send_header("Location", f"ws://127.0.0.1:{self.server.server_port}/other")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Moved)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        client = Client(f"http://127.0.0.1:{server.server_port}", timeout=20)
        with Listener(client, "me") as listener:
            assert not listener.connected
    finally:
        server.shutdown()
        server.server_close()
    assert seen == ["/ws?clientId=me"]


def test_messages_of_the_websocket() -> None:
    def message(kind: str, **data: Any) -> str:
        return json.dumps({"type": kind, "data": {"prompt_id": "j", **data}})

    assert read_message(message("progress", value=3, max=20), "j") == ("step 3 of 20", False)
    assert read_message(message("progress", value=3, max=20), "k") == ("", False)
    assert read_message(message("executing", node="5"), "j") == ("", False)
    assert read_message(message("executing", node=None), "j") == ("", True)
    assert read_message(message("execution_error"), "j") == ("", True)
    for odd in (b"\x00", "{", "[]", "null"):
        assert read_message(odd, "j") == ("", False)
