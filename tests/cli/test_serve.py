"""The command ``serve`` in a process of its own: signals, kills, secrets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.evidence_samples import PASSPHRASE
from support.serving import TOKEN, wait_for

from siren_ext.files import sha256_file
from siren_ext.keys.coating_key import KeyRing
from siren_ext.samples.folder import sample_folder
from siren_ext.service.records import find_image, read_journal

httpx = pytest.importorskip("httpx", reason="needs httpx")
for _package in ("fastapi", "uvicorn", "prometheus_client"):
    pytest.importorskip(_package, reason="needs the extra 'service'")
posix = pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")


class Running:
    """A service in another process; its output is in files."""

    def __init__(self, folder: Path, *arguments: str | Path, **variables: str) -> None:
        self.out, self.err = folder / "stdout", folder / "stderr"
        line = [sys.executable, "-m", "siren_ext", "serve", "--port", "0", *map(str, arguments)]
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                line, stdout=out, stderr=err, env=os.environ | variables
            )
        wait_for(lambda: "Listening" in self.shown() or self.process.poll() is not None)
        assert self.process.poll() is None, self.shown()
        self.address = self.out.read_text().split()[-1]

    def shown(self) -> str:
        return self.out.read_text() + self.err.read_text()

    def post(self, content: bytes) -> Any:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return httpx.post(f"{self.address}/coat", content=content, headers=headers, timeout=60)


@pytest.fixture
def photo() -> Path:
    return sample_folder() / "avocado.png"


@posix
def test_secrets_are_used_and_never_shown(cheap, tmp_path: Path, photo: Path) -> None:
    ring = KeyRing.draw(["a", "b"])
    ring.save(tmp_path / "keys.json", PASSPHRASE)
    (tmp_path / "tokens.txt").write_text(TOKEN + "\n")
    journal = tmp_path / "served.jsonl"
    one = Running(
        tmp_path,
        *("--coater", "keyed", "--journal", journal, "--token-file", tmp_path / "tokens.txt"),
        *("--key", tmp_path / "keys.json", "--recipient", "b", "--passphrase-env", "SECRET"),
        SECRET=PASSPHRASE,
    )
    answer = one.post(photo.read_bytes())
    assert answer.status_code == 200
    assert httpx.post(f"{one.address}/coat", content=b"x").status_code == 401
    got: list[Any] = []

    def ask() -> None:
        with suppress(httpx.ConnectError):  # came after the port was closed
            got.append(one.post(photo.read_bytes()))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_for(lambda: httpx.get(f"{one.address}/health").json()["requests"] > 0 or bool(got))
    one.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join(60)
    assert one.process.wait(60) == 0, one.shown()
    assert {status.status_code for status in got} == {200}
    assert one.shown().count("Stopped; all accepted images were coated.") == 1
    assert "Traceback" not in one.shown()
    (tmp_path / "got.png").write_bytes(answer.content)
    found = find_image(journal, tmp_path / "got.png")
    assert len(found) == 1 + len(got), "what was answered, and nothing else"
    assert found[0][0].key == ring.key("b").fingerprint()
    bits = "".join("1" if sign > 0 else "0" for sign in ring.key("b").signs().tolist())
    written = one.shown() + journal.read_text()
    assert all(secret not in written for secret in (TOKEN, PASSPHRASE, bits, bits[:12]))
    assert sorted(path.name for path in tmp_path.glob(".*")) == []


@posix
def test_a_kill_loses_only_what_was_at_hand(tmp_path: Path, photo: Path) -> None:
    journal = tmp_path / "served.jsonl"
    line = ("--coater", "samples", "--journal", journal, "--token-env", "SHOP")
    one = Running(tmp_path, *line, SHOP=TOKEN)
    done = [one.post(photo.read_bytes()) for _ in range(2)]
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            while True:
                done.append(one.post(photo.read_bytes()))
        except httpx.TransportError as error:
            failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(done) >= 4)
    one.process.kill()
    for thread in threads:
        thread.join(60)
    assert failed
    recorded = {image.id for _, image in read_journal(journal)}
    assert {answer.headers["x-siren-id"] for answer in done} <= recorded
    again = Running(tmp_path, *line, SHOP=TOKEN)
    spool = tmp_path / ".served.jsonl.uploads"
    assert list(spool.iterdir()) == []
    answer = again.post(photo.read_bytes())
    assert answer.status_code == 200
    assert answer.headers["x-siren-source-sha256"] == sha256_file(photo)
    again.process.send_signal(signal.SIGINT)
    assert again.process.wait(60) == 0
    assert {image.id for _, image in read_journal(journal)} == recorded | {
        answer.headers["x-siren-id"]
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--host", "0.0.0.0"), "but no token"),
        (("--workers", "0"), "workers is 0; expected"),
        (("--format", "gif"), "format is 'gif'; expected"),
        (("--token-env", "NOT_SET"), "'NOT_SET' is not set"),
        (("--key", "keys.json"), "is not keyed and takes no --key"),
        (("--host", "192.0.2.1", "--token-env", "SHOP"), "The service can't listen on"),
    ],
)
def test_mistakes(call, tmp_path: Path, monkeypatch, arguments: Any, words: str) -> None:
    monkeypatch.setenv("SHOP", TOKEN)
    line = ("serve", "--coater", "samples", "--journal", tmp_path / "j", "--port", "0")
    code, _, err = call(*line, *arguments)
    assert code == 2
    assert words in err
    assert TOKEN not in err
