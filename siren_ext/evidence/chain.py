"""The chain from a published hash to a key: commitment, time stamp, beacon, derived key.

Every link is checked as far as the given files allow, and every link that was not checked is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siren_ext.errors import EvidenceError
from siren_ext.evidence.beacon import CHAINS, QUICKNET, Chain, Round, check_round, read_round
from siren_ext.evidence.commitment import Commitment, Precedence, check_commitment
from siren_ext.evidence.stamp import Stamp, check_stamp
from siren_ext.files import sha256_file
from siren_ext.scoring.score_set import PREFERENCE, TWINS

if TYPE_CHECKING:
    from siren_ext.evidence.prompt_plan import CommittedPlan
    from siren_ext.keys.coating_key import KeyRing
    from siren_ext.keys.derived import KeySalt
    from siren_ext.scoring.score_set import ScoreSet

NOT_DERIVED = "that the key was derived from the commitment"
SIGNATURE = "the signature of the beacon's round"
"""How two links that could not be checked begin."""
_NO_PICTURES = (
    "The committed plan was not used: it is for pictures, and this is a test of a model's file."
)
_CHOSEN = "the key could have been chosen afterwards"


@dataclass(frozen=True)
class ChainFiles:
    """The public files of a chain; None for those that are not at hand.

    Attributes
    ----------
    commitment : Path
        written by ``siren-ext commit``.
    timestamp, roots : Path | None
        the time stamp, and the certificate to check it with.
    round : Path | None
        the beacon's round.
    coater : Path | None
        the coater file.
    coated : Path | None
        folder of the coated images.
    """

    commitment: Path
    timestamp: Path | None = None
    roots: Path | None = None
    round: Path | None = None
    coater: Path | None = None
    coated: Path | None = None

    def read(self) -> None:
        """Read commitment and time stamp, so that faults are told before long work.

        Raises
        ------
        EvidenceError
            one can't be read or is not valid.
        """
        Commitment.load(self.commitment)
        self.stamp()

    def stamp(self) -> Stamp | None:
        """The checked time stamp; None without one.

        Raises
        ------
        EvidenceError
            it is not valid, or given without a root certificate.
        """
        if self.timestamp is None:
            return None
        if self.roots is None:
            raise EvidenceError(
                "A time stamp is worth as much as its authority; name the authority's root "
                "certificate with --root."
            )
        return check_stamp(self.timestamp, self.commitment, self.roots)


def derive_keys(
    salt: KeySalt, files: ChainFiles, found: Round, chain: Chain = CHAINS[QUICKNET]
) -> tuple[KeyRing, str]:
    """Derive the keys of a commitment from the first round after its time stamp.

    Parameters
    ----------
    salt : KeySalt
        whose hash is in the commitment.
    files : ChainFiles
        with time stamp and roots.
    found : Round
        the beacon's round.
    chain : Chain
        the beacon.

    Returns
    -------
    tuple[KeyRing, str]
        the keys, and what was checked of round and time stamp, in a sentence or two.

    Raises
    ------
    EvidenceError
        a link does not hold, or there is no time stamp.
    """
    commitment = Commitment.load(files.commitment)
    if commitment.salt is None or commitment.salt.sha256 != salt.fingerprint():
        raise EvidenceError(
            "The commitment is not to this salt; use the salt file that was given to "
            "'siren-ext commit --salt', unchanged."
        )
    if commitment.salt.count != len(salt.recipients):
        raise EvidenceError(
            f"The commitment states {commitment.salt.count:,} as the number of its salt's keys, "
            f"but this salt gives {len(salt.recipients):,}, by which p is multiplied. Use the file "
            "that 'siren-ext commit --salt' wrote, unchanged."
        )
    stamp = files.stamp()
    if stamp is None:
        raise EvidenceError("The commitment has no time stamp; run 'siren-ext commit stamp' first.")
    checked = check_round(found, chain, chain.first_after(stamp.latest))
    text = f"{checked.text} Not checked: {stamp.unchecked}." if stamp.unchecked else checked.text
    return salt.derive(found.randomness, sha256_file(files.commitment)), text


def check_scores(
    files: ChainFiles, scores: ScoreSet, keys: Sequence[str], salt: KeySalt | None = None
) -> Precedence:
    """Check a commitment and what was given along with it against tested scores.

    Parameters
    ----------
    files : ChainFiles
        the commitment and what belongs to it.
    scores : ScoreSet
        of the suspect.
    keys : Sequence[str]
        fingerprints of the tested keys.
    salt : KeySalt | None
        of derived keys, to derive them again.

    Returns
    -------
    Precedence
        see :func:`check_chain`.

    Raises
    ------
    EvidenceError
        a file can't be read, or the time stamp is not valid.
    """
    return check_chain(
        files,
        coater=scores.coater,
        keys=keys,
        salt=salt,
        source=scores.source,
        images=len(scores) + len(scores.failures),
        hashes=scores.hashes,
    )


def check_chain(
    files: ChainFiles,
    *,
    coater: str,
    keys: Sequence[str] = (),
    salt: KeySalt | None = None,
    source: Mapping[str, Any] | None = None,
    images: int = 0,
    hashes: Sequence[str] = (),
) -> Precedence:
    """Check a commitment, and everything that was given along with it.

    Parameters
    ----------
    files : ChainFiles
        the commitment and what belongs to it.
    coater : str
        fingerprint of the coater that scored the images.
    keys : Sequence[str]
        fingerprints of the tested keys.
    salt : KeySalt | None
        of a derived key, to derive it again.
    source : Mapping[str, Any] | None
        how the tested pictures were made, to compare with a committed plan; None for no pictures.
    images : int
        number of tested pictures, with those that could not be scored.
    hashes : Sequence[str]
        SHA-256 of the scored pictures, to compare each with the plan.

    Returns
    -------
    Precedence
        what matches, what differs, what could not be checked, and K.

    Raises
    ------
    EvidenceError
        a file can't be read, or the time stamp is not valid.
    """
    commitment = Commitment.load(files.commitment)
    drawn = all(key in commitment.keys for key in keys)
    found = check_commitment(
        files.commitment,
        coater=coater,
        keys=keys if drawn or commitment.salt is None else (),
        coater_file=files.coater,
        coated=files.coated,
        twins=str((source or {}).get("record_sha256", "")),
    )
    wrong: list[str] = []
    unchecked: list[str] = []
    texts: list[str] = []
    stamp = files.stamp()
    if stamp is None:
        unchecked.append("when the commitment was made, as it has no time stamp")
    else:
        texts.append(f"The commitment existed at {stamp.text}; this rests on {stamp.root}.")
        unchecked += filter(None, [stamp.unchecked])
    if keys and (drawn or commitment.salt is None):
        texts.append(
            "The key was drawn by its owner: only its age is shown, not that it was drawn at "
            "random."
        )
    elif keys:
        _derivation(files, commitment, keys, salt, stamp, (wrong, unchecked, texts))
    if commitment.plan is not None and source is not None:
        _compare_plan(commitment.plan, source, images, hashes, (wrong, unchecked, texts))
    if keys and commitment.count > 1:
        texts.append(f"The commitment holds {commitment.count:,} keys, and p is multiplied by it.")
    found = _summed_up(found, wrong, unchecked, texts)
    return replace(
        found,
        stamped=stamp.time.strftime("%Y-%m-%dT%H:%M:%SZ") if stamp else "",
        keys=max(1, commitment.count) if keys else 0,
        unchecked=tuple(unchecked),
    )


def _summed_up(
    found: Precedence, wrong: Sequence[str], unchecked: Sequence[str], texts: Sequence[str]
) -> Precedence:
    """The status and text that follow from all links."""
    not_shown = [text for text in unchecked if text.startswith(NOT_DERIVED)]
    if not_shown and not wrong and found.status == "committed before":
        text = f"The commitment fits, but nothing shows {'; '.join(not_shown)}: {_CHOSEN}."
        return replace(found, status="no commitment", text=" ".join((text, *texts)))
    if wrong:
        before = "" if found.status == "committed before" else f"{found.text} "
        text = f"{before}The chain does not hold: {'; '.join(wrong)}."
        return replace(found, status="does not fit", text=text, checked=())
    if found.status == "does not fit":
        return found
    return replace(found, text=" ".join((found.text, *texts)))


def _compare_plan(
    plan: CommittedPlan,
    source: Mapping[str, Any],
    images: int,
    hashes: Sequence[str],
    notes: tuple[list[str], list[str], list[str]],
) -> None:
    """Compare pictures with the plan; adds to what differs, is unchecked and is found."""
    wrong, unchecked, texts = notes
    if source.get("kind") in (PREFERENCE, TWINS):
        texts.append(_NO_PICTURES)
        return
    differs, open_ = plan.compare(source, images, hashes)
    wrong += differs
    unchecked += open_
    texts += ["The pictures follow the committed plan."] * (not differs and not open_)


def _derivation(
    files: ChainFiles,
    commitment: Commitment,
    keys: Sequence[str],
    salt: KeySalt | None,
    stamp: Stamp | None,
    notes: tuple[list[str], list[str], list[str]],
) -> None:
    """Derive the keys again and compare; adds to what differs, is unchecked and is found."""
    wrong, unchecked, texts = notes
    lacks = [
        name
        for name, there in (
            ("--salt", salt is not None),
            ("--timestamp", stamp is not None),
            ("--round", files.round is not None),
        )
        if not there
    ]
    if salt is None or stamp is None or files.round is None:
        unchecked.append(f"{NOT_DERIVED} (no {', '.join(lacks)})")
        return
    chain = CHAINS[QUICKNET]
    try:
        found = read_round(files.round)
        ring, checked = derive_keys(salt, files, found, chain)
    except EvidenceError as error:
        wrong.append(str(error).rstrip("."))
        return
    derived = {key.fingerprint() for _, key in ring}
    if not set(keys) <= derived:
        wrong.append("the tested key is not the one that follows from salt and beacon")
        return
    texts.append(
        f"The key was derived from the commitment and round {found.round:,} of drand's "
        f"{chain.name}, which came after the time stamp, so its owner could not choose it. "
        f"{checked}"
    )
    if "was not checked" in checked:
        unchecked.append(SIGNATURE)
