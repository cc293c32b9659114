"""What a verdict by each test does not prove."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siren_ext.verdict.decoys_words import decoys_limits
from siren_ext.verdict.models_words import models_limits
from siren_ext.verdict.twins_words import twins_limits

if TYPE_CHECKING:
    from siren_ext.verdict.findings import Test

_OWNER = "It does not say who owns the images or whether using them was lawful."
_ROUTE = (
    "It does not say how the coating got into the model: the images may have come from a third "
    "party, or the model may have been trained on another model's output."
)
_CHANCE = "The stated chance is not the probability that the model is innocent. "
_SHARE = (
    "The share of random keys is not the probability that the model is innocent. It says how many "
    "of all possible keys would fit "
)
_CROPS = (
    "Pictures that are crops of one another count as several, which makes the chance too small. "
    "Give each picture once."
)
_TRIALS = (
    "Every further model, set of prompts or repetition that is tried adds to the risk of a false "
    "alarm. Only a test that was planned in advance has the stated risk."
)
_MISSED = (
    "Finding nothing does not prove innocence: too few images, short training or image processing "
    "can hide a coating, and images that were also published without it are not protected."
)
LIMITS: dict[Test, tuple[str, ...]] = {
    "twins": (_OWNER, _ROUTE, *twins_limits(_CHANCE)),
    "keyed": (
        _OWNER,
        _ROUTE,
        "The test is valid only if the key was drawn at random before the images existed and "
        "nobody chose images by looking at the result. A published commitment proves the first "
        "part.",
        _SHARE + "these images as well.",
        _TRIALS,
        _MISSED,
    ),
    "decoys": (_OWNER, _ROUTE, *decoys_limits(_CHANCE), _TRIALS, _MISSED),
    "rank": (
        _OWNER,
        _ROUTE,
        "The test compares the suspect with the innocent models that were supplied. A suspect "
        "whose style, subject, base model or settings none of them shares can stand out without "
        "having seen a coated image. Only the keyed test shows that your coating was found.",
        _CHANCE + "It is how often an innocent model of the same kind would stand out this much.",
        _CROPS,
        _TRIALS,
        _MISSED,
    ),
    "models": (_OWNER, _ROUTE, *models_limits(_CHANCE), _CROPS, _TRIALS, _MISSED),
    "ks": (
        _OWNER,
        _ROUTE,
        "The test asks whether the suspect's scores could come from the same distribution as the "
        "reference's. It does not show why they differ. A model of another style, subject, base "
        "model or settings can score lower without having seen a coated image, and so can a model "
        "trained on images with another coating, a clean model of another training seed, and "
        "images that were compressed or edited. Only the keyed test shows that your coating was "
        "found.",
        _CHANCE + "It is how often scores this low would occur if suspect and reference did not "
        "differ.",
        _CROPS,
        _TRIALS,
        _MISSED,
    ),
}
"""What a verdict by each test does not prove."""
PREFERENCE_LIMITS = (
    *LIMITS["keyed"][:2],
    "The test is valid only if the key was drawn at random before the model existed and nobody "
    "chose images or settings by looking at the result. A published commitment proves the first "
    "part.",
    _SHARE + "this model as well.",
    "Every further model or setting that is tried adds to the risk of a false alarm. Only a test "
    "that was planned in advance has the stated risk.",
    "Finding nothing does not prove innocence: short or weak training can hide a coating, and "
    "images that were also published without it are not protected.",
)
"""What a verdict by the keyed test of a model's preference does not prove."""
