"""What a test can say."""

from __future__ import annotations

from typing import Final, Literal

Outcome = Literal[
    "coating found",
    "no evidence",
    "inconclusive",
    "scores lower than this reference",
    "no difference found",
    "not comparable",
]
"""The first three are those of the keyed test and of the rank among innocent models. A comparison
with a reference says one of the others, or "inconclusive" if there are too few images for the
accepted risk: lower scores alone never show that a coating was found, because they can have other
causes than training."""

LOWER: Final = "scores lower than this reference"
NO_DIFFERENCE: Final = "no difference found"
NOT_COMPARABLE: Final = "not comparable"

Tone = Literal["found", "lower", "clear", "open"]
_TONES: dict[Outcome, Tone] = {
    "coating found": "found",
    "no evidence": "clear",
    "inconclusive": "open",
    LOWER: "lower",
    NO_DIFFERENCE: "clear",
    NOT_COMPARABLE: "open",
}


def outcome_of(p_value: float, smallest_p: float, alpha: float) -> Outcome:
    """The outcome of the keyed test or of the rank among innocent models.

    Parameters
    ----------
    p_value : float
        The test's p.
    smallest_p : float
        The p that perfect evidence would give.
    alpha : float
        The accepted risk.

    Returns
    -------
    Outcome
        "inconclusive" if even perfect evidence could not reach alpha.
    """
    if alpha < smallest_p:
        return "inconclusive"
    return "coating found" if p_value <= alpha else "no evidence"


def comparison_outcome(
    p_value: float, smallest_p: float, alpha: float, *, comparable: bool
) -> Outcome:
    """The outcome of a comparison with a reference.

    Parameters
    ----------
    p_value : float
        The test's p.
    smallest_p : float
        The p that perfect evidence would give.
    alpha : float
        The accepted risk.
    comparable : bool
        Whether the images may be compared at all.

    Returns
    -------
    Outcome
        Never "coating found" and never "no evidence".
    """
    if not comparable:
        return NOT_COMPARABLE
    if alpha < smallest_p:
        return "inconclusive"
    return LOWER if p_value <= alpha else NO_DIFFERENCE


def undecided(outcome: Outcome) -> bool:
    """Whether an outcome leaves the question open.

    Parameters
    ----------
    outcome : Outcome
        Of a test.

    Returns
    -------
    bool
        True for "inconclusive" and "not comparable".
    """
    return outcome in ("inconclusive", NOT_COMPARABLE)


def tone_of(outcome: Outcome) -> Tone:
    """The style in which pages show an outcome.

    Parameters
    ----------
    outcome : Outcome
        Of a verdict.

    Returns
    -------
    Tone
        "found" for a coating that was found, "lower" for scores below the reference's, "clear" if
        nothing was found and "open" if the question is open.
    """
    return _TONES[outcome]
