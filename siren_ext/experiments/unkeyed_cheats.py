"""What an owner without a key could try, and what the program makes of it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from siren_ext.coater.bundled import coater_path
from siren_ext.errors import ScoreError
from siren_ext.evidence.chain import ChainFiles, check_chain
from siren_ext.evidence.commitment import make_commitment
from siren_ext.evidence.counting import counted
from siren_ext.evidence.ledger import price_of, start_ledger
from siren_ext.experiments.owner_cheats import Scene, lean, scores_of
from siren_ext.schema import to_plain
from siren_ext.scoring.decoys import SOURCE, Ends, ScoredDecoy, ScoredDecoys, decoy_seed
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.sequential import SequentialKs
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.verify import Verdict, verify

_OWNERS, _TESTS, _DECOYS = 400, 50, 39
_LOOKS, _REFERENCE = 60, 100


def own_choice(_: Scene, __: Path) -> str:
    """The coater that stands out among its decoys was chosen after the pictures were seen."""
    said = verify(_ranked(), None, VerifyConfig(alpha=0.05))
    return f"{_said(said)}: there is no commitment to the coater"


def own_decoys(_: Scene, __: Path) -> str:
    """Decoys are drawn until few of them find much."""
    suspect = _ranked()
    suspect.source[SOURCE]["decoys"][4]["seed"] = 12345
    try:
        said = verify(suspect, None, VerifyConfig(alpha=0.05))
    except ScoreError as error:
        return f"refused: {str(error).partition(', one')[0]}; their seeds follow from the coater"
    return _said(said)


def ranks_counted(_: Scene, work: Path) -> str:
    """Innocent models are ranked until one fits, each with 39 decoys."""
    place, suspect = work / "unkeyed.json", _ranked()
    make_commitment(coater_path("samples"), {}).save(place)
    start_ledger(place)
    prices = []
    for number in (1, 2):
        hashes = tuple(hashlib.sha256(f"{number} {name}".encode()).hexdigest() for name in "abcd")
        again = replace(suspect, hashes=hashes)
        found = check_chain(ChainFiles(place), coater=again.coater)
        prices.append(counted(None, again, found, place)[1])
    places = np.random.default_rng(21).integers(1, _DECOYS + 2, (_OWNERS, _TESTS))
    factors = np.array([price_of(number) for number in range(1, _TESTS + 1)])
    plain, kept = (
        (places * factor <= 0.05 * (_DECOYS + 1)).any(axis=1).mean() for factor in (1, factors)
    )
    return (
        f"p is multiplied by {prices[0]}, then by {prices[1]} and so on: of {_OWNERS} owners who "
        f"test {_TESTS} innocent models each at .05, {100 * kept:.0f} % find one (without the "
        f"ledger {100 * plain:.0f} %)"
    )


def early_stop(_: Scene, __: Path) -> str:
    """The comparison is made after every picture, and the owner stops at the first find."""
    rng, stopped, naive = np.random.default_rng(22), 0, 0
    for _owner in range(_OWNERS):
        clean, drawn = rng.normal(size=_REFERENCE), rng.normal(size=_LOOKS)
        test = SequentialKs(clean, alpha=0.05)
        stopped += any(test.update(float(score)).rejected for score in drawn)
        below = (clean[:, None] > drawn).sum(axis=0) - (clean[:, None] < drawn).sum(axis=0)
        sums, looks = np.cumsum(below) / 2, np.arange(1, _LOOKS + 1)
        spread = np.sqrt(_REFERENCE * looks * (_REFERENCE + looks + 1) / 12)
        naive += bool((sums[9:] > 1.645 * spread[9:]).any())
    return (
        f"the sequential test decides: of {_OWNERS} owners who look {_LOOKS} times at .05, "
        f"{100 * stopped / _OWNERS:.0f} % ever find an innocent model (a test of fixed size, "
        f"repeated from the tenth picture, {100 * naive / _OWNERS:.0f} %), and the pictures must "
        "be shown to look alike"
    )


def several_models(_: Scene, __: Path) -> str:
    """Two clean models that differ in their training seed, judged by four more of them."""
    from siren_ext.verdict.models import joined_models

    rng = np.random.default_rng(1)
    pools = [
        replace(
            scores_of(lean(2), "made up", 1000, seed),
            scores=rng.normal(mean, 1, 1000),
            features=None,
        )
        for seed, mean in enumerate((-0.3, 0.1, -0.2, 0.3, 0.0), start=1)
    ]
    said = verify(pools[0], joined_models(pools[1:]), VerifyConfig(alpha=1e-3))
    pictures = next(one.p_value for one in said.findings if one.test == "ks")
    return f"{_said(said)} by four clean models; by their pictures alone p = {pictures:.1g}"


def _ranked() -> ScoreSet:
    """Scores by a coater that finds more in an innocent model's pictures than its decoys do."""
    from siren_ext.coater.coater import Coater

    coater = Coater.load(coater_path("samples")).fingerprint
    ends, names = Ends(2.0, 1.0), tuple(f"{i}.png" for i in range(4))
    decoys = [
        ScoredDecoy(i, decoy_seed(coater, i), f"{i:064x}", ends, [2.0 - i / 100] * 4)
        for i in range(1, _DECOYS + 1)
    ]
    prints = tuple(hashlib.sha256(name.encode()).hexdigest() for name in names)
    source: dict[str, Any] = {SOURCE: to_plain(ScoredDecoys("b" * 64, ends, decoys))}
    return ScoreSet(np.full(4, 1.2), names, prints, coater, {"kind": "folder"} | source)


def _said(verdict: Verdict) -> str:
    return f"{verdict.outcome} (p = {verdict.deciding.p_value:.1g})"
