"""What a test can say."""

from __future__ import annotations

from typing import Final, Literal

Outcome = Literal[
    "coating found",
    "no evidence",
    "inconclusive",
    "scores lower than this reference",
    "scores lower than these innocent models",
    "no difference found",
    "not comparable",
]
"""The first three are those of tests of a key, of twins and of decoys. A comparison with a
reference, or with innocent models, says one of the others, or "inconclusive" if there are too few
images or models for the accepted risk: lower scores alone never show that a coating was found,
because they can have other causes than training."""

LOWER: Final = "scores lower than this reference"
LOWER_RANK: Final = "scores lower than these innocent models"
NO_DIFFERENCE: Final = "no difference found"
NOT_COMPARABLE: Final = "not comparable"

Tone = Literal["found", "lower", "clear", "open"]
_TONES: dict[Outcome, Tone] = {
    "coating found": "found",
    "no evidence": "clear",
    "inconclusive": "open",
    LOWER: "lower",
    LOWER_RANK: "lower",
    NO_DIFFERENCE: "clear",
    NOT_COMPARABLE: "open",
}


def outcome_of(p_value: float, smallest_p: float, alpha: float) -> Outcome:
    """The outcome of a test of a key.

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
    p_value: float,
    smallest_p: float,
    alpha: float,
    *,
    comparable: bool,
    lower: Outcome = LOWER,
) -> Outcome:
    """The outcome of a comparison with a reference or with innocent models.

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
    lower : Outcome
        What is said of lower scores.

    Returns
    -------
    Outcome
        Never "coating found" and never "no evidence".
    """
    if not comparable:
        return NOT_COMPARABLE
    if alpha < smallest_p:
        return "inconclusive"
    return lower if p_value <= alpha else NO_DIFFERENCE


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
        "found" for a coating that was found, "lower" for scores below those compared with,
        "clear" if nothing was found and "open" if the question is open.
    """
    return _TONES[outcome]
