"""Commitments: what they bind, what they claim, and what does not fit."""

from __future__ import annotations

import json
import os
import re
import stat

import numpy as np
import pytest
from PIL import Image
from support.evidence_samples import SALT, SIGNS, known_key
from support.hostile_files import check_reader, wrong_values

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.coating.manifest import MANIFEST_NAME, CoatConfig, CoatEntry, CoatManifest
from siren_ext.errors import EvidenceError
from siren_ext.evidence.commitment import (
    Commitment,
    check_commitment,
    make_commitment,
    not_committed,
)
from siren_ext.files import sha256_file
from siren_ext.keys.coating_key import CoatingKey


@pytest.fixture(scope="module")
def coater_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("coater") / "coater.safetensors"
    shape = CoaterConfig(channels=4, generator_blocks=1, extractor_blocks=1, working_size=16)
    Coater(shape).save(path)
    return path


@pytest.fixture
def coated(tmp_path):
    folder = tmp_path / "coated"
    (folder / "sub").mkdir(parents=True)
    for i, name in enumerate(("a.png", "sub/b.png", "copied.png")):
        Image.fromarray(np.full((20, 20, 3), i, np.uint8)).save(folder / name)
    return folder


def fingerprint(path):
    return Coater.load(path).fingerprint


def test_a_commitment_holds_hashes_and_is_checked(coater_file, coated, tmp_path):
    key = known_key()
    made = make_commitment(coater_file, [key.fingerprint()], coated)
    path = tmp_path / "commitment.json"
    digest = made.save(path)
    assert digest == sha256_file(path)
    assert Commitment.load(path) == made
    assert made.coater_sha256 == sha256_file(coater_file)
    assert dict(made.files)["sub/b.png"] == sha256_file(coated / "sub" / "b.png")
    assert len(made.files) == 3
    found = check_commitment(
        path,
        coater=fingerprint(coater_file),
        keys=[key.fingerprint()],
        coater_file=coater_file,
        coated=coated,
    )
    assert found.status == "committed before"
    assert found.text.startswith(
        "Committed before: the coater, the coater file, the key and 3 coated files match a"
    )
    assert found.created == made.created
    assert re.search(r"a commitment dated 20\d\d-\d\d-\d\d \d\d:\d\d UTC", found.text)
    assert "only as reliable as the place where" in found.text
    assert digest in found.text


def test_it_tells_neither_the_message_nor_the_salt(coater_file, tmp_path):
    path = tmp_path / "c.json"
    make_commitment(coater_file, [known_key().fingerprint()]).save(path)
    text = path.read_text()
    assert SALT.hex() not in text
    assert np.packbits(SIGNS > 0).tobytes().hex() not in text
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_equal_things_give_unlike_hashes(coater_file, tmp_path):
    """What is published can't be guessed from the images and the coater."""
    first, second = (make_commitment(coater_file) for _ in range(2))
    assert first.save(tmp_path / "1.json") != second.save(tmp_path / "2.json")
    with pytest.raises(EvidenceError, match="not overwritten"):
        first.save(tmp_path / "2.json")


def test_only_coated_images_of_a_coating_run_count(coater_file, coated):
    def entry(name, is_coated):
        return CoatEntry(name, name, "0" * 64, "0" * 64, is_coated, None, 1.0, None, (20, 20))

    entries = (entry("a.png", True), entry("copied.png", False), entry("../out.png", True))
    CoatManifest(fingerprint(coater_file), CoatConfig(), entries, ()).save(coated / MANIFEST_NAME)
    assert [name for name, _ in make_commitment(coater_file, (), coated).files] == ["a.png"]
    # several copies in one folder, each with its own record
    files = make_commitment(coater_file, (), coated.parent).files
    assert [name for name, _ in files] == ["coated/a.png"]


def test_images_of_another_coater_or_key_are_refused(coater_file, coated):
    """Their commitment would fit no test of what was published."""
    mark, key, other = fingerprint(coater_file), "ab" * 32, "cd" * 32
    entry = CoatEntry("a.png", "a.png", "0" * 64, "0" * 64, True, None, 1.0, None, (20, 20))

    def coated_with(coater, used):
        run = CoatManifest(coater, CoatConfig(), (entry,), (), key=used)
        run.save(coated / MANIFEST_NAME)

    coated_with("ef" * 32, key)
    with pytest.raises(EvidenceError, match="was coated with the coater efefefefefef, but the"):
        make_commitment(coater_file, [key], coated)
    coated_with(mark, other)
    with pytest.raises(
        EvidenceError, match="a key with the fingerprint cdcdcdcdcdcd, which is not"
    ):
        make_commitment(coater_file, [key], coated.parent)
    assert make_commitment(coater_file, [key, other], coated).files
    assert make_commitment(coater_file, (), coated).files
    coated_with(mark, f"{key}+twins of 12345678")
    assert make_commitment(coater_file, [key], coated).files


def test_a_coating_that_was_stopped_is_refused(coater_file, coated):
    mark = fingerprint(coater_file)
    entry = CoatEntry("a.png", "a.png", "0" * 64, "0" * 64, True, None, 1.0, None, (20, 20))
    stopped = CoatManifest(mark, CoatConfig(), (entry,), (), complete=False)
    stopped.save(coated / MANIFEST_NAME)
    with pytest.raises(EvidenceError, match="was stopped after 1 images, so the commitment would"):
        make_commitment(coater_file, (), coated)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"coater": "f" * 64}, "it is for coater .* but the scores are of coater ffffffffffff"),
        ({"keys": [CoatingKey(SIGNS).fingerprint()]}, "1 of 1 keys are not among its 1 keys"),
        ({"coater_file": None}, "the coater file differs from the committed one"),
        ({"coated": "changed"}, r"files that differ: 1 \(a.png\)"),
        ({"coated": "missing"}, r"files that are missing: 1 \(sub/b.png\)"),
    ],
)
def test_what_does_not_fit_is_named(coater_file, coated, tmp_path, change, words):
    key, path = known_key(), tmp_path / "c.json"
    make_commitment(coater_file, [key.fingerprint()], coated).save(path)
    now = {"coater": fingerprint(coater_file), "keys": [key.fingerprint()]} | change
    if "coater_file" in now:
        now["coater_file"] = tmp_path / "other"
        now["coater_file"].write_bytes(coater_file.read_bytes() + b" ")
    if now.get("coated") == "changed":
        Image.new("RGB", (20, 20), "red").save(coated / "a.png")
    if now.get("coated") == "missing":
        (coated / "sub" / "b.png").unlink()
    if "coated" in now:
        now["coated"] = coated
    found = check_commitment(path, **now)
    assert found.status == "does not fit"
    assert re.search(words, found.text)


def test_a_key_that_was_not_committed_is_told(coater_file, tmp_path):
    make_commitment(coater_file).save(tmp_path / "c.json")
    keys = [known_key().fingerprint()]
    found = check_commitment(tmp_path / "c.json", coater=fingerprint(coater_file), keys=keys)
    assert found.status == "does not fit"
    assert "not among its 0 keys" in found.text
    assert not_committed(keyed=True).text.endswith("the key could have been chosen afterwards.")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"created": "yesterday"}, "created is 'yesterday'; expected a time such as 2026-01-31T12"),
        ({"created": "2026-02-30T12:00:00Z"}, "created is '2026-02-30T12:00:00Z'; expected a time"),
        ({"created": 5}, "created is 5; expected text"),
        ({"committed": ["xyz"]}, r"committed\[0\] is 'xyz'; expected 64 hexadecimal digits"),
        ({"committed": None}, "committed is None; expected a list"),
        ({"files": [{"name": "a\nb", "sha256": "0" * 64}]}, "expected a name without control"),
        ({"files": [{"name": "", "sha256": "0" * 64}]}, r"files\[0\].name is ''; expected text"),
        ({"files": [{"name": "a", "sha256": "0"}]}, r"files\[0\].sha256 is '0'; expected 64 hexa"),
        ({"files": [3]}, r"files\[0\] is 3; expected named values"),
        ({"coater": 7}, "coater is 7; expected text"),
        ({"coater": "x" * 201}, r"\(201 characters\); expected text of at most 200 characters"),
        ({"nonce": ""}, "nonce is ''; expected 64 hexadecimal digits"),
        ({"format": "other"}, "has the format 'other'; expected 'siren_ext.commitment'"),
        ({"more": 1}, "has the unknown name 'more'"),
    ],
)
def test_damaged_commitments_are_refused(coater_file, tmp_path, change, words):
    path = tmp_path / "c.json"
    make_commitment(coater_file).save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(EvidenceError, match=rf"c\.json.*{words}.*that 'siren-ext commit' wrote"):
        Commitment.load(path)


def test_damaged_files_are_refused(coater_file, tmp_path):
    path = tmp_path / "c.json"
    make_commitment(coater_file).save(path)
    check_reader(path, Commitment.load, EvidenceError)
    good = json.loads(path.read_text())
    for what, data in wrong_values(good):
        if what in ("committed = []", "files = []", "coater = 'text'", "tool = 'text'"):
            continue
        path.write_text(json.dumps(data))
        with pytest.raises(EvidenceError, match=r"c\.json.*expected"):
            pytest.fail(f"{what}: {Commitment.load(path)}")


def test_folders_without_images_are_refused(coater_file, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "none"):
        with pytest.raises(EvidenceError):
            make_commitment(coater_file, (), folder)
