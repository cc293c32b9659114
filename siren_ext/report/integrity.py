"""The seal beside a report: hashes of its files and of every field, signed on request."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from siren_ext.errors import EvidenceError
from siren_ext.files import sha256_file, write_json
from siren_ext.keys.encrypted_file import read_object
from siren_ext.keys.signing import Signer, is_signed

FORMAT = "siren_ext.report_seal"
HTML, JSON, SEAL = "report.html", "report.json", "report.seal.json"
MAX_BYTES = 64 << 20
_DIGITS = 32
_DOMAIN = b"siren_ext.report_seal.1\0"
_FIELDS = {"format", "version", "created", "files", "fields", "public_key", "signature"}


@dataclass(frozen=True)
class Seal:
    """What a report was when it was written.

    Attributes
    ----------
    files : Mapping[str, str]
        SHA-256 of the report's files, by name.
    fields : Mapping[str, str]
        a digest of every field of the JSON file, by its path.
    public : str
        the signer's public key; "" where nobody signed.
    valid : bool | None
        whether the signature belongs to this seal and key; None where nobody signed.
    """

    files: Mapping[str, str]
    fields: Mapping[str, str]
    public: str
    valid: bool | None


def write_seal(folder: Path, signer: Signer | None = None) -> Path:
    """Seal the report in ``folder`` as it lies there, and sign the seal if there is a signer."""
    data = json.loads((folder / JSON).read_text(encoding="utf-8"))
    seal: dict[str, Any] = {
        "format": FORMAT,
        "version": 1,
        "created": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "files": {name: sha256_file(folder / name) for name in (HTML, JSON)},
        "fields": field_digests(data),
        "public_key": signer.public if signer else "",
        "signature": "",
    }
    if signer is not None:
        seal["signature"] = signer.sign(_signed_bytes(seal))
    path = folder / SEAL
    write_json(path, seal)
    return path


def read_seal(folder: Path) -> Seal | None:
    """The seal in a report's folder, or None; raises :class:`EvidenceError` if it is damaged."""
    path = folder / SEAL
    if not path.is_file():
        return None
    data = read_object(path, FORMAT, max_bytes=MAX_BYTES)
    sane = (
        set(data) == _FIELDS
        and all(isinstance(data[name], str) for name in ("created", "public_key", "signature"))
        and all(_is_text_map(data[name]) for name in ("files", "fields"))
        and set(data["files"]) == {HTML, JSON}
    )
    if not sane:
        raise EvidenceError(
            f"{SEAL} is damaged, so what was changed can't be told; use an untouched copy of the "
            "report."
        )
    public, signature = data["public_key"], data["signature"]
    valid = is_signed(_signed_bytes(data), signature, public) if public or signature else None
    return Seal(data["files"], data["fields"], public, valid)


def field_digests(data: Any) -> dict[str, str]:
    """A digest per field, by its path: ``verdict.outcome``, ``suspect.images[3]``."""
    return {place: _digest(value) for place, value in _fields(data, "")}


def changed_fields(sealed: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Paths whose value differs, or that are there only before or only now, in order."""
    gone = [place for place in sealed if place not in now]
    return [place for place, digest in now.items() if sealed.get(place) != digest] + gone


def _fields(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _fields(item, f"{place}.{name}" if place else str(name))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        yield f"{place}.length", len(value)
        for index, item in enumerate(value):
            # one digest per image: a report may hold thousands
            if place.endswith(".images"):
                yield f"{place}[{index}]", item
            else:
                yield from _fields(item, f"{place}[{index}]")
    else:
        yield place, value


def _digest(value: Any) -> str:
    return hashlib.sha256(_canonical(value)).hexdigest()[:_DIGITS]


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _signed_bytes(seal: Mapping[str, Any]) -> bytes:
    return _DOMAIN + _canonical({**seal, "signature": ""})


def _is_text_map(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
