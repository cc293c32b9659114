"""Damaged and hostile variants of good files, each determined by a seed."""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

LARGEST = 1 << 20
_TEXTS = (
    "", "\0", "\n", "..", "../../etc/passwd", "/", "C:\\x", "con", "\u202e", "\ufeff", "e\u0301",
    "\U0001f98a", "%id%", "%prompt%", "{token}", "nan", "1e999", "x" * 5000, "a" * 256 + ".png",
    "http://", "https://user:pw@host", "file:///etc/passwd", "[[", "\"", "'''", "\\", "\ud800",
)  # fmt: skip
_NUMBERS = (0, 1, -1, 2, 255, 2**16, 2**31, 2**32, 2**63, 10**30, -(2**63), 0.5, 1e-320, 1e308)
_INTEGERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutant(data: bytes, kind: str, others: Sequence[bytes], random: Random) -> bytes:
    """A variant of a file.

    One time in three only bytes are changed; otherwise the parts that its kind consists of are
    changed too, and checksums and lengths are made to fit again.
    """
    shaped = _SHAPED.get(kind)
    if shaped is not None and random.random() < 2 / 3:
        try:
            return shaped(data, random)[:LARGEST]
        except (ValueError, struct.error, zipfile.BadZipFile, RecursionError):
            pass  # it no longer has that shape
    for _ in range(random.choice((1, 1, 1, 2, 4, 16))):
        data = _bytes(data, others, random)
    return data[:LARGEST]


def _bytes(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """One change of bytes."""
    start = random.randrange(len(data) + 1)
    # headers are small and decide most
    if random.random() < 0.5:
        start = min(start, random.randrange(256))
    length = random.choice((1, 1, 2, 4, 8, 64, 1024))
    choice = random.randrange(8)
    if choice == 0 and data:
        spot = min(start, len(data) - 1)
        return data[:spot] + bytes([data[spot] ^ 1 << random.randrange(8)]) + data[spot + 1 :]
    if choice == 1:
        return data[:start] + random.randbytes(length) + data[start + length :]
    if choice == 2:
        size = random.choice((1, 2, 4, 8))
        order: Any = random.choice(("big", "little"))
        value = random.choice(_INTEGERS) % (1 << 8 * size)
        return data[:start] + value.to_bytes(size, order) + data[start + size :]
    if choice == 3:
        return data[:start] + data[start + length :]
    if choice == 4:
        return data[:start] + data[start : start + length] * 2 + data[start + length :]
    if choice == 5:
        return data[:start] + random.choice(_TEXTS).encode("utf-8", "surrogatepass") + data[start:]
    if choice == 6:
        return data[:start]
    other = random.choice(others) if others else data
    spot = random.randrange(len(other) + 1)
    return data[:start] + other[spot:]


# -- JSON and TOML --------------------------------------------------------------------------


def _any_value(random: Random) -> Any:
    """A value that somebody may not have expected."""
    return random.choice(
        (
            None, True, False, [], {}, [[]], {"": ""}, [1, "a", None],
            *_TEXTS, *_NUMBERS, [0] * 2000, ["x"] * 500,
        )
    )  # fmt: skip


def _places(value: Any, places: list[tuple[Any, Any]]) -> None:
    """All places inside a value, as container and index."""
    items = enumerate(value) if isinstance(value, list) else value.items()
    for index, item in items:
        places.append((value, index))
        if isinstance(item, list | dict):
            _places(item, places)


def changed_values(value: Any, random: Random) -> Any:
    """The same JSON value with some parts replaced, left out, doubled or exchanged."""
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        places: list[tuple[Any, Any]] = []
        if isinstance(value, list | dict):
            _places(value, places)
        if not places or random.random() < 0.01:
            return _any_value(random)
        # the first levels decide more than the thousandth image
        inside, at = random.choice(places if random.random() < 0.5 else places[:40])
        choice = random.randrange(6)
        if choice <= 2:
            inside[at] = _any_value(random)
        elif choice == 3:
            del inside[at]
        elif choice == 4 and isinstance(inside, list):
            inside.insert(at, inside[at])
        elif choice == 4:
            inside[random.choice(_TEXTS)] = inside[at]
        else:
            other, there = random.choice(places)
            value_here = inside[at]
            inside[at] = json.loads(json.dumps(other[there])) if there in _indices(other) else None
            if there in _indices(other) and other is not inside:
                other[there] = json.loads(json.dumps(value_here))
    return value


def _indices(value: Any) -> Any:
    return range(len(value)) if isinstance(value, list) else value


def _json(data: bytes, random: Random) -> bytes:
    value = changed_values(json.loads(data), random)
    text = json.dumps(value, ensure_ascii=random.random() < 0.5)
    return text.encode("utf-8", "surrogatepass")


def _lines(data: bytes, random: Random) -> bytes:
    """Lines of text or JSON left out, doubled, exchanged, and one of them changed."""
    lines = data.split(b"\n")
    spot = random.randrange(len(lines))
    choice = random.randrange(5)
    if choice == 0:
        lines.insert(spot, random.choice(lines))
    elif choice == 1 and len(lines) > 1:
        del lines[spot]
    elif choice == 2:
        random.shuffle(lines)
    elif lines[spot].startswith(b"{"):
        lines[spot] = _json(lines[spot], random)
    else:
        lines[spot] = _words(lines[spot], random)
    return b"\n".join(lines)


def _words(data: bytes, random: Random) -> bytes:
    """A word, number or quoted text replaced."""
    words = list(re.finditer(rb'"[^"\n]*"|[\w.]+|[^\w\s]', data))
    if not words:
        return data + json.dumps(_any_value(random)).encode()
    one = random.choice(words)
    choice = random.randrange(4)
    if choice == 0:
        new = json.dumps(_any_value(random)).encode()
    elif choice == 1:
        new = random.choice(words)[0]
    elif choice == 2:
        new = one[0] * random.choice((2, 3, 100, 5000))
    else:
        new = random.choice(_TEXTS).encode("utf-8", "surrogatepass")
    return data[: one.start()] + new + data[one.end() :]


# -- containers -----------------------------------------------------------------------------


def _png(data: bytes, random: Random) -> bytes:
    """Chunks left out, doubled, exchanged or changed, with checksums that fit."""
    chunks, spot = [], 8
    while spot + 12 <= len(data):
        length = struct.unpack(">I", data[spot : spot + 4])[0]
        chunks.append((data[spot + 4 : spot + 8], data[spot + 8 : spot + 8 + length]))
        spot += 12 + length
    at = random.randrange(len(chunks))
    name, body = chunks[at]
    choice = random.randrange(6)
    if choice == 0:
        del chunks[at]
    elif choice == 1:
        chunks.insert(random.randrange(len(chunks)), chunks[at])
    elif choice == 2:
        random.shuffle(chunks)
    elif choice == 3 and name in (b"zTXt", b"iTXt", b"iCCP"):
        head = body[: body.index(b"\0") + 2]
        chunks[at] = (name, head + zlib.compress(b"\0" * random.choice((10, 1 << 16, 1 << 22))))
    elif choice == 4:
        chunks[at] = (random.choice([one for one, _ in chunks]), body)
    else:
        chunks[at] = (name, _bytes(body, (), random))
    return data[:8] + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def _safetensors(data: bytes, random: Random) -> bytes:
    """Another header, with a length that fits, before the same numbers."""
    length = struct.unpack("<Q", data[:8])[0]
    header, rest = json.loads(data[8 : 8 + length]), data[8 + length :]
    meta = header.get("__metadata__", {})
    packed = [key for key, text in meta.items() if text.startswith("{")]
    if packed and random.random() < 0.5:
        key = random.choice(packed)
        meta[key] = _json(meta[key].encode(), random).decode("utf-8", "replace")
    elif random.random() < 0.3:
        rest = _bytes(rest, (), random)
    else:
        header = changed_values(header, random)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + rest


def _zip(data: bytes, random: Random) -> bytes:
    """Files in an archive renamed, doubled, left out or changed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = [(one.filename, archive.read(one)) for one in archive.infolist()]
    for _ in range(random.choice((1, 1, 2, 5))):
        at = random.randrange(len(files))
        name, body = files[at]
        choice = random.randrange(4)
        if choice == 0:
            new = random.choice(_TEXTS).encode("utf-8", "replace").decode()
            files[at] = (random.choice((new, f"{new}.png", f"{new}/{name}", new + name)), body)
        elif choice == 1:
            files.append((random.choice(files)[0], body))
        elif choice == 2 and len(files) > 1:
            del files[at]
        else:
            files[at] = (name, _bytes(body, (), random))
    packed = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", packed) as archive:
        for name, body in files:
            archive.writestr(zipfile.ZipInfo(name), body, packed)
    return stream.getvalue()


_SHAPED: dict[str, Callable[[bytes, Random], bytes]] = {
    "json": _json,
    "lines": _lines,
    "text": _words,
    "png": _png,
    "safetensors": _safetensors,
    "zip": _zip,
}
