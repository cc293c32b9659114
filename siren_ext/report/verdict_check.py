"""Compares the verdict that a report states with the one that follows from its scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from siren_ext.errors import EvidenceError
from siren_ext.report.earlier import FOUND_BEFORE, contrast_before, worded_before
from siren_ext.report.points import CheckPoint, differences, point_of
from siren_ext.report.stored import StoredReport, StoredVerdict
from siren_ext.report.write import PATH_LIMIT
from siren_ext.schema import convert
from siren_ext.scoring.appearance import too_unlike
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.sequential import SequentialResult, sequential_ks
from siren_ext.verdict.one_by_one import sequential_verdict
from siren_ext.verdict.pools import distinct_scores, pools_contrast
from siren_ext.verdict.verify import Verdict
from siren_ext.verdict.wording import WORDING

_SEQUENTIAL = "extra.sequential"
_FIGURES = ("images", "rejected", "stopped_at", "p_value", "alpha")
_TOO_MANY = "there are too many images to repeat the sequential test"


def copies_points(stated: Mapping[str, Any], now: Mapping[str, Any]) -> list[CheckPoint]:
    """Whether the copies that were left out are those in the report's scores.

    Parameters
    ----------
    stated, now : Mapping[str, Any]
        The verdict as it was read, and as it is recomputed.

    Returns
    -------
    list[CheckPoint]
        At most one; none for a report that was written before near copies were looked for.
    """
    if stated.get("copies") is None:
        return []
    wrong = differences(now["copies"], stated["copies"], "verdict.copies")
    if wrong or not now["copies"]:
        return [point_of("copies", wrong, "")] if wrong else []
    found = now["copies"].values()
    exact, near = (sum(one[kind] for one in found) for kind in ("exact", "near"))
    if not all(one["looked"] for one in found):
        text = "the report does not hold what is needed to look for near copies in all its images"
        return [CheckPoint("copies", "not checked", text)]
    text = f"{exact} exact and {near} near copies are left out, as the report says"
    return [CheckPoint("copies", "matches", text)]


def checked_verdict(
    report: StoredReport,
    stated: Mapping[str, Any],
    verdict: Verdict,
    own: ScoreSet,
    reference: ScoreSet | None,
) -> tuple[Verdict, CheckPoint]:
    """Compare the stated verdict with the recomputed one.

    Parameters
    ----------
    report : StoredReport
        The report.
    stated : Mapping[str, Any]
        Its verdict as it was read.
    verdict : Verdict
        What the tests of fixed size give.
    own, reference : ScoreSet
        The scores.

    Returns
    -------
    tuple[Verdict, CheckPoint]
        The verdict that the report should state, and how it compares. Where the images were tested
        one by one, that test decides, unless the report has a test stricter than a comparison
        with references.
    """
    kept = report.extra.get("sequential")
    compared = verdict.test in ("ks", "models") and not verdict.config.two_sided
    if reference is None or not compared or not isinstance(kept, dict):
        return verdict, _verdict_point(stated, verdict.to_dict(), "these figures give")
    first, second = distinct_scores(own), distinct_scores(reference)
    repeated = len(first) * (len(first) + len(second)) <= PATH_LIMIT
    if worded_before(report.verdict.wording):
        if not repeated:
            return verdict, CheckPoint("verdict", "not checked", _TOO_MANY)
        result = sequential_ks(first, second, alpha=verdict.alpha)
        return verdict, _sequential_before(report.verdict, kept, result, own, reference)
    try:
        result = convert(kept, SequentialResult, name=_SEQUENTIAL, error=EvidenceError)
    except EvidenceError as error:
        return verdict, CheckPoint("verdict", "differs", str(error)[:300])
    wrong: list[str] = []
    if repeated:
        result = sequential_ks(first, second, alpha=verdict.alpha)
        for name in _FIGURES:
            wrong += differences(getattr(result, name), kept.get(name), f"{_SEQUENTIAL}.{name}")
    verdict = sequential_verdict(verdict, result, len(second))
    point = _verdict_point(stated, verdict.to_dict(), "the sequential test gives", wrong)
    if not repeated and point.state == "matches":
        text = f"{_TOO_MANY}; with the result that the report states, the rest of the verdict fits"
        point = CheckPoint("verdict", "not checked", text)
    return verdict, point


def by_todays_rules(
    report: StoredReport, stated: Any, today: Verdict, point: CheckPoint
) -> CheckPoint:
    """Confirm no outcome of an old report that today's rules would not give.

    The report itself says by which version it was written, so its rules could be chosen for the
    sake of their outcome.

    Parameters
    ----------
    report : StoredReport
        The report.
    stated : Any
        The outcome that it states.
    today : Verdict
        What today's rules give.
    point : CheckPoint
        What was found by the rules under which the report says that it was written.

    Returns
    -------
    CheckPoint
        ``not checked`` in place of ``matches`` if the outcomes differ.
    """
    if not worded_before(report.verdict.wording) or point.state != "matches":
        return point
    if stated == today.outcome:
        return point
    text = (
        f"an earlier version could state '{stated}' of these figures, as this report does; by "
        f"today's rules they give '{today.outcome}'. {today.headline}"
    )
    return CheckPoint(point.name, "not checked", text)


def _verdict_point(
    stated: Mapping[str, Any], now: Mapping[str, Any], giving: str, also: list[str] | None = None
) -> CheckPoint:
    """Compare the fields of a verdict; ``also`` are differences that are known already."""
    names = ["outcome", "test", "alpha", "p_in_words", "coater"]
    text = f"'{now['outcome']}' is what {giving}"
    if stated.get("wording") == WORDING:
        names += ["headline", "does_not_prove", "warnings"]
    else:
        text += "; its sentences are those of another version and were not compared"
    wrong = list(also or ())
    for name in names:
        wrong += differences(now[name], stated.get(name), f"verdict.{name}")
    return point_of("verdict", wrong, text)


def _sequential_before(
    stated: StoredVerdict,
    kept: Mapping[str, Any],
    result: SequentialResult,
    own: ScoreSet,
    reference: ScoreSet,
) -> CheckPoint:
    """Check the outcome by the rules under which an old report was written."""
    wrong: list[str] = []
    for name in ("p_value", "rejected"):
        wrong += differences(getattr(result, name), kept.get(name), f"{_SEQUENTIAL}.{name}")
    alike = not too_unlike(contrast_before(pools_contrast(own, reference)))
    found = result.rejected and alike and not stated.withheld
    if (stated.outcome == FOUND_BEFORE) != found:
        wrong.append("verdict.outcome does not follow from the sequential test")
    return point_of("verdict", wrong, f"'{stated.outcome}' is what the sequential test gives")
