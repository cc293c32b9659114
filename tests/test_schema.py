"""Typed structures from plain values, and what is said of values that do not fit."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from siren_ext.errors import SirenError
from siren_ext.schema import (
    MAX_SHOWN,
    convert,
    expected,
    fits,
    parse_as,
    shown,
    takes,
    to_plain,
)


class OddError(SirenError):
    """What these tests ask for."""


Hash = Annotated[str, Meta(pattern=r"^[0-9a-f]{4}\Z", description="4 hexadecimal digits")]


class Row(Struct, frozen=True, forbid_unknown_fields=True):
    """One entry."""

    name: str
    score: Annotated[float, Meta(ge=-1, le=1)] = 0.0
    digest: Hash = "0000"


@dataclasses.dataclass(frozen=True)
class Options:
    """A dataclass inside a structure."""

    strength: Annotated[float, Meta(ge=0)] = 1.0
    layout: Literal["plain", "kohya"] = "plain"


class Record(Struct, frozen=True, forbid_unknown_fields=True, rename={"kind": "format"}):
    """A file."""

    kind: Literal["record"]
    version: Annotated[int, Meta(ge=1, le=2)]
    rows: Annotated[list[Row], Meta(min_length=1)]
    options: Options = Options()
    sizes: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    parts: dict[str, Row] = {}
    either: Row | str = ""
    flag: bool = False
    free: Any = None


GOOD: dict[str, Any] = {"format": "record", "version": 1, "rows": [{"name": "a"}]}


def read(values: Any, kind: type[Any] = Record) -> Any:
    return convert(values, kind, name="a.json", error=OddError, advice="Make it again.")


def test_good_values_become_a_structure_and_plain_again() -> None:
    record = read(
        GOOD
        | {"sizes": [1, 2], "notes": ["x"], "parts": {"p": {"name": "b", "score": 1}}}
        | {"options": {"strength": 2}}
    )
    assert record.rows == [Row("a")]
    assert record.sizes == (1, 2)
    assert record.notes == ("x",)
    assert record.parts["p"].score == 1.0
    assert record.options == Options(2.0)
    plain = to_plain(record)
    assert list(plain)[:3] == ["format", "version", "rows"]
    assert read(json.loads(json.dumps(plain))) == record


class Named(str):
    def __str__(self) -> str:
        return "another text"


def test_texts_and_numbers_of_a_subclass_are_written_like_any_other() -> None:
    values = {"a": np.float64(0.1), "b": [Named("text")], "c": (True, None, np.float64(1))}
    plain = to_plain(values)
    assert json.dumps(plain) == json.dumps(values)
    assert [type(plain["a"]), type(plain["b"][0]), type(plain["c"][2])] == [float, str, float]
    with pytest.raises(TypeError, match="expected a text, a number"):
        to_plain({"a": np.zeros(2)})


WRONG = [
    ({"version": 3}, "version is 3; expected a whole number from 1 to 2."),
    ({"version": "1"}, "version is '1'; expected a whole number from 1 to 2."),
    ({"version": 1.0}, "version is 1.0; expected a whole number from 1 to 2."),
    ({"version": True}, "version is True; expected a whole number from 1 to 2."),
    ({"format": "other"}, "format is 'other'; expected 'record'."),
    ({"format": 3}, "format is 3; expected 'record'."),
    ({"rows": []}, "rows is []; expected a list of 1 or more named values (name, score, digest)."),
    ({"rows": {}}, "rows is {}; expected a list of 1 or more named values (name, score, digest)."),
    ({"rows": [{"name": "a"}, {}]}, "rows[1] has no name; expected text."),
    (
        {"rows": [{"name": "a", "x": 1}]},
        "rows[0] has the unknown name 'x'; it has name, score, digest.",
    ),
    ({"rows": [{"name": None}]}, "rows[0].name is None; expected text."),
    (
        {"rows": [{"name": "a"}, {"name": "b", "score": 2}]},
        "rows[1].score is 2; expected a number from -1 to 1.",
    ),
    (
        {"rows": [{"name": "b", "score": float("nan")}]},
        "rows[0].score is nan; expected a number from -1 to 1.",
    ),
    (
        {"rows": [{"name": "b", "digest": "0000\n"}]},
        "rows[0].digest is '0000\\\\n'; expected 4 hexadecimal digits.",
    ),
    (
        {"options": {"strenght": 1}},
        "options has the unknown name 'strenght'; it has strength, layout.",
    ),
    (
        {"options": {"layout": "zip"}},
        "options.layout is 'zip'; expected one of 'plain', 'kohya'.",
    ),
    ({"options": {"strength": -1}}, "options.strength is -1; expected a number of at least 0."),
    (
        {"sizes": [1]},
        "sizes is [1]; expected a list of 2: a whole number, a whole number or nothing.",
    ),
    ({"sizes": [1, "2"]}, "sizes[1] is '2'; expected a whole number."),
    ({"notes": "text"}, "notes is 'text'; expected a list of texts."),
    ({"notes": ["a", 1]}, "notes[1] is 1; expected text."),
    ({"parts": {"p": {"name": "a"}, "q": {"name": 1}}}, "parts['q'].name is 1; expected text."),
    ({"parts": {1: {"name": "a"}}}, "parts has a name that does not fit; expected named values."),
    ({"either": 3}, "either is 3; expected named values (name, score, digest) or text."),
    ({"either": {"name": 3}}, "either.name is 3; expected text."),
    ({"flag": "no"}, "flag is 'no'; expected true or false."),
    ({"flag": 1}, "flag is 1; expected true or false."),
    (
        {"fine": 1},
        "a.json has the unknown name 'fine'; it has format, version, rows, options, sizes, notes, "
        "parts, either, flag, free.",
    ),
]


@pytest.mark.parametrize(("change", "why"), WRONG)
def test_wrong_values_are_named_with_what_was_expected(change: dict[str, Any], why: str) -> None:
    with pytest.raises(OddError) as caught:
        read(GOOD | change)
    start = "" if why.startswith("a.json") else "a.json: "
    assert str(caught.value) == f"{start}{why} Make it again.".replace("\\\\n", "\\n")


def test_missing_names_and_other_shapes() -> None:
    with pytest.raises(OddError, match=r"^a\.json has no version; expected a whole number from 1"):
        read({"format": "record", "rows": [{"name": "a"}]})
    for values in (None, 3, "text", [GOOD]):
        with pytest.raises(
            OddError, match=r"^a\.json is .*expected named values \(format, version"
        ):
            read(values)
    with pytest.raises(OddError, match=r"^\[1\] is 'x'; expected a whole number\.$"):
        convert([1, "x"], list[int], name="", error=OddError)


def test_whatever_was_found_is_quoted_briefly() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    for value in ("x" * 10**6, 10**5000, [0] * 10**5, {str(i): i for i in range(10**4)}, deep):
        with pytest.raises(OddError) as caught:
            read(GOOD | {"flag": value})
        assert len(str(caught.value)) < 180
        assert len(shown(value)) <= MAX_SHOWN
    with pytest.raises(OddError) as caught:
        read(GOOD | {"n" * 10**6: 1})
    assert len(str(caught.value)) < 300
    assert shown([10**5000, "y" * 1000]).startswith("[a number of about 5,000 digits, 'yyyy")


def test_half_of_a_character_is_an_error() -> None:
    with pytest.raises(OddError, match="expected"):
        read(GOOD | {"format": "\ud800"})
    assert not fits("\ud800", Literal["a", "b"])


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (int, "a whole number"),
        (Annotated[int, Meta(gt=0)], "a whole number above 0"),
        (Annotated[float, Meta(ge=0.5, lt=1)], "a number of at least 0.5 and below 1"),
        (Annotated[str, Meta(max_length=9)], "text of at most 9 characters"),
        (Annotated[str, Meta(min_length=1, max_length=9)], "text of 1 to 9 characters"),
        (str | None, "text or nothing"),
        (Annotated[int, Meta(ge=1)] | None, "a whole number of at least 1 or nothing"),
        (tuple[Annotated[int, Meta(ge=0, le=9)], ...], "a list of whole numbers from 0 to 9"),
        (Annotated[list[str], Meta(min_length=2, max_length=3)], "a list of 2 to 3 texts"),
        (list[Literal["a", "b"]], "a list of (one of 'a', 'b')"),
        (list, "a list of values"),
        (dict[str, int], "named values"),
        (bytes, "base64 text"),
        (Any, "another kind of value"),
        (Annotated[str, Meta(description="a colour")], "a colour"),
    ],
)
def test_types_in_words(kind: Any, words: str) -> None:
    assert expected(kind) == words


@pytest.mark.parametrize(
    ("plain", "kind", "answer"),
    [
        (bool, bool, True),
        (bool, int, False),
        (str, Annotated[str, Meta(min_length=1)] | None, True),
        (str, Literal["a"], True),
        (str, Literal[1], False),
        (str, tuple[str, ...], False),
        (int, Annotated[int, Meta(ge=1)], True),
    ],
)
def test_takes(plain: type, kind: Any, answer: bool) -> None:
    assert takes(plain, kind) is answer


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("record"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text()
            | st.sampled_from(
                [
                    "format",
                    "version",
                    "rows",
                    "name",
                    "score",
                    "options",
                    "parts",
                    "either",
                    "sizes",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from([*GOOD, "options", "sizes", "parts", "either", "x"]), PLAIN))
def test_any_values_are_a_structure_or_refused(change: dict[str, Any]) -> None:
    for values in (change, GOOD | change):
        try:
            record = read(values)
        except OddError as refused:
            text = str(refused)
        else:
            text = "a.json"
            assert read(to_plain(record)) is not None
        assert text.startswith("a.json")
        assert len(text) < 600


def test_a_text_is_parsed_and_checked() -> None:
    asked: dict[str, Any] = {"name": "a line", "error": OddError, "advice": "Start over."}
    assert parse_as(b"[1, 2]", list[int], **asked) == [1, 2]
    for text, words in ((b"[1,", "a line"), (b'["x"]', "a line"), (b"[1,2,3,4]", "a line")):
        with pytest.raises(OddError, match=rf"{words}.*Start over\.") as refused:
            parse_as(text, list[int], **asked, max_bytes=8)
        assert str(refused.value).count("Start over.") == 1


def test_whole_limits_have_no_point() -> None:
    """Equal annotations are one object, so that 1 may be read as 1.0 or the other way round."""
    assert expected(Annotated[float, Meta(ge=0.0, le=3e6)]) == "a number from 0 to 3000000"
    assert expected(Annotated[float, Meta(ge=-1e30, le=0.5)]) == "a number from -1e+30 to 0.5"
