"""The chain from commitment to key, and the ways in which an owner could cheat."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from support.calendar import Calendar
from support.evidence_samples import known_key
from support.stub_beacon import made_up_round, without_signatures
from support.time_authority import TimeAuthority

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.errors import EvidenceError
from siren_ext.evidence import ots
from siren_ext.evidence.beacon import CHAINS, QUICKNET, read_round
from siren_ext.evidence.chain import ChainFiles, check_chain, derive_keys
from siren_ext.evidence.commitment import make_commitment
from siren_ext.evidence.prompt_plan import CommittedPlan, read_plan
from siren_ext.keys.coating_key import CoatingKey
from siren_ext.keys.derived import KeySalt

PLAN = CommittedPlan(("a fox", "a bear"), 40, 7)
SHAPE = CoaterConfig(channels=4, generator_blocks=1, extractor_blocks=1, working_size=16)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return TimeAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    without_signatures(monkeypatch)


@pytest.fixture
def salt():
    return KeySalt(["a", "b"])


@pytest.fixture
def made(tmp_path, authority, salt):
    """A stamped commitment to a salt and a plan, and the round after it."""
    Coater(SHAPE).save(tmp_path / "coater.safetensors")
    path = tmp_path / "c.json"
    make_commitment(tmp_path / "coater.safetensors", salt=salt, plan=PLAN).save(path)
    files = ChainFiles(path, authority.stamped(path), authority.root, tmp_path / "r.json")
    number = CHAINS[QUICKNET].first_after(files.stamp().latest)
    files.round.write_text(json.dumps(made_up_round(number)))
    return files


@pytest.fixture
def mark(made):
    return Coater.load(made.commitment.parent / "coater.safetensors").fingerprint


def source(**changes):
    plan = {"prompts": ["a fox", "a bear"], "count": 40, "seed": 7, "steps": 20}
    return {"kind": "folder", "provenance": {"plan": plan | changes}}


def test_a_derived_key_is_shown_to_be_nobodys_choice(made, mark, salt):
    ring, checked = derive_keys(salt, made, read_round(made.round))
    assert ring.names == ("a", "b")
    assert "was not checked" in checked
    print_ = ring.key("a").fingerprint()
    given, hashes = made_pictures(40)
    pictures = {"source": given, "images": 40, "hashes": hashes}
    found = check_chain(made, coater=mark, keys=[print_], salt=salt, **pictures)
    assert found.status == "committed before"
    for words in (
        "The commitment existed at 20",
        "so its owner could not choose it",
        "The pictures follow the committed plan",
        "The commitment holds 2 keys, and p is multiplied by it",
    ):
        assert words in found.text
    assert found.keys == 2
    assert found.stamped.endswith("Z")
    assert found.unchecked == ("the signature of the beacon's round",)


def test_a_link_that_is_missing_is_named_and_shows_nothing(made, mark, salt):
    key = derive_keys(salt, made, read_round(made.round))[0].key("a").fingerprint()
    for lacking, words in (
        ({"files": made}, "no --salt"),
        ({"files": replace(made, round=None), "salt": salt}, "no --round"),
        ({"files": replace(made, timestamp=None), "salt": salt}, "no --timestamp"),
    ):
        found = check_chain(lacking.pop("files"), coater=mark, keys=[key], **lacking)
        assert found.status == "no commitment"
        assert "could have been chosen afterwards" in found.text
        assert words in " ".join(found.unchecked)
    with pytest.raises(EvidenceError, match="name the authority's root"):
        check_chain(replace(made, roots=None), coater=mark)
    with pytest.raises(EvidenceError, match="has no time stamp"):
        derive_keys(salt, replace(made, timestamp=None), read_round(made.round))


def test_the_place_of_a_block_is_left_open(made, mark, salt, monkeypatch):
    """A proof of OpenTimestamps leads to a header; its work alone is checked."""
    pytest.importorskip("opentimestamps")
    monkeypatch.setattr(ots, "_LEAST_WORK", 1 << 256)
    proof, header = (made.commitment.with_name(name) for name in ("c.json.ots", "header"))
    with Calendar() as calendar:
        asked = ots.request_proof(calendar.url, made.commitment)
        header.write_bytes(calendar.mine())
        proof.write_bytes(ots.complete_proof(asked).data)
    files = replace(made, timestamp=proof, roots=header, round=None)
    found = check_chain(files, coater=mark)
    assert found.status == "committed before"
    assert found.stamped == "2023-11-14T22:13:20Z"
    assert "this rests on the header of the block with hash" in found.text
    assert found.unchecked == (ots.PLACE,)
    assert found.left_open.startswith("Not checked: whether the block belongs to the chain that B")
    later = made_up_round(CHAINS[QUICKNET].first_after(files.stamp().latest))
    made.round.write_text(json.dumps(later))
    assert ots.PLACE in derive_keys(salt, files, read_round(made.round))[1]


def test_a_crafted_key_does_not_fit(made, mark, salt):
    """The message is read out of the suspect's pictures: a perfect fit, but not a derived key."""
    crafted = known_key().fingerprint()
    found = check_chain(made, coater=mark, keys=[crafted], salt=salt)
    assert found.status == "does not fit"
    assert "is not the one that follows from salt and beacon" in found.text


def test_the_best_of_many_draws_does_not_fit(made, mark, salt):
    """Draws of another salt, or of the same salt with a round of one's choice."""
    strengths = np.random.default_rng(1).normal(size=48)
    draws = np.random.default_rng(2).choice([-1, 1], (1_000_000, 48)).astype(np.int8)
    best = CoatingKey(draws[np.argmax(draws @ strengths)])
    assert (best.signs() == np.sign(strengths)).mean() > 0.75, "it would fit well"
    found = check_chain(made, coater=mark, keys=[best.fingerprint()], salt=salt)
    assert found.status == "does not fit"
    number = json.loads(made.round.read_text())["round"]
    later = read_round(made.round)
    with pytest.raises(EvidenceError, match="not to this salt"):
        derive_keys(KeySalt(["a", "b"]), made, later)
    made.round.write_text(json.dumps(made_up_round(number + 5)))
    later = read_round(made.round)
    with pytest.raises(EvidenceError, match="expected round"):
        derive_keys(salt, made, later)


def test_a_commitment_that_counts_too_few_keys_of_its_salt(made, mark, salt, authority):
    """The salt gives two keys, and p of the better one would be multiplied by one."""
    path = made.commitment
    data = json.loads(path.read_text())
    ring, _ = derive_keys(salt, made, read_round(made.round))
    data["salt"]["count"] = 1
    path.write_text(json.dumps(data))
    given = replace(made, timestamp=authority.stamped(path))
    found = check_chain(given, coater=mark, keys=[ring.key("a").fingerprint()], salt=salt)
    assert found.status == "does not fit"
    assert "states 1 as the number of its salt's keys, but this salt gives 2" in found.text


def test_a_crafted_reader_does_not_fit(made, salt):
    """A coater whose bias was set to the message, which only became known after the stamp."""
    ring, _ = derive_keys(salt, made, read_round(made.round))
    folder = made.commitment.parent
    Coater(SHAPE, seed=5).save(folder / "crafted.safetensors")
    crafted = Coater.load(folder / "crafted.safetensors").fingerprint
    keys = [ring.key("a").fingerprint()]
    found = check_chain(made, coater=crafted, keys=keys, salt=salt)
    assert found.status == "does not fit"
    assert "it is for coater" in found.text


def test_a_drawn_key_shows_its_age_alone(made, mark, authority, tmp_path):
    key = known_key().fingerprint()
    path = tmp_path / "drawn.json"
    make_commitment(tmp_path / "coater.safetensors", [key]).save(path)
    files = ChainFiles(path, authority.stamped(path), authority.root)
    found = check_chain(files, coater=mark, keys=[key])
    assert found.status == "committed before"
    assert "only its age is shown, not that it was drawn at random" in found.text
    assert found.keys == 1


@pytest.mark.parametrize(
    ("changes", "images", "words"),
    [
        ({"seed": 8}, 40, "the seed of the pictures differs"),
        ({"prompts": ["a fox"]}, 40, "the prompts of the pictures differs"),
        ({"count": 80}, 40, "the count of the pictures differs"),
        ({}, 30, "30 pictures were scored, 40 were planned"),
    ],
)
def test_other_pictures_than_planned_do_not_fit(made, mark, changes, images, words):
    found = check_chain(made, coater=mark, source=source(**changes), images=images)
    assert found.status == "does not fit"
    assert words in found.text
    unknown = check_chain(made, coater=mark, source={"kind": "folder"}, images=40)
    assert "the prompts and seeds, of which is no record" in unknown.unchecked


def made_pictures(count, **changes):
    """The record of planned pictures, and their hashes."""
    hashes = [f"{i:064x}" for i in range(count)]
    records = {
        f"{i}.png": {"prompt": PLAN.prompts[i % 2], "seed": 7 + i, "sha256": digest} | changes
        for i, digest in enumerate(hashes)
    }
    given = source()
    given["provenance"]["images"] = records
    return given, hashes


@pytest.mark.parametrize(
    ("changes", "swapped", "words"),
    [
        ({}, None, ""),
        ({"seed": 99}, None, "40 of 40 pictures have a prompt or seed that the plan lacks"),
        ({"prompt": "a cat"}, None, "40 of 40 pictures have a prompt or seed"),
        ({}, "f" * 64, "1 of 40 pictures are not those that the record names"),
        ({}, f"{1:064x}", "1 of 40 pictures repeat a prompt and seed of others"),
    ],
)
def test_every_picture_is_compared_with_the_plan(made, mark, changes, swapped, words):
    given, hashes = made_pictures(40, **changes)
    if swapped:
        hashes[0] = swapped
    found = check_chain(made, coater=mark, source=given, images=40, hashes=hashes)
    assert found.status == ("does not fit" if words else "committed before")
    assert (words or "The pictures follow the committed plan.") in found.text


@pytest.mark.parametrize("lost", ["records", "hashes", "one hash"])
def test_pictures_without_a_record_of_each_are_not_said_to_follow_the_plan(made, mark, lost):
    given, hashes = made_pictures(40)
    if lost == "records":
        del given["provenance"]["images"]
    hashes = {"hashes": [], "one hash": ["", *hashes[1:]]}.get(lost, hashes)
    found = check_chain(made, coater=mark, source=given, images=40, hashes=hashes)
    assert found.status == "committed before"
    assert "the prompt and seed of each picture, of which is no record" in found.unchecked
    assert "follow the committed plan" not in found.text


@pytest.mark.parametrize("changes", [{"prompt": ["a fox"]}, {"seed": {}}, {"sha256": ["a"]}])
def test_a_record_of_another_kind_is_no_traceback(made, mark, changes):
    given, hashes = made_pictures(40, **changes)
    found = check_chain(made, coater=mark, source=given, images=40, hashes=hashes)
    assert found.status == "does not fit"
    assert "40 of 40 pictures" in found.text


def test_planned_pictures_that_could_not_be_scored_are_left_open(made, mark):
    """Whoever damages the pictures that do not fit leaves them out."""
    given, hashes = made_pictures(40)
    found = check_chain(made, coater=mark, source=given, images=40, hashes=hashes[:30])
    assert found.status == "committed before"
    assert "what the planned pictures show that could not be scored" in found.unchecked
    assert "follow the committed plan" not in found.text


@pytest.mark.parametrize("kind", ["preference", "twins"])
def test_a_plan_of_pictures_is_not_used_for_a_models_file(made, mark, kind):
    """Nothing was asked, so nothing can differ from the plan."""
    found = check_chain(made, coater=mark, source={"kind": kind}, images=7, hashes=["a" * 64])
    assert found.status == "committed before"
    assert "The committed plan was not used" in found.text
    assert "follow the committed plan" not in found.text
    assert not [one for one in found.unchecked if "prompt" in one]


def test_a_plan_that_may_stop_early_allows_fewer_pictures():
    early = replace_plan(stopping="sequential")
    assert early.compare(source(), 30)[0] == []
    assert early.compare(source(), 41)[0] == ["41 pictures were scored, 40 were planned"]
    assert "the stopping rule" in early.compare(source(), 30)[1][-1]


def replace_plan(**changes):
    return CommittedPlan(PLAN.prompts, PLAN.count, PLAN.seed, **changes)


def test_a_plan_is_read_from_a_file(tmp_path):
    text = 'prompts = ["a fox", "a bear"]\ncount = 40\nseed = 7\n'
    (tmp_path / "plan.toml").write_text(text)
    assert read_plan(tmp_path / "plan.toml") == PLAN
    (tmp_path / "plan.toml").write_text(text + 'stopping = "when it pays"')
    with pytest.raises(EvidenceError, match="stopping"):
        read_plan(tmp_path / "plan.toml")
