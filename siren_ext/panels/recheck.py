"""Somebody's report, read and computed again, for the panel that shows it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from siren_ext.errors import ConfigError, EvidenceError, ScoreError
from siren_ext.evidence.commitment import Precedence
from siren_ext.report.check import CheckPoint, check_report
from siren_ext.report.integrity import JSON
from siren_ext.report.keyed_check import restored_keyed
from siren_ext.report.write import FORMAT
from siren_ext.scoring.score_set import ScoreSet, read_json
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.findings import Finding, ks_finding, rank_finding
from siren_ext.verdict.verify import Verdict, conclude

_SEALED = ("files", "signature")  # told by the seal, which is another file


@dataclass(frozen=True)
class Recheck:
    """A report's verdict, reached again from what the report holds.

    Attributes
    ----------
    verdict : Verdict
        as computed now; of a keyed test all but the statistic itself.
    stated : str
        outcome as the file states it.
    points : tuple[CheckPoint, ...]
        what was compared, and what came out.
    created : str
        when the report says that it was written.
    """

    verdict: Verdict
    suspect: ScoreSet
    reference: ScoreSet | None
    stated: str
    points: tuple[CheckPoint, ...]
    created: str

    @property
    def agrees(self) -> bool:
        """Whether every figure follows from the scores, as far as they can be checked."""
        return all(point.state != "differs" for point in self.points)


def recheck_step(path: Path) -> Recheck:
    """Read ``report.json`` and compute its verdict again.

    This shows that figures and scores of the file belong together, not that the scores are those
    of the images: for that, score the images again.

    Raises
    ------
    ScoreError
        the file is no report, or too damaged to be shown.
    EvidenceError
        the same, of its other parts.
    """
    data = read_json(path)
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
        shutil.copyfile(path, Path(folder) / JSON)  # whatever the browser called it
        points = check_report(Path(folder)).points
    points = tuple(point for point in points if point.name not in _SEALED)
    created = str(data.get("created", ""))[:40]
    return Recheck(verdict, suspect, reference, stated, points, created)


def _restored(data: Mapping[str, Any]) -> tuple[Verdict, ScoreSet, ScoreSet | None]:
    """The verdict that the report's scores give, and its pools."""
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
        raise EvidenceError("The report's word on a commitment is none that this program knows.")
    precedence = Precedence(
        kept["status"], str(kept["text"]), str(kept["created"]), str(kept["sha256"])
    )
    return (
        conclude(suspect, reference, innocents, findings, config, precedence),
        suspect,
        reference,
    )
