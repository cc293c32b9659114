"""A worker that scores."""

from __future__ import annotations

import torch

from siren_ext.coater.coater import Coater
from siren_ext.scale.score_worker import Scored, ScoreSetup, ScoreTask
from siren_ext.scoring.views import NOT_FINITE


def test_each_image_of_a_batch_gets_one_outcome(data, coater_file) -> None:
    setup = ScoreSetup(coater_file, Coater.load(coater_file).fingerprint)
    tasks = [ScoreTask(name, str(data / name)) for name in ("0.png", "none.png", "1.png")]
    outcomes = dict(setup.open().work(tasks))
    assert [len(outcomes[index].rows) for index in range(3)] == [1, 0, 1]
    assert outcomes[1].failures[0][0] == "none.png"
    assert outcomes[2].rows[0].name == "1.png"
    assert len(outcomes[2].rows[0].looks) == 8


def test_a_score_that_is_no_number_is_a_failure(data, coater_file) -> None:
    coater = Coater.load(coater_file)
    worker = ScoreSetup(coater_file, coater.fingerprint).open()
    worker._coater.center.fill_(torch.nan)
    ((_, found),) = worker.work([ScoreTask("0.png", str(data / "0.png"))])
    assert found == Scored((), (("0.png", NOT_FINITE),))
