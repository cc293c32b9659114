"""Which LoRA files of a web UI were used, as its answers name them."""

from __future__ import annotations

import re
from typing import Any

from siren_ext.suspects.a1111_checkpoints import said, unquoted
from siren_ext.suspects.responses import at_path

_HASHES = re.compile(r'Lora hashes: ("(?:[^"\\]|\\.)*")')


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
    found = _HASHES.search(str(at_path(facts, "infotexts.0") or ""))
    if found is None:
        return None
    # the web UI takes commas and colons out of the names, so they only part them
    return {said(part.partition(":")[0]) for part in unquoted(found[1]).split(",")}
