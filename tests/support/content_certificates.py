"""Certificates for content credentials: an authority of the test, and a person's certificate."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any


def write_certificates(folder: Path, usage: str = "EMAIL_PROTECTION") -> tuple[Path, Path]:
    """A person's certificate with its issuer's, and its private key, both in PEM form."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def made(name: str, above: Any = None) -> tuple[Any, Any]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, name)])
        issuer, signer = (subject, key) if above is None else (above[0].subject, above[1])
        today, ca = datetime.now(timezone.utc), above is None
        one = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
        one = one.public_key(key.public_key()).serial_number(x509.random_serial_number())
        one = one.not_valid_before(today - timedelta(days=1))
        one = one.not_valid_after(today + timedelta(days=30))
        one = one.add_extension(x509.BasicConstraints(ca, None), critical=True)
        uses = x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False)
        one = one.add_extension(uses, critical=True)
        mark = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        one = one.add_extension(mark, critical=False)
        if not ca:
            allowed = x509.ExtendedKeyUsage([getattr(x509.ExtendedKeyUsageOID, usage)])
            one = one.add_extension(allowed, critical=False)
        return one.sign(signer, hashes.SHA256()), key

    root = made("Test authority")
    own, key = made("A painter", root)
    pem = serialization.Encoding.PEM
    folder.mkdir(parents=True, exist_ok=True)
    certificates, private = folder / "cert.pem", folder / "key.pem"
    certificates.write_bytes(own.public_bytes(pem) + root[0].public_bytes(pem))
    plain = serialization.NoEncryption()
    private.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, plain)
    )
    return certificates, private
