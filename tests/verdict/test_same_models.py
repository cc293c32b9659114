"""One model that is given as several is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.score_sets import drawn

from siren_ext.errors import ScoreError
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.verdict.models import joined_models
from siren_ext.verdict.same_models import require_different_models

LORA = {"hash": "a" * 64, "weight": 1.0}


def made(seed: int, fingerprint: str, *adapters: dict[str, object], **facts: object) -> ScoreSet:
    suspect = {"kind": "local", "model_fingerprint": fingerprint, "adapters": [*adapters]} | facts
    return replace(drawn(10, 40, seed=seed), source={"provenance": {"suspect": suspect}})


def test_the_same_images_are_refused() -> None:
    first, second = drawn(10, 40, seed=1), drawn(10, 40, seed=2)
    require_different_models([first, second], "innocent model")
    turned = replace(
        first,
        scores=first.scores[::-1],
        names=first.names[::-1],
        hashes=first.hashes[::-1],
        features=None,
        control=None,
        looks=None,
        phashes=None,
    )
    with pytest.raises(ScoreError, match="Innocent models 1 and 3 are the same images"):
        require_different_models([first, second, turned], "innocent model")
    unnamed = replace(first, hashes=("",) * 40)
    with pytest.raises(ScoreError, match="1 and 2 are the same images"):
        require_different_models([unnamed, unnamed], "innocent model")


def test_one_recorded_model_is_no_two() -> None:
    with pytest.raises(ScoreError, match="Reference models 1 and 2 are the same model"):
        joined_models([made(1, "m"), made(2, "m", format="float16")])
    with pytest.raises(ScoreError, match="Reference models 2 and 3 are the same model"):
        joined_models([made(1, "m"), made(2, "m", LORA), made(3, "m", {**LORA, "file": "copy"})])


def test_other_models_and_unknown_ones_are_accepted() -> None:
    other = {**LORA, "hash": "b" * 64}
    pools = [made(1, "m"), made(2, "n"), made(3, "m", LORA), made(4, "m", other)]
    pools += [made(5, "m", {**LORA, "weight": 0.5}), made(6, "m", LORA, other)]
    pools += [replace(drawn(10, 40, seed=seed), source={"provenance": 3}) for seed in (7, 8)]
    require_different_models(pools, "innocent model")
    assert joined_models(pools) is not None
