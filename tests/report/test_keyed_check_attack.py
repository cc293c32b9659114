"""What somebody who has a public report, the coater and the pictures can learn of the message.

The features of the pictures follow from the coater and the pictures, so the tests use them as they
are. The attack meets in the middle: all sums of the first half of the bits are sorted, and for each
sum of the second half the missing part is looked up.
"""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from support.evidence_samples import SALT
from support.score_sets import drawn

from siren_ext.keys.coating_key import CoatingKey
from siren_ext.report.check import check_report
from siren_ext.report.write import write_report
from siren_ext.stats.keyed import contributions, whole_sums
from siren_ext.verdict.verify import verify

BITS = 32


def half_sums(part):
    """The sums of all messages of a half, in the order of ``signs_of``."""
    sums = np.zeros(1)
    for value in part:
        sums = np.concatenate([sums - value, sums + value])
    return sums


def signs_of(place, bits):
    return [1 if place >> bit & 1 else -1 for bit in range(bits)]


def messages_with(F, statistic, slack):
    """Number of messages with m . F within ``slack`` of a value, and the last one found."""
    half = len(F) // 2
    first, second = half_sums(F[:half]), half_sums(F[half:])
    order = np.argsort(first, kind="stable")
    low = np.searchsorted(first[order], statistic - second - slack, "left")
    high = np.searchsorted(first[order], statistic - second + slack, "right")
    at = int(np.argmax(high - low))
    signs = signs_of(int(order[low[at]]), half) + signs_of(at, len(F) - half)
    return int((high - low).sum()), np.array(signs)


def report_of(folder, suspect, key):
    write_report(verify(suspect, None, key=key), suspect, None, folder)
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def guilty(bits, strength):
    message = np.random.default_rng(5).integers(0, 2, bits) * 2 - 1
    features = np.random.default_rng(6).normal(0, 3, (40, bits)) + strength * message
    return drawn(5, features=features), message


def test_the_attack_finds_the_message_of_an_unrounded_statistic():
    """As reports used to hold it: the attack works, so the next test means something."""
    suspect, message = guilty(BITS, 1.0)
    summed = contributions(suspect.features).sum(axis=0)
    count, found = messages_with(summed, float(message @ summed), 1e-9)
    assert count == 1
    np.testing.assert_array_equal(found, message)


@pytest.mark.parametrize("strength", [0.3, 0.6])
def test_the_attack_on_a_public_report_leaves_a_share_near_p_of_all_messages(tmp_path, strength):
    suspect, message = guilty(BITS, strength)
    stated = report_of(tmp_path, suspect, CoatingKey(message, SALT))["verdict"]["findings"][0]
    F = whole_sums(contributions(suspect.features))
    assert stated["strengths"] == sorted(np.abs(F))
    count, _ = messages_with(F, stated["result"]["statistic"], 0.5)
    fitting = stated["result"]["p_value"] * 2**BITS  # whoever knows p knows this much anyway
    assert fitting / 12 < count <= fitting
    assert count > 100
    assert check_report(tmp_path).sound


def test_reports_of_messages_with_one_statistic_are_the_same_to_the_letter(tmp_path):
    """So nothing in them but T tells one from the other."""
    suspect, message = guilty(48, 0.75)
    F = whole_sums(contributions(suspect.features))
    terms = message * F
    pairs = itertools.combinations(range(len(F)), 2)
    first, second = next((i, j) for i, j in pairs if terms[i] == -terms[j] != 0)
    other = message.copy()
    other[[first, second]] *= -1
    keys = CoatingKey(message, SALT), CoatingKey(other, SALT)
    files = []
    for name, key in zip("ab", keys, strict=True):
        report = report_of(tmp_path / name, suspect, key)
        texts = [(tmp_path / name / f"report.{end}").read_text("utf-8") for end in ("json", "html")]
        files.append(
            [
                text.replace(key.fingerprint(), "KEY").replace(report["created"], "NOW")
                for text in texts
            ]
        )
    assert keys[0].fingerprint() != keys[1].fingerprint()
    assert files[0] == files[1]


def test_what_48_bits_leave():
    """Counted, not tried: messages that have the statistic of a guilty model with p near 1e-9."""
    suspect, message = guilty(48, 0.45)
    F = whole_sums(contributions(suspect.features))
    result = verify(suspect, None, key=CoatingKey(message, SALT)).deciding.result
    ways = {0: 1}
    for value in np.abs(F).tolist():
        sums: dict[int, int] = {}
        for total, number in ways.items():
            for sign in (-value, value):
                sums[total + sign] = sums.get(total + sign, 0) + number
        ways = sums
    assert 1e-10 < result.p_value < 1e-8
    assert math.log2(ways[int(result.statistic)]) > 48 + math.log2(result.p_value) - 3 > 15
