"""The ledger: tests are counted, priced and bound to one another; faults are reported."""

from __future__ import annotations

import dataclasses
import errno
import json
import subprocess
import sys

import numpy as np
import pytest
from support.processes import with_support
from support.score_sets import drawn

from siren_ext.errors import EvidenceError
from siren_ext.evidence.ledger import (
    count_test,
    counted_words,
    ledger_of,
    price_of,
    priced,
    read_ledger,
    start_ledger,
    suspect_digest,
)
from siren_ext.evidence.precedence import not_committed
from siren_ext.stats.keyed_bounds import message_tail

KEY, OTHER = "ab" * 32, "cd" * 32


@pytest.fixture
def file(tmp_path):
    start_ledger(tmp_path / "keys.json")
    return tmp_path / "keys.json"


def suspect(seed):
    return drawn(5, seed=seed)


def test_every_suspect_is_another_test_and_a_repetition_is_not(file):
    counts = [count_test(file, suspect(seed), KEY) for seed in (1, 2, 3, 2)]
    assert [one.number for one in counts] == [1, 2, 3, 2]
    assert all(one.whole for one in counts)
    assert [one.price for one in counts] == [2, 6, 12, 6]
    assert counts[2].text == "This is test 3 of the key file; p is multiplied by 12."
    assert counts[3].text.startswith("This is test 2 of the key file again;")
    assert counts[3].head == counts[2].head, "nothing was added"
    again = count_test(file, suspect(2), OTHER)
    assert again.number == 2, "recipients are priced by their number"
    entries, fault = read_ledger(ledger_of(file))
    assert fault == ""
    assert [one.number for one in entries] == [0, 1, 2, 3, 2]


def test_what_is_tested_decides_and_not_its_order():
    first = suspect(1)
    rows = np.arange(len(first))[::-1]
    turned = type(first)(first.scores[rows], first.names[::-1], first.hashes[::-1], first.coater)
    assert suspect_digest(turned) == suspect_digest(first)
    fewer = type(first)(first.scores[:9], first.names[:9], first.hashes[:9], first.coater)
    assert suspect_digest(fewer) != suspect_digest(first)


def in_order(scores, order):
    rows = {name: getattr(scores, name)[order] for name in ("scores", "features", "looks")}
    for name in ("names", "hashes", "phashes"):
        rows[name] = tuple(getattr(scores, name)[row] for row in order)
    return dataclasses.replace(scores, control=None, **rows)


def test_another_choice_among_near_copies_is_another_test(file):
    """Only the first of near copies counts, so their order could be chosen for its p."""
    first = suspect(1)
    rest = list(range(2, len(first)))
    copies = dataclasses.replace(first, phashes=(first.phashes[1], *first.phashes[1:]))
    turned, same = in_order(copies, [1, 0, *rest]), in_order(copies, [0, 1, *rest[::-1]])
    assert suspect_digest(turned) != suspect_digest(copies)
    assert suspect_digest(turned, chosen=False) == suspect_digest(copies, chosen=False)
    assert suspect_digest(same) == suspect_digest(copies), "the same pictures count"
    assert suspect_digest(first) == suspect_digest(first, chosen=False), "as before"
    assert [count_test(file, one, KEY).number for one in (copies, same, turned)] == [1, 1, 2]


def test_another_reading_of_a_model_is_another_test():
    settings = {"mirrored": True, "removed": True, "batch_size": 8}
    stranger = {"model_fingerprint": "a", "adapters": [{"hash": "b", "weight": 1.0}]}

    def measured(others=(), **changed):
        models = {"suspect": {}, "controls": []} | ({"others": list(others)} if others else {})
        facts = {"kind": "preference", "settings": settings | changed, "provenance": models}
        return dataclasses.replace(suspect(1), source=facts)

    usual = suspect_digest(measured())
    assert suspect_digest(measured(batch_size=1)) == usual
    changed = [measured(removed=False), measured(mirrored=False), measured([stranger])]
    changed += [measured([stranger, stranger]), measured(removed=False, mirrored=False)]
    assert len({usual, *map(suspect_digest, changed)}) == 6
    # earlier measurements keep their name, and damaged records have one
    bare = dataclasses.replace(suspect(1), source={"kind": "preference"})
    assert suspect_digest(bare) == usual
    bad = {"kind": "preference", "settings": 1, "provenance": [2]}
    assert suspect_digest(dataclasses.replace(suspect(1), source=bad)) == usual


def test_images_that_were_saved_anew_are_another_test_of_whole_changes():
    """The model's losses stay as they are, but the messages that the key is compared with change.

    Otherwise originals could be saved anew until p is as small as it can be.
    """

    def measured(whole, rows=slice(None)):
        scores = suspect(1)
        facts = {"kind": "preference", "settings": {"whole": whole}}
        hashes = tuple(f"{row:064x}" for row in range(len(scores)))
        return dataclasses.replace(scores, source=facts, hashes=hashes[rows])

    usual, turned = measured(True), measured(True, slice(None, None, -1))
    anew = dataclasses.replace(usual, hashes=("f" * 64, *usual.hashes[1:]))
    assert suspect_digest(measured(True)) == suspect_digest(usual)
    assert len({suspect_digest(one) for one in (usual, turned, anew)}) == 3
    assert len({suspect_digest(one, chosen=False) for one in (usual, turned, anew)}) == 1, "before"
    bits = measured(False), measured(False, slice(None, None, -1))
    assert suspect_digest(bits[0]) == suspect_digest(bits[1]), "its p is counted, not drawn"


def test_a_missing_ledger_is_reported(tmp_path):
    found = count_test(tmp_path / "keys.json", suspect(1), KEY)
    assert (found.number, found.whole) == (1, False)
    assert "There was no ledger beside the key file" in found.text
    assert count_test(tmp_path / "keys.json", suspect(1), KEY).whole


def numbered(lines, number):
    """The last line with another number of its test."""
    return json.dumps(json.loads(lines[-1]) | {"number": number}, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: lines[:1] + lines[2:], "line 2 does not follow the line before"),
        (lambda lines: lines[1:], "line 1 does not follow"),
        (lambda lines: [*lines[:2], lines[2].replace(b"2", b"3", 1), *lines[3:]], "line"),
        (lambda lines: [*lines, b"{}"], "line 5 is no entry"),
        (lambda lines: [*lines, b"junk"], "line 5 is no entry"),
        (lambda lines: [*lines[:3], numbered(lines, 1)], "line 4 has the number of another test"),
    ],
)
def test_a_broken_ledger_is_reported_and_still_counts(file, change, words):
    for seed in (1, 2, 3):
        count_test(file, suspect(seed), KEY)
    place = ledger_of(file)
    place.write_bytes(b"\n".join(change(place.read_bytes().splitlines())) + b"\n")
    found = count_test(file, suspect(9), KEY)
    assert not found.whole
    assert found.number >= 3
    assert "is broken: " in found.text
    assert words in found.text


def test_a_ledger_that_can_not_be_kept_stops_the_test(tmp_path):
    ledger_of(tmp_path / "keys.json").mkdir()
    with pytest.raises(EvidenceError, match="is a folder"):
        count_test(tmp_path / "keys.json", suspect(1), KEY)


def test_processes_that_test_at_once_are_counted_one_after_the_other(file):
    code = (
        "import sys; from pathlib import Path; from support.score_sets import drawn;"
        "from siren_ext.evidence.ledger import count_test; print('ready', flush=True);"
        "sys.stdin.readline();"
        "print([count_test(Path(sys.argv[1]), drawn(5, 3, seed=int(sys.argv[2]) + i), 'ab' * 32)"
        ".number for i in range(20)])"
    )
    pipe = subprocess.PIPE
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(file), str(seed)],
            stdin=pipe,
            stdout=pipe,
            text=True,
            env=with_support(),
        )
        for seed in (100, 200)
    ]
    for one in started:
        assert one.stdout.readline() == "ready\n"
    for one in started:
        one.stdin.write("go\n")
        one.stdin.flush()
    numbers = [number for one in started for number in json.loads(one.communicate(timeout=120)[0])]
    assert sorted(numbers) == list(range(1, 41))
    assert read_ledger(ledger_of(file))[1] == ""


@pytest.mark.parametrize("lost", [1, 40])
def test_a_line_that_was_not_finished_loses_no_other_test(file, lost):
    """A stopped process, a full disk or an editor may leave the last line without its end."""
    count_test(file, suspect(1), KEY)
    place = ledger_of(file)
    place.write_bytes(place.read_bytes()[:-lost])
    found = [count_test(file, suspect(seed), KEY) for seed in (2, 3, 2)]
    first = 2 if lost == 1 else 1
    assert [one.number for one in found] == [first, first + 1, first]
    assert all(one.whole == (lost == 1) for one in found)


def test_a_test_that_does_not_fit_on_the_disk_leaves_the_ledger_whole(file, monkeypatch):
    count_test(file, suspect(1), KEY)
    before = ledger_of(file).read_bytes()

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("siren_ext.evidence.ledger.os.fsync", full)
        with pytest.raises(EvidenceError, match=r"ledger can't be written \(No space left"):
            count_test(file, suspect(2), KEY)
    assert ledger_of(file).read_bytes() == before


def test_the_price_is_that_of_keys_and_tests(file):
    count = count_test(file, suspect(1), KEY)
    found, price = priced(not_committed(keyed=True), count, recipients=50)
    assert (found.keys, found.number, found.ledger, price) == (50, 1, count.head, 100)
    assert "holds 50 keys" in found.text
    assert json.dumps(found.to_dict())


def test_prices_of_all_tests_together_keep_the_risk():
    """Whoever tests an innocent model again and again is wrong in alpha of all cases at most."""
    assert sum(1 / price_of(number) for number in range(1, 100_000)) < 1


def test_ten_thousand_committed_keys_are_priced():
    """The best of 10,000 keys of an innocent model, with p times 10,000: size at most alpha."""
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(200):
        strengths = np.round(rng.normal(size=48) * 50)
        signs = np.where(rng.random((10_000, 48)) < 0.5, -1, 1).astype(np.int8)
        best = float((signs @ strengths).max())
        hits += message_tail(strengths, best) * 10_000 <= 0.05
    assert hits <= 20, "200 x .05 are 10; 20 are three standard deviations more"


def test_only_words_of_the_count_are_taken_for_it(file, tmp_path):
    before = not_committed(keyed=True)
    whole, _ = priced(before, count_test(file, suspect(1), KEY), 3)
    again, _ = priced(before, count_test(file, suspect(1), KEY), 1)
    begun, _ = priced(before, count_test(tmp_path / "other.json", suspect(1), KEY), 1)
    place = ledger_of(file)
    place.write_bytes(b"x\n" + place.read_bytes())
    broken, _ = priced(before, count_test(file, suspect(2), KEY), 1)
    for one, left_open in ((before, 0), (whole, 0), (again, 0), (begun, 1), (broken, 1)):
        assert counted_words(one, before.text) == (True, one.unchecked[:left_open])
        said = dataclasses.replace(one, text=f"{one.text} Nobody could choose it.")
        assert not counted_words(said, before.text)[0]
    assert not counted_words(dataclasses.replace(whole, number=2), before.text)[0]
    assert not counted_words(dataclasses.replace(whole, text=before.text), before.text)[0]
    assert not counted_words(dataclasses.replace(begun, unchecked=()), before.text)[0]
