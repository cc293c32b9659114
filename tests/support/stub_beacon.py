"""A stand-in for a drand server: rounds whose randomness fits a made-up signature."""

from __future__ import annotations

import builtins
import hashlib
import importlib.util
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from siren_ext.evidence.beacon import QUICKNET

# A real round of the network, as its servers send it.
ROUND_1000 = {
    "round": 1000,
    "randomness": "fe290beca10872ef2fb164d2aa4442de4566183ec51c56ff3cd603d930e54fdd",
    "signature": "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacb"
    "e47e4b6b63ed5e39",
}


def made_up_round(number, choice=0):
    """A round that only the check of its signature can tell from a real one."""
    signature = hashlib.sha384(f"{number} {choice}".encode()).digest()
    randomness = hashlib.sha256(signature).hexdigest()
    return {"round": number, "randomness": randomness, "signature": signature.hex()}


class StubBeacon:
    """Serves made-up rounds of quicknet at ``url``."""

    def __enter__(self):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                _, chain, kind, number = self.path.split("/")
                if (chain, kind) != (QUICKNET, "public"):
                    self.send_error(404)
                    return
                reply = json.dumps(made_up_round(int(number))).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def without_signatures(monkeypatch):
    """As if ``py_ecc`` were not installed, so that made-up rounds pass with a note."""
    real = builtins.__import__

    def without(name, *rest, **named):
        if name.startswith("py_ecc"):
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)


def need_curves() -> None:
    """Skip without ``py_ecc``; it is not imported here, because it changes a limit of Python's."""
    if importlib.util.find_spec("py_ecc") is None:
        pytest.skip("py_ecc is not installed")
