"""Shares of work, exchanges between real processes, and how a run with several ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.processes import with_support

from siren_ext.devices import pick_device
from siren_ext.errors import ConfigError
from siren_ext.progress import NULL
from siren_ext.ranks import Ranks, current, is_first_to_end, joined, launched

PLACE = {
    "RANK": "1", "WORLD_SIZE": "3", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "1",
}  # fmt: skip


def test_what_a_launcher_says() -> None:
    assert launched(PLACE) == (1, 3, 1)
    for name in PLACE:
        assert launched({key: text for key, text in PLACE.items() if key != name}) is None
    assert launched(PLACE | {"WORLD_SIZE": "1"}) is None
    assert launched(PLACE | {"RANK": "first"}) is None


@given(st.integers(1, 9), st.integers(0, 30), st.integers(0, 30))
def test_shares_of_any_range_are_even_and_complete(size: int, start: int, length: int) -> None:
    ranks = [Ranks(rank, size) for rank in range(size)]
    stop, rows = start + length, list(range(start + length))
    shares = [rows[one.own(start, stop)] for one in ranks]
    assert sorted(row for share in shares for row in share) == rows[start:]
    counts = [len(share) for share in shares]
    assert counts == [one.count(start, stop) for one in ranks]
    assert max(counts) - min(counts) <= 1
    # a row belongs to the same rank in whatever part of a batch it is
    assert all(
        row % size == one.rank for one, share in zip(ranks, shares, strict=True) for row in share
    )


def test_one_rank_exchanges_nothing() -> None:
    alone, tensor = Ranks(), torch.arange(3.0)
    alone.add(tensor)
    alone.wait()
    assert tensor.tolist() == [0, 1, 2]
    assert alone.gather("x") == ["x"]
    assert alone.first(lambda: 5) == 5
    assert alone.watched(NULL) is NULL
    assert alone.mapped(lambda rows: rows * 2, tensor).tolist() == [0, 2, 4]
    assert list(alone.shared([1, 2], str)) == [(1, "1"), (2, "2")]
    with joined("cpu") as found:
        assert found is current()
        assert found.size == 1
    assert is_first_to_end()


def test_each_rank_takes_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [Ranks(rank, 2, rank).device("auto") for rank in range(2)] == ["cuda:0", "cuda:1"]
    assert Ranks(1, 2, 1).device("cuda") == "cuda:1"
    assert Ranks(1, 2, 1).device("cpu") == "cpu"
    assert Ranks().device("cuda:1") == "cuda:1"
    with pytest.raises(ConfigError, match="3 processes were started, but there are 2 GPUs"):
        Ranks(2, 3, 2).device("auto")
    with pytest.raises(ConfigError, match="'cuda:0' was given to 2 processes; expected auto"):
        Ranks(0, 2, 0).device("cuda:0")


def test_without_gpus_all_ranks_compute_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("siren_ext.ranks._now", Ranks(1, 2, 1))
    assert pick_device("auto") == torch.device("cpu")


EXCHANGES = """
import json, os, sys, torch
from siren_ext.errors import Cancelled
from siren_ext.progress import Progress
from siren_ext.ranks import RankLostError, is_first_to_end, joined

class StopsAt(Progress):
    def __init__(self, units):
        self.left = units
        super().__init__(lambda: self.left <= 0)
    def advance(self, units=1, note=""):
        self.left -= units
        super().advance(units, note)

told = {}
try:
    with joined("cpu") as ranks:
        one, two = torch.full((2, 2), 1.0 + ranks.rank), torch.tensor(3.0)
        ranks.add(one, two)
        told["sums"] = [one.tolist(), float(two)]
        told["gathered"] = ranks.gather(ranks.rank * 10)
        told["first"] = ranks.first(lambda: f"made by {ranks.rank}")
        for count in (5, 1):
            rows = torch.arange(float(count))
            assert torch.equal(ranks.mapped(lambda own: own * 2, rows), rows * 2)
        told["shared"] = list(ranks.shared("abc", lambda piece: piece + str(ranks.rank)))
        progress, done = ranks.watched(StopsAt(3 if ranks.rank else 9)), 0
        try:
            while True:
                progress.advance()
                done += 1
        except Cancelled:
            told["done"] = done
        if ranks.rank:
            print(json.dumps(told), flush=True)
            os._exit(9)
        ranks.wait()
except RankLostError as error:
    told["lost"] = str(error)
    told["first to end"] = [is_first_to_end(), is_first_to_end()]
print(json.dumps(told), flush=True)
"""


@pytest.mark.slow
def test_two_processes_exchange_stop_together_and_notice_a_loss() -> None:
    port = _free_port()
    environment = with_support() | {
        "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    running = [
        subprocess.Popen(
            [sys.executable, "-c", EXCHANGES],
            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    told = [json.loads(one.communicate(timeout=120)[0]) for one in running]
    for one in told:
        assert one["sums"] == [[[3, 3], [3, 3]], 6]
        assert one["gathered"] == [0, 10]
        assert one["first"] == "made by 0"
        assert one["shared"] == [["a", "a0"], ["b", "b1"], ["c", "c0"]]
        assert one["done"] == 2
    assert "Another process of this run has ended or does not answer" in told[0]["lost"]
    assert told[0]["first to end"] == [True, False]


def _free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_files_of_other_ranks_are_locked_by_the_main_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from siren_ext.files import locked

    with locked(tmp_path / "out"):
        monkeypatch.setattr("siren_ext.ranks._now", Ranks(1, 2, 1))
        with locked(tmp_path / "out"):
            pass
        monkeypatch.undo()
        with pytest.raises(ConfigError, match="is being written by another run"):  # noqa: SIM117
            with locked(tmp_path / "out"):
                pass
