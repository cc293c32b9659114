"""Answers of black boxes: their errors, and decoding pictures from untrusted bytes.

There are three kinds of errors: the whole run is pointless, the same request may work next time, or
the server will not give this one picture.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
import tempfile
from pathlib import Path
from typing import Any

from torch import Tensor

from siren_ext.data.images import read_picture, to_tensor, to_uint8
from siren_ext.errors import ImageError, SirenError
from siren_ext.text import printable

MAX_PICTURE_BYTES = 64 << 20
MAX_PIXELS = 4096 * 4096
_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF")
# How a complete file ends. Pillow accepts a file that is cut off after the last pixel.
_ENDS = {_STARTS[0]: b"IEND\xaeB`\x82", _STARTS[1]: b"\xff\xd9"}
_TAIL = 64
_QUOTED = 500
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")


class SuspectError(SirenError):
    """A black box cannot be used like this; trying again would not help."""


class BadAnswer(SuspectError):  # noqa: N818 - an answer, which may be good next time
    """An answer that cannot be used; the same request may succeed later.

    Parameters
    ----------
    message : str
        What is wrong.
    wait : float
        Seconds to wait before the next request, as the server asked.
    """

    def __init__(self, message: str, *, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


class Refused(SuspectError):  # noqa: N818 - a decision of the server
    """The server works but will not give this picture."""


def quoted(text: object) -> str:
    """The beginning of untrusted text, on one line, for a message."""
    line = printable(" ".join(str(text)[: 4 * _QUOTED].split()))
    return line if len(line) <= _QUOTED else line[:_QUOTED] + "\u2026"


def decode_picture(data: bytes, size: tuple[int, int] | None = None) -> Tensor:
    """Decode a picture that a black box sent.

    Parameters
    ----------
    data : bytes
        A PNG, JPEG or WebP file of at most 64 MiB.
    size : (int, int) or None
        The width and height that were requested; None accepts up to 4096 x 4096 pixels.

    Returns
    -------
    Tensor
        3 x H x W in [0,1].

    Raises
    ------
    BadAnswer
        If it is something else, incomplete, damaged, too large or of another size.
    Refused
        If all pixels have the same colour, as from a filter that blanks pictures.
    """
    if len(data) > MAX_PICTURE_BYTES:
        raise BadAnswer(
            f"The picture has {len(data):,} bytes; expected at most {MAX_PICTURE_BYTES:,}."
        )
    if not data.startswith(_STARTS):
        raise BadAnswer(
            f"The answer is not a picture but begins with "
            f"{quoted(data[:60].decode('utf-8', 'replace'))!r}; expected a PNG, JPEG or WebP file."
        )
    if not all(end in data[-_TAIL:] for start, end in _ENDS.items() if data.startswith(start)):
        raise BadAnswer("The picture can't be used: its file is incomplete.")
    limit = MAX_PIXELS if size is None else size[0] * size[1]
    try:
        with tempfile.TemporaryDirectory(prefix="siren_answer_") as folder:
            path = Path(folder) / "answer"
            path.write_bytes(data)
            rgb = read_picture(path, max_pixels=limit).rgb
    except ImageError as error:
        wanted = "" if size is None else f" (requested: {size[0]}x{size[1]})"
        raise BadAnswer(f"The picture can't be used{wanted}: {error}") from error
    height, width = rgb.shape[:2]
    if size is not None and (width, height) != size:
        raise BadAnswer(
            f"The picture has {width}x{height} pixels, but {size[0]}x{size[1]} were requested."
        )
    if (rgb == rgb[0, 0]).all():
        raise Refused(
            "The picture is a single flat colour, as if a safety filter or a failed decoder had "
            "blanked it."
        )
    return to_tensor(rgb)[0]


def decode_base64(text: Any) -> bytes:
    """Decode base64 text, with or without a ``data:`` prefix.

    Raises
    ------
    BadAnswer
        If it is not base64 text.
    """
    if not isinstance(text, str):
        raise BadAnswer(f"The picture is a {type(text).__name__}; expected base64 text.")
    body = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadAnswer(
            f"The picture begins with {quoted(body[:60])!r}; expected base64 text."
        ) from error


def png_bytes(image: Tensor) -> bytes:
    """A picture, 3 x H x W in [0,1], as the bytes of a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(to_uint8(image)).save(buffer, "PNG")
    return buffer.getvalue()


def encode_base64(image: Tensor) -> str:
    """A picture, 3 x H x W in [0,1], as the base64 text of a PNG file."""
    return base64.b64encode(png_bytes(image)).decode()


def parse_json(data: bytes | str) -> Any:
    """Parse JSON from a server.

    Raises
    ------
    BadAnswer
        If it is not JSON.
    """
    try:
        # json itself would take bytes that are halves of characters
        text = data if isinstance(data, str) else data.decode(json.detect_encoding(data))
        values = json.loads(text)  # ComfyUI's histories hold NaN, which documents.py refuses
        if _SURROGATE.search(text):
            json.dumps(values, ensure_ascii=False).encode()  # fails for half of a character
    except (ValueError, RecursionError) as error:
        start = data if isinstance(data, str) else data[:200].decode("utf-8", "replace")
        raise BadAnswer(
            f"The answer is not JSON but begins with {quoted(start[:120])!r}; check that this is "
            "the address of the API."
        ) from error
    return values


def at_path(answer: Any, path: str) -> Any:
    """The value at a dotted path such as ``output.0.url``; None if there is none."""
    value = answer
    for part in path.split("."):
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def list_at(answer: Any, path: str) -> list[Any]:
    """The list at a dotted path; empty if there is none, or something else."""
    value = at_path(answer, path)
    return value if isinstance(value, list) else []
