"""What the panels show, as small pieces of HTML that follow the page's light or dark setting."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

from siren_ext.coater.bundled import public_warning
from siren_ext.coating.formats import compression_words
from siren_ext.errors import Cancelled, SirenError, words_of
from siren_ext.panels.actions import Coated
from siren_ext.report.charts import decoys_svg, distributions_svg, histogram_svg
from siren_ext.report.learnt import likeness_shown
from siren_ext.report.redaction import clean
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.keyed import KeyedResult
from siren_ext.text import printable
from siren_ext.verdict.outcomes import tone_of
from siren_ext.verdict.pools import distinct_scores
from siren_ext.verdict.verify import Verdict
from siren_ext.verdict.wording import NAMES, QUESTIONS, odds

if TYPE_CHECKING:
    from siren_ext.preference.tint import Likeness

_LOG = logging.getLogger(__name__)


def intro(*lines: str) -> str:
    """The introduction of a panel, with the style sheet of all pieces below it.

    Parameters
    ----------
    *lines : str
        One paragraph each.

    Returns
    -------
    str
        HTML.
    """
    return _render("intro", lines)


def hint(*lines: str) -> str:
    """Small print beside some fields.

    Parameters
    ----------
    *lines : str
        One paragraph each.

    Returns
    -------
    str
        HTML.
    """
    return _render("hint", lines)


def problem(text: str, title: str = "That did not work") -> str:
    """A message about a failure. Secrets and folders of the machine are removed from it.

    Parameters
    ----------
    text : str
        What went wrong and what to do.
    title : str
        The heading.

    Returns
    -------
    str
        HTML.
    """
    return _render("note", "found", title, str(clean(text)))


def note(text: str, title: str) -> str:
    """A message that is not about a failure.

    Parameters
    ----------
    text : str
        The message.
    title : str
        The heading.

    Returns
    -------
    str
        HTML.
    """
    return _render("note", "open", title, text)


def notices(lines: Sequence[str]) -> str:
    """What was left out of a set of images and what to check.

    Parameters
    ----------
    lines : Sequence[str]
        One sentence each.

    Returns
    -------
    str
        HTML; empty without lines.
    """
    return note(" ".join(dict.fromkeys(lines)), "Please check") if lines else ""


def with_notices(values: tuple[Any, ...], lines: Sequence[str]) -> tuple[Any, ...]:
    """Values of a panel's parts, of which the first is a card, with :func:`notices` below it."""
    return (f"{values[0]}{notices(lines)}", *values[1:])


def verdict_card(verdict: Verdict, remark: str = "", *, preference: bool = False) -> str:
    """A verdict: outcome, explanation, three figures, all findings, warnings and limits.

    Parameters
    ----------
    verdict : Verdict
        What to show.
    remark : str
        A sentence above the findings, "" for none.
    preference : bool
        Whether a model's file was measured, not pictures.

    Returns
    -------
    str
        HTML.
    """
    results = {one.test: one.result for one in verdict.findings}
    return _render("verdict_card", verdict, remark, results, NAMES, QUESTIONS, preference)


def chart_card(verdict: Verdict, suspect: ScoreSet, reference: ScoreSet | None) -> str:
    """The charts of a verdict, one part per test that was made.

    Parameters
    ----------
    verdict : Verdict
        The verdict. A keyed test adds the secret message among random ones.
    suspect, reference : ScoreSet
        The scores behind it. A comparison adds both pools' scores.

    Returns
    -------
    str
        HTML with inline SVG.
    """
    from markupsafe import Markup

    results = [finding.result for finding in verdict.findings]
    keyed = next((result for result in results if isinstance(result, KeyedResult)), None)
    whole = any(finding.whole is not None for finding in verdict.findings)
    decoys = Markup(decoys_svg(keyed)) if keyed else ""
    charts = []
    if reference is not None and verdict.compared is not None:
        pools = distinct_scores(suspect), distinct_scores(reference)
        charts = [
            ("Scores of the images", Markup(histogram_svg(*pools))),
            ("How the scores add up", Markup(distributions_svg(*pools, verdict.compared))),
        ]
    shown = keyed, decoys, charts, verdict.compared, whole, suspect.preference
    return _render("chart_card", *shown)


def tint_card(alike: Likeness | None) -> str:
    """What a model adds to the owner's clean images, beside what the coating adds.

    Both pictures together reveal the message, so they are for the owner's own screen.

    Parameters
    ----------
    alike : Likeness | None
        Of a model's file.

    Returns
    -------
    str
        HTML; empty for None.
    """
    return "" if alike is None else _render("tint_card", likeness_shown(alike))


HARD_TO_SEE = 38.0
"""PSNR in decibels from which a coating is hard to see."""


def coat_card(coated: Coated) -> str:
    """The result of coating, with the figures of each image.

    Parameters
    ----------
    coated : Coated
        What :func:`~siren_ext.panels.actions.coat_step` returned.

    Returns
    -------
    str
        HTML.
    """
    entries = [entry for entry in coated.manifest.entries if entry.coated]
    values = [entry.psnr_db for entry in entries if entry.psnr_db is not None]
    lower = sum(
        entry.coated_score is not None
        and entry.clean_score is not None
        and entry.coated_score < entry.clean_score
        for entry in entries
    )
    figures = {
        "psnr": f"{sum(values) / len(values):.1f} dB" if values else "no change",
        "worst": f"{min(values):.1f} dB" if values else "no change",
        "faint": min(values, default=HARD_TO_SEE) >= HARD_TO_SEE,
        "lower": lower,
        "public": public_warning(coated.manifest.coater),
        "compression": compression_words(entries),
    }
    return _render("coat_card", coated, entries, coated.manifest.failures, figures)


def story_card(steps: Sequence[tuple[str, str, str]]) -> str:
    """A list of steps with their progress.

    Parameters
    ----------
    steps : Sequence[tuple[str, str, str]]
        State (``done``, ``now`` or ``wait``), description and a short note ("" for none) of each.

    Returns
    -------
    str
        HTML.
    """
    return _render("story_card", steps)


def attempt(work: Callable[[], tuple[Any, ...]], blanks: Sequence[Any]) -> tuple[Any, ...]:
    """Run a panel's step and turn a failure into a message. Never raises.

    Parameters
    ----------
    work : Callable[[], tuple[Any, ...]]
        Returns the values of the panel's outputs; the first is an HTML card.
    blanks : Sequence[Any]
        Values of all outputs but the first in case of a failure.

    Returns
    -------
    tuple[Any, ...]
        What ``work`` returned, or a message followed by ``blanks``.
    """
    try:
        return work()
    except Cancelled:
        return (note("There is no result. You can start again at any time.", "Stopped"), *blanks)
    except Exception as error:  # every failure has to be visible on the page
        return (problem(_in_words(error)), *blanks)


def fault_of(check: Callable[[], object]) -> str:
    """Run a check of a panel's form. Never raises.

    Parameters
    ----------
    check : Callable[[], object]
        Raises :class:`SirenError` if the form can't be used as it is.

    Returns
    -------
    str
        The message, without folders of the machine; "" if there is nothing to complain about.
    """
    try:
        check()
    except Exception as error:
        return _in_words(error)
    return ""


def _in_words(error: Exception) -> str:
    """The message of a failure as for :func:`problem`; what is not expected goes into the log."""
    import torch

    if isinstance(error, SirenError):
        return str(clean(words_of(error)))
    _LOG.error("A panel's step failed", exc_info=error)
    if isinstance(error, OSError):  # such as a full disk
        return str(clean(words_of(error)))
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return (
            "There is not enough free memory for this step. Close what else uses the graphics card "
            "(a web UI can unload its checkpoint), or give smaller images, and start again."
        )
    kind = type(error).__name__
    return f"Something unexpected went wrong ({kind}). The details are in the program's log."


@functools.cache
def _template() -> Any:
    import jinja2

    env = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    env.filters |= {"odds": odds, "show": printable, "number": _number, "tone": tone_of}
    text = resources.files("siren_ext.panels").joinpath("cards.html").read_text(encoding="utf-8")
    return env.from_string(text).module


def _render(macro: str, *values: Any) -> str:
    return str(getattr(_template(), macro)(*values))


def _number(value: float | None, digits: int) -> str:
    return "\u2013" if value is None else f"{value:,.{digits}f}"
