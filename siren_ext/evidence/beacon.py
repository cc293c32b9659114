"""Public random numbers of drand: nobody can foresee or choose a round before its time.

A round is checked in up to three steps: it is the round that the schedule gives for a time; its
randomness is the SHA-256 of its signature; the signature is the network's (BLS12-381). The last
step needs the package ``py_ecc``. Without it the first two are done and :attr:`Checked.signature`
says that the signature was not checked: such a round could be made up.
"""

from __future__ import annotations

import hashlib
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from siren_ext.documents import parse_json, read_json
from siren_ext.errors import EvidenceError
from siren_ext.formats import Sha256
from siren_ext.schema import convert, to_plain

QUICKNET = "52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971"
DEFAULT = "8990e7a9aaed2ffed73dbd7092123d6f289930540d7651336225dc172e51b2ce"
MAX_BYTES = 64 << 10
_ADVICE = "Use the answer of a drand server exactly as it was sent."
_Hex = Annotated[str, Meta(pattern=r"\A([0-9a-f]{2}){1,1000}\Z", description="hexadecimal digits")]
Scheme = Literal["pedersen-bls-chained", "pedersen-bls-unchained", "bls-unchained-g1-rfc9380"]
_PY_ECC_CALLS = 100_000  # nested calls that py_ecc asks for
_G1 = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_"
_G2 = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_NUL_"


class Round(Struct, frozen=True):
    """A round as a drand server sends it; other fields are ignored."""

    round: Annotated[int, Meta(ge=1, le=2**62)]
    randomness: Sha256
    signature: _Hex
    previous_signature: str = ""


@dataclass(frozen=True)
class Chain:
    """A drand network.

    Attributes
    ----------
    name : str
        its beacon id.
    public : str
        the network's public key, hexadecimal digits.
    genesis, period : int
        Unix time of round 1, and seconds between rounds.
    seed : str
        hash of the network's first group, hexadecimal digits.
    scheme : Scheme
        how rounds are signed.
    """

    name: str
    public: str
    genesis: int
    period: int
    seed: str
    scheme: Scheme

    @property
    def hash(self) -> str:
        """The chain hash, from which all of these values follow; drand's ``Info.Hash``."""
        head = struct.pack(">Iq", self.period, self.genesis)
        body = head + bytes.fromhex(self.public) + bytes.fromhex(self.seed)
        named = b"" if self.name == "default" else self.name.encode()
        return hashlib.sha256(body + named).hexdigest()

    def first_after(self, time: datetime) -> int:
        """Number of the first round that is published later than ``time``.

        Raises
        ------
        EvidenceError
            the network was not running yet.
        """
        after = time.timestamp() - self.genesis
        if after < 0:
            raise EvidenceError(f"The beacon {self.name} started later than {time.isoformat()}.")
        return int(after // self.period) + 2

    def time_of(self, number: int) -> datetime:
        """When a round is published, in UTC."""
        return datetime.fromtimestamp(self.genesis + (number - 1) * self.period, timezone.utc)


CHAINS: dict[str, Chain] = {
    QUICKNET: Chain(
        "quicknet",
        "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d"
        "1064510d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8"
        "991ef5ece45a",
        1692803367,
        3,
        "f477d5c89f21a17c863a7f937c6a6d15859414d2be09cd448d4279af331c5d3e",
        "bls-unchained-g1-rfc9380",
    ),
    DEFAULT: Chain(
        "default",
        "868f005eb8e6e4ca0a47c8a77ceaa5309a47978a7c71bc5cce96366b5d7a569937c529eeda66c7293784a94028"
        "01af31",
        1595431050,
        30,
        "176f93498eac9ca337150b46d21dd58673ea4e3581185f869672e59fa4cb390a",
        "pedersen-bls-chained",
    ),
}
"""The networks of the League of Entropy, by chain hash."""


@dataclass(frozen=True)
class Checked:
    """What was checked of a round.

    Attributes
    ----------
    signature : bool | None
        True if the network signed it; None if the package that can tell is not installed.
    text : str
        the result in a sentence.
    """

    signature: bool | None
    text: str


def known_chain(digest: str) -> Chain:
    """A network by its chain hash.

    Raises
    ------
    EvidenceError
        the program does not know it.
    """
    if digest not in CHAINS:
        known = ", ".join(f"{one.name} ({key[:12]})" for key, one in CHAINS.items())
        raise EvidenceError(
            f"The beacon with the chain hash {digest[:12]} is not known; expected {known}."
        )
    return CHAINS[digest]


def read_round(path: Path) -> Round:
    """Read a round that was saved from a drand server.

    Parameters
    ----------
    path : Path
        JSON, such as ``{"round": 1000, "randomness": "...", "signature": "..."}``.

    Returns
    -------
    Round
        not yet checked.

    Raises
    ------
    EvidenceError
        the file can't be read or is no round.
    """
    name = Path(path).name
    values = read_json(path, error=EvidenceError, max_bytes=MAX_BYTES, name=name, advice=_ADVICE)
    return convert(values, Round, name=name, error=EvidenceError, advice=_ADVICE)


def fetch_round(url: str, chain: Chain, number: int, *, timeout: float = 60.0) -> Round:
    """Get a round from a drand server.

    Parameters
    ----------
    url : str
        the server's https address, such as ``https://api.drand.sh``; http is allowed for this
        machine only.
    chain : Chain
        the network.
    number : int
        the round.
    timeout : float
        seconds for the whole exchange.

    Returns
    -------
    Round
        not yet checked.

    Raises
    ------
    ConfigError
        the address is malformed or not https.
    EvidenceError
        the server has no such round, for example because its time has not come.
    """
    from siren_ext.evidence.web import get_safely

    place = f"{url.rstrip('/')}/{chain.hash}/public/{number}"
    answer = get_safely(place, limit=MAX_BYTES, timeout=timeout)
    name = "The beacon's answer"
    values = parse_json(answer, name=name, error=EvidenceError, max_bytes=MAX_BYTES)
    return convert(values, Round, name=name, error=EvidenceError, advice=_ADVICE)


def check_round(found: Round, chain: Chain, number: int) -> Checked:
    """Check a round as far as the installed packages allow.

    Parameters
    ----------
    found : Round
        the round.
    chain : Chain
        the network.
    number : int
        the round that it must be.

    Returns
    -------
    Checked
        what was checked.

    Raises
    ------
    EvidenceError
        it is another round, its randomness does not follow from its signature, or the signature
        is not the network's.

    References
    ----------
    https://docs.drand.love/docs/cryptography: the message of an unchained round is the SHA-256 of
    its number, of a chained one that of the previous signature and the number.
    """
    if found.round != number:
        raise EvidenceError(
            f"The beacon's round is {found.round:,}; expected round {number:,}, the first after "
            f"the time stamp ({chain.time_of(number):%Y-%m-%d %H:%M:%S} UTC). Get that round."
        )
    if hashlib.sha256(bytes.fromhex(found.signature)).hexdigest() != found.randomness:
        raise EvidenceError(
            f"The randomness of round {number:,} does not follow from its signature. {_ADVICE}"
        )
    named = f"round {number:,} of drand's {chain.name}"
    limit = sys.getrecursionlimit()
    try:
        import py_ecc  # noqa: F401
    except ImportError:
        return Checked(
            None,
            f"The signature of {named} was not checked, so the round could be made up; install "
            "'siren-ext[beacon]' to check it, or compare it with a drand server.",
        )
    with _deep_calls(limit):
        signed = _signed(found, chain)
    if not signed:
        raise EvidenceError(f"The signature of {named} is not the network's. {_ADVICE}")
    return Checked(True, f"The signature of {named} is the network's.")


@contextmanager
def _deep_calls(limit: int) -> Iterator[None]:
    """Let calls be nested as deep as py_ecc needs, and afterwards no deeper than before.

    py_ecc raises the limit for the whole program when it is imported. With that limit, files that
    are nested too deep would no longer be refused.
    """
    sys.setrecursionlimit(max(_PY_ECC_CALLS, limit))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def _signed(found: Round, chain: Chain) -> bool:
    """Whether the network signed a round."""
    from py_ecc.bls.hash_to_curve import hash_to_G1, hash_to_G2
    from py_ecc.optimized_bls12_381 import G1, G2, pairing

    try:
        before = bytes.fromhex(found.previous_signature)
        chained = chain.scheme == "pedersen-bls-chained"
        number = found.round.to_bytes(8, "big")
        message = hashlib.sha256((before if chained else b"") + number).digest()
        public, signature = _point(chain.public), _point(found.signature)
        if chain.scheme == "bls-unchained-g1-rfc9380":
            hashed = hash_to_G1(message, _G1, hashlib.sha256)
            return bool(pairing(public, hashed) == pairing(G2, signature))
        hashed = hash_to_G2(message, _G2, hashlib.sha256)
        return bool(pairing(hashed, public) == pairing(signature, G1))
    except (ValueError, AssertionError, TypeError):  # no point of the curve, or of the wrong group
        return False


def _point(digits: str) -> Any:
    """A compressed point of G1 (48 bytes) or G2 (96 bytes) within the subgroup."""
    from py_ecc.bls.g2_primitives import subgroup_check
    from py_ecc.bls.point_compression import decompress_G1, decompress_G2
    from py_ecc.optimized_bls12_381 import is_inf

    data = bytes.fromhex(digits)
    if len(data) not in (48, 96):
        raise ValueError("length")
    halves = [int.from_bytes(data[start : start + 48], "big") for start in range(0, len(data), 48)]
    point: Any = decompress_G1(halves[0]) if len(halves) == 1 else decompress_G2(tuple(halves))  # type: ignore[arg-type]
    if is_inf(point) or not subgroup_check(point):
        raise ValueError("subgroup")
    return point


def plain_round(found: Round) -> dict[str, Any]:
    """The round as plain JSON values, as drand writes it."""
    values: dict[str, Any] = to_plain(found)
    return values
