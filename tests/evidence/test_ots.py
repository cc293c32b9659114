"""Proofs of OpenTimestamps: promised, completed and checked against a block, without a network."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from support.calendar import TIME, Calendar, block_header

from siren_ext.errors import ConfigError, EvidenceError
from siren_ext.evidence import ots
from siren_ext.evidence.ots import (
    MAGIC,
    check_proof,
    complete_proof,
    read_header,
    read_proof,
    request_proof,
)
from siren_ext.evidence.stamp import check_stamp

pytest.importorskip("opentimestamps")

# The first block of all, whose figures are well known.
GENESIS = (
    "01000000" + "00" * 32 + "3ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a"
    "29ab5f49ffff001d1dac2b7c"
)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "c.json"
    path.write_text("a commitment")
    return path


@pytest.fixture
def any_work(monkeypatch):
    """Blocks of the test have next to no work."""
    monkeypatch.setattr(ots, "_LEAST_WORK", 1 << 256)


def saved(proof, file):
    place = file.with_name("c.json.ots")
    place.write_bytes(proof.data)
    return place


def test_a_proof_is_promised_completed_and_checked(file, any_work):
    with Calendar() as calendar:
        proof = request_proof(calendar.url, file)
        assert proof.data.startswith(MAGIC)
        assert (proof.blocks, proof.calendars) == ((), (calendar.url,))
        asked = next(iter(calendar.promised.values()))
        assert asked != hashlib.sha256(file.read_bytes()).digest(), "a random number is added"
        place = saved(proof, file)
        assert read_proof(place, file) == proof
        assert complete_proof(proof) == proof, "not in a block yet"
        with pytest.raises(EvidenceError, match="The proof is pending at http://127"):
            check_proof(proof, bytes(80))
        header = calendar.mine()
        whole = complete_proof(read_proof(place, file))
        assert complete_proof(whole) == whole
    block, found, latest = check_proof(whole, header)
    assert block.height == calendar.height
    assert found.time == datetime.fromtimestamp(TIME, timezone.utc)
    assert latest == found.time + timedelta(hours=2)
    assert check_proof(whole, header.hex().encode() + b"\n") == (block, found, latest)
    with pytest.raises(EvidenceError, match="leads to block 800,000, but the header of another"):
        check_proof(whole, block_header(bytes(32)))


def test_a_complete_proof_is_a_time_stamp_like_others(file, any_work):
    with Calendar() as calendar:
        proof = request_proof(calendar.url, file)
        (header := file.with_name("header.txt")).write_text(calendar.mine().hex())
        place = saved(complete_proof(proof), file)
    stamp = check_stamp(place, file, header)
    assert stamp.text == "2023-11-14 22:13:20 UTC by Bitcoin block 800,000"
    assert stamp.latest - stamp.time == timedelta(hours=2)
    assert stamp.root.startswith("the header of the block with hash ")
    assert stamp.unchecked.startswith("whether the block belongs to the chain that Bitcoin uses")


def test_a_proof_of_another_file_is_refused(file):
    with Calendar() as calendar:
        place = saved(request_proof(calendar.url, file), file)
    file.write_text("a commitment, changed later")
    with pytest.raises(EvidenceError, match=r"c\.json\.ots does not belong to c\.json"):
        read_proof(place, file)


def test_damaged_proofs_are_refused(file):
    with Calendar() as calendar:
        good = request_proof(calendar.url, file).data
    place = file.with_name("c.json.ots")
    rng = np.random.default_rng(0)
    for _ in range(150):
        bad = bytearray(good[: rng.integers(0, len(good) + 1)])
        for place_ in rng.integers(0, max(1, len(bad)), 3):
            if len(bad) > 31:
                bad[max(31, place_)] = rng.integers(0, 256)
        place.write_bytes(bad)
        with suppress(EvidenceError):
            read_proof(place, file)


def test_a_calendar_that_does_not_answer_with_a_proof(file):
    with Calendar() as calendar:
        for wrong in (b"", b"no proof", bytes(200), b"\xff" * 900):
            calendar.wrong = wrong
            with pytest.raises(EvidenceError, match="calendar's answer is not a proof"):
                request_proof(calendar.url, file)
        calendar.wrong = bytes(20_000)
        with pytest.raises(EvidenceError):
            request_proof(calendar.url, file)
    with pytest.raises(ConfigError, match="not encrypted"):
        request_proof("http://calendar.example", file)


def test_a_header_without_work_is_refused(monkeypatch):
    with pytest.raises(EvidenceError, match="less work than any real one since 2016"):
        read_header(GENESIS.encode())
    monkeypatch.setattr(ots, "_LEAST_WORK", 1 << 224)
    found = read_header(bytes.fromhex(GENESIS))
    assert found.hash == "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"
    assert found.time == datetime(2009, 1, 3, 18, 15, 5, tzinfo=timezone.utc)
    harder = GENESIS.replace("ffff001d", "ffff001c")  # the header asks for more work than it has
    for bad in (harder, GENESIS[:-1], "x" * 160, ""):
        with pytest.raises(EvidenceError):
            read_header(bad.encode())
