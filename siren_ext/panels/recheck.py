"""Reads somebody's report and recomputes its verdict, for the panel that shows it."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from siren_ext.errors import ConfigError, ScoreError
from siren_ext.formats import read_format
from siren_ext.report.check import CheckPoint, check_report
from siren_ext.report.earlier import worded_before
from siren_ext.report.integrity import JSON
from siren_ext.report.keyed_check import stored_keyed
from siren_ext.report.ks_check import restored_ks
from siren_ext.report.stored import ADVICE, StoredReport
from siren_ext.scoring.decoys import decoys_of
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.verdict.decoys import decoys_finding
from siren_ext.verdict.findings import Finding, rank_finding
from siren_ext.verdict.models import compared_models
from siren_ext.verdict.twins import twins_finding
from siren_ext.verdict.verify import Verdict, conclude

_SEALED = ("files", "signature", "page")  # these need the other files of the report


@dataclass(frozen=True)
class Recheck:
    """A report's verdict, recomputed from the report's own scores.

    Attributes
    ----------
    verdict : Verdict
        As computed now. A keyed test's statistic is taken from the report.
    suspect, reference : ScoreSet
        The report's scores.
    stated : str
        The outcome that the report states.
    earlier : bool
        Whether it was written when a comparison with a reference could say "coating found".
    points : tuple[CheckPoint, ...]
        What was compared, with the result.
    created : str
        When the report was written, as it states.
    """

    verdict: Verdict
    suspect: ScoreSet
    reference: ScoreSet | None
    stated: str
    earlier: bool
    points: tuple[CheckPoint, ...]
    created: str

    @property
    def agrees(self) -> bool:
        """Whether nothing that could be checked differs."""
        return all(point.state != "differs" for point in self.points)


def recheck_step(path: Path) -> Recheck:
    """Read ``report.json`` and recompute its verdict.

    This checks that the figures follow from the scores, not that the scores belong to the images.
    For that, score the images again.

    Parameters
    ----------
    path : Path
        The file, whatever its name.

    Returns
    -------
    Recheck
        The recomputed verdict and what was compared.

    Raises
    ------
    ScoreError
        The file is not a report, or its scores or verdict are too damaged to show.
    EvidenceError
        Its keyed test or commitment is too damaged to show.
    """
    report = read_format(path, StoredReport, error=ScoreError, name=path.name, advice=ADVICE)
    verdict, suspect, reference = _restored(report, path.name)
    with tempfile.TemporaryDirectory(prefix="siren_report_") as folder:
        shutil.copyfile(path, Path(folder) / JSON)  # browsers rename downloads
        points = check_report(Path(folder)).points
    points = tuple(point for point in points if point.name not in _SEALED)
    created = report.created[:40]
    stated, earlier = report.verdict.outcome, worded_before(report.verdict.wording)
    return Recheck(verdict, suspect, reference, stated, earlier, points, created)


def _restored(report: StoredReport, name: str) -> tuple[Verdict, ScoreSet, ScoreSet | None]:
    """The verdict that follows from the report's scores, with the scores."""
    try:
        config = report.config()
    except ConfigError as error:
        raise ScoreError(f"{name}: verdict.settings: {error} {ADVICE}") from error
    suspect, reference, innocents = report.pools()
    kept = {finding.test: finding for finding in report.verdict.findings}
    findings: list[Finding] = []
    if suspect.twins:
        findings.append(twins_finding(suspect, config.alpha))
    keyed = stored_keyed(report, config)
    if keyed is not None:
        findings.append(keyed)
    if decoys_of(suspect) is not None:
        findings.append(decoys_finding(suspect, config.alpha, price=config.price))
    alike = [pool for pool in innocents if pool.coater == suspect.coater]
    if alike:
        findings.append(rank_finding(suspect, alike, config.alpha))
    if reference is not None:
        findings += compared_models(suspect, reference, config.alpha)
        findings.append(restored_ks(kept.get("ks"), suspect, reference, config))
    standing, withheld = report.verdict.commitment, report.verdict.withheld
    verdict = conclude(suspect, reference, innocents, findings, config, standing, withheld=withheld)
    return verdict, suspect, reference
