"""Typed structures from plain values: types and bounds are declared, one function checks them.

Structures are ``msgspec.Struct`` classes or dataclasses whose annotations say what fits, such as
``Annotated[int, Meta(ge=1, le=1000)]``. A ``description`` in the ``Meta`` is what messages call the
expected value where a type says too little (``"64 hexadecimal digits"``).
"""

from __future__ import annotations

import dataclasses
import functools
import re
import reprlib
import types
from collections.abc import Hashable, Mapping
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from siren_ext.documents import MAX_JSON_BYTES, parse_json
from siren_ext.errors import SirenError

T = TypeVar("T")

MAX_SHOWN = 80

_PATH = re.compile(r" - at `(?:key` in `)?\$(.*)`$")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_FIELD = re.compile(r"^Object (?:missing required|contains unknown) field `(.*?)`", re.DOTALL)
_LIMITS = ("ge", "gt", "le", "lt", "min_length", "max_length", "description")
_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    bytes: "base64 text",
    type(None): "nothing",
}
_MANY = {
    "a whole number": "whole numbers",
    "a number": "numbers",
    "text": "texts",
    "a value": "values",
    "named values": "named values",
}


def convert(
    values: Any, kind: type[T], *, name: str, error: type[SirenError], advice: str = ""
) -> T:
    """A typed structure from plain values, such as those of a JSON file.

    Nothing is guessed: ``"no"`` is no truth value, 2.5 and True are no whole numbers. Whole numbers
    are taken where a float is expected, lists where a tuple is.

    Parameters
    ----------
    values : Any
        plain values.
    kind : type[T]
        the structure, or any other type that msgspec knows.
    name : str
        what messages call the values.
    error : type[SirenError]
        what is raised.
    advice : str
        a sentence that ends every message: what to do.

    Returns
    -------
    T
        a checked structure.

    Raises
    ------
    SirenError
        of the kind ``error``, with the place of the first wrong value, what is there and what was
        expected: a wrong type, a value out of bounds, an unknown or a missing name.

    Notes
    -----
    A ``Struct`` refuses unknown names when it is declared with ``forbid_unknown_fields``;
    dataclasses always do.
    """
    try:
        _check_names(values, kind, "")
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as problem:
        message = _explained(str(problem), values, kind, name)
        raise error(f"{message} {advice}".strip()) from problem
    except RecursionError as problem:
        raise error(f"{name} is nested too deep. {advice}".rstrip()) from problem
    except UnicodeError as problem:
        message = (
            f"{name} contains half of a character (a lone surrogate); expected whole characters."
        )
        raise error(f"{message} {advice}".rstrip()) from problem


def parse_as(
    text: str | bytes,
    kind: type[T],
    *,
    name: str,
    error: type[SirenError],
    advice: str = "",
    max_bytes: int = MAX_JSON_BYTES,
) -> T:
    """A typed structure from a JSON text, such as a line of a record.

    Parameters, result and errors are those of :func:`~siren_ext.documents.parse_json` and
    :func:`convert`.
    """
    values = parse_json(text, name=name, error=error, advice=advice, max_bytes=max_bytes)
    return convert(values, kind, name=name, error=error, advice=advice)


def to_plain(value: Any) -> Any:
    """Dictionaries, texts and numbers of a structure, in the order of its fields.

    Tuples stay tuples, which JSON and TOML write as lists. Texts and numbers of a subclass, such as
    numpy's float64, become those of Python.
    """
    return msgspec.to_builtins(value, enc_hook=_without_subclass)


def _without_subclass(value: Any) -> Any:
    """A text or number as Python's own; raises TypeError for anything else."""
    if isinstance(value, str):
        return str.__str__(value)
    for kind in (int, float):
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(f"found {shown(value)}; expected a text, a number or a container of these")


def shown(value: Any) -> str:
    """A value as messages quote it: at most about :data:`MAX_SHOWN` characters."""
    if isinstance(value, int) and value.bit_length() > 4 * MAX_SHOWN:
        return f"a number of about {round(value.bit_length() * 0.30103):,} digits"
    if isinstance(value, str) and len(value) > MAX_SHOWN:
        return f"{value[: MAX_SHOWN // 2]!r}... ({len(value):,} characters)"
    words = _SHORT.repr(value)
    return words if len(words) <= MAX_SHOWN else f"{words[: MAX_SHOWN - 3]}..."


def expected(kind: Any) -> str:
    """What fits a type, in words: ``a whole number from 1 to 1000``.

    Parameters
    ----------
    kind : Any
        a type with its bounds, as annotations have it.
    """
    limits: dict[str, Any] = {}
    while get_origin(kind) is Annotated:
        for meta in kind.__metadata__:
            found = {name: getattr(meta, name, None) for name in _LIMITS}
            limits |= {name: value for name, value in found.items() if value is not None}
        kind = get_args(kind)[0]
    arms, hints = _arms(kind), _hints(kind)
    if "description" in limits:
        return str(limits["description"])
    if len(arms) > 1:
        named = [part for part in _alternatives(kind) if part is not msgspec.UnsetType]
        return " or ".join(map(expected, named))
    if get_origin(kind) is Literal:
        options = ", ".join(map(repr, get_args(kind)))
        return f"one of {options}" if len(get_args(kind)) > 1 else options
    if kind in _NAMES:
        return _NAMES[kind] + _range(limits)
    if (get_origin(kind) or kind) in (list, tuple, set, frozenset):
        return _list_words(kind, limits)
    if hints or dataclasses.is_dataclass(kind):
        return f"named values ({', '.join(hints)})"
    return "named values" if (get_origin(kind) or kind) is dict else "another kind of value"


def fits(value: Any, kind: Any) -> bool:
    """Whether a plain value can be had as a type, by the rules of :func:`convert`."""
    try:
        msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError, UnicodeError):
        return False
    return True


def takes(plain: type, kind: Any) -> bool:
    """Whether a value of the type ``plain`` may fit the type ``kind``, bounds aside.

    Parameters
    ----------
    plain : type
        bool, int, float or str.
    kind : Any
        a type as annotations have it; of a union one part is enough.
    """
    for arm in _arms(kind):
        if get_origin(arm) is Literal and any(type(value) is plain for value in get_args(arm)):
            return True
        if arm is plain:
            return True
    return False


class _Short(reprlib.Repr):
    """Short forms of plain values, those of huge numbers included."""

    def repr_int(self, x: int, level: int) -> str:
        return shown(x) if x.bit_length() > 4 * MAX_SHOWN else repr(x)

    def repr_str(self, x: str, level: int) -> str:
        return repr(x) if len(x) <= 40 else f"{x[:40]!r}..."


_SHORT = _Short()


def _list_words(kind: Any, limits: dict[str, Any]) -> str:
    """``a list of whole numbers from 0 to 9``; items with other words come in brackets."""
    parts = [part for part in get_args(kind) if part is not Ellipsis]
    if get_origin(kind) is tuple and Ellipsis not in get_args(kind):
        return f"a list of {len(parts)}: {', '.join(map(expected, parts))}"
    item = expected(parts[0]) if parts and parts[0] is not Any else "a value"
    several = f"({item})"
    for one, many in _MANY.items():
        if item.startswith(one):
            several = many + item.removeprefix(one)
            break
    return f"a list of {_count(limits)}{several}"


def _count(limits: dict[str, Any]) -> str:
    """How many items or characters: ``1 or more ``."""
    least, most = limits.get("min_length"), limits.get("max_length")
    if least is None:
        return "" if most is None else f"at most {most} "
    return f"{least} or more " if most is None else f"{least} to {most} "


def _range(limits: dict[str, Any]) -> str:
    """Bounds in words, such as `` from 1 to 1000``."""
    if count := _count(limits):
        return f" of {count}characters"
    # of equal limits, such as 1 and 1.0, typing keeps those that it saw first
    limits = {
        name: int(one) if isinstance(one, float) and one.is_integer() and abs(one) < 1e15 else one
        for name, one in limits.items()
    }
    if "ge" in limits and "le" in limits:
        return f" from {limits['ge']} to {limits['le']}"
    words = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}
    parts = [f"{word} {limits[name]}" for name, word in words.items() if name in limits]
    return " " + " and ".join(parts) if parts else ""


def _explained(problem: str, values: Any, kind: Any, name: str) -> str:
    """A message of msgspec as: what was found, what was expected."""
    match = _PATH.search(problem)
    path, value, part = _descend(values, kind, _STEP.findall(match.group(1)) if match else [])
    place = ": ".join(part for part in (name, path) if part)
    field = _FIELD.match(problem)
    if field is not None and "missing" in problem[:20]:
        return f"{place} has no {field.group(1)}; expected {_field_words(part, field.group(1))}."
    if field is not None:
        known = ", ".join(_hints(part)) or "none"
        return f"{place} has the unknown name {field.group(1)[:MAX_SHOWN]!r}; it has {known}."
    if "key` in" in problem:
        return f"{place} has a name that does not fit; expected {expected(part)}."
    return f"{place} is {shown(value)}; expected {expected(part)}."


def _field_words(part: Any, field: str) -> str:
    return expected(_hints(part).get(field, Any))


def _descend(values: Any, kind: Any, steps: list[tuple[str, str]]) -> tuple[str, Any, Any]:
    """The place, the value and the type that msgspec's path leads to."""
    path = ""
    for field, number in steps:
        if field:
            path += f".{field}" if path else field
            values = values.get(field) if isinstance(values, Mapping) else None
            kind = next((hints[field] for hints in map(_hints, _arms(kind)) if field in hints), Any)
        elif number == "...":
            key, kind = _wrong_entry(values, kind)
            path += f"[{shown(key)}]"
            values = values.get(key) if isinstance(values, Mapping) else None
        else:
            path += f"[{number}]"
            values = list(values)[int(number)]
            kind = next((item for arm in _arms(kind) if (item := _item(arm, int(number)))), Any)
    return path, values, kind


def _alternatives(kind: Any) -> list[Any]:
    """The alternatives of a union with their bounds, or the type alone."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return list(get_args(kind)) if get_origin(kind) in (Union, types.UnionType) else [kind]


def _arms(kind: Any) -> list[Any]:
    """The alternatives of a union, or the type alone; without bounds."""
    parts = _alternatives(kind)
    return parts if parts == [kind] else [arm for part in parts for arm in _arms(part)]


def _hints(kind: Any) -> dict[str, Any]:
    """The fields of a structure with their types; nothing for any other type."""
    for arm in _arms(kind):
        if dataclasses.is_dataclass(arm):
            written = {field.name: field.name for field in dataclasses.fields(arm) if field.init}
        elif isinstance(arm, type) and issubclass(arm, msgspec.Struct):
            pairs = zip(arm.__struct_fields__, arm.__struct_encode_fields__, strict=True)
            written = dict(pairs)
        else:
            continue
        hints = get_type_hints(arm, include_extras=True)
        return {name: hints[field] for field, name in written.items()}
    return {}


def _parts(kind: Any) -> list[Any]:
    """The types of what a type holds: fields, items, values."""
    held = [part for arm in _arms(kind) for part in get_args(arm) if part is not Ellipsis]
    return [*_hints(kind).values(), *held] if get_origin(kind) is not Literal else []


@functools.cache
def _has_dataclass(kind: Hashable) -> bool:
    """Whether a dataclass is part of a type, which msgspec alone would not check for names."""
    waiting: list[Any] = [kind]
    seen: set[Any] = set()
    while waiting:
        part = waiting.pop()
        if part in seen:
            continue
        seen.add(part)
        if any(dataclasses.is_dataclass(arm) for arm in _arms(part)):
            return True
        waiting.extend(each for arm in _arms(part) for each in _parts(arm))
    return False


def _check_names(values: Any, kind: Any, path: str) -> None:
    """Raise for an unknown name in the values of a dataclass, as msgspec does for a Struct."""
    if not _has_dataclass(kind):
        return
    for arm in _arms(kind):
        if isinstance(values, Mapping):
            hints = _hints(arm)
            if dataclasses.is_dataclass(arm):
                for name in values:
                    if name not in hints:
                        message = f"Object contains unknown field `{name}`"
                        raise msgspec.ValidationError(message + (path and f" - at `${path}`"))
            entry = get_args(arm)[1] if get_origin(arm) is dict else Any
            for name, value in values.items():
                _check_names(value, hints.get(name, entry), f"{path}.{name}")
        elif isinstance(values, list | tuple):
            for index, value in enumerate(values):
                _check_names(value, _item(arm, index), f"{path}[{index}]")


def _item(kind: Any, index: int) -> Any:
    """The type of an item of a list or tuple; None for any other type."""
    arguments = get_args(kind)
    if get_origin(kind) is tuple and Ellipsis not in arguments:
        return arguments[index] if index < len(arguments) else None
    return arguments[0] if get_origin(kind) in (list, tuple, set, frozenset) else None


def _wrong_entry(values: Any, kind: Any) -> tuple[Any, Any]:
    """The key of the first entry of a dictionary that does not fit, and the type of its values."""
    for arm in _arms(kind):
        if get_origin(arm) is dict and isinstance(values, Mapping):
            part = get_args(arm)[1]
            for key, value in values.items():
                if not fits(value, part):
                    return key, part
    return "...", Any
