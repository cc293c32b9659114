"""A verdict about a source model in plain words, and what it does not prove."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from siren_ext.attribution.source_config import FALLBACK_RATE

if TYPE_CHECKING:
    from siren_ext.attribution.confidence import InnocentRate

QUESTION = "Was the suspicious model trained on pictures that the source model made?"

NULL = (
    "Assumption that is tested: the suspicious model is like the innocent ones. It then reproduces "
    "each key sample with the same probability as they do, independently of the other key samples. "
    "p is the probability of at least as many reproduced key samples under this assumption."
)
"""The null hypothesis in words."""

DOES_NOT_PROVE = (
    "It does not prove that pictures of the source were used. The source's own training images, or "
    "copies of them from elsewhere, teach a model the same; so does starting from the source model "
    "itself, or mixing it in. Only who could reach these can tell.",
    "It does not prove who trained the suspicious model, when, or on purpose.",
    "It does not hold if the innocent models differ from the suspicious one in another way, such "
    "as their base model, their subject or how long they were trained. Choose innocent models of "
    "the same kind.",
    "It does not hold if key samples, settings or innocent models were chosen after the suspicious "
    "model's answers were seen.",
    "A result that is open clears nobody. A model may have been trained on few of the source's "
    "pictures, or weakly, or on such that show nothing of the key samples.",
    "The method is rebuilt from the experiments of its paper, whose method section was not at "
    "hand. How key samples are chosen and asked for is our choice.",
)
"""What a small p does not prove, one sentence or more each."""

SHADOW_NULL = (
    "A discriminator was trained to tell models that were trained on the source's pictures from "
    "innocent ones, by their answers. Assumption that is tested: the suspicious model could have "
    "been one of the innocent ones. Its rank among them can't be smaller than 1 in their number "
    "plus 1, so this level alone accuses nobody."
)
"""The statistical level in words."""


def headline(
    outcome: Literal["found", "open"], hits: int, total: int, p_value: float, rate: InnocentRate
) -> str:
    """A verdict in two sentences.

    Parameters
    ----------
    outcome : {"found", "open"}
        Whether the model is accused.
    hits, total : int
        Key samples that it reproduces, of those that it answered.
    p_value : float
        The probability of so many for an innocent model.
    rate : InnocentRate
        What innocent models reproduce.
    """
    count = f"The suspicious model reproduces {hits} of {total} key samples of the source"
    usual = (
        f"{rate.models} innocent models reproduce {rate.rate:.0%} of theirs"
        if rate.measured
        else f"innocent models are assumed to reproduce at most {rate.upper:.0%}"
    )
    if outcome == "found":
        return (
            f"{count}; {usual}. If it were like them, so many would be reproduced with probability "
            f"{p_value:.1g}. This points to training on pictures of the source, or on what the "
            "source was trained on."
        )
    return f"{count}; {usual}. This is not enough to accuse it (p = {p_value:.2g})."


def verdict_notes(rate: InnocentRate, origin: str, reused: bool, missed: int) -> tuple[str, ...]:
    """What a reader has to know about the figures.

    Parameters
    ----------
    rate : InnocentRate
        What innocent models reproduce.
    origin : {"paper", "given", "known"}
        Where the threshold comes from.
    reused : bool
        Whether the same innocent models chose the threshold and measured the rate.
    missed : int
        Pictures that the suspicious model did not give.
    """
    notes = []
    if not rate.measured:
        # so few models can raise the assumed rate above the paper's, but not lower it
        whence = (
            "the upper end of the 95 % interval of what these reproduce"
            if rate.upper > FALLBACK_RATE
            else "after a single model in the paper"
        )
        notes.append(
            f"The rate of innocent models was measured on {rate.models} of them; three or more are "
            f"needed. {rate.upper:.0%} is assumed instead, {whence}, so nobody is accused."
        )
    else:
        notes.append(
            "p counts key samples, as if all innocent models reproduced them equally often. Where "
            "some reproduce more than others it is too small. Whatever they do, one more innocent "
            f"model reproduces more than all {rate.models} of them in at most 1 of "
            f"{rate.models + 1} cases; more innocent models lower that."
        )
    if origin == "paper":
        notes.append(
            "The threshold is the paper's, for Stable Diffusion at 512 pixels. Give known and "
            "innocent models to choose it for this model."
        )
    if reused:
        notes.append(
            "The same innocent models chose the threshold and measured the rate, which makes p too "
            "small, so nobody is accused. Give four or more."
        )
    if missed:
        notes.append(f"{missed} pictures were asked of the suspicious model and not made.")
    return tuple(notes)
