"""What an owner could try to be proved right, and what the program makes of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siren_ext.coater.bundled import coater_path
from siren_ext.coater.coater import Coater
from siren_ext.errors import EvidenceError
from siren_ext.evidence.beacon import CHAINS, QUICKNET, Round, check_round
from siren_ext.evidence.chain import ChainFiles, check_chain
from siren_ext.evidence.commitment import make_commitment
from siren_ext.evidence.counting import FiledKey, counted
from siren_ext.evidence.ledger import ledger_of, price_of, start_ledger
from siren_ext.evidence.precedence import Precedence
from siren_ext.evidence.prompt_plan import CommittedPlan
from siren_ext.keys.coating_key import CoatingKey
from siren_ext.keys.single_bits import joint_hash, key_hashes
from siren_ext.report.check import check_report
from siren_ext.report.integrity import HTML, write_seal
from siren_ext.report.opening import open_bits, save_opening, seal_bits
from siren_ext.report.opening_check import OpeningEvidence
from siren_ext.report.write import write_report
from siren_ext.schema import to_plain
from siren_ext.scoring.appearance import LESS_MORE
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.keyed import contributions, keyed_test, whole_sums
from siren_ext.stats.keyed_bounds import share_of_messages, whole_distribution
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.verify import Verdict, verify

Floats = NDArray[np.float64]

BITS, IMAGES = 48, 40
SALT = bytes(range(32))
PLAN = CommittedPlan(("an image of a fox",), IMAGES)
_MILLION, _MANY, _OWNERS, _TESTS, _RECIPIENTS = 1_000_000, 10_000, 400, 50, 50


@dataclass(frozen=True)
class Scene:
    """A committed key, and the scores of an innocent model that has a style of its own.

    Attributes
    ----------
    commitment : Path
        To the key, the bundled keyed coater and :data:`PLAN`.
    key : CoatingKey
        The committed key.
    innocent : ScoreSet
        Simulated features: a random lean per bit, which the key knows nothing of, and noise.
    """

    commitment: Path
    key: CoatingKey
    innocent: ScoreSet

    def verdict(
        self, key: CoatingKey, scores: ScoreSet, *, source: Any = None, alpha: float = 1e-6
    ) -> Verdict:
        """The verdict with the commitment."""
        found = self.standing(key, scores, source or scores.source)
        config = VerifyConfig(alpha=alpha, price=max(1, found.keys))
        return verify(scores, None, config, key=key, precedence=found)

    def standing(self, key: CoatingKey, scores: ScoreSet, source: Any) -> Precedence:
        """What the commitment says."""
        return check_chain(
            ChainFiles(self.commitment),
            coater=scores.coater,
            keys=[key.fingerprint()],
            source=source,
            images=len(scores),
        )


def scene(work: Path) -> Scene:
    """Make the commitment and the innocent model's scores.

    Parameters
    ----------
    work : Path
        An empty folder.

    Returns
    -------
    Scene
        The same every time, except for the commitment's nonce.
    """
    work.mkdir(parents=True, exist_ok=True)
    key = CoatingKey(signs(1), SALT)
    coater = coater_path("keyed")
    bits = {key.fingerprint(): joint_hash(key_hashes(key))}
    make_commitment(coater, bits, bits=bits, plan=PLAN).save(work / "commitment.json")
    mark = Coater.load(coater).fingerprint
    return Scene(work / "commitment.json", key, scores_of(lean(2), mark))


def signs(seed: int, count: int = 1) -> NDArray[np.int8]:
    """Random messages; one if ``count`` is 1."""
    drawn = np.random.default_rng(seed).choice(np.array([-1, 1], np.int8), (count, BITS))
    return np.asarray(drawn[0] if count == 1 else drawn)


def lean(seed: int) -> Floats:
    """The style of a model: how its pictures lean in every bit."""
    return np.random.default_rng(seed).normal(0, 1, BITS)


def scores_of(style: ArrayLike, coater: str, images: int = IMAGES, seed: int = 3) -> ScoreSet:
    """Scores with features around a style."""
    rng = np.random.default_rng(seed)
    names = tuple(f"{i}.png" for i in range(images))
    prints = tuple(hashlib.sha256(f"{seed} {name}".encode()).hexdigest() for name in names)
    features = np.asarray(style) + rng.normal(0, 2, (images, BITS))
    asked = {"prompts": list(PLAN.prompts), "count": PLAN.count, "seed": PLAN.seed}
    source = {"kind": "folder", "provenance": {"plan": asked}}
    looks = rng.normal(size=(images, len(LESS_MORE)))  # of one kind, so that they are comparable
    values = rng.normal(size=images)
    return ScoreSet(values, names, prints, coater, source, features=features, looks=looks)


def sums_of(scores: ScoreSet) -> NDArray[np.int64]:
    """F of the scores."""
    return whole_sums(contributions(np.asarray(scores.features)))


def best_of(sums: NDArray[np.int64], draws: int) -> NDArray[np.int8]:
    """The message that fits F best among so many random ones."""
    best, found = -np.inf, signs(4)
    for start in range(0, draws, 100_000):
        some = signs(5 + start, min(100_000, draws - start))
        fits = some.astype(np.float32) @ sums.astype(np.float32)
        if fits.max() > best:
            best, found = float(fits.max()), some[int(fits.argmax())]
    return found


def crafted_key(set_: Scene, _: Path) -> str:
    """A message read out of the suspect's own pictures."""
    return _both(set_, CoatingKey(np.where(sums_of(set_.innocent) > 0, 1, -1), SALT))


def best_of_a_million(set_: Scene, _: Path) -> str:
    """The best of a million keys, drawn until one fits."""
    return _both(set_, CoatingKey(best_of(sums_of(set_.innocent), _MILLION), SALT), alpha=1e-5)


def committed_keys(set_: Scene, _: Path) -> str:
    """The best of 10,000 committed keys."""
    key = CoatingKey(best_of(sums_of(set_.innocent), _MANY), SALT)
    p = keyed_test(np.asarray(set_.innocent.features), key.signs()).p_value
    config = VerifyConfig(alpha=1e-3, price=_MANY)
    priced = verify(set_.innocent, None, config, key=key)
    return f"{priced.outcome}: p = {p:.1g} of the best key is multiplied by {_MANY:,}"


def crafted_reader(set_: Scene, _: Path) -> str:
    """A coater made after the key, whose extractor finds the message in any picture."""
    other = hashlib.sha256(b"crafted").hexdigest()
    scores = scores_of(4.0 * set_.key.signs(), other)
    alone = verify(scores, None, VerifyConfig(), key=set_.key).deciding.outcome
    said = set_.verdict(set_.key, scores)
    return f"{said.outcome}: the commitment is to another coater (without a commitment: {alone})"


def other_prompts(set_: Scene, _: Path) -> str:
    """Prompts and seeds that were chosen because the test succeeds with them."""
    scores = scores_of(2.0 * set_.key.signs(), set_.innocent.coater)
    asked = {"prompts": ["what fits"], "count": IMAGES, "seed": 77}
    said = set_.verdict(set_.key, scores, source={"provenance": {"plan": asked}})
    return f"{said.outcome}: the prompts and the seed differ from the committed plan's"


def left_out_pictures(set_: Scene, _: Path) -> str:
    """Pictures that do not fit are left out."""
    scores = scores_of(2.0 * set_.key.signs(), set_.innocent.coater, images=30)
    said = set_.verdict(set_.key, scores)
    return f"{said.outcome}: 30 pictures were scored, {IMAGES} were planned"


def many_models(set_: Scene, _: Path) -> str:
    """Innocent models are tested until one fits."""
    rates = _rates(sums_of(set_.innocent), _TESTS, seed=6)
    prices = np.array([price_of(number) for number in range(1, _TESTS + 1)])
    plain, kept = ((rates * factor <= 0.05).any(axis=1).mean() for factor in (1, prices))
    return (
        f"of {_OWNERS} owners who test {_TESTS} innocent models each at .05, "
        f"{100 * kept:.0f} % find one (without the ledger {100 * plain:.0f} %)"
    )


def many_recipients(set_: Scene, _: Path) -> str:
    """The best of 50 recipients' keys is shown."""
    rates = _rates(sums_of(set_.innocent), _RECIPIENTS, seed=7)
    plain, kept = ((rates * factor <= 0.05).any(axis=1).mean() for factor in (1, _RECIPIENTS))
    return (
        f"with {_RECIPIENTS} keys in the file, an innocent model is found at .05 in "
        f"{100 * kept:.0f} % of {_OWNERS} tries (without the factor {100 * plain:.0f} %)"
    )


def another_seed(set_: Scene, _: Path) -> str:
    """The seed of the random messages is chosen so that p is small."""
    p = {keyed_test(np.asarray(set_.innocent.features), set_.key.signs()).p_value for _ in "abc"}
    return f"no seed: p is counted, and is the same in {3 - len(p) + 1} of 3 repetitions"


def another_alpha(set_: Scene, _: Path) -> str:
    """A risk so small that only a laxer test could reach it."""
    mark, rng = set_.innocent.coater, np.random.default_rng(8)
    clean = replace(scores_of(lean(9), mark, 200, seed=9), scores=rng.normal(20, 1, 200))
    said = verify(set_.innocent, clean, VerifyConfig(alpha=1e-16), key=set_.key)
    return f"{said.outcome}: the {said.test} test decides, whatever the risk"


def withheld_key(set_: Scene, _: Path) -> str:
    """The key is left out, so that the comparison with a reference decides."""
    mark, rng = set_.innocent.coater, np.random.default_rng(8)
    clean = replace(scores_of(lean(9), mark, 200, seed=9), scores=rng.normal(20, 1, 200))
    said = verify(set_.innocent, clean, VerifyConfig())
    return f"{said.outcome}: {said.headline.split('. ')[0]}"


def another_page(set_: Scene, work: Path) -> str:
    """The page of a report is changed to the opposite, and sealed again."""
    said = verify(set_.innocent, None, VerifyConfig(), key=set_.key)
    write_report(said, set_.innocent, None, work / "page")
    page = work / "page" / HTML
    page.write_text(page.read_text("utf-8").replace(said.outcome, "coating found"), "utf-8")
    write_seal(work / "page")
    point = next(one for one in check_report(work / "page").points if one.name == "page")
    return f"{point.state}: the page is made again from the figures and compared"


def deleted_ledger(set_: Scene, work: Path) -> str:
    """The ledger is deleted after tests that found nothing."""
    key = FiledKey(set_.key, work / "keys.json", 1)
    start_ledger(key.file)
    counted(key, set_.innocent, None)
    ledger_of(key.file).unlink()
    found, _ = counted(key, scores_of(lean(5), set_.innocent.coater, seed=5), None)
    said = "" if found is None else found.text.partition("There was")[2]
    return f"reported: There was{said}"


def made_up_round(_: Scene, __: Path) -> str:
    """A random number of the owner's choice is called the beacon's."""
    signature = hashlib.sha384(b"made up").digest()
    randomness = hashlib.sha256(signature).hexdigest()
    try:
        checked = check_round(Round(7, randomness, signature.hex()), CHAINS[QUICKNET], 7)
    except EvidenceError as error:
        return f"refused: {error}".partition(" Use the")[0]
    return "listed as not checked without py_ecc; refused with it" * (not checked.signature)


def chosen_half(set_: Scene, work: Path) -> str:
    """Of the bits that a third party sees, those are opened that fit."""
    said = verify(set_.innocent, None, VerifyConfig(alpha=1e-3), key=set_.key)
    write_report(said, set_.innocent, None, work / "half")
    sealed = seal_bits(work / "half", set_.key, set_.innocent, set_.commitment)
    text = json.dumps(to_plain(sealed))
    signature = hashlib.sha384(b"round").digest()
    found = Round(9, hashlib.sha256(signature).hexdigest(), signature.hex())
    try:
        opening = open_bits(work / "half", set_.key, set_.innocent, text, found)
    except EvidenceError as error:  # the stand-in round is refused where signatures are checked
        return f"refused: {error}"
    fits = sums_of(set_.innocent) * set_.key.signs()
    best = set(np.argsort(-fits)[:24].tolist())
    cheat = replace_opened(opening, best)
    save_opening(cheat, work / "opening.json")
    given = OpeningEvidence(work / "opening.json", named=9)
    points = check_report(work / "half", opening=given).points
    point = next(one for one in points if one.name == "opened bits")
    return f"{point.state}: {point.text}"


def replace_opened(opening: Any, places: set[int]) -> Any:
    """The opening with other places than the round chose."""
    kept = tuple(
        type(one)(place, one.sign, one.secret, one.sum, one.sum_secret)
        for one, place in zip(opening.opened, sorted(places), strict=True)
    )
    return type(opening)(sealed=opening.sealed, round=opening.round, opened=kept)


def read_from_report(set_: Scene, _: Path) -> str:
    """Whoever has report, coater and pictures solves T for the message."""
    guilty = scores_of(0.8 * set_.key.signs() + 0.7 * lean(2), set_.innocent.coater)
    sums = sums_of(guilty)
    statistic = int(set_.key.signs() @ sums)
    spread = whole_distribution(np.abs(sums))
    share = spread[(statistic + int(np.abs(sums).sum())) // 2]
    p = share_of_messages(spread, statistic)
    return f"{share * 2.0**BITS:.0e} messages have the T of a find with p = {p:.0e}"


def _both(set_: Scene, key: CoatingKey, alpha: float = 1e-6) -> str:
    """The outcome with the commitment to another key, and without any."""
    alone = verify(set_.innocent, None, VerifyConfig(alpha=alpha), key=key)
    said = set_.verdict(key, set_.innocent, alpha=alpha)
    return (
        f"{said.outcome}: the commitment is not to this key (without a commitment: "
        f"{alone.outcome}, p = {alone.deciding.p_value:.1g}, and a warning)"
    )


def _rates(sums: NDArray[np.int64], tests: int, seed: int) -> Floats:
    """p of random messages: one row per owner, one column per test."""
    spread = whole_distribution(np.abs(sums))
    drawn = signs(seed, _OWNERS * tests).astype(np.int64) @ sums
    table = {int(one): share_of_messages(spread, int(one)) for one in np.unique(drawn)}
    return np.array([table[int(one)] for one in drawn]).reshape(_OWNERS, tests)
