"""A worker coats batches in its own process; here it is called directly."""

from __future__ import annotations

import errno
from concurrent.futures import ThreadPoolExecutor

from siren_ext.coater.coater import Coater
from siren_ext.coating.folder import open_run
from siren_ext.coating.manifest import CoatConfig, CoatEntry
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import ImageError
from siren_ext.scale import coat_worker as module
from siren_ext.scale.coat_worker import CoatingWorker, CoatSetup
from siren_ext.scale.worker import Failure


def test_each_job_of_a_batch_gets_one_outcome(data, coater_file, tmp_path) -> None:

    coater, out = Coater.load(coater_file), tmp_path / "out"
    run = open_run(ImageSet.open(data), coater, out)
    with ThreadPoolExecutor() as pool:
        jobs = run.plan(pool)
    (data / "3.png").write_bytes(b"broken since it was planned")
    worker = CoatingWorker(CoatSetup(coater_file, coater.fingerprint, CoatConfig(), out))
    outcomes = dict(worker.work(jobs))
    assert sorted(outcomes) == list(range(12))
    for index, outcome in outcomes.items():
        if jobs[index].item.name == "3.png":
            assert isinstance(outcome, Failure)
        else:
            assert isinstance(outcome, CoatEntry)
            assert outcome.source == jobs[index].item.name
            assert (out / outcome.output).is_file()


def test_a_full_disk_is_told_apart(data, coater_file, tmp_path, monkeypatch) -> None:
    def full(*_: object) -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise ImageError("can't be written") from error

    monkeypatch.setattr(module, "write_entry", full)
    test = Coater.load(coater_file)
    run = open_run(ImageSet.open(data), test, tmp_path / "out")

    with ThreadPoolExecutor() as pool:
        jobs = run.plan(pool)[:1]
    setup = CoatSetup(coater_file, test.fingerprint, CoatConfig(), tmp_path / "out")
    assert list(CoatingWorker(setup).work(jobs)) == [
        (0, Failure("No space left on device", full=True))
    ]
