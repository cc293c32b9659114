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
from msgspec import inspect

from siren_ext.errors import SirenError

T = TypeVar("T")

MAX_SHOWN = 80

_PATH = re.compile(r" - at `(?:key` in `)?\$(.*)`$")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_FIELD = re.compile(r"^Object (?:missing required|contains unknown) field `(.*?)`", re.DOTALL)
_MANY = {
    "a whole number": "whole numbers",
    "a number": "numbers",
    "text": "texts",
    "true or false": "true or false values",
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
        raise error(f"{message} {advice}".rstrip()) from problem
    except RecursionError as problem:
        raise error(f"{name} is nested too deep. {advice}".rstrip()) from problem


def to_plain(value: Any) -> Any:
    """Dictionaries, texts and numbers of a structure, in the order of its fields.

    Tuples stay tuples, which JSON and TOML write as lists.
    """
    return msgspec.to_builtins(value)


def shown(value: Any) -> str:
    """A value as messages quote it: at most about :data:`MAX_SHOWN` characters."""
    if isinstance(value, int) and value.bit_length() > 4 * MAX_SHOWN:
        return f"a number of about {value.bit_length() * 301 // 1000:,} digits"
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
    return _words(inspect.type_info(kind))


class _Short(reprlib.Repr):
    """Short forms of plain values, those of huge numbers included."""

    def repr_int(self, x: int, level: int) -> str:
        return shown(x) if x.bit_length() > 4 * MAX_SHOWN else repr(x)

    def repr_str(self, x: str, level: int) -> str:
        return repr(x) if len(x) <= 40 else f"{x[:40]!r}..."


_SHORT = _Short()


def _words(info: inspect.Type) -> str:
    """What fits a type, from msgspec's own description of it."""
    if isinstance(info, inspect.Metadata):
        described = (info.extra_json_schema or {}).get("description")
        return str(described) if described else _words(info.type)
    if isinstance(info, inspect.IntType | inspect.FloatType):
        what = "a whole number" if isinstance(info, inspect.IntType) else "a number"
        return what + _range(info.ge, info.le, info.gt, info.lt)
    if isinstance(info, inspect.StrType):
        long = "" if info.max_length is None else f" of at most {info.max_length} characters"
        return ("text" if not info.min_length else "text that is not empty") + long
    if isinstance(info, inspect.BoolType):
        return "true or false"
    if isinstance(info, inspect.NoneType):
        return "nothing"
    if isinstance(info, inspect.LiteralType):
        options = ", ".join(repr(value) for value in info.values)
        return f"one of {options}" if len(info.values) > 1 else options
    if isinstance(info, inspect.UnionType):
        return " or ".join(_words(each) for each in info.types)
    if isinstance(info, inspect.TupleType):
        return f"a list of {len(info.item_types)}: {', '.join(map(_words, info.item_types))}"
    if isinstance(info, inspect.CollectionType):
        return _list_words(info)
    if isinstance(info, inspect.StructType | inspect.DataclassType):
        return f"named values ({', '.join(field.encode_name for field in info.fields)})"
    if isinstance(info, inspect.DictType):
        return "named values"
    if isinstance(info, inspect.BytesType):
        return "base64 text"
    return "another kind of value"


def _list_words(info: inspect.CollectionType) -> str:
    """``a list of at least 1 texts``; items with words of their own as ``a list, each ...``."""
    count = ""
    if info.min_length:
        count = f"at least {info.min_length} "
    elif info.max_length is not None:
        count = f"at most {info.max_length} "
    if isinstance(info.item_type, inspect.AnyType):
        return f"a list of {count}values"
    item = _words(info.item_type)
    return f"a list of {count}{_MANY[item]}" if item in _MANY else f"a list of {count}({item})"


def _range(ge: float | None, le: float | None, gt: float | None, lt: float | None) -> str:
    if ge is not None and le is not None:
        return f" from {ge} to {le}"
    parts = [
        f"{word} {bound}"
        for word, bound in (("of at least", ge), ("above", gt), ("of at most", le), ("below", lt))
        if bound is not None
    ]
    return " " + " and ".join(parts) if parts else ""


def _explained(problem: str, values: Any, kind: Any, name: str) -> str:
    """A message of msgspec as: what was found, what was expected."""
    match = _PATH.search(problem)
    path, value, part = _descend(values, kind, _STEP.findall(match.group(1)) if match else [])
    place = f"{name}: {path}" if path else name
    field = _FIELD.match(problem)
    if field is not None and "missing" in problem[:20]:
        return f"{place} has no {field.group(1)}; expected {_field_words(part, field.group(1))}."
    if field is not None:
        known = ", ".join(_hints(part)) or "none"
        return f"{place} has the unknown name {field.group(1)[:MAX_SHOWN]!r}; it has {known}."
    if "key` in" in problem:
        return f"{place} has a name that does not fit; expected {_safe_words(part)}."
    return f"{place} is {shown(value)}; expected {_safe_words(part)}."


def _field_words(part: Any, field: str) -> str:
    return _safe_words(_hints(part).get(field, Any))


def _safe_words(part: Any) -> str:
    return "another kind of value" if part is Any else expected(part)


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


def _arms(kind: Any) -> list[Any]:
    """The alternatives of a union, or the type alone; without bounds."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return list(get_args(kind)) if get_origin(kind) in (Union, types.UnionType) else [kind]


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
                try:
                    msgspec.convert(value, part)
                except msgspec.ValidationError:
                    return key, part
    return "...", Any
