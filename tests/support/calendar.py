"""A calendar of OpenTimestamps on this machine, and blocks that are easy to make."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

EASY = 0x207FFFFF  # the target of test networks: every second hash will do
TIME = 1_700_000_000


def block_header(root: bytes, time: int = TIME, bits: int = EASY) -> bytes:
    """A header with the least work, for a Merkle root."""
    for nonce in range(1000):
        data = b"\1\0\0\0" + bytes(32) + root + time.to_bytes(4, "little")
        data += bits.to_bytes(4, "little") + nonce.to_bytes(4, "little")
        digest = hashlib.sha256(hashlib.sha256(data).digest()).digest()[::-1]
        if digest[0] < 0x7F:
            return data
    raise AssertionError("no header in 1000 tries")


class Calendar:
    """Promises proofs at ``url``; ``mine`` puts all of them into a block."""

    height = 800_000

    def __enter__(self) -> Calendar:
        calendar = self
        self.promised: dict[bytes, bytes] = {}  # what is stamped, and what it was asked with
        self.complete: dict[bytes, bytes] = {}
        self.asked: list[str] = []
        self.wrong: bytes | None = None

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                calendar.asked.append(self.path)
                self._reply(calendar._promise(self.rfile.read(int(self.headers["Content-Length"]))))

            def do_GET(self) -> None:
                calendar.asked.append(self.path)
                found = calendar.complete.get(bytes.fromhex(self.path.rpartition("/")[2]))
                if found is None:
                    self.send_error(404, "Pending confirmation")
                    return
                self._reply(found)

            def _reply(self, data: bytes) -> None:
                data = data if calendar.wrong is None else calendar.wrong
                self.send_response(200)
                self.send_header("Content-Type", "application/octet-stream")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def _promise(self, digest: bytes) -> bytes:
        from opentimestamps.core import notary, op, timestamp

        stamp = timestamp.Timestamp(digest)
        inner = stamp.ops.add(op.OpPrepend(b"calendar")).ops.add(op.OpSHA256())
        inner.attestations.add(notary.PendingAttestation(self.url))
        self.promised[inner.msg] = digest
        return _bytes(stamp)

    def mine(self) -> bytes:
        """Complete the proof of the one hash that was promised; the block's header."""
        from opentimestamps.core import notary, op, timestamp

        (message,) = self.promised
        stamp = timestamp.Timestamp(message)
        root = stamp.ops.add(op.OpAppend(b"other hashes")).ops.add(op.OpSHA256())
        root.attestations.add(notary.BitcoinBlockHeaderAttestation(self.height))
        self.complete[message] = _bytes(stamp)
        return block_header(root.msg)


def _bytes(stamp: Any) -> bytes:
    from opentimestamps.core.serialize import BytesSerializationContext

    context = BytesSerializationContext()
    stamp.serialize(context)
    data: bytes = context.getbytes()
    return data
