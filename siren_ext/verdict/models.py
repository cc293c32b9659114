"""Several reference models: joined for the comparison of pictures, and compared as models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from siren_ext.errors import ScoreError
from siren_ext.scoring.appearance import shown_alike
from siren_ext.scoring.copies import distinct_rows
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.prediction import LEAST_MODELS, prediction_less
from siren_ext.verdict.findings import Finding
from siren_ext.verdict.outcomes import LOWER_RANK, comparison_outcome
from siren_ext.verdict.pools import identical_pools, pools_contrast
from siren_ext.verdict.same_models import require_different_models

MODELS = "reference models"
"""``source["kind"]`` of the joined scores of several models, with ``source["images"]`` of each."""


def joined_models(references: Sequence[ScoreSet]) -> ScoreSet | None:
    """The scores of several reference models as one reference.

    Parameters
    ----------
    references : Sequence[ScoreSet]
        Scores of clean models by one coater.

    Returns
    -------
    ScoreSet | None
        Those of the only model unchanged; of several, one set in which names begin with the number
        of the model and :func:`models_of` finds the models again; None without any.

    Raises
    ------
    ScoreError
        The scores come from different coaters, or two sets are those of the same images or,
        by their records, of the same model.
    """
    if len(references) < 2:
        return references[0] if references else None
    require_different_models(references, "reference model")
    joined = ScoreSet.concat(references)
    numbered = enumerate(references, start=1)
    source = {
        "kind": MODELS,
        "images": [len(one) for one in references],
        "parts": [one.source for one in references],
    }
    names = tuple(f"model {number}/{name}" for number, one in numbered for name in one.names)
    return replace(joined, names=names, source=source)


def models_of(reference: ScoreSet) -> list[ScoreSet]:
    """The models whose scores were joined.

    Parameters
    ----------
    reference : ScoreSet
        A reference.

    Returns
    -------
    list[ScoreSet]
        One set per model; empty if it is a single model.

    Raises
    ------
    ScoreError
        The numbers of images do not add up to those that there are.
    """
    if reference.source.get("kind") != MODELS:
        return []
    sizes, parts = reference.source.get("images"), reference.source.get("parts")
    whole = isinstance(sizes, list) and all(type(one) is int and one > 0 for one in sizes)
    if (
        not isinstance(sizes, list)
        or not isinstance(parts, list)
        or not whole
        or (sum(sizes), len(sizes)) != (len(reference), len(parts))
        or not all(isinstance(one, dict) for one in parts)
    ):
        raise ScoreError(
            "The scores of several reference models do not say which images belong to which; "
            "give the file of each model with --reference."
        )
    found, start = [], 0
    for size, source in zip(sizes, parts, strict=True):
        found.append(_part(reference, start, start + size, source))
        start += size
    return found


def models_finding(suspect: ScoreSet, reference: ScoreSet, alpha: float) -> Finding | None:
    """Test whether the suspect's mean score is lower than that of another clean model would be.

    Each model is represented by its first images, as many as the smallest pool has, because means
    of fewer images vary more.

    Parameters
    ----------
    suspect : ScoreSet
        The suspect's scores.
    reference : ScoreSet
        Those of clean models, of :func:`joined_models`.
    alpha : float
        The accepted risk.

    Returns
    -------
    Finding | None
        Never "coating found"; "not comparable" if the images are not shown to look alike. None for
        fewer than three models.

    Raises
    ------
    ScoreError
        Two of the models are the same.

    References
    ----------
    :mod:`siren_ext.stats.prediction`.
    """
    models = models_of(reference)
    if len(models) < LEAST_MODELS:
        return None
    _require_different(models)
    pools = (suspect, *models)
    rows = [distinct_rows(pool) for pool in pools]
    count = min(map(len, rows))
    own, *others = (
        float(pool.scores[kept[:count]].mean()) for pool, kept in zip(pools, rows, strict=True)
    )
    result = prediction_less(own, others)
    apart = pools_contrast(suspect, reference)
    outcome = comparison_outcome(
        result.p_value,
        result.smallest_p,
        alpha,
        comparable=shown_alike(apart),
        lower=LOWER_RANK,
    )
    return Finding("models", outcome, result, count, len(models), contrast=apart)


def compared_models(suspect: ScoreSet, reference: ScoreSet, alpha: float) -> list[Finding]:
    """:func:`models_finding` as a list, which is empty for fewer than three models.

    Parameters
    ----------
    suspect, reference, alpha
        As in :func:`models_finding`.

    Returns
    -------
    list[Finding]
        At most one.

    Raises
    ------
    ScoreError
        As in :func:`models_finding`.
    """
    found = models_finding(suspect, reference, alpha)
    return [] if found is None else [found]


def _require_different(models: Sequence[ScoreSet]) -> None:
    """Refuse the same model twice, which would make clean models look more alike than they are."""
    for place, one in enumerate(models, start=1):
        for other, second in enumerate(models[place:], start=place + 1):
            if identical_pools(one, second):
                raise ScoreError(
                    f"Reference models {place} and {other} are the same images; give the scores of "
                    "each model once."
                )


def _part(pool: ScoreSet, start: int, end: int, source: dict[str, object]) -> ScoreSet:
    """Rows of a pool."""
    rows = slice(start, end)
    return ScoreSet(
        pool.scores[rows],
        pool.names[rows],
        pool.hashes[rows],
        pool.coater,
        source,
        features=None if pool.features is None else pool.features[rows],
        looks=None if pool.looks is None else pool.looks[rows],
        phashes=None if pool.phashes is None else pool.phashes[rows],
    )
