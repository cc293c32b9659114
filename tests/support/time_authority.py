"""A time-stamping authority on this machine, by the command ``openssl ts``."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

_CONFIG = """
[tsa]
default_tsa = one
[one]
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
certs = {folder}/tsa.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
accuracy = secs:1
ordering = no
tsa_name = no
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


class TimeAuthority:
    """Makes stamps; ``root`` is its root certificate."""

    def __init__(self, folder: Path, name: str = "Test authority") -> None:
        if shutil.which("openssl") is None:
            pytest.skip("the command openssl is not installed")
        pytest.importorskip("rfc3161_client")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.root = folder / "root.pem"
        self._certificates(name)
        (folder / "tsa.cnf").write_text(_CONFIG.format(folder=folder.as_posix()))
        (folder / "serial").write_text("01\n")

    def _certificates(self, name: str) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import rsa

        today = datetime.now(timezone.utc)
        root_key, own_key = (rsa.generate_private_key(65537, 2048) for _ in range(2))
        root_name, own_name = (
            x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
            for text in (f"{name} root", name)
        )

        def certificate(subject, key, ca):
            made = x509.CertificateBuilder().subject_name(subject).issuer_name(root_name)
            made = made.public_key(key.public_key()).serial_number(x509.random_serial_number())
            made = made.not_valid_before(today - timedelta(days=1))
            made = made.not_valid_after(today + timedelta(days=30))
            made = made.add_extension(x509.BasicConstraints(ca, None), critical=True)
            if not ca:
                use = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.TIME_STAMPING])
                made = made.add_extension(use, critical=True)
            return made.sign(root_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

        self.root.write_bytes(certificate(root_name, root_key, True))
        (self.folder / "tsa.pem").write_bytes(certificate(own_name, own_key, False))
        (self.folder / "tsa.key").write_bytes(
            own_key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )

    def answer(self, query: bytes) -> bytes:
        """The answer to a request in DER."""
        asked, given = self.folder / "asked.tsq", self.folder / "given.tsr"
        asked.write_bytes(query)
        self._openssl(
            "ts", "-reply", "-config", str(self.folder / "tsa.cnf"), "-section", "one",
            "-queryfile", str(asked), "-out", str(given),
        )  # fmt: skip
        return given.read_bytes()

    def stamped(self, file: Path) -> Path:
        """Stamp a file; the token lies beside it."""
        asked = self.folder / "file.tsq"
        self._openssl("ts", "-query", "-data", str(file), "-sha256", "-cert", "-out", str(asked))
        token = file.with_name(f"{file.name}.tsr")
        token.write_bytes(self.answer(asked.read_bytes()))
        return token

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True, timeout=60)

    @contextmanager
    def serving(self, answer=None) -> Iterator[str]:
        """A server at an address of this machine; ``answer`` replaces the authority's."""
        make = answer or self.answer

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers["Content-Type"] != "application/timestamp-query":
                    self.send_error(415)
                    return
                reply = make(body)
                self.send_response(200)
                self.send_header("Content-Type", "application/timestamp-reply")
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/tsr"
        finally:
            server.shutdown()
            server.server_close()
