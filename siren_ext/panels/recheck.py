"""Reads somebody's report and recomputes its verdict, for the panel that shows it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from siren_ext.documents import read_json
from siren_ext.errors import ConfigError, EvidenceError, ScoreError
from siren_ext.evidence.commitment import Precedence
from siren_ext.report.check import CheckPoint, check_report
from siren_ext.report.integrity import JSON
from siren_ext.report.keyed_check import restored_keyed
from siren_ext.report.write import FORMAT
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.findings import Finding, ks_finding, rank_finding
from siren_ext.verdict.verify import Verdict, conclude

_SEALED = ("files", "signature")  # these need the seal, which is another file


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
    points : tuple[CheckPoint, ...]
        What was compared, with the result.
    created : str
        When the report was written, as it states.
    """

    verdict: Verdict
    suspect: ScoreSet
    reference: ScoreSet | None
    stated: str
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
    data = read_json(path, error=ScoreError)
    name = path.name
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ScoreError(
            f"{name} is not a report; expected the report.json that a verification wrote."
        )
    try:
        stated = str(data["verdict"]["outcome"])
        verdict, suspect, reference = _restored(data)
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
        raise ScoreError(f"{name} has no readable verdict: {str(error)[:200]}") from error
    with tempfile.TemporaryDirectory(prefix="siren_report_") as folder:
        shutil.copyfile(path, Path(folder) / JSON)  # browsers rename downloads
        points = check_report(Path(folder)).points
    points = tuple(point for point in points if point.name not in _SEALED)
    created = str(data.get("created", ""))[:40]
    return Recheck(verdict, suspect, reference, stated, points, created)


def _restored(data: Mapping[str, Any]) -> tuple[Verdict, ScoreSet, ScoreSet | None]:
    """The verdict that follows from the report's scores, with the scores."""
    stated = data["verdict"]
    config = VerifyConfig.from_dict(dict(stated["settings"]))
    suspect = ScoreSet.from_dict(data["suspect"], name="Its suspect")
    other = data.get("reference")
    reference = ScoreSet.from_dict(other, name="Its reference") if other else None
    innocents = [
        ScoreSet.from_dict(pool, name="An innocent model") for pool in data.get("innocents", [])
    ]
    findings: list[Finding] = [
        restored_keyed(kept, config.alpha, config.decoys)
        for kept in stated["findings"]
        if kept["test"] == "keyed"
    ]
    alike = [pool for pool in innocents if pool.coater == suspect.coater]
    if alike:
        findings.append(rank_finding(suspect, alike, config.alpha))
    if reference is not None:
        findings.append(ks_finding(suspect, reference, config.alpha, **config.comparison()))
    kept = stated["commitment"]
    if kept["status"] not in ("committed before", "no commitment", "does not fit"):
        raise EvidenceError(
            f"The report states an unknown commitment status, {str(kept['status'])[:40]!r}. "
            "Expected 'committed before', 'no commitment' or 'does not fit'."
        )
    precedence = Precedence(
        kept["status"], str(kept["text"]), str(kept["created"]), str(kept["sha256"])
    )
    return (
        conclude(suspect, reference, innocents, findings, config, precedence),
        suspect,
        reference,
    )
