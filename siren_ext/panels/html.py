"""What the panels say, as small pieces of HTML that follow the page's light or dark setting."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any

from siren_ext.errors import Cancelled, SirenError
from siren_ext.panels.actions import Coated
from siren_ext.report.charts import decoys_svg, distributions_svg, histogram_svg
from siren_ext.report.redaction import clean
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.keyed import KeyedResult
from siren_ext.text import printable
from siren_ext.verdict.findings import distinct_scores
from siren_ext.verdict.verify import Verdict
from siren_ext.verdict.wording import NAMES, QUESTIONS, odds

_LOG = logging.getLogger(__name__)


def intro(*lines: str) -> str:
    """The words at the head of a panel, and the style of all that follows."""
    return _render("intro", lines)


def hint(*lines: str) -> str:
    """A few soft words beside some fields."""
    return _render("hint", lines)


def problem(text: str, title: str = "That did not work") -> str:
    """A message that something failed."""
    return _render("note", "found", title, str(clean(text)))


def note(text: str, title: str) -> str:
    """A message that is no failure."""
    return _render("note", "open", title, text)


def verdict_card(verdict: Verdict, remark: str = "") -> str:
    """Outcome, plain words, three figures, every finding, warnings and limits."""
    results = {one.test: one.result for one in verdict.findings}
    return _render("verdict_card", verdict, remark, results, NAMES, QUESTIONS)


def chart_card(verdict: Verdict, suspect: ScoreSet, reference: ScoreSet | None) -> str:
    """The secret among random messages, and both pools' scores, as far as each was tested."""
    from markupsafe import Markup

    results = [finding.result for finding in verdict.findings]
    keyed = next((result for result in results if isinstance(result, KeyedResult)), None)
    decoys = Markup(decoys_svg(keyed)) if keyed else ""
    charts = []
    if reference is not None and verdict.compared is not None:
        pools = distinct_scores(suspect), distinct_scores(reference)
        charts = [
            ("Scores of the images", Markup(histogram_svg(*pools))),
            ("How the scores add up", Markup(distributions_svg(*pools, verdict.compared))),
        ]
    return _render("chart_card", keyed, decoys, charts, verdict.compared)


def coat_card(coated: Coated) -> str:
    """What became of the images, with the figures of each."""
    entries = [entry for entry in coated.manifest.entries if entry.coated]
    values = [entry.psnr_db for entry in entries if entry.psnr_db is not None]
    lower = sum(
        entry.coated_score is not None and entry.coated_score < entry.clean_score
        for entry in entries
    )
    figures = {
        "psnr": f"{sum(values) / len(values):.1f} dB" if values else "no change",
        "worst": f"{min(values):.1f} dB" if values else "no change",
        "lower": lower,
    }
    return _render("coat_card", coated, entries, coated.manifest.failures, figures)


def story_card(steps: Sequence[tuple[str, str, str]]) -> str:
    """A list of steps: (done, now or wait; what is done; a short note)."""
    return _render("story_card", steps)


def attempt(work: Callable[[], tuple[Any, ...]], blanks: Sequence[Any]) -> tuple[Any, ...]:
    """The outputs of ``work``, or a friendly message followed by ``blanks`` where it fails."""
    try:
        return work()
    except Cancelled:
        return (note("Nothing was kept; start again whenever you like.", "Stopped"), *blanks)
    except SirenError as error:
        return (problem(str(error)), *blanks)
    except Exception as error:  # a page has to say something about every failure
        _LOG.exception("A panel's step failed")
        kind = type(error).__name__
        text = f"The program met an error it does not know ({kind}); its log has the details."
        return (problem(text), *blanks)


@functools.cache
def _template() -> Any:
    import jinja2

    env = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    env.filters |= {"odds": odds, "show": printable, "number": _number}
    text = resources.files("siren_ext.panels").joinpath("cards.html").read_text(encoding="utf-8")
    return env.from_string(text).module


def _render(macro: str, *values: Any) -> str:
    return str(getattr(_template(), macro)(*values))


def _number(value: float | None, digits: int) -> str:
    return "\u2013" if value is None else f"{value:,.{digits}f}"
