"""JSON and TOML from elsewhere: read within bounds of time and memory, or refused in a sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import example, given
from hypothesis import strategies as st

from siren_ext.documents import (
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_DOTS,
    MAX_PARTS,
    parse_json,
    parse_toml,
    read_bytes,
    read_json,
    read_toml,
)
from siren_ext.errors import SirenError


class OddError(SirenError):
    """What these tests ask for."""


def as_json(text: str | bytes, **rest: Any) -> Any:
    return parse_json(text, name="a.json", error=OddError, **rest)


def as_toml(text: str | bytes, **rest: Any) -> Any:
    return parse_toml(text, name="a.toml", error=OddError, **rest)


@contextmanager
def quick(seconds: float = 5, megabytes: float = 50) -> Iterator[None]:
    tracemalloc.start()
    began = time.monotonic()
    try:
        yield
        assert time.monotonic() - began < seconds
        assert tracemalloc.get_traced_memory()[1] < megabytes * 1e6
    finally:
        tracemalloc.stop()


DEEP = "nested too deep; expected at most 64 levels"
MANY_DOTS = "too many dots; expected at most 16"
LONG = "number that is too long; expected at most 300 digits"

BAD_JSON = {
    "doubled name": ('{"a": 1, "b": 2, "a": 1}', "'a' twice in one object"),
    "doubled name inside": ('[{"x": {"a": 1, "a": 1}}]', "'a' twice in one object"),
    "NaN": ('{"a": NaN}', "contains NaN; expected finite"),
    "Infinity": ("[-Infinity]", "contains -Infinity; expected finite"),
    "overflow": ("[1e999]", "contains 1e999"),
    "nested lists": ("[" * 10_000, DEEP),
    "closed nested lists": (
        "[" * 10_000 + "]" * 10_000,
        DEEP,
    ),
    "nested objects": ('{"a":' * 10_000, DEEP),
    "nested after text": (
        '["]]]]]\\"]]]]", ' + "[" * 65,
        DEEP,
    ),
    "long whole number": ("9" * 5000, LONG),
    "long fraction": ("0." + "9" * 5000, LONG),
    "half of a character": ('{"a": "\\ud800"}', r"the lone surrogate \\ud800\); expected"),
    "half in a name": ('{"\\udfff": 1}', r"the lone surrogate \\udfff\); expected"),
    "second half first": ('"\\udc00\\ud800"', "lone surrogate"),
    "half as it is": ('"\ud800"', "not text in UTF-8"),
    "not UTF-8": (b'"\xff"', "not text in UTF-8"),
    "UTF-16": ("{}".encode("utf-16"), "not text in UTF-8"),
    "empty": ("", "not valid JSON: Expecting value, line 1, column 1"),
    "cut off": ('{"a": [1, 2', "not valid JSON"),
    "a second value": ("{} {}", "not valid JSON: Extra data"),
    "control character": ('"\x01"', "not valid JSON"),
    "two marks": ("\ufeff\ufeff{}", "not valid JSON"),
    "many lists": (
        "[" + "[]," * MAX_PARTS + "[]]",
        "4,000,002 lists and objects; expected at most 4,000,000",
    ),
}

DOTS = ".".join("a" * 40_000)
BAD_TOML = {
    "dotted key": (f"{DOTS} = 1", MANY_DOTS),
    "dotted key with spaces": (
        DOTS.replace(".", " . ") + " = 1",
        MANY_DOTS,
    ),
    "quoted dotted key": (DOTS.replace("a", '"a"') + " = 1", MANY_DOTS),
    "dotted header": (f"[{DOTS}]", MANY_DOTS),
    "dotted header of a list": (f"[[{DOTS}]]", MANY_DOTS),
    "dotted key in a table": (f"a = {{{DOTS} = 1}}", MANY_DOTS),
    "dotted key after odd quotes": (f'a = """x""""\n{DOTS} = 1', "dots"),
    "dotted key after quotes": (f"a = '''x'''''\n{DOTS} = 1", MANY_DOTS),
    "nested lists": ("a = " + "[" * 10_000, DEEP),
    "nested tables": ("a = " + "{a = " * 10_000, DEEP),
    "nested over lines": (
        "a = " + "[ # ]\n" * 10_000,
        DEEP,
    ),
    "long number": ("a = " + "9" * 5000, LONG),
    "long hexadecimal number": ("a = [{b = 0x" + "f" * 5000 + "}]", LONG),
    "nan": ("a = [1, nan]", "contains nan; expected finite"),
    "inf": ("a.b = -inf", "contains -inf; expected finite"),
    "doubled key": ("a = 1\na = 2", "not valid TOML"),
    "half of a character": ('a = "\\ud800"', "not valid TOML"),
    "not UTF-8": (b"a = '\xff'", "not text in UTF-8"),
    "nothing after the sign": ("a =", "not valid TOML"),
    "open text": ('a = "x', "not valid TOML"),
    "date that is none": ("a = 2023-02-31", "not valid TOML"),
}


@pytest.mark.parametrize(("text", "why"), BAD_JSON.values(), ids=BAD_JSON)
def test_odd_json_is_refused_in_one_sentence(text: str | bytes, why: str) -> None:
    with quick(10, 150), pytest.raises(OddError, match=why) as caught:
        as_json(text, advice="Make it again.")
    assert str(caught.value).startswith("a.json ")
    assert str(caught.value).endswith(" Make it again.")
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(("text", "why"), BAD_TOML.values(), ids=BAD_TOML)
def test_odd_toml_is_refused_in_one_sentence(text: str | bytes, why: str) -> None:
    with quick(), pytest.raises(OddError, match=why) as caught:
        as_toml(text, advice="Make it again.")
    assert str(caught.value).startswith("a.toml ")
    assert str(caught.value).endswith(" Make it again.")
    assert len(str(caught.value)) < 250


def test_long_doubled_name_is_shortened() -> None:
    name = "n" * 100_000
    with pytest.raises(OddError) as caught:
        as_json(f'{{"{name}": 1, "{name}": 2}}')
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("\ufeff[1]", [1]),
        (b"\xef\xbb\xbf[1]", [1]),
        ('"\\ud83d\\ude00"', "\U0001f600"),
        ('"\\\\ud800"', "\\ud800"),
        ('"' + "[{" * 1000 + '"', "[{" * 1000),
        ('["\\\\", "[[\\"[["]', ["\\", '[["[[']),
        ("[" * MAX_DEPTH + "]" * MAX_DEPTH, None),
        ("9" * MAX_DIGITS, int("9" * MAX_DIGITS)),
        ("-0.5e-3", -0.0005),
        ('[{"a": 1}, {"a": 2}]', [{"a": 1}, {"a": 2}]),
    ],
)
def test_unusual_json_is_read(text: str | bytes, value: Any) -> None:
    assert as_json(text) == value or value is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("\ufeffa = 1\r\nb = 2\r\n", {"a": 1, "b": 2}),
        ('a = """\n' + "[" * 100 + '"""', {"a": "[" * 100}),
        (f"a = '{DOTS}'", {"a": DOTS}),
        (f'"{DOTS}" = 1', {DOTS: 1}),
        (f"a = 1 # {DOTS} [[[", {"a": 1}),
        ('a = """x"""""\nb = [1.5, 2.5]', {"a": 'x""', "b": [1.5, 2.5]}),
        ("x = [" + "1.5, " * 100 + "]", {"x": [1.5] * 100}),
        ("a = " + "[" * MAX_DEPTH + "]" * MAX_DEPTH, None),
        (".".join("a" * (MAX_DOTS + 1)) + " = 1", None),
    ],
)
def test_unusual_toml_is_read(text: str, value: Any) -> None:
    assert as_toml(text) == value or value is None


UNITS = ['"""\\"', "'''x", '"', "'", "\\", "[a]\n", "a.b={c=1}\n", "x=1\n", "#", " ", "a.", "1_"]


@pytest.mark.parametrize("unit", UNITS)
def test_long_repetitions_are_quick(unit: str) -> None:
    """Each check and each parser must look at a text once, whatever it begins with."""
    for start in ("", "a = ", 'a = """', "a = ["):
        began = time.monotonic()
        with suppress(OddError):
            as_toml(start + unit * (200_000 // len(unit)))
        with suppress(OddError):
            as_json(start + unit * (200_000 // len(unit)))
        assert time.monotonic() - began < 5


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(PLAIN, st.booleans())
def test_whole_json_comes_back(value: Any, escaped: bool) -> None:
    assert as_json(json.dumps(value, ensure_ascii=escaped)) == value


TOML_VALUES = st.recursive(
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab.\"'[{#"), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.text("ab.\"'[{#\\"), TOML_VALUES, max_size=4))
def test_whole_toml_comes_back(value: dict[str, Any]) -> None:
    assert as_toml(tomli_w.dumps(value)) == value


ODD = st.text("[]{}\"\\,:.=#'\n \ufeff\ud800u0dDeE+-1a_NaNinf") | st.binary() | st.text()


@given(ODD)
@example('"\\ud800"')
@example("[1e400]")
def test_any_text_is_json_or_refused(text: str | bytes) -> None:
    try:
        value = as_json(text)
    except OddError:
        return
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()


@given(ODD)
@example("a = 0x" + "f" * 5000)
def test_any_text_is_toml_or_refused(text: str | bytes) -> None:
    try:
        value = as_toml(text)
    except OddError:
        return
    repr(value).encode()


@pytest.mark.parametrize("depth", [1, MAX_DEPTH, MAX_DEPTH + 1, 200])
def test_depth_is_that_of_the_brackets(depth: int) -> None:
    for text in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
        if depth > MAX_DEPTH:
            with pytest.raises(OddError, match="at most 64 levels"):
                as_json(text)
        else:
            as_json(text)


def test_deep_stack_is_no_traceback() -> None:
    def deeper(levels: int, work: Callable[[], Any]) -> Any:
        return deeper(levels - 1, work) if levels else work()

    for levels in range(700, 1000, 10):
        try:
            deeper(levels, lambda: as_toml("a = " + "[" * 60 + "]" * 60))
        except (OddError, RecursionError):
            continue


@pytest.mark.parametrize("read", [read_json, read_toml])
def test_files(tmp_path: Path, read: Callable[..., Any]) -> None:
    good = tmp_path / "good"
    good.write_bytes(b"\xef\xbb\xbf" + (b'{"a": 1}' if read is read_json else b"a = 1"))
    assert read(good, error=OddError) == read(str(good), error=OddError) == {"a": 1}
    for path, why in (
        (tmp_path / "absent", r"absent can't be read \(No such file"),
        (tmp_path, "folder"),
        ("a\0b", "can't be read"),
        (tmp_path / ("x" * 5000), "can't be read"),
    ):
        with pytest.raises(OddError, match=why) as caught:
            read(path, error=OddError, advice="Choose another.")
        assert str(caught.value).endswith("Choose another.")
    good.write_bytes(b"x" * 11)
    with pytest.raises(OddError, match=r"^the record has 11 bytes; expected at most 7"):
        read(good, error=OddError, max_bytes=7, name="the record")
    with pytest.raises(OddError, match=r"^the record is not valid"):
        read(good, error=OddError, name="the record")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_and_devices_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with quick(), pytest.raises(OddError, match="is not a regular file; expected a file"):
            read_bytes(path, error=OddError, max_bytes=100)


def test_a_file_that_grows_is_read_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 1000)
    whole = os.fstat

    def before(handle: int) -> os.stat_result:
        values = list(whole(handle))
        values[6] = 10  # st_size
        return os.stat_result(values)

    monkeypatch.setattr(os, "fstat", before)
    with pytest.raises(OddError, match="has 101 bytes; expected at most 100"):
        read_bytes(path, error=OddError, max_bytes=100)


def test_text_is_capped_in_bytes() -> None:
    with pytest.raises(OddError, match="has 9 bytes; expected at most 8"):
        as_json('"äöüx"', max_bytes=8)
    with pytest.raises(OddError, match="has 100 bytes"):
        as_toml("#" * 100, max_bytes=8)


def test_reading_and_settings_need_no_large_library() -> None:
    code = (
        "import sys, siren_ext.documents, siren_ext.schema, siren_ext.config\n"
        "print([name for name in ('torch', 'numpy', 'PIL', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
