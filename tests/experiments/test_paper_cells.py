"""Rows of the paper's tables: what tells models apart."""

from __future__ import annotations

import json

from siren_ext.attacks.apply import Step
from siren_ext.experiments.paper_cells import Made, digest, mixture


def test_mixtures_have_exact_numbers() -> None:
    used, coated = mixture(40, Made(0.15), 3)
    assert used == list(range(40))
    assert len(coated) == 6
    used, coated = mixture(40, Made(0.5, images=10), 3)
    assert len(used) == 10
    assert used == sorted(used)
    assert len(coated) == 5
    assert coated < set(used)
    assert mixture(40, Made(0.5), 3) == mixture(40, Made(0.5), 3) != mixture(40, Made(0.5), 4)
    assert mixture(40, Made(), 3)[1] == set(range(40))


def test_models_are_told_apart_by_everything_that_made_them() -> None:
    kinds = [
        Made(),
        Made(share=0.5),
        Made(images=5),
        Made(handling=(Step("jpeg"),)),
        Made(handling=(Step("jpeg", {"quality": 30}),)),
        Made(training={"rank": 8}),
        Made(weights="half"),
        Made(trigger=" x"),
        Made(further=5),
    ]
    assert len({digest(made.to_plain()) for made in kinds}) == len(kinds)
    assert digest(Made().to_plain()) == digest(json.loads(json.dumps(Made().to_plain())))
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest("a", "b") != digest("b", "a")
