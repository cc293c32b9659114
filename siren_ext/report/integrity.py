"""The seal of a report: hashes of its files and of every field, with an optional signature."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from siren_ext.errors import EvidenceError
from siren_ext.files import sha256_file, write_json
from siren_ext.formats import Sha256, read_format
from siren_ext.keys.signing import Signer, is_signed
from siren_ext.schema import to_plain

HTML, JSON, SEAL = "report.html", "report.json", "report.seal.json"
MAX_BYTES = 256 << 20  # a few times the size of a report
_DIGITS = 32
_LONGEST = 300
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_DOMAIN = b"siren_ext.report_seal.1\0"
_Short = Annotated[str, Meta(max_length=200)]


class _Files(Struct, forbid_unknown_fields=True, rename={"html": HTML, "json": JSON}):
    """Hashes of the report's files, by their names."""

    html: Sha256
    json: Sha256


class _Stored(Struct, forbid_unknown_fields=True, kw_only=True):
    """The seal as stored."""

    format: Literal["siren_ext.report_seal"] = "siren_ext.report_seal"
    version: Literal[1] = 1
    created: _Short
    files: _Files
    fields: dict[str, str]
    public_key: _Short
    signature: _Short = ""

    def signed_bytes(self) -> bytes:
        """What is signed: all values except the signature."""
        return _DOMAIN + _canonical({**to_plain(self), "signature": ""})


@dataclass(frozen=True)
class Seal:
    """Hashes of a report as it was written.

    Attributes
    ----------
    files : Mapping[str, str]
        SHA-256 of the report's files, by name.
    fields : Mapping[str, str]
        A digest of every field of the JSON file, by its path.
    public : str
        The signer's public key; "" if the seal is not signed.
    valid : bool | None
        Whether the signature fits this seal and key; None if the seal is not signed.
    """

    files: Mapping[str, str]
    fields: Mapping[str, str]
    public: str
    valid: bool | None


def write_seal(folder: Path, signer: Signer | None = None) -> Path:
    """Write the seal of a report.

    Parameters
    ----------
    folder : Path
        Folder with ``report.html`` and ``report.json``.
    signer : Signer | None
        Signs the seal.

    Returns
    -------
    Path
        The seal's file.
    """
    data = json.loads((folder / JSON).read_text(encoding="utf-8"))
    seal = _Stored(
        created=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        files=_Files(sha256_file(folder / HTML), sha256_file(folder / JSON)),
        fields=field_digests(data),
        public_key=signer.public if signer else "",
    )
    if signer is not None:
        seal.signature = signer.sign(seal.signed_bytes())
    path = folder / SEAL
    write_json(path, to_plain(seal))
    return path


def read_seal(folder: Path) -> Seal | None:
    """Read the seal of a report and check its signature.

    Parameters
    ----------
    folder : Path
        The report's folder.

    Returns
    -------
    Seal | None
        The seal; None if there is none.

    Raises
    ------
    EvidenceError
        The seal is damaged.
    """
    path = folder / SEAL
    if not path.is_file():
        return None
    kept = read_format(
        path,
        _Stored,
        error=EvidenceError,
        name=SEAL,
        max_bytes=MAX_BYTES,
        advice="Without it, changes can't be detected. Use an untouched copy of the report.",
    )
    valid = None
    if kept.public_key or kept.signature:
        valid = is_signed(kept.signed_bytes(), kept.signature, kept.public_key)
    return Seal(to_plain(kept.files), kept.fields, kept.public_key, valid)


def field_digests(data: Any) -> dict[str, str]:
    """Hash every field of a report.

    Parameters
    ----------
    data : Any
        The report's values.

    Returns
    -------
    dict[str, str]
        A digest for each path, such as ``verdict.outcome`` or ``suspect.images[3]``. Everything
        below a path of more than 300 characters is one field: the paths of thousands of values
        below a name of a megabyte would need gigabytes.
    """
    return {place: _digest(value) for place, value in _fields(data, "")}


def changed_fields(sealed: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Compare digests.

    Parameters
    ----------
    sealed, now : Mapping[str, str]
        Digests from :func:`field_digests`, of the seal and of the current file.

    Returns
    -------
    list[str]
        Paths that were changed or added, then paths that were removed.
    """
    gone = [place for place in sealed if place not in now]
    return [place for place, digest in now.items() if sealed.get(place) != digest] + gone


def _fields(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if len(place) > _LONGEST:
        yield place, value
    elif isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _fields(item, f"{place}.{name}" if place else str(name))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        yield f"{place}.length", len(value)
        for index, item in enumerate(value):
            # one digest per image, not per value: a report may have thousands of images
            if place.endswith(".images"):
                yield f"{place}[{index}]", item
            else:
                yield from _fields(item, f"{place}[{index}]")
    else:
        yield place, value


def _digest(value: Any) -> str:
    return hashlib.sha256(_canonical(value)).hexdigest()[:_DIGITS]


def _canonical(value: Any) -> bytes:
    return _ENCODER.encode(value).encode()
