"""Renders a report's page again and compares it with the one that is there.

Pictures can't be made again from the report, so those of the page are used: only their places, the
names and the scores beside them are checked. Everything else must be the same to the letter.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from siren_ext.documents import read_bytes
from siren_ext.errors import EvidenceError
from siren_ext.report.integrity import HTML, MAX_BYTES
from siren_ext.report.learnt import StoredLikeness, checked_sources
from siren_ext.report.pictures import PICTURES, pairs_shown, with_pictures
from siren_ext.report.points import CheckPoint
from siren_ext.report.write import environment, render_page
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.text import printable
from siren_ext.verdict.verify import Verdict
from siren_ext.verdict.wording import WORDING

_SHOWN = 100
_TITLES = (
    "Suspect: lowest scores",
    "Suspect: highest scores",
    "Reference: lowest scores",
    "Reference: highest scores",
)
_PICTURE = r'src="(data:image/(?:png|jpeg);base64,[A-Za-z0-9+/=]*)"'
_IMAGE = re.compile(_PICTURE)
_TILE = re.compile(
    rf'<figure class="tile"><img {_PICTURE} alt="image ([^"<>]*)"><figcaption><b>([^<>]*)</b>'
)
_TINT = re.compile(rf'<figure class="tint"><img {_PICTURE}')
_GALLERY = re.compile(r"<h3>((?:Suspect|Reference): (?:lowest|highest) scores)</h3>")


def page_point(
    folder: Path,
    data: dict[str, Any],
    verdict: Verdict,
    suspect: ScoreSet,
    reference: ScoreSet | None,
    *,
    tint: StoredLikeness | None = None,
) -> CheckPoint:
    """Compare the page with the one that follows from the rest of the report.

    Parameters
    ----------
    folder : Path
        Of the report.
    data : dict[str, Any]
        The contents of ``report.json``, whose form was checked.
    verdict : Verdict
        The recomputed verdict.
    suspect, reference : ScoreSet
        The scores in the report.
    tint : StoredLikeness | None
        What it says of the learnt tint.

    Returns
    -------
    CheckPoint
        ``not checked`` for a page of another version, or if there is none.
    """
    if not (folder / HTML).is_file():
        return CheckPoint("page", "not checked", f"There is no {HTML}")
    wrote, now = data["environment"].get("siren-ext"), environment().get("siren-ext")
    if data["verdict"].get("wording") != WORDING or wrote != now:
        text = (
            f"{HTML} was written by another version ({printable(str(wrote)[:40])}); check it with "
            "that version, or rely on report.json alone"
        )
        return CheckPoint("page", "not checked", text)
    from jinja2 import TemplateRuntimeError

    unfit = (EvidenceError, TemplateRuntimeError, LookupError, TypeError, ValueError)
    try:
        content = read_bytes(folder / HTML, error=EvidenceError, max_bytes=MAX_BYTES, name=HTML)
        page = content.decode("utf-8").replace("\r\n", "\n")
        again = render_page(
            verdict,
            data,
            suspect,
            reference,
            galleries=_galleries(page, suspect, reference),
            pairs=_pairs(page, data["quality"]),
            tints=checked_sources(tint, _TINT.findall(page)),
        )
    except (*unfit, AttributeError, ArithmeticError) as error:
        text = f"{HTML} does not follow from report.json: {printable(str(error))[:200]}"
        return CheckPoint("page", "differs", text)
    if page == again:
        return CheckPoint("page", "matches", f"{HTML} says what follows from report.json")
    return CheckPoint("page", "differs", f"{HTML} {first_difference(page, again)}")


def _galleries(page: str, suspect: ScoreSet, reference: ScoreSet | None) -> list[dict[str, Any]]:
    """The galleries on the page, if each picture's name and score are those of the report."""
    parts = _GALLERY.split(page)
    found: list[dict[str, Any]] = []
    if parts[1::2] != [title for title in _TITLES if title in parts[1::2]]:
        raise EvidenceError("its pictures are not in their order")
    for title, part in zip(parts[1::2], parts[2::2], strict=True):
        pool = suspect if title.startswith("Suspect") else reference
        if pool is None:
            raise EvidenceError("it shows pictures of a reference, which the report lacks")
        scores = {printable(name): score for name, score in _scores(pool)}
        tiles = []
        for image, name, _ in _TILE.findall(part):
            shown = html.unescape(name)
            if shown not in scores:
                raise EvidenceError(f"it shows {shown[:60]}, which was not scored")
            tiles.append({"name": shown, "score": scores[shown], "image": image})
        found.append({"title": title, "tiles": tiles})
    for name in ("Suspect", "Reference"):
        tiles = [t for one in found if one["title"].startswith(name) for t in one["tiles"]]
        shown_scores = [tile["score"] for tile in tiles]
        if shown_scores != sorted(shown_scores):
            raise EvidenceError("its pictures are not in the order of their scores")
    return found


def _scores(pool: ScoreSet) -> Sequence[tuple[str, float]]:
    return list(zip(pool.names, map(float, pool.scores), strict=True))


def _pairs(page: str, quality: Any) -> list[dict[str, Any]]:
    """What the page shows of coated files, with its pictures."""
    if not quality:
        return []
    _, _, part = page.partition('<div class="name">')
    files = quality["files"]
    images = _IMAGE.findall(part)
    wanted = len(PICTURES) * len(pairs_shown(files))
    if len(images) < wanted:
        raise EvidenceError("pictures of the coating are missing")
    rows = [images[i : i + len(PICTURES)] for i in range(0, wanted, len(PICTURES))]
    return with_pictures(files, [dict(zip(PICTURES, row, strict=True)) for row in rows])


def first_difference(page: str, again: str) -> str:
    """The first line that differs, in words.

    Parameters
    ----------
    page, again : str
        The page as it is and as it should be; pictures in them are not compared.

    Returns
    -------
    str
        What the page says, and what it should say.
    """
    pairs = zip_longest(
        *(_IMAGE.sub("", text).splitlines() for text in (page, again)), fillvalue=""
    )
    has, should = next((one for one in pairs if one[0] != one[1]), ("", ""))
    has, should = (printable(re.sub(r"<[^>]*>", "", one).strip())[:_SHOWN] for one in (has, should))
    return f"says '{has}', where '{should}' follows from report.json"
