"""A ComfyUI server process with the node pack linked in, and its HTTP interface."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACK = ROOT / "comfy_nodes"
VARIABLE = "SIREN_COMFYUI_PYTHON"
PASSPHRASE = "SIREN_TEST_PASSPHRASE", "five words of the test"
"""Name and value in the server's environment."""


def interpreter() -> Path | None:
    """The interpreter that has ComfyUI, if one is named; see ``install_comfyui.py``."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else None


class Server:
    """One server on a free loopback port with folders of its own under ``base``."""

    def __init__(
        self,
        python: Path,
        base: Path,
        *,
        packs: tuple[Path, ...] = (PACK,),
        library: tuple[Path, ...] = (ROOT,),
    ) -> None:
        self.base = base
        for name in ("custom_nodes", "models", "input", "output", "temp", "user"):
            (base / name).mkdir(parents=True, exist_ok=True)
        for pack in packs:
            link = base / "custom_nodes" / f"siren_{pack.name}"
            if not link.exists():
                link.symlink_to(pack, target_is_directory=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = uuid.uuid4().hex
        self.log = base / "server.log"
        paths = [str(path) for path in (ROOT / "tests" / "comfy_nodes" / "stub", *library)]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(paths),
            "HF_HUB_OFFLINE": "1",
            "MPLBACKEND": "Agg",
            PASSPHRASE[0]: PASSPHRASE[1],
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = [python, python.parent.parent / "comfyui" / "main.py", "--cpu"]
        command += ["--listen", "127.0.0.1", "--port", self.port, "--base-directory", base]
        command += ["--disable-api-nodes", "--database-url", "sqlite:///:memory:"]
        with self.log.open("w", encoding="utf-8") as stream:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=base,
            )
        self._wait()

    def _wait(self, seconds: float = 300) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                self.get("system_stats")
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.3)
            else:
                return
        self.close()
        raise RuntimeError(f"The server did not come up:\n{self.log.read_text()[-3000:]}")

    def close(self) -> None:
        """Stop the process."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def raw(self, path: str, data: bytes | None = None) -> bytes:
        """The body of an answer; POST when there is data."""
        request = urllib.request.Request(f"{self.url}/{path}", data=data)
        if data is not None:
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())

    def get(self, path: str) -> Any:
        """Parsed JSON of a page."""
        return json.loads(self.raw(path))

    def post(self, path: str, value: Any) -> Any:
        """Send JSON, parse the answer; a refusal (400) is an answer too."""
        try:
            body = self.raw(path, json.dumps(value).encode())
        except urllib.error.HTTPError as error:
            body = error.read()
        return json.loads(body) if body else None

    def queue(self, graph: dict[str, Any]) -> dict[str, Any]:
        """What /prompt says to an API graph."""
        answer: dict[str, Any] = self.post("prompt", {"prompt": graph, "client_id": self.client})
        return answer

    def wait(self, prompt_id: str, seconds: float = 300) -> dict[str, Any]:
        """The history entry of a prompt once it is over."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            entry = self.get(f"history/{prompt_id}").get(prompt_id)
            if entry and entry.get("status", {}).get("status_str"):
                return dict(entry)
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise RuntimeError(f"No end of the prompt:\n{self.log.read_text()[-3000:]}")

    def run(self, graph: dict[str, Any], seconds: float = 300) -> dict[str, Any]:
        """Queue a graph and wait; raises AssertionError when it is not accepted."""
        answer = self.queue(graph)
        assert "prompt_id" in answer, answer
        assert not answer.get("node_errors"), answer
        return self.wait(answer["prompt_id"], seconds)

    def view(self, saved: dict[str, str]) -> bytes:
        """The bytes of a saved picture."""
        return self.raw("view?" + urllib.parse.urlencode(saved))


def events(entry: dict[str, Any]) -> dict[str, Any]:
    """The messages of a history entry by name."""
    return {name: data for name, data in entry["status"]["messages"]}
