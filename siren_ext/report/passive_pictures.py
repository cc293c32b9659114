"""Pictures in a passive report: completed ones, and what is said of those that were compared."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct

from siren_ext.report.pictures import data_uri
from siren_ext.schema import to_plain

if TYPE_CHECKING:
    from siren_ext.passive.completion import Completion

_SIDE = 192
_Picture = Annotated[
    str, Meta(pattern=r"^data:image/png;base64,[A-Za-z0-9+/]+=*$", max_length=1_000_000)
]
_Decibels = Annotated[float, Meta(ge=-99, le=99)]


class StoredCompletion(Struct, forbid_unknown_fields=True, kw_only=True):
    """One completed picture of a passive ``report.json``."""

    name: Annotated[str, Meta(max_length=1000)]
    published: bool
    original: _Picture
    masked: _Picture
    suspect: _Picture
    control: _Picture
    suspect_psnr: _Decibels
    control_psnr: _Decibels


def stored_completions(completions: Sequence[Completion]) -> list[dict[str, Any]]:
    """Completed pictures as plain values.

    Parameters
    ----------
    completions : sequence of Completion
        The pictures.

    Returns
    -------
    list[dict[str, Any]]
        For ``report.json``; pictures as PNG of at most 192 pixels a side.
    """
    return [
        to_plain(
            StoredCompletion(
                name=one.name,
                published=one.published,
                original=data_uri(one.original, _SIDE, "PNG"),
                masked=data_uri(one.masked, _SIDE, "PNG"),
                suspect=data_uri(one.suspect, _SIDE, "PNG"),
                control=data_uri(one.control, _SIDE, "PNG"),
                suspect_psnr=round(one.suspect_psnr, 2),
                control_psnr=round(one.control_psnr, 2),
            )
        )
        for one in completions
    ]


def completion_groups(stored: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the page shows: published pictures and, beside them, unpublished ones.

    Parameters
    ----------
    stored : sequence of dict
        Of :func:`stored_completions`.

    Returns
    -------
    list[dict[str, Any]]
        Title, pictures and a sentence for each set that has pictures.
    """
    groups = []
    for title, kind in (("Published pictures", True), ("Unpublished pictures, to compare", False)):
        rows = [one for one in stored if one["published"] is kind]
        if rows:
            suspect, control = (
                fmean(one[name] for one in rows) for name in ("suspect_psnr", "control_psnr")
            )
            text = (
                f"Mean likeness of the hidden halves to the originals: {suspect:.1f} dB by the "
                f"suspicious model, {control:.1f} dB by the control, {suspect - control:+.1f} dB."
            )
            groups.append({"title": title, "rows": rows, "text": text})
    return groups


def compared_words(source: dict[str, Any]) -> str:
    """What a verdict on pictures alone rests on.

    Parameters
    ----------
    source : dict[str, Any]
        Of the table of distances.

    Returns
    -------
    str
        Two sentences.

    Raises
    ------
    LookupError, TypeError
        If the source is that of another table.
    """
    made = {name: int(one["count"]) for name, one in source["pictures"].items()}
    text = f"{made['suspect']} pictures of the suspicious model were compared"
    if "control" in made:
        text += f", and {made['control']} of the control"
    redrawn = "redrawn by the model at three strengths" if source["redrawn"] else "not redrawn"
    return f"{text}. The owner's images were {redrawn}."
