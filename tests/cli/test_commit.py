"""The command ``commit`` refuses what it can not bind."""

from __future__ import annotations

import pytest
from support.calendar import Calendar
from support.key_commands import refused
from support.time_authority import TimeAuthority

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.evidence import ots

pytestmark = pytest.mark.usefixtures("cheap", "secret_in_environment")


def test_bad_input_of_commit_is_one_message(case, call):
    before = (case / "keys.json").read_bytes()
    for arguments, words in (
        (("commit", "--coater", "none", "--out", "c.json"), "none"),
        (("commit", "--coater", "none", "--out", "keys.json"), "not overwritten"),
    ):
        refused(call, arguments, words)
    assert (case / "keys.json").read_bytes() == before
    assert not (case / "r").exists()


def test_a_commitment_is_stamped_and_the_stamp_checked(work, call, tmp_path):
    authority = TimeAuthority(tmp_path / "authority")
    shape = CoaterConfig(channels=4, generator_blocks=1, extractor_blocks=1, working_size=16)
    Coater(shape).save(work / "coater.safetensors")
    code, out, _ = call("commit", "--coater", "coater.safetensors", "--out", "c.json")
    assert code == 0
    root = ("--root", str(authority.root))
    with authority.serving() as url:
        code, out, told = call("commit", "stamp", "c.json", "--url", url, *root)
        assert code == 0
        assert out.startswith("c.json existed at 20")
        assert "UTC by CN=Test authority" in out
        assert "Whether certificates were revoked was not checked" in told
        refused(call, ("commit", "stamp", "c.json", "--url", url, *root), "not overwritten")
        (work / "d.json").write_text("other")
        stranger = TimeAuthority(tmp_path / "stranger", name="Stranger")
        wrong = ("commit", "stamp", "d.json", "--url", url, "--root", str(stranger.root))
        refused(call, wrong, "not a valid time stamp")
        assert not (work / "d.json.tsr").exists()
    code, again, _ = call("commit", "stamp", "c.json", "--token", "c.json.tsr", *root)
    assert (code, again) == (0, out)
    refused(call, ("commit", "stamp", "d.json", "--token", "c.json.tsr", *root), "not a valid time")
    refused(call, ("commit", "stamp", "c.json", *root), "either --url, to ask")
    refused(call, ("commit", "stamp", "c.json", "--token", "c.json.tsr"), "need --root")
    refused(call, ("commit", "stamp", "d.json", "--url", "http://tsa.example", *root), "https")


def test_a_proof_of_a_calendar_is_kept_completed_and_checked(work, call, monkeypatch):
    pytest.importorskip("opentimestamps")
    monkeypatch.setattr(ots, "_LEAST_WORK", 1 << 256)
    (work / "c.json").write_text("a commitment")
    with Calendar() as calendar:
        line = ("commit", "stamp", "c.json", "--calendar", calendar.url)
        for _ in range(2):
            code, out, told = call(*line)
            assert code == 3, told
            assert out == f"c.json.ots is pending at {calendar.url}\n"
            assert "again in a few hours" in told
        (work / "header").write_bytes(header := calendar.mine())
        code, out, told = call(*line)
        assert code == 3
        assert out == "c.json.ots is complete: it leads to Bitcoin block 800,000. Not verified\n"
        assert [one.split("/")[1] for one in calendar.asked] == ["digest", "timestamp", "timestamp"]
        calendar.wrong = header.hex().encode()
        check = ("commit", "stamp", "c.json", "--proof", "c.json.ots", "--header")
        for where in ("header", f"{calendar.url}/timestamp/{next(iter(calendar.complete)).hex()}"):
            code, out, told = call(*check, where)
            assert code == 3, told
            assert out == "c.json existed at 2023-11-14 22:13:20 UTC\n"
            assert "made by 2023-11-15 00:13 UTC at the latest" in told
            assert "Not checked: whether the block belongs to the chain that Bitcoin uses" in told
    root = ("--root", "header")
    refused(call, (*line, *root), "leave out the one that does not belong")
    refused(call, (*line, "--header", "header"), "leave out the one that does not belong")
    refused(call, (*check, "http://explorer.example/header"), "https")
    (work / "c.json").write_text("another")
    refused(call, (*check, "header"), "c.json.ots does not belong to c.json")


def test_a_public_coater_is_warned_of(work, call):
    code, _, told = call("commit", "--coater", "keyed", "--out", "keyed.json")
    assert code == 0
    assert "Warning: This coater comes with the program" in told
