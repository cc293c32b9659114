"""Time stamps by RFC 3161: an authority signs the SHA-256 of a commitment and the time.

A proof of OpenTimestamps is checked here too, by :mod:`siren_ext.evidence.ots`.

The authority sees the hash only. A stamp is worth as much as its authority, so its root
certificate is always named by the person who checks; none is built in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siren_ext.documents import read_bytes
from siren_ext.errors import EvidenceError, MissingExtraError
from siren_ext.evidence.ots import MAGIC, MAX_HEADER, PLACE, check_proof, read_proof
from siren_ext.text import printable

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

MAX_TOKEN = 1 << 20
MAX_ROOTS = 8 << 20
_QUERY_TYPE = "application/timestamp-query"
_SHA256 = "2.16.840.1.101.3.4.2.1"
_ADVICE = (
    "Use the answer of a time-stamping authority exactly as it was sent, a file such as c.json.tsr."
)


@dataclass(frozen=True)
class Stamp:
    """A time stamp whose signature was checked.

    Attributes
    ----------
    time : datetime
        in UTC, as the authority states it.
    latest : datetime
        the latest time that the stated accuracy allows.
    authority : str
        name in the certificate that signed, or the block.
    root : str
        name in the root certificate or of the block header, which the checking person named.
    unchecked : str
        what could not be checked of it, in words; "" for nothing.
    """

    time: datetime
    latest: datetime
    authority: str
    root: str
    unchecked: str = ""

    @property
    def text(self) -> str:
        """Time and authority for people."""
        when = self.time.strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"{when} by {self.authority}"


def request_stamp(url: str, file: Path, *, timeout: float = 60.0) -> bytes:
    """Ask an authority to stamp the SHA-256 of a file.

    Parameters
    ----------
    url : str
        the authority's https address; http is allowed for this machine only.
    file : Path
        the commitment, at most 64 MiB.
    timeout : float
        seconds for the whole exchange.

    Returns
    -------
    bytes
        the answer, not yet checked, except that it answers this very request.

    Raises
    ------
    ConfigError
        the address is malformed or not https.
    EvidenceError
        the file can't be read, or the authority gave no stamp for it.
    MissingExtraError
        the package ``rfc3161-client`` is not installed.
    """
    from siren_ext.evidence.web import send_safely

    module = _module()
    data = _content(file)
    query = module.TimestampRequestBuilder(data, module.HashAlgorithm.SHA256).build()
    token = send_safely(url, query.as_bytes(), _QUERY_TYPE, limit=MAX_TOKEN, timeout=timeout)
    answer = _parsed(token, "The authority's answer")
    if answer.status != 0:
        said = printable("; ".join(answer.status_string))[:200] or f"status {answer.status}"
        raise EvidenceError(f"The authority refused to stamp ({said}); ask another authority.")
    if answer.tst_info.nonce != query.nonce:
        raise EvidenceError(
            "The authority's answer belongs to another request; try again, or ask another "
            "authority."
        )
    return token


def check_stamp(token: Path, file: Path, roots: Path) -> Stamp:
    """Check that an authority stamped a file.

    Parameters
    ----------
    token : Path
        the authority's answer, a DER file, or a complete proof of OpenTimestamps.
    file : Path
        the commitment.
    roots : Path
        PEM file with the root certificate, and intermediate ones if the token lacks them. For
        OpenTimestamps the header of the block.

    Returns
    -------
    Stamp
        the time and who stated it.

    Raises
    ------
    EvidenceError
        a file can't be read, the token is for another file, or no certificate in ``roots`` leads
        to its signature.
    MissingExtraError
        the package ``rfc3161-client`` is not installed, or for OpenTimestamps ``opentimestamps``.

    Notes
    -----
    Whether a certificate was revoked is not looked up.

    References
    ----------
    RFC 3161, "Internet X.509 Public Key Infrastructure Time-Stamp Protocol".
    """
    name = printable(Path(token).name)
    given = read_bytes(token, error=EvidenceError, max_bytes=MAX_TOKEN, name=name, advice=_ADVICE)
    if given.startswith(MAGIC):
        return _block_stamp(token, file, roots)
    from cryptography.x509 import load_der_x509_certificate

    data = _content(file)
    answer = _parsed(given, name)
    if answer.status != 0:
        raise EvidenceError(
            f"{name} is an authority's refusal to stamp (status {answer.status}), not a time "
            "stamp. Have the commitment stamped again, or ask another authority."
        )
    trusted = _certificates(roots)
    info = answer.tst_info
    if info.message_imprint.hash_algorithm.dotted_string != _SHA256:
        raise EvidenceError(f"{name} is a stamp for a hash other than SHA-256. {_ADVICE}")
    root, reason = _root_of(answer, data, trusted)
    if root is None:
        raise EvidenceError(
            f"{name} is not a valid time stamp of {printable(Path(file).name)} by an authority in "
            f"{printable(Path(roots).name)} ({reason}). Use the file that was stamped, and the "
            "root certificate that this authority published."
        )
    signer = next(iter(answer.signed_data.signer_infos))
    held = [load_der_x509_certificate(one) for one in answer.signed_data.certificates]
    leaf = next(one for one in held if one.serial_number == signer.serial_number)
    time = info.gen_time.astimezone(timezone.utc)
    return Stamp(time, time + _accuracy(info), _name(leaf), _name(root))


def _root_of(
    answer: Any, data: bytes, trusted: Sequence[Certificate]
) -> tuple[Certificate | None, str]:
    """The root certificate that leads to a stamp's signature; None, and why not, for none."""
    from cryptography.x509 import InvalidVersion

    module, reason = _module(), ""
    for root in trusted:
        if root.issuer != root.subject:
            continue
        builder = module.VerifierBuilder().add_root_certificate(root)
        for one in trusted:
            if one.issuer != one.subject:
                builder = builder.add_intermediate_certificate(one)
        try:
            builder.build().verify_message(answer, data)
        except (module.VerificationError, ValueError, InvalidVersion) as error:
            reason = reason or printable(str(error))[:160]
        else:
            return root, ""
    return None, reason


def _block_stamp(proof: Path, file: Path, header: Path) -> Stamp:
    """The time stamp of a complete proof of OpenTimestamps."""
    name = printable(Path(header).name)
    data = read_bytes(header, error=EvidenceError, max_bytes=MAX_HEADER, name=name)
    block, found, latest = check_proof(read_proof(proof, file), data)
    root = f"the header of the block with hash {found.hash}"
    return Stamp(found.time, latest, f"Bitcoin block {block.height:,}", root, PLACE)


def _accuracy(info: Any) -> timedelta:
    """How far the stated time may be off; nothing where the authority states nothing."""
    stated = info.accuracy
    if stated is None:
        return timedelta()
    return timedelta(
        seconds=stated.seconds or 0,
        milliseconds=stated.millis or 0,
        microseconds=stated.micros or 0,
    )


def _certificates(roots: Path) -> Sequence[Certificate]:
    from cryptography.x509 import InvalidVersion, load_pem_x509_certificates

    name = printable(Path(roots).name)
    advice = "Use the root certificate that the authority published, in PEM form."
    data = read_bytes(roots, error=EvidenceError, max_bytes=MAX_ROOTS, name=name, advice=advice)
    try:
        found = load_pem_x509_certificates(data)
        rooted = any(one.issuer == one.subject for one in found)  # names are parsed only here
    except (ValueError, InvalidVersion) as error:
        raise EvidenceError(f"{name} contains no certificate in PEM form. {advice}") from error
    if not rooted:
        raise EvidenceError(f"{name} contains no root certificate. {advice}")
    return list(dict.fromkeys(found))


def _name(certificate: Certificate) -> str:
    return printable(certificate.subject.rfc4514_string())[:200]


def _content(file: Path) -> bytes:
    name = printable(Path(file).name)
    data = read_bytes(file, error=EvidenceError, max_bytes=64 << 20, name=name)
    if not data:
        raise EvidenceError(f"{name} is empty; expected a commitment made by 'siren-ext commit'.")
    return data


def _parsed(token: bytes, name: str) -> Any:
    try:
        answer = _module().decode_timestamp_response(token)
        if answer.status == 0:
            _ = answer.tst_info, answer.signed_data
    except ValueError as error:
        raise EvidenceError(f"{name} is not a time-stamp response. {_ADVICE}") from error
    return answer


def _module() -> Any:
    """The package that reads, asks for and checks stamps."""
    try:
        import rfc3161_client
    except ImportError as error:
        raise MissingExtraError("rfc3161-client", "evidence") from error
    return rfc3161_client
