"""Readers of what longer work keeps or is given: decoys, measured rows, gradients, certificates."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from support.fuzz_reader import Reader, Sample, of_file, sample_of
from support.score_sets import COATER, pool

from siren_ext.attribution.cache import GradientCache
from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.coating.credentials import ContentSigner
from siren_ext.coating.manifest import CoatEntry
from siren_ext.schema import to_plain
from siren_ext.scoring import decoys
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.service.records import ServiceJournal, read_journal
from siren_ext.workflows.robustness import _finished
from siren_ext.workflows.robustness_result import AttackResult

MADE = {"training": {"steps": 3, "seed": 1}, "images_sha256": "ab" * 32, "prompt": "a fox"}
SHAPE = CoaterConfig(
    channels=4, generator_blocks=1, extractor_blocks=1, bits=2, features=4, working_size=32
)
ENDS = decoys.Ends(3.0, 1.0)


def kept_readers(work: Path) -> list[Reader]:
    """All of them; their good files are made in ``work``."""
    return [
        _decoys(),
        _scores_by_decoys(work),
        _rows(),
        _gradients(work),
        _served(work),
        *_certificates(work),
    ]


def _decoys() -> Reader:
    coater = Coater(SHAPE, seed=1)
    coater.provenance |= MADE
    listed = [decoys.Decoy(number, f"{number:064x}", ENDS) for number in (1, 2, 3)]
    recipe = decoys.recipe_of(coater)
    index = decoys.DecoyIndex(coater=coater.fingerprint, recipe=recipe, ends=ENDS, decoys=listed)
    sample = Sample(decoys.INDEX, json.dumps(to_plain(index)).encode(), "json")
    return Reader("lists of decoys", [sample], lambda folder, _: decoys.read_index(folder, coater))


def _scores_by_decoys(work: Path) -> Reader:
    scored = [
        decoys.ScoredDecoy(n, decoys.decoy_seed(COATER, n), f"{n:064x}", ENDS, [2.0, 3.0, 1.0])
        for n in (1, 2)
    ]
    kept = decoys.ScoredDecoys(recipe="ab" * 32, ends=ENDS, decoys=scored)
    pool([1.0, 2.0, 3.0], source={decoys.SOURCE: to_plain(kept)}).save(work / "by_decoys.json")

    def load(path: Path) -> object:
        return decoys.decoys_of(ScoreSet.load(path))

    return Reader("scores by decoys", [sample_of(work / "by_decoys.json", "json")], of_file(load))


def _rows() -> Reader:
    blur = AttackResult("blur", {"kernel": 7, "sigma": 1.4}, area=0.9, bits_right=0.7)
    rows = [to_plain(AttackResult("jpeg", {"quality": 80}, psnr_db=30.5, found=3)), to_plain(blur)]
    text = json.dumps({"identity": "ab", "rows": rows})
    sample = Sample("rows.json", text.encode(), "json")
    return Reader("rows of attacks", [sample], of_file(lambda path: _finished(path, "ab")))


def _gradients(work: Path) -> Reader:
    cache = GradientCache(work / "gradients", "run", (2, 4))
    cache.add({"ab" * 32: np.ones((2, 4), np.float32), "cd" * 32: np.zeros((2, 4), np.float32)})
    cache.save()

    def read(path: Path) -> object:
        return GradientCache(path, "run", (2, 4))

    return Reader("gradients", [sample_of(work / "gradients", "safetensors")], of_file(read))


def _served(work: Path) -> Reader:
    entry = CoatEntry("1.in", "1.png", "0" * 64, "1" * 64, True, 40.5, 2.0, 1.0, (20, 16), ("a",))
    for start in range(2):
        journal = ServiceJournal(work / "served.jsonl", "c" * 64, "k" * 64, 1.0)
        journal.add(f"{start}", entry)

    def read(path: Path) -> object:
        return list(read_journal(path))

    return Reader("journals of the service", [sample_of(journal.path, "lines")], of_file(read))


def _certificates(work: Path) -> list[Reader]:
    if find_spec("c2pa") is None:
        return []
    from support.content_certificates import write_certificates

    (work / "pems").mkdir()
    paths = write_certificates(work / "pems")
    samples = [sample_of(path, "") for path in paths]
    kept = {one.place: one.data for one in samples}

    def read(folder: Path, place: str) -> object:
        return ContentSigner(*(folder / path.name for path in paths))

    return [Reader("certificates", samples, read, kept)]
