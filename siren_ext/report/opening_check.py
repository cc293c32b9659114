"""Checks the opened bits of a key, and makes their test, without the rest of the key."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from siren_ext.errors import EvidenceError
from siren_ext.evidence.beacon import CHAINS, QUICKNET, Checked, check_round, read_round
from siren_ext.evidence.chain import ChainFiles
from siren_ext.evidence.commitment import Commitment
from siren_ext.evidence.stamp import Stamp, check_stamp
from siren_ext.files import sha256_file
from siren_ext.keys.single_bits import derived_sign, joint_hash, salted_hash
from siren_ext.report.integrity import JSON
from siren_ext.report.opening import Opening, Sealed, chosen_bits, read_opening
from siren_ext.report.points import CheckPoint
from siren_ext.report.stored import StoredFinding, StoredReport
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.keyed import contributions, keyed_result, whole_sums
from siren_ext.verdict.pools import used_features
from siren_ext.verdict.wording import odds

BITS, CHOICE, TEST = "opened bits", "choice of the bits", "opened test"


@dataclass(frozen=True)
class OpeningEvidence:
    """An opening, and what the checking person has besides.

    Attributes
    ----------
    file : Path
        The opening.
    named : int | None
        The beacon's round that the checking person named after getting the sealed file.
    timestamp, roots : Path | None
        Time stamp of the sealed file, and the certificate to check it with.
    """

    file: Path
    named: int | None = None
    timestamp: Path | None = None
    roots: Path | None = None


def opening_points(
    folder: Path,
    report: StoredReport,
    given: OpeningEvidence,
    files: ChainFiles | None,
    own: ScoreSet | None = None,
) -> list[CheckPoint]:
    """Check an opening.

    Parameters
    ----------
    folder : Path
        Of the report.
    report : StoredReport
        The report.
    given : OpeningEvidence
        The opening.
    files : ChainFiles | None
        The commitment that holds the hashes of the key's bits; for a derived key also its time
        stamp and round.
    own : ScoreSet | None
        The checking person's own scores of the report's images, to compute F from.

    Returns
    -------
    list[CheckPoint]
        Whether the bits are those that were committed, whether nobody could choose them, and what
        their test says.
    """
    kept = next((one for one in report.verdict.findings if one.test == "keyed"), None)
    try:
        opening = read_opening(given.file)
        sealed = opening.unsealed()
        wrong = _own_faults(folder, kept, opening, sealed)
    except EvidenceError as error:
        return [CheckPoint(BITS, "differs", str(error)[:400])]
    if wrong or kept is None:
        return [CheckPoint(BITS, "differs", "; ".join(wrong) or "The report has no keyed test")]
    bits = _bits_point(opening, sealed, files)
    choice = _choice_point(opening, sealed, given)
    if "differs" in (bits.state, choice.state):
        return [bits, choice]
    return [bits, choice, _test_point(opening, kept, report, own)]


def _own_faults(
    folder: Path, kept: StoredFinding | None, opening: Opening, sealed: Sealed
) -> list[str]:
    """What does not fit between opening, sealed file and report."""
    wrong = []
    if sealed.report != sha256_file(folder / JSON):
        wrong.append("The sealed file is of another report")
    if kept is None or sealed.key != kept.committed_as:
        return [*wrong, "The sealed file is of another key than the report's"]
    bits = len(kept.strengths)
    if not len(sealed.key_hashes) == len(sealed.sum_hashes) == bits or 2 * sealed.count > bits:
        return [*wrong, f"The sealed file does not fit a key of {bits} bits"]
    places = [one.index for one in opening.opened]
    if places != chosen_bits(opening.round.randomness, opening.digest, bits, sealed.count):
        return [*wrong, "Other bits were opened than the beacon's round chooses"]
    for one in opening.opened:
        secret, hidden = bytes.fromhex(one.secret), bytes.fromhex(one.sum_secret)
        value = None if sealed.derived else one.sign
        if salted_hash(one.index, secret, value) != sealed.key_hashes[one.index]:
            wrong.append(f"Bit {one.index} is not the sealed one")
        if salted_hash(one.index, hidden, one.sum) != sealed.sum_hashes[one.index]:
            wrong.append(f"F of bit {one.index} is not the sealed one")
    strengths = Counter(int(value) for value in kept.strengths)
    if Counter(abs(one.sum) for one in opening.opened) - strengths:
        wrong.append("The opened values of F are not among those of the report")
    return wrong


def _bits_point(opening: Opening, sealed: Sealed, files: ChainFiles | None) -> CheckPoint:
    """Whether the key's hashes were committed, and a derived key's bits follow from the round."""
    if files is None:
        what = "No commitment was given, so the bits could have been chosen afterwards"
        return CheckPoint(BITS, "not checked", what)
    joint = joint_hash(sealed.key_hashes)
    try:
        commitment = Commitment.load(files.commitment)
        if not sealed.derived:
            if (sealed.key, joint) not in zip(commitment.keys, commitment.bits, strict=False):
                text = "The commitment holds no such hashes of this key's bits"
                return CheckPoint(BITS, "differs", text)
            text = f"{len(opening.opened)} bits are those that were committed"
            return CheckPoint(BITS, "matches", text)
        if commitment.salt is None or joint not in commitment.salt.bits:
            return CheckPoint(BITS, "differs", "The commitment is not to a salt of this key")
        return _derived_point(opening, files)
    except EvidenceError as error:
        return CheckPoint(BITS, "differs", str(error)[:400])


def _derived_point(opening: Opening, files: ChainFiles) -> CheckPoint:
    stamp = files.stamp()
    if files.round is None or stamp is None:
        text = "Whether the bits follow from the beacon's round needs --round and --timestamp"
        return CheckPoint(BITS, "not checked", text)
    found, chain = read_round(files.round), CHAINS[QUICKNET]
    checked = check_round(found, chain, chain.first_after(stamp.latest))
    digest = sha256_file(files.commitment)
    for one in opening.opened:
        if derived_sign(bytes.fromhex(one.secret), found.randomness, digest) != one.sign:
            text = f"Bit {one.index} does not follow from commitment and beacon"
            return CheckPoint(BITS, "differs", text)
    text = f"{len(opening.opened)} bits follow from commitment and beacon. {checked.text}"
    return _rests_on(BITS, text, checked, stamp)


def _choice_point(opening: Opening, sealed: Sealed, given: OpeningEvidence) -> CheckPoint:
    """Whether the round that chose was fixed after the file was sealed, and is the beacon's."""
    chain, number = CHAINS[QUICKNET], given.named
    stamp, after = None, "you named"
    try:
        if given.timestamp is not None:
            stamp = _stamp(opening, given.timestamp, given.roots)
            number = chain.first_after(stamp.latest)
            after = f"came first after the sealed file's time stamp ({stamp.text})"
        found = opening.round
        checked = check_round(found, chain, found.round if number is None else number)
    except EvidenceError as error:
        return CheckPoint(CHOICE, "differs", str(error)[:400])
    if number is None:
        text = (
            f"Round {found.round:,} chose the bits, but nothing shows that it was named before it "
            "came; give --named-round, or --opening-timestamp with --root"
        )
        return CheckPoint(CHOICE, "not checked", text)
    text = (
        f"{sealed.count} of {len(sealed.key_hashes)} bits were chosen by round {number:,}, which "
        f"{after}. {checked.text}"
    )
    return _rests_on(CHOICE, text, checked, stamp)


def _rests_on(name: str, text: str, checked: Checked, stamp: Stamp | None) -> CheckPoint:
    """A check that holds as far as the round's signature and the time stamp were checked."""
    open_ = stamp.unchecked if stamp else ""
    text = f"{text} Open: {open_}" if open_ else text
    return CheckPoint(name, "matches" if checked.signature and not open_ else "not checked", text)


def _other_sums(opening: Opening, report: StoredReport, own: ScoreSet) -> str:
    """What differs between the opened F and one's own; "" if nothing does.

    Scores of two machines may differ in their last digits, and F by one where it was rounded.
    """
    pool = report.pools()[0]
    if (own.coater, sorted(own.hashes)) != (pool.coater, sorted(pool.hashes)):
        return "Your scores are not of the report's images and coater"
    if own.features is None or own.features.shape[1] <= opening.opened[-1].index:
        return "Your scores have no features of a keyed coater; score the images again"
    mine = whole_sums(contributions(used_features(own)))
    wrong = [one.index for one in opening.opened if abs(int(mine[one.index]) - one.sum) > 1]
    return f"F of bits {', '.join(map(str, wrong[:8]))} is not that of your scores" if wrong else ""


def _stamp(opening: Opening, timestamp: Path, roots: Path | None) -> Stamp:
    """The checked time stamp of the sealed file, which the opening holds to the letter."""
    if roots is None:
        raise EvidenceError("The time stamp of the sealed file needs --root.")
    with tempfile.TemporaryDirectory(prefix="siren_opening_") as folder:
        file = Path(folder) / "sealed.json"
        file.write_bytes(opening.sealed.encode())
        return check_stamp(timestamp, file, roots)


def _test_point(
    opening: Opening, kept: StoredFinding, report: StoredReport, own: ScoreSet | None
) -> CheckPoint:
    """The keyed test of the opened bits alone."""
    sums = np.array([one.sum for one in opening.opened])
    statistic = sum(one.sign * one.sum for one in opening.opened)
    if own is not None and (text := _other_sums(opening, report, own)):
        return CheckPoint(TEST, "differs", text)
    config = report.config()
    result = keyed_result(np.abs(sums), statistic, images=kept.suspects)
    p = min(1.0, result.p_value * config.price)
    rest = float(kept.result.get("statistic", 0)) - statistic
    if abs(rest) > sum(kept.strengths) - result.span:
        text = "T of the opened bits is impossible with the report's T"
        return CheckPoint(TEST, "differs", text)
    text = (
        f"T = {statistic} of at most {result.span:.0f} in {len(sums)} bits: {odds(result.p_value)} "
        f"of all messages fit as well, times {config.price:,} for keys and tests"
    )
    if p <= config.alpha and own is not None:
        found = "The opened bits alone say 'coating found', and F follows from your scores"
        return CheckPoint(TEST, "matches", f"{found}. {text}")
    if p <= config.alpha:
        found = (
            "The opened bits alone say 'coating found', if F is that of the pictures. Check this "
            "by scoring them with the coater; see --suspect"
        )
        return CheckPoint(TEST, "not checked", f"{found}. {text}")
    lacks = f"The opened bits alone do not reach the accepted risk of {odds(config.alpha)}. {text}"
    return CheckPoint(TEST, "not checked", lacks)
