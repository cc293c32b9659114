"""Types of the links between the nodes of this pack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from comfy_api.latest import io

if TYPE_CHECKING:
    from siren_ext.scoring.score_set import ScoreSet
    from siren_ext.verdict.verify import Verdict

CATEGORY = "siren"

CoaterSocket = io.Custom("SIREN_COATER")
ScoresSocket = io.Custom("SIREN_SCORES")
VerdictSocket = io.Custom("SIREN_VERDICT")
KeySocket = io.Custom("SIREN_KEY")


@dataclass(frozen=True)
class Case:
    """A verdict with the scores behind it: everything that a report needs."""

    verdict: Verdict
    suspect: ScoreSet
    reference: ScoreSet | None
