"""What a black box answers, and what of it may count as a picture.

Three errors part the ways in which an answer can fail: the whole run is pointless, the same request
may work the next time, or this one picture will never come.
"""

from __future__ import annotations

import base64
import binascii
import json
import tempfile
from pathlib import Path
from typing import Any

from torch import Tensor

from siren_ext.data.images import read_picture, to_tensor
from siren_ext.errors import ImageError, SirenError
from siren_ext.text import printable

MAX_PICTURE_BYTES = 64 << 20
MAX_PIXELS = 4096 * 4096
_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF")
# How a whole file ends: Pillow is content once it has all pixels, checksums or not.
_ENDS = {_STARTS[0]: b"IEND\xaeB`\x82", _STARTS[1]: b"\xff\xd9"}
_TAIL = 64
_QUOTED = 500


class SuspectError(SirenError):
    """A black box can't be used as asked; trying again would not help."""


class BadAnswer(SuspectError):  # noqa: N818 - a thing that came back, which may be sound next time
    """An answer that can't be used; the same request may succeed later.

    ``wait`` are seconds that the other side asked for before the next request.
    """

    def __init__(self, message: str, *, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


class Refused(SuspectError):  # noqa: N818 - a decision of the other side
    """The other side works but will not give this picture."""


def quoted(text: object) -> str:
    """The beginning of what somebody else wrote, on one line, for a message."""
    line = printable(" ".join(str(text)[: 4 * _QUOTED].split()))
    return line if len(line) <= _QUOTED else line[:_QUOTED] + "\u2026"


def decode_picture(data: bytes, size: tuple[int, int] | None = None) -> Tensor:
    """The picture (3, H, W) in [0,1] of a PNG, JPEG or WebP file that a black box sent.

    ``size`` is the (width, height) that was asked for; without it anything up to 4096 x 4096
    pixels is taken.

    Raises
    ------
    BadAnswer
        no such file, cut off, damaged, too large, or of another size.
    Refused
        every pixel has one colour, as from a filter that blanks pictures.
    """
    if len(data) > MAX_PICTURE_BYTES:
        raise BadAnswer(
            f"A picture of {len(data):,} bytes came; at most {MAX_PICTURE_BYTES:,} are read."
        )
    if not data.startswith(_STARTS):
        raise BadAnswer(
            f"No picture came but {quoted(data[:60].decode('utf-8', 'replace'))!r}; expected a "
            "PNG, JPEG or WebP file."
        )
    if not all(end in data[-_TAIL:] for start, end in _ENDS.items() if data.startswith(start)):
        raise BadAnswer("The picture is unusable: its file is cut off.")
    limit = MAX_PIXELS if size is None else size[0] * size[1]
    try:
        with tempfile.TemporaryDirectory(prefix="siren_answer_") as folder:
            path = Path(folder) / "answer"
            path.write_bytes(data)
            rgb = read_picture(path, max_pixels=limit).rgb
    except ImageError as error:
        wanted = "" if size is None else f" (asked for: {size[0]}x{size[1]})"
        raise BadAnswer(f"The picture is unusable{wanted}: {error}") from error
    height, width = rgb.shape[:2]
    if size is not None and (width, height) != size:
        raise BadAnswer(
            f"A picture of {width}x{height} pixels came; expected {size[0]}x{size[1]} as asked."
        )
    if (rgb == rgb[0, 0]).all():
        raise Refused(
            "The picture is one flat colour, as when a safety filter or a failed decoder blanks it."
        )
    return to_tensor(rgb)[0]


def decode_base64(text: Any) -> bytes:
    """The bytes of base64 text, with or without a ``data:`` prefix; raises :class:`BadAnswer`."""
    if not isinstance(text, str):
        raise BadAnswer(f"No picture came but {type(text).__name__}; expected base64 text.")
    body = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadAnswer(
            f"No picture came but {quoted(body[:60])!r}; expected base64 text."
        ) from error


def parse_json(data: bytes | str) -> Any:
    """JSON from outside; raises :class:`BadAnswer` with the beginning of what came instead."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        start = data if isinstance(data, str) else data[:200].decode("utf-8", "replace")
        raise BadAnswer(
            f"The answer is not JSON but begins {quoted(start[:120])!r}; is the address that of "
            "the API?"
        ) from error


def at_path(answer: Any, path: str) -> Any:
    """The value at a dotted path such as ``output.0.url``; None where the path leads nowhere."""
    value = answer
    for part in path.split("."):
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value
