"""A token is hidden however a server writes it back."""

from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote

import pytest

from siren_ext.suspects.secret import Secret

TOKEN = 'r8_top/secret+"token"=&1'
SECRET = Secret(TOKEN)


@pytest.mark.parametrize(
    "written",
    [
        TOKEN,
        quote(TOKEN),
        quote(TOKEN, safe=""),
        quote(quote(TOKEN, safe="")),
        "".join(f"%{ord(c):02x}" for c in TOKEN),
        json.dumps(TOKEN),
        json.dumps(TOKEN).replace("/", "\\/"),
        json.dumps(json.dumps(TOKEN)),
        "".join(f"\\u{ord(c):04X}" for c in TOKEN),
        "".join(f"\\x{ord(c):02x}" for c in TOKEN),
        html.escape(TOKEN).replace("&quot;", "&#34;").replace("&amp;", "&#x26;"),
        html.escape(TOKEN),
        TOKEN.upper(),
        TOKEN.encode().hex(),
        "0x" + TOKEN.encode().hex().upper(),
        TOKEN.encode().hex(":"),
        base64.encodebytes(f"{'x' * 50}{TOKEN}".encode()).decode(),
        json.dumps(base64.encodebytes(f"{'x' * 50}{TOKEN}".encode()).decode()),
        base64.b64encode(TOKEN.encode()).decode().lower(),
        *(base64.b64encode(("x" * n + TOKEN + "!" * m).encode()).decode()
          for n in range(4) for m in range(3)),
        base64.urlsafe_b64encode(f"user:{TOKEN}".encode()).decode().rstrip("="),
    ],
)  # fmt: skip
def test_every_way_to_write_a_token_is_hidden(written: str) -> None:
    shown = SECRET.scrub(f"before {written} after")
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    assert "***" in shown
    for part in (TOKEN, "secret", "top", base64.b64encode(TOKEN.encode()).decode()[4:16]):
        assert part not in shown


def test_long_answers_take_no_time() -> None:
    for token in ("a" * 40, "\\" * 20 + "x", "ab" * 20):
        hostile = "\\" * 8_000 + "a" * 2_000 + "61 " * 1_000 + "YWFh\n" * 500
        shown = Secret(token).scrub(f"{hostile} {token}!")
        assert shown.endswith("***!")


def test_other_text_is_left_alone() -> None:
    text = 'r8_top/secret, %72, \\u0072 and "dG9w" are not the token'
    assert SECRET.scrub(text) == text
