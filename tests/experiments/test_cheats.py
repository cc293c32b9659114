"""The table of cheats: every quick row is tried, and none of them works."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from siren_ext.errors import ConfigError
from siren_ext.experiments.cheats import cases, cheats

pytest.importorskip("cryptography")

ROOT = Path(__file__).resolve().parents[2]
START, END = "<!-- cheats:start -->", "<!-- cheats:end -->"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return {one.what: one.now() for one in cases(tmp_path_factory.mktemp("cheats")) if one.quick}


def test_no_cheat_of_an_owner_finds_an_innocent_model(found):
    for what in (
        "a key that was read out of the suspect's pictures",
        "the best of a million keys",
        "a coater made to read the message in any picture",
        "prompts and seeds chosen afterwards",
        "leaving out pictures that do not fit",
        "a risk that only a laxer test reaches",
        "leaving out the key",
    ):
        assert found[what].startswith("inconclusive: "), what
    assert found["the best of 10,000 committed keys"].startswith("no evidence: ")
    for what in ("a page that says the opposite, sealed again", "opening the bits that fit"):
        assert found[what].startswith(("differs: ", "refused: ")), what
    for what in (
        "without its warnings",
        "with an earlier commitment",
        "of the third test as of the first",
    ):
        assert found[f"a report {what}, sealed again"].startswith("differs: "), what
    signed = found["a report signed with a key that nobody knows"]
    assert signed == "not checked: Signed by a key you have not named"
    assert found["deleting the record of earlier tests"].startswith("reported: There was no")
    changed = found["changing the record of earlier tests"]
    assert changed.startswith("reported: The ledger of the key file is broken: ")
    asked = found["other prompts for the same model, until they fit"]
    assert asked == "each set of pictures is a test: p is multiplied by 2, then by 6"
    block = found["a Bitcoin block of one's own making as a time stamp"]
    assert block.startswith("refused: The block has less work than any real one since 2016")
    assert block.endswith("belongs to the chain that Bitcoin uses is listed as not checked")
    assert found["without a key, a coater that was chosen afterwards"].startswith("inconclusive")
    assert found["without a key, decoys that find little"].startswith("refused: ")
    seeds = found["another training seed, 1,000 pictures against 4,000 of four clean models"]
    assert seeds.startswith("no difference found ")
    both = found["with and without centring, the better one"]
    assert both == "two tests: p is multiplied by 2, then by 6"
    assert "refused" in found["a random number of one's own as the beacon's"]


def test_tests_of_many_models_and_keys_keep_the_risk(found):
    many = re.search(
        r"(\d+) % find one \(without the ledger (\d+) %", found["one innocent model after another"]
    )
    ring = re.search(
        r"in (\d+) % of 400 tries \(without the factor (\d+) %", found["the best of 50 recipients"]
    )
    ranks = re.search(
        r"(\d+) % find one \(without the ledger (\d+) %",
        found["without a key, one innocent model after another"],
    )
    for seen in (many, ring, ranks):
        assert seen is not None
        kept, plain = map(int, seen.groups())
        assert kept <= 8, "5 % and three standard errors of 400 tries"
        assert plain > 80


def test_a_report_leaves_millions_of_messages(found):
    text = found["reading the message from report, coater and pictures"]
    assert float(text.split()[0]) > 1e6


def test_a_stopped_run_is_resumed_and_the_page_is_written(tmp_path, capsys):
    page, kept = tmp_path / "page.md", tmp_path / "out" / "cheats.json"
    page.write_text(f"before\n{START}\nold\n{END}\nafter\n")
    kept.parent.mkdir()
    done = {one.what: "as it was" for one in cases(tmp_path / "work") if one.quick}
    missing = done.popitem()[0]
    kept.write_text(json.dumps(done))
    cheats(out=kept.parent, page=page, quick=True)
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row[2] == "as it was" for row in shown] == [row[0] != missing for row in shown]
    text = page.read_text()
    assert text.startswith(f"before\n{START}\n**An owner who cheats**\n\n| what is tried | ")
    assert text.endswith(f"|\n{END}\nafter\n")
    assert "old" not in text
    page.write_text("no markers")
    with pytest.raises(ConfigError, match="has no comments <!-- cheats:start -->"):
        cheats(out=kept.parent, page=page, quick=True)


def test_the_page_has_every_row(tmp_path):
    page = (ROOT / "docs" / "cheats.md").read_text(encoding="utf-8")
    missing = [
        one.what for one in cases(tmp_path) if f"\n| {one.what} | {one.before} | " not in page
    ]
    assert missing == []


def test_a_message_that_a_kind_of_picture_hides_is_found_when_centred(found):
    said = found["pictures of a kind that reads alike, such as paintings"]
    assert re.match(r"inconclusive \(p = 0\.\d+\); centred by .*: coating found ", said)


def test_stored_figures_of_models_files_are_shown(found):
    said = found["training with 80 % of the set uncoated: the model's file"]
    with (ROOT / "docs" / "results" / "preference_now_samples.csv").open(
        encoding="utf-8"
    ) as stream:
        kept = [row for row in csv.DictReader(stream) if row["case"] == "share_20"]
    p = {
        control: ", ".join(
            f"{one:.1g}"
            for one in sorted(float(row["p"]) for row in kept if row["control"] == control)
        )
        for control in ("none", "clean", "three cleans")
    }
    assert p["none"].count(", ") == 2
    assert said == (
        f"p = {p['none']} alone; {p['clean']} minus one clean model; "
        f"{p['three cleans']} minus three clean models"
    )
