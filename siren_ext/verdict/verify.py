"""Turns scores, and a key if there is one, into a verdict in plain words with its limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from siren_ext.coater.bundled import public_warning
from siren_ext.errors import ScoreError
from siren_ext.evidence.commitment import Precedence, not_committed
from siren_ext.scoring.copies import Copies
from siren_ext.scoring.decoys import decoys_of
from siren_ext.scoring.score_set import ScoreSet, require_same_coater
from siren_ext.stats.ks import KsResult
from siren_ext.verdict.caveats import MIN_REFERENCES, MIN_SUSPECTS, find_caveats
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.decoys import decoys_finding
from siren_ext.verdict.decoys_words import DECOYS_UNCOMMITTED
from siren_ext.verdict.findings import (
    Finding,
    Test,
    keyed_finding,
    ks_finding,
    rank_finding,
    strictest,
)
from siren_ext.verdict.limits import LIMITS, PREFERENCE_LIMITS
from siren_ext.verdict.models import compared_models
from siren_ext.verdict.outcomes import LOWER, LOWER_RANK, Outcome
from siren_ext.verdict.pools import copies_of, identical_pools
from siren_ext.verdict.same_models import require_different_models
from siren_ext.verdict.twins import require_twins_alone, twins_finding
from siren_ext.verdict.twins_words import TWINS_UNFIT
from siren_ext.verdict.wording import (
    NAMES,
    UNFIT,
    WITHHELD,
    WITHHELD_HEADLINE,
    WORDING,
    count_of,
    headline,
    odds,
)

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.keys.coating_key import CoatingKey

MAX_INNOCENTS = 10_000


@dataclass(frozen=True)
class Verdict:
    """What was found, in words and figures.

    Attributes
    ----------
    outcome : Outcome
        What the deciding test says; see :data:`~siren_ext.verdict.outcomes.Outcome`.
    headline : str
        The verdict in a few sentences.
    findings : tuple[Finding, ...]
        One per test that the data allowed, the strictest first.
    test : Test
        The test that decides.
    config : VerifyConfig
        The settings; ``config.alpha`` is the accepted risk.
    warnings : tuple[str, ...]
        What weakens this verdict.
    does_not_prove : tuple[str, ...]
        What a verdict by this test does not show.
    coater : str
        Fingerprint of the coater.
    precedence : Precedence
        What a commitment says about when coater and key were chosen.
    withheld : bool
        Whether the suspect was scored by a keyed coater and no key was given. Then nothing is
        found, because the strictest test was not made.
    copies : Mapping[str, Copies]
        The copies that were left out of the suspect's and the reference's images, and those of all
        innocent models together.
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
    withheld: bool = False
    copies: Mapping[str, Copies] = field(default_factory=dict)

    @property
    def alpha(self) -> float:
        """The accepted risk of accusing an innocent model."""
        return self.config.alpha

    @property
    def deciding(self) -> Finding:
        """The finding behind the outcome."""
        return next(finding for finding in self.findings if finding.test == self.test)

    @property
    def finding(self) -> KsResult:
        """The result of the comparison with the reference.

        Raises
        ------
        ScoreError
            There was no reference.
        """
        found = self.compared
        if found is None:
            raise ScoreError(
                "This verdict was reached without a reference. Use its 'findings' instead."
            )
        return found

    @property
    def compared(self) -> KsResult | None:
        """The result of the comparison with the reference, None if there was no reference."""
        results = (finding.result for finding in self.findings)
        return next((result for result in results if isinstance(result, KsResult)), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON.

        Returns
        -------
        dict[str, Any]
            The verdict; ``finding`` is the comparison with the reference, or None.
        """
        return {
            "outcome": self.outcome,
            "wording": WORDING,
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
            "withheld": self.withheld,
            "copies": {name: one.to_dict() for name, one in self.copies.items()},
        }


def verify(
    suspect: ScoreSet,
    reference: ScoreSet | None = None,
    config: VerifyConfig | None = None,
    *,
    key: CoatingKey | None = None,
    innocents: Sequence[ScoreSet] = (),
    precedence: Precedence | None = None,
    coater: Coater | None = None,
) -> Verdict:
    """Run every test that the data allow; the strictest one decides.

    Parameters
    ----------
    suspect : ScoreSet
        Scores of the suspicious model's images; with features if there is a ``key``. If it holds
        scores by decoys too, the coater is ranked among them.
    reference : ScoreSet | None
        Scores of images by a model that never saw a coated image and otherwise resembles the
        suspect as closely as possible: same subject, prompts and settings. Null hypothesis: both
        scores come from one distribution. Several such models are joined first
        (:func:`~siren_ext.verdict.models.joined_models`); of three or more, the mean scores are
        compared too. Null hypothesis: the suspect is one more such model, and the means are normal.
    config : VerifyConfig | None
        The accepted risk and other settings; None for the defaults.
    key : CoatingKey | None
        The owner's secret. Null hypothesis: it is unrelated to the images. A model's style can't
        break it, so this test needs neither reference nor innocent models.
    innocents : Sequence[ScoreSet]
        One score set per innocent model, at most 10,000. Null hypothesis: the suspect is another
        model of their kind. Scores of another coater are left out, with a warning.
    precedence : Precedence | None
        What a commitment says, see :func:`~siren_ext.evidence.commitment.check_commitment`.
    coater : Coater | None
        The coater; with the measurement of a model's file it is needed, unless it is bundled.

    Returns
    -------
    Verdict
        The outcome with all findings. It is "inconclusive" if no test could have found anything
        (too few images, models or bits for ``config.alpha``), and "not comparable" if the images
        compared are of different kinds or the same. A comparison with a reference alone never says
        "coating found".

    Raises
    ------
    ScoreError
        Reference and suspect were scored with different coaters, a pool is empty, there is nothing
        to compare with, or a key is given but the scores have no features; or a measurement is
        tested without its coater; or one model is given as several innocent ones.
    CoaterError
        It is another coater.

    Notes
    -----
    Copies within a pool count once, because a copy is not a new observation; see
    :mod:`siren_ext.scoring.copies`.
    """
    config = config or VerifyConfig()
    _require_enough(suspect, reference, key, innocents)
    alike = [pool for pool in innocents if pool.coater == suspect.coater]
    findings: list[Finding] = []
    if suspect.twins:
        findings.append(twins_finding(suspect, config.alpha, price=config.price))
    if key is not None:
        price = config.price
        findings.append(keyed_finding(suspect, key, config.alpha, price=price, coater=coater))
    if decoys_of(suspect) is not None:
        findings.append(decoys_finding(suspect, config.alpha, price=config.price))
    if alike:
        findings.append(rank_finding(suspect, alike, config.alpha))
    if reference is not None:
        findings += compared_models(suspect, reference, config.alpha)
        findings.append(
            ks_finding(suspect, reference, config.alpha, key=key, **config.comparison())
        )
    return conclude(suspect, reference, innocents, findings, config, precedence)


def conclude(
    suspect: ScoreSet,
    reference: ScoreSet | None,
    innocents: Sequence[ScoreSet],
    findings: Sequence[Finding],
    config: VerifyConfig,
    precedence: Precedence | None = None,
    deciding: Finding | None = None,
    *,
    withheld: bool | None = None,
) -> Verdict:
    """The verdict that follows from findings.

    Parameters
    ----------
    suspect, reference, innocents
        The scores, see :func:`verify`.
    findings : Sequence[Finding]
        One per test.
    config : VerifyConfig
        The settings.
    precedence : Precedence | None
        What a commitment says; None for no commitment.
    deciding : Finding | None
        The finding that decides, whatever the commitment says; None for that of the strictest test.
    withheld : bool | None
        Whether scores of a keyed coater are judged without a key; None if the suspect's features
        show it.

    Returns
    -------
    Verdict
        The verdict. It is "inconclusive" if the keyed test finds something, but a commitment was
        given that does not fit, and if the scores are low, but the key was withheld.

    Raises
    ------
    ScoreError
        There are no findings.
    """
    if not findings:
        raise ScoreError("No test was possible. Add a reference, a key or innocent models.")
    given, deciding = deciding is not None, deciding or strictest(findings)
    alike = [pool for pool in innocents if pool.coater == suspect.coater]
    warnings = find_caveats(suspect, reference, alike, findings, deciding, config)
    warnings += _left_out(len(innocents) - len(alike))
    keyed = any(finding.test == "keyed" for finding in findings)
    withheld = not keyed and (suspect.features is not None if withheld is None else withheld)
    if withheld:
        warnings = (WITHHELD, *warnings)
    precedence = precedence or not_committed(keyed=keyed, twins=suspect.twins)
    secret = keyed or suspect.twins or decoys_of(suspect) is not None
    if precedence.status == "does not fit" or (secret and precedence.status == "no commitment"):
        warnings = (precedence.text, *warnings)
    if public := public_warning(suspect.coater):
        warnings = (public, *warnings)
    text = headline(
        deciding,
        config.alpha,
        identical=deciding.test == "ks"
        and reference is not None
        and identical_pools(suspect, reference),
        alone=len(findings) == 1,
        preference=suspect.preference,
    )
    overruled = _overruled(deciding, None if given else precedence, withheld=withheld)
    return Verdict(
        "inconclusive" if overruled else deciding.outcome,
        overruled or text,
        tuple(findings),
        deciding.test,
        config,
        warnings,
        PREFERENCE_LIMITS if suspect.preference else LIMITS[deciding.test],
        suspect.coater,
        precedence,
        withheld,
        copies_of(suspect, reference, alike),
    )


def _left_out(lost: int) -> tuple[str, ...]:
    """The warning that innocent models were scored with another coater, if any were."""
    models = count_of(lost, "innocent model was", "innocent models were")
    text = f"{models} scored with another coater than the suspect and left out."
    return (text,) if lost else ()


def _overruled(deciding: Finding, precedence: Precedence | None, *, withheld: bool) -> str:
    """Why a find counts for nothing, as a headline; "" if it counts."""
    if withheld and deciding.outcome in ("coating found", LOWER, LOWER_RANK):
        return WITHHELD_HEADLINE
    unfit = {"keyed": UNFIT, "twins": TWINS_UNFIT}.get(deciding.test, "")
    if deciding.outcome != "coating found" or precedence is None:
        return ""
    if deciding.test == "decoys":
        return "" if precedence.status == "committed before" else DECOYS_UNCOMMITTED
    return unfit if precedence.status == "does not fit" else ""


def _require_enough(
    suspect: ScoreSet,
    reference: ScoreSet | None,
    key: CoatingKey | None,
    innocents: Sequence[ScoreSet],
) -> None:
    require_twins_alone(suspect, reference, key, tuple(innocents))
    if reference is not None:
        require_same_coater(suspect, reference)
    if suspect.preference and (reference is not None or innocents or key is None):
        raise ScoreError(
            "The suspect's file holds the preference of a model, which is tested against a key "
            "alone. Give a key, and neither a reference nor innocent models; a clean model is "
            "subtracted when the preference is measured ('siren-ext preference --control')."
        )
    if any(pool.preference for pool in (reference, *innocents) if pool is not None):
        raise ScoreError(
            "A file that was given for comparison holds the preference of a model; expected the "
            "scores of pictures ('siren-ext score')."
        )
    if len(innocents) > MAX_INNOCENTS:
        raise ScoreError(
            f"{len(innocents)} innocent models were given; at most {MAX_INNOCENTS:,} are accepted."
        )
    pools = [pool for pool in (suspect, reference, *innocents) if pool is not None]
    if not all(len(pool) for pool in pools):
        references = 0 if reference is None else len(reference)
        raise ScoreError(
            f"There are {len(suspect)} suspect and {references} reference scores, and "
            f"{sum(not len(pool) for pool in innocents)} innocent models without scores; expected "
            f"at least one score of each (better {MIN_SUSPECTS} and {MIN_REFERENCES})."
        )
    require_different_models(innocents, "innocent model")
    alone = suspect.twins or decoys_of(suspect) is not None
    if reference is None and key is None and not innocents and not alone:
        raise ScoreError(
            "There is nothing to compare the suspect's scores with. Add the scores of a reference "
            f"model ({NAMES['ks']}), a key ({NAMES['keyed']}) or the scores of several innocent "
            f"models ({NAMES['rank']})."
        )
    if reference is None and key is None:
        for pool in innocents:
            require_same_coater(suspect, pool)
