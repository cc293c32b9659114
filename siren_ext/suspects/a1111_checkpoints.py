"""Which checkpoint of a web UI is meant by a name, and which one an answer names.

One checkpoint has many names. For ``sd15/base.safetensors``, AUTOMATIC1111 lists the title
``sd15/base.safetensors [31e35c80fc]`` and the name ``sd15_base``, but its answers say ``base``. The
hash is absent until the checkpoint was first used, and always with ``--no-hashing``. SD.Next's
titles have no suffix, and its answers name the checkpoint in the infotext only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from siren_ext.errors import ConfigError
from siren_ext.suspects.named_files import SUFFIX, best_fits, plain, without_suffix
from siren_ext.suspects.responses import at_path
from siren_ext.text import printable

Entry = Mapping[str, Any]
_HASH = re.compile(r"\s*\[([0-9a-fA-F]{6,64})\]$")
_MODEL = re.compile(r'(?:^|, )Model: ("(?:[^"\\]|\\.)*"|[^,]*)')
_SHORT = 10


def find_checkpoint(listed: Sequence[Entry], wanted: str, origin: str) -> Entry:
    """The checkpoint that a name means.

    Parameters
    ----------
    listed : Sequence[Entry]
        The web UI's list, with ``title``, ``model_name``, ``filename``, ``hash`` and ``sha256``.
    wanted : str
        Title, name, file name or hash; with or without folder, suffix and ``[hash]``.
    origin : str
        The server, for messages.

    Returns
    -------
    Entry
        Its entry. A longer name wins: ``base`` is the file ``base`` before ``sd15/base``. Capital
        letters are ignored only if nothing has the name as it is.

    Raises
    ------
    ConfigError
        No checkpoint has that name, or several have it.
    """
    name, digest = title_parts(wanted)
    possible = [entry for entry in listed if not _other_hash(entry, digest)]
    found = best_fits(possible, name, _names)
    # one without a known hash may be the file, but one with this hash is
    found = [one for one in found if digest and _hash_of(one) == digest[:_SHORT]] or found
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(
            f"{origin} has {len(found)} checkpoints {str(wanted)[:120]!r}: "
            f"{titles(found)}. Give one of these titles as model=..."
        )
    raise ConfigError(
        f"{origin} has no checkpoint {str(wanted)[:120]!r}; it has {titles(listed)}. Give one as "
        "model=..."
    )


def checkpoints_of_answer(listed: Sequence[Entry], facts: Any) -> list[Entry] | None:
    """The checkpoints that an answer can mean.

    Parameters
    ----------
    listed : Sequence[Entry]
        The web UI's list.
    facts : Any
        The answer's ``info``, decoded.

    Returns
    -------
    list[Entry] | None
        Several if a name fits several files and there is no hash; none if it is another
        checkpoint than those listed; None if the answer says nothing about it.
    """
    digest, name = named_in_answer(facts)
    if not digest and not name:
        return None
    if digest:
        same = [entry for entry in listed if _hash_of(entry) == digest[:_SHORT]]
        if same:
            return same
    # only entries without a hash are left: one with another hash is another file
    rest = [entry for entry in listed if not (digest and _hash_of(entry))]
    return [entry for entry in rest if said(name) in map(said, _spoken(entry))]


def infotext(facts: Any) -> str:
    """The settings of an answer's first picture as the web UI writes them; "" if absent."""
    return str(at_path(facts, "infotexts.0") or "")


def named_in_answer(facts: Any) -> tuple[str, str]:
    """Hash and name of the checkpoint in an answer.

    Parameters
    ----------
    facts : Any
        The answer's ``info``, decoded.

    Returns
    -------
    tuple[str, str]
        Both "" if absent.
    """
    digest, name = at_path(facts, "sd_model_hash"), at_path(facts, "sd_model_name")
    if not name:
        lines = infotext(facts).splitlines()
        found = _MODEL.search(lines[-1]) if lines else None
        name = unquoted(found[1]) if found else ""
    return str(digest or "").lower(), str(name or "")


def title_parts(title: str) -> tuple[str, str]:
    """The name and the hash in a title.

    Parameters
    ----------
    title : str
        Such as ``sd15/base.safetensors [31e35c80fc]``.

    Returns
    -------
    tuple[str, str]
        ``sd15/base.safetensors`` and ``31e35c80fc``; the hash is "" if the title has none.
    """
    found = _HASH.search(title)
    return (title[: found.start()], found[1].lower()) if found else (title, "")


def titles(entries: Sequence[Entry], key: str = "title") -> str:
    """The first names of a list, for a message.

    Parameters
    ----------
    entries : Sequence[Entry]
        Entries of a web UI's list.
    key : str
        Where their name is.

    Returns
    -------
    str
        At most 20 names; "none" for an empty list.
    """
    names = [printable(entry[key])[:80] for entry in entries]
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "") or (
        "none"
    )


def said(name: str) -> str:
    """A name as web UIs write it in answers: without commas and colons."""
    return plain(name).replace(",", "").replace(":", "").strip()


def unquoted(text: str) -> str:
    """A value of an infotext, which is a JSON string if it has commas, colons or line breaks."""
    try:
        return str(json.loads(text)) if text.startswith('"') else text
    except ValueError:
        return text


def _hash_of(entry: Entry) -> str:
    """The first 10 digits of the SHA-256, "" if the web UI does not know it."""
    digest = entry.get("hash") or entry.get("sha256") or title_parts(str(entry["title"]))[1]
    return str(digest or "")[:_SHORT].lower()


def _other_hash(entry: Entry, digest: str) -> bool:
    known = _hash_of(entry)
    return bool(digest and known) and digest[:_SHORT] != known


def _names(entry: Entry) -> tuple[set[str], ...]:
    """Names of an entry in four ranks, the most exact ones first."""
    relative = plain(title_parts(str(entry["title"]))[0])
    path, name = (
        plain(str(entry.get("filename") or "")),
        plain(str(entry.get("model_name") or "")),
    )
    suffix = SUFFIX.search(path)
    if suffix and not SUFFIX.search(relative):  # SD.Next
        whole = {relative, relative + suffix[0]}
    else:
        whole = {relative}
    last = {relative.rpartition("/")[2], path.rpartition("/")[2]}
    hashes = {str(entry.get(key) or "") for key in ("hash", "sha256")}
    ranks = (
        {path, plain(str(entry["title"]))} | whole | hashes,
        without_suffix({relative}) | {name},
        last,
        without_suffix(last),
    )
    return tuple(rank - {""} for rank in ranks)


def _spoken(entry: Entry) -> set[str]:
    """Names by which an answer may call an entry."""
    return set[str]().union(*_names(entry))
