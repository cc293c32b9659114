"""Beacon rounds: the schedule, the hash, the signature, and what is said without a check of it."""

from __future__ import annotations

import hashlib
import json
import sys
from datetime import datetime, timedelta, timezone

import pytest
from support.stub_beacon import ROUND_1000, StubBeacon, need_curves, without_signatures

from siren_ext.errors import ConfigError, EvidenceError
from siren_ext.evidence.beacon import (
    CHAINS,
    DEFAULT,
    QUICKNET,
    check_round,
    fetch_round,
    known_chain,
    plain_round,
    read_round,
)

QUICK = CHAINS[QUICKNET]


@pytest.fixture
def real(tmp_path):
    path = tmp_path / "round.json"
    path.write_text(json.dumps(ROUND_1000))
    return read_round(path)


@pytest.fixture
def no_curves(monkeypatch):
    """As if ``py_ecc`` were not installed."""
    without_signatures(monkeypatch)


def test_chain_hashes_follow_from_the_values():
    assert {chain.hash for chain in CHAINS.values()} == set(CHAINS) == {QUICKNET, DEFAULT}
    with pytest.raises(EvidenceError, match="is not known"):
        known_chain("00" * 32)


def test_the_first_round_after_a_time_is_the_next_one():
    start = datetime.fromtimestamp(QUICK.genesis, timezone.utc)
    assert QUICK.time_of(1) == start
    for seconds, number in ((0, 2), (0.5, 2), (2.999, 2), (3, 3), (2997, 1001)):
        assert QUICK.first_after(start + timedelta(seconds=seconds)) == number
    assert QUICK.time_of(QUICK.first_after(start)) > start
    with pytest.raises(EvidenceError, match="started later"):
        QUICK.first_after(start - timedelta(seconds=1))


def test_a_real_round_is_the_networks(real):
    need_curves()
    found = check_round(real, QUICK, 1000)
    assert found.signature is True
    assert "is the network's" in found.text


def test_checking_leaves_the_limit_of_nested_calls_as_it_was(real):
    need_curves()
    limit = sys.getrecursionlimit()
    for _ in range(2):  # the package raises it when it is imported
        assert check_round(real, QUICK, 1000).signature is True
        assert sys.getrecursionlimit() == limit


def test_a_made_up_round_is_refused_by_its_signature(real):
    need_curves()
    made = dict(plain_round(real))
    made["signature"] = made["signature"][:-2] + "38"
    made["randomness"] = hashlib.sha256(bytes.fromhex(made["signature"])).hexdigest()
    with pytest.raises(EvidenceError, match="is not the network's"):
        check_round(type(real)(**made), QUICK, 1000)


def test_without_the_package_the_missing_check_is_stated(real, no_curves):
    found = check_round(real, QUICK, 1000)
    assert found.signature is None
    assert "was not checked, so the round could be made up" in found.text


def test_another_round_or_randomness_is_refused(real, no_curves):
    with pytest.raises(EvidenceError, match=r"is 1,000; expected round 1,001"):
        check_round(real, QUICK, 1001)
    other = type(real)(1000, "00" * 32, real.signature)
    with pytest.raises(EvidenceError, match="does not follow from its signature"):
        check_round(other, QUICK, 1000)


def test_a_round_is_fetched_from_a_server(no_curves):
    with StubBeacon() as server:
        found = fetch_round(server.url, QUICK, 1234)
        assert check_round(found, QUICK, 1234).signature is None
        with pytest.raises(EvidenceError, match="404"):
            fetch_round(server.url, CHAINS[DEFAULT], 7)
    with pytest.raises(ConfigError, match="https"):
        fetch_round("http://api.drand.example", QUICK, 1)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"round": 0}', '{"round": 1, "randomness": "x", "signature": "00"}']
)
def test_files_that_are_no_rounds_are_refused(tmp_path, text):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(EvidenceError, match=r"r\.json"):
        read_round(tmp_path / "r.json")
