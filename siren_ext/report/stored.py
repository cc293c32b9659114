"""The contents of ``report.json`` as typed structures."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from siren_ext.evidence.commitment import Precedence
from siren_ext.keys.coating_key import MAX_BITS
from siren_ext.report.earlier import worded_before
from siren_ext.report.learnt import StoredLikeness
from siren_ext.scoring.score_set import ScoreSet, StoredScores
from siren_ext.stats.ks import KsResult
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.findings import STRICTEST_FIRST, Test
from siren_ext.verdict.outcomes import Outcome
from siren_ext.verdict.verify import MAX_INNOCENTS

ADVICE = "Use an unchanged report.json that 'siren-ext verify' wrote."
"""What to do about a damaged report."""

_NO_LONGER = ("decoys", "decoy_seed")  # settings that such reports have
_Text = Annotated[str, Meta(max_length=20_000)]
_Texts = Annotated[list[_Text], Meta(max_length=1000)]
_Chance = Annotated[float, Meta(ge=0, le=1)]
_Count = Annotated[int, Meta(ge=0, le=10**12)]


class StoredFinding(Struct, forbid_unknown_fields=True):
    """One finding; see :class:`siren_ext.verdict.findings.Finding`."""

    test: Test
    outcome: Outcome
    p_value: _Chance
    smallest_p: _Chance
    suspects: _Count
    others: _Count
    result: dict[str, Any]
    strengths: Annotated[list[float], Meta(max_length=MAX_BITS)] = []
    features_sha256: _Text = ""
    committed_as: _Text = ""
    contrast: dict[str, Any] | None = None
    control: dict[str, Any] | None = None
    by_message: _Chance | None = None
    whole: dict[str, Any] | None = None


class StoredVerdict(Struct, forbid_unknown_fields=True, kw_only=True):
    """The verdict; see :class:`siren_ext.verdict.verify.Verdict`."""

    outcome: Outcome
    headline: _Text
    test: Test
    alpha: _Chance
    finding: KsResult | None
    findings: Annotated[list[StoredFinding], Meta(max_length=len(STRICTEST_FIRST))]
    p_in_words: _Text
    settings: dict[str, Any]
    wording: int | None = None
    warnings: _Texts
    does_not_prove: _Texts
    coater: _Text
    commitment: Precedence
    withheld: bool = False
    copies: dict[str, Any] | None = None
    path: dict[str, Any] | None = None


class StoredReport(Struct, forbid_unknown_fields=True, kw_only=True):
    """The whole file; see :func:`siren_ext.report.write.write_report`."""

    format: Literal["siren_ext.report"] = "siren_ext.report"
    version: Literal[1] = 1
    created: _Text
    environment: dict[str, Any]
    extra: dict[str, Any]
    quality: Any
    notes: list[Any]
    verdict: StoredVerdict
    suspect: StoredScores
    reference: StoredScores | None
    innocents: Annotated[list[StoredScores], Meta(max_length=MAX_INNOCENTS)] = []
    learnt_tint: StoredLikeness | None = None

    def config(self) -> VerifyConfig:
        """The settings of the verdict.

        Returns
        -------
        VerifyConfig
            The settings.

        Raises
        ------
        ConfigError
            A setting has an impossible value or an unknown name.
        """
        kept = self.verdict.settings
        if worded_before(self.verdict.wording):
            kept = {name: value for name, value in kept.items() if name not in _NO_LONGER}
        return VerifyConfig.from_dict(kept)

    def pools(self) -> tuple[ScoreSet, ScoreSet | None, list[ScoreSet]]:
        """The scores.

        Returns
        -------
        tuple[ScoreSet, ScoreSet | None, list[ScoreSet]]
            Those of the suspect, the reference and the innocent models.

        Raises
        ------
        ScoreError
            Only some images of a model have looks.
        """
        return (
            ScoreSet.from_stored(self.suspect, name="the suspect"),
            ScoreSet.from_stored(self.reference, name="the reference") if self.reference else None,
            [
                ScoreSet.from_stored(pool, name=f"innocent model {index}")
                for index, pool in enumerate(self.innocents, start=1)
            ],
        )
