"""From score sets, and a key where there is one, to a verdict in plain words with its limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from siren_ext.errors import ScoreError
from siren_ext.evidence.commitment import Precedence, not_committed
from siren_ext.scoring.score_set import ScoreSet, require_same_coater
from siren_ext.stats.ks import KsResult
from siren_ext.stats.sequential import SequentialResult, sequential_keyed
from siren_ext.verdict.caveats import MIN_REFERENCES, MIN_SUSPECTS, cautions
from siren_ext.verdict.caveats import images_needed as images_needed
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.findings import (
    Finding,
    Outcome,
    Test,
    identical_pools,
    keyed_finding,
    ks_finding,
    rank_finding,
    strictest,
    used_features,
)
from siren_ext.verdict.findings import distinct_scores as distinct_scores
from siren_ext.verdict.wording import LIMITS, NAMES, count_of, headline
from siren_ext.verdict.wording import odds as odds

if TYPE_CHECKING:
    from siren_ext.keys.coating_key import CoatingKey

DOES_NOT_PROVE = LIMITS["ks"]
MAX_INNOCENTS = 10_000


@dataclass(frozen=True)
class Verdict:
    """What was found, in words and figures.

    Attributes
    ----------
    outcome : Outcome
        the verdict.
    headline : str
        the verdict in a few sentences for everybody.
    findings : tuple[Finding, ...]
        one per test that the data permitted, the strictest first.
    test : Test
        the finding that decides.
    config : VerifyConfig
        the settings it was reached with; ``config.alpha`` is the accepted risk.
    warnings : tuple[str, ...]
        what weakens it in this case.
    does_not_prove : tuple[str, ...]
        what no such verdict shows.
    coater : str
        fingerprint of the coater.
    precedence : Precedence
        what a commitment says about when coater and key were chosen.
    path : SequentialResult | None
        the keyed test had it been looked at now and then, image by image.
    """

    outcome: Outcome
    headline: str
    findings: tuple[Finding, ...]
    test: Test
    config: VerifyConfig
    warnings: tuple[str, ...]
    does_not_prove: tuple[str, ...]
    coater: str
    precedence: Precedence
    path: SequentialResult | None = None

    @property
    def alpha(self) -> float:
        """The accepted risk of a false accusation."""
        return self.config.alpha

    @property
    def deciding(self) -> Finding:
        """The finding behind the outcome."""
        return next(finding for finding in self.findings if finding.test == self.test)

    @property
    def finding(self) -> KsResult:
        """The test against the reference; raises :class:`ScoreError` when there was none."""
        found = self.compared
        if found is None:
            raise ScoreError("This verdict was reached without a reference; look at its findings.")
        return found

    @property
    def compared(self) -> KsResult | None:
        """The test against the reference, if there was a reference."""
        results = (finding.result for finding in self.findings)
        return next((result for result in results if isinstance(result, KsResult)), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; ``finding`` is the test against the reference, or null."""
        return {
            "outcome": self.outcome,
            "headline": self.headline,
            "test": self.test,
            "alpha": self.alpha,
            "finding": self.compared.to_dict() if self.compared else None,
            "findings": [finding.to_dict() for finding in self.findings],
            "p_in_words": odds(self.deciding.p_value),
            "settings": self.config.to_dict(),
            "warnings": list(self.warnings),
            "does_not_prove": list(self.does_not_prove),
            "coater": self.coater,
            "commitment": self.precedence.to_dict(),
            "path": self.path.to_dict() if self.path else None,
        }


def verify(
    suspect: ScoreSet,
    reference: ScoreSet | None = None,
    config: VerifyConfig | None = None,
    *,
    key: CoatingKey | None = None,
    innocents: Sequence[ScoreSet] = (),
    precedence: Precedence | None = None,
) -> Verdict:
    """Apply every test that the data permit; the strictest that can reach alpha decides.

    Exact copies within a pool count once, since a copy is no new observation. The outcome is
    "inconclusive" when no test could have found anything: too few images, models or bits for
    ``config.alpha``, or one pool compared with itself. What a rejection does not show stands in
    ``Verdict.does_not_prove``.

    Parameters
    ----------
    suspect : ScoreSet
        scores of the suspicious model's images; with features if there is a ``key``.
    reference : ScoreSet | None
        scores of images by a model that never saw a coated image and otherwise resembles
        the suspect as closely as possible: same subject, prompts and settings. Null hypothesis:
        both scores come from one distribution.
    key : CoatingKey | None
        the owner's secret. Null hypothesis: it is unrelated to the images. No model of
        another style can break it, so this test needs neither reference nor innocents.
    innocents : Sequence[ScoreSet]
        one score set per innocent model. Null hypothesis: the suspect is one more of
        their kind. Those of another coater are left out, with a warning.
    precedence : Precedence | None
        what a commitment says (``check_commitment``).

    Raises
    ------
    ScoreError
        reference and suspect were scored by different coaters, a pool is empty, there
        is nothing to compare with, or a key is given but the scores hold no features.
    """
    config = config or VerifyConfig()
    _require_enough(suspect, reference, key, innocents)
    alike = [pool for pool in innocents if pool.coater == suspect.coater]
    findings: list[Finding] = []
    if key is not None:
        seed = config.decoy_seed
        findings.append(keyed_finding(suspect, key, config.alpha, decoys=config.decoys, seed=seed))
    if alike:
        findings.append(rank_finding(suspect, alike, config.alpha))
    if reference is not None:
        findings.append(ks_finding(suspect, reference, config.alpha, **config.comparison()))
    path = None
    if key is not None:
        path = sequential_keyed(used_features(suspect), key.signs(), alpha=config.alpha)
    return conclude(suspect, reference, innocents, findings, config, precedence, path)


def conclude(
    suspect: ScoreSet,
    reference: ScoreSet | None,
    innocents: Sequence[ScoreSet],
    findings: Sequence[Finding],
    config: VerifyConfig,
    precedence: Precedence | None = None,
    path: SequentialResult | None = None,
) -> Verdict:
    """The verdict that follows from findings; raises :class:`ScoreError` when there are none."""
    if not findings:
        raise ScoreError("No test could be made; give a reference, a key or innocent models.")
    deciding = strictest(findings)
    alike = [pool for pool in innocents if pool.coater == suspect.coater]
    warnings = cautions(suspect, reference, alike, findings, deciding, config)
    if len(alike) < len(innocents):
        lost = count_of(len(innocents) - len(alike), "innocent model was", "innocent models were")
        other = f"{lost} scored by another coater than the suspect and left out."
        warnings = (*warnings, other)
    keyed = any(finding.test == "keyed" for finding in findings)
    precedence = precedence or not_committed(keyed=keyed)
    if precedence.status == "does not fit" or (keyed and precedence.status == "no commitment"):
        warnings = (precedence.text, *warnings)
    text = headline(
        deciding,
        config.alpha,
        identical=deciding.test == "ks"
        and reference is not None
        and identical_pools(suspect, reference),
        alone=len(findings) == 1,
    )
    return Verdict(
        deciding.outcome,
        text,
        tuple(findings),
        deciding.test,
        config,
        warnings,
        LIMITS[deciding.test],
        suspect.coater,
        precedence,
        path,
    )


def _require_enough(
    suspect: ScoreSet,
    reference: ScoreSet | None,
    key: CoatingKey | None,
    innocents: Sequence[ScoreSet],
) -> None:
    if reference is not None:
        require_same_coater(suspect, reference)
    if len(innocents) > MAX_INNOCENTS:
        raise ScoreError(f"{len(innocents)} innocent models; at most {MAX_INNOCENTS:,} are taken.")
    pools = [pool for pool in (suspect, reference, *innocents) if pool is not None]
    if not all(len(pool) for pool in pools):
        references = 0 if reference is None else len(reference)
        raise ScoreError(
            f"There are {len(suspect)} suspect and {references} reference scores, and "
            f"{sum(not len(pool) for pool in innocents)} innocent models without any; expected at "
            f"least one of each (better {MIN_SUSPECTS} and {MIN_REFERENCES})."
        )
    if reference is None and key is None and not innocents:
        raise ScoreError(
            "There is nothing to compare the suspect's scores with; give the scores of a "
            f"reference model ({NAMES['ks']}), a key ({NAMES['keyed']}) or the scores of several "
            f"innocent models ({NAMES['rank']})."
        )
    if reference is None and key is None:
        for pool in innocents:
            require_same_coater(suspect, pool)
