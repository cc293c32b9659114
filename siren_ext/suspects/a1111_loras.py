"""Which LoRA of a web UI is meant by a name, how prompts name it, and what answers say was used.

The web UI lists each file with a name (that of the file without folder and suffix; SD.Next writes _
for other points), an alias (the name in its metadata) and its path. Prompts can use name and alias
only, and if several files have the same, one of them is used without a word.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from siren_ext.errors import ConfigError
from siren_ext.suspects.a1111_checkpoints import Entry, infotext, said, titles, unquoted
from siren_ext.suspects.named_files import best_fits, ends_of_path, plain, without_suffix
from siren_ext.text import folded

# they end the tag or its parts; what has one = is taken for a setting
_NOT_IN_TAG = re.compile(r"[<>:=]")
_HASHES = re.compile(r'Lora hashes: ("(?:[^"\\]|\\.)*")')


def find_lora(listed: Sequence[Entry], wanted: str, origin: str) -> Entry:
    """The LoRA that a name means.

    Parameters
    ----------
    listed : Sequence[Entry]
        The web UI's list, with ``name``, ``alias`` and ``path``.
    wanted : str
        Name, alias or file name; with or without folder and suffix.
    origin : str
        The server, for messages.

    Returns
    -------
    Entry
        Its entry. Names come before aliases, and these before files; capital letters are ignored
        only if nothing has the name as it is.

    Raises
    ------
    ConfigError
        No LoRA has that name, or several have it.
    """
    found = best_fits(listed, wanted, _names)
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(
            f"{origin} has {len(found)} LoRAs {str(wanted)[:120]!r}: {_with_files(found)}. Give "
            "the name, alias or path of one of them as lora=... If they share their names and "
            "aliases, the web UI can't tell them apart: rename one there and refresh the list."
        )
    raise ConfigError(
        f"{origin} has no LoRA {str(wanted)[:120]!r}; it has {titles(listed, 'name')}. Put the "
        "file into its LoRA folder and refresh the list."
    )


def name_in_prompt(listed: Sequence[Entry], lora: Entry, origin: str) -> str:
    """The name by which the web UI finds a LoRA of its list in a prompt.

    Parameters
    ----------
    listed : Sequence[Entry]
        The web UI's list.
    lora : Entry
        One of its entries.
    origin : str
        The server, for messages.

    Returns
    -------
    str
        Its name, or its alias if another file has the same name or a prompt can't contain it.

    Raises
    ------
    ConfigError
        Neither of them is its own and can be written in a prompt.
    """
    name, alias = _text(lora, "name"), _text(lora, "alias")
    others = [entry for entry in listed if entry is not lora]
    same = [entry for entry in others if _text(entry, "name") == name]
    if name and not same and not _NOT_IN_TAG.search(name):
        return name
    taken = {folded(_text(entry, key)) for entry in others for key in ("name", "alias")}
    if alias and folded(alias) not in taken and not _NOT_IN_TAG.search(alias):
        return alias
    if same:
        raise ConfigError(
            f"{origin} has {len(same) + 1} LoRAs of the same name, which the web UI can't tell "
            f"apart: {_with_files([lora, *same])}. Rename one there and refresh the list."
        )
    raise ConfigError(
        f"A prompt can't name the LoRA {titles([lora], 'name')}; expected a name without <, >, : "
        f"and =. Rename the file on {origin} and refresh the list."
    )


def loras_of_answer(facts: Any) -> set[str] | None:
    """Names of the LoRAs that were used for a picture.

    Parameters
    ----------
    facts : Any
        The answer's ``info``, decoded.

    Returns
    -------
    set[str] | None
        As :func:`~siren_ext.suspects.a1111_checkpoints.said` writes names; None if the answer
        says nothing about it.
    """
    found = _HASHES.search(infotext(facts))
    if found is None:
        return None
    # the web UI takes commas and colons out of the names, so they only part them
    return {said(part.partition(":")[0]) for part in unquoted(found[1]).split(",")}


def _names(entry: Entry) -> tuple[set[str], ...]:
    """Names of an entry in four ranks, the most exact ones first."""
    path = _text(entry, "path")
    files = ends_of_path(path)
    exact = {plain(_text(entry, "name")), plain(path)}
    return exact, {plain(_text(entry, "alias"))}, files, without_suffix(files)


def _with_files(entries: Sequence[Entry]) -> str:
    """Names and files, for a message."""
    both = [f"{entry['name']} ({_text(entry, 'path') or 'file not given'})" for entry in entries]
    return titles([{"both": text} for text in both], "both")


def _text(entry: Entry, key: str) -> str:
    """A text of an entry, "" if absent."""
    return str(entry.get(key) or "")
