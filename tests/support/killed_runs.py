"""Runs commands undisturbed and killed at random times, and compares what they wrote.

``python -m support.killed_runs FOLDER SEED KILLS`` prints a JSON object: for each command, how
often it was killed and which files differ. All runs are forks of one process, which imports
everything once.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
import traceback
from pathlib import Path
from random import Random
from typing import Any

from safetensors.torch import load_file
from support.owned_sets import owned_sets
from support.tiny_models import draw_images, shared_model

import siren_ext.attribution.cache
import siren_ext.personalize.loop
import siren_ext.preference.measure
import siren_ext.preference.parts
import siren_ext.preference.patterns
import siren_ext.scoring.score
import siren_ext.suspects.base
import siren_ext.training.recipes
import siren_ext.training.reptile
import siren_ext.training.train
import siren_ext.workflows.passive_evidence
import siren_ext.workflows.robustness
from siren_ext.cli.app import app
from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig

SHAPE = CoaterConfig(
    channels=4, generator_blocks=1, extractor_blocks=1, bits=2, features=4, working_size=16
)
KEYED = CoaterConfig(
    channels=4, generator_blocks=1, extractor_blocks=1, message_bits=8, working_size=16
)
FOLDERS = ("coat", "generate", "attack", "robustness", "decoys", "attribute", "passive")
ENDINGS = {**dict.fromkeys(FOLDERS, ""), "score": ".json", "preference": ".json"}
SLOW = ("robustness", "decoys", "attribute", "passive")
# times of writing, and hashes of files that hold them
_OF_THE_RUN = re.compile(rb"20\d\d-\d\d-\d\d[T ][\d:]{5,8}|[0-9a-f]{32,64}")


def commands(folder: Path, base: Path) -> dict[str, list[str]]:
    """The arguments of each command but --out."""
    photos = str(draw_images(folder / "photos", 6))
    draw_images(folder / "sets" / "cats", 3)
    draw_images(folder / "sets" / "dogs", 3)
    coater = str(folder / "coater.safetensors")
    Coater(SHAPE, seed=1).save(Path(coater))
    keyed = str(folder / "keyed.safetensors")
    Coater(KEYED, seed=1).save(Path(keyed))
    model, start = ["--base", str(base), "--device", "cpu"], ["--start", coater]
    fitted = str(folder / "fitted.safetensors")
    word, new = ["--class-word", "fox"], ["--preset", "coarse", "--set", "coater.channels=4"]
    tiny = ["--set", "surrogate.steps=1", "--set", "coater.generator_blocks=1"]
    ended(forked(["train", photos, *model, *word, *new, *tiny, "--quiet", "--out", fitted]))
    inner = ["--set", "inner.steps=2", "--set", "inner.batch_size=2", "--set", "coater.channels=4"]
    published, others = owned_sets(folder / "owned", 20)
    many, lora = str(published), str(folder / "calm" / "personalize.safetensors")
    small = ["--set", "surrogate.steps=2", "--set", "batch_size=2"]
    return {
        "coat": ["coat", photos, "--coater", coater, "--batch-size", "1"],
        "score": ["score", photos, "--coater", coater, "--batch-size", "1"],
        "generate": [
            *("generate", *model, "--prompt", "a fox", "-n", "5", "--steps", "2"),
            *("--batch-size", "1"),
        ],
        "personalize": ["personalize", photos, *model, "--steps", "6", "--set", "batch_size=1"],
        "train": ["train", photos, *model, *word, *start, "--steps", "5", *small],
        "preference": [
            *("preference", photos, *model, "--coater", keyed, "--set", "batch_size=1"),
            *("--set", "draws=2"),
        ],
        "meta": ["meta", str(folder / "sets"), *model, "--tasks", "3", *inner],
        "attack": ["attack", photos, "--with", "jpeg,blur"],
        "robustness": [
            *("robustness", many, "--coater", keyed, "--with", "jpeg,palette,round", "-n", "8"),
        ],
        "decoys": ["decoys", fitted, photos, *model, "-k", "2"],
        "attribute": [
            *("attribute", "images", "--data", photos, "--query", f"{photos}/0.png", *model),
            *("--adapter", lora, "--set", "times=1", "--set", "noises=2"),
            *("--set", "dimension=16", "--set", "repeats=10"),
        ],
        "passive": [
            *("passive", "--published", many, "--unpublished", str(others), *model),
            *("--adapter", lora, "--set", "test.permutations=19", "--pictures", "0"),
            *("--set", "test.control_permutations=19", "--set", "test.splits=1"),
        ],
    }


def forked(arguments: list[str]) -> int:
    """Start a command in a fork; returns its process."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        app(arguments)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """The exit code of a process; negative if it was killed."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def finish(arguments: list[str], kills: list[float]) -> int:
    """Run a command until it ends by itself; kill it after each of the times before."""
    killed = 0
    for seconds in kills:
        child = forked(arguments)
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        killed += ended(child) < 0
    code = ended(forked(arguments))
    # a run that ended just before it was to be killed refuses to write its result again
    if code and killed == len(kills):
        raise SystemExit(f"{arguments[0]} ended with {code} after {killed} kills")
    return killed


def content(path: Path) -> Any:
    """What a file holds: the numbers of a model, whose header has times."""
    if path.suffix == ".safetensors":
        return {name: tensor.tolist() for name, tensor in load_file(path).items()}
    return _OF_THE_RUN.sub(b"", path.read_bytes())


def files(out: Path) -> dict[str, Any]:
    """What a command wrote, by name."""
    found = out.rglob("*") if out.is_dir() else [out]
    whole = [path for path in found if path.is_file()]
    return {path.relative_to(out.parent).as_posix(): content(path) for path in whole}


def main(folder: Path, seed: int, kills: int) -> dict[str, dict[str, Any]]:
    """Run everything; see the module."""
    for module in (siren_ext.suspects.base, siren_ext.training.train, siren_ext.personalize.loop):
        module.SAVE_SECONDS = 0.0
    siren_ext.scoring.score._SAVE_SECONDS = 0.0
    siren_ext.preference.parts._SECONDS = siren_ext.attribution.cache._SECONDS = 0.0
    # kills should fall into what is kept, not into the one measurement before it
    siren_ext.preference.patterns.CODINGS, siren_ext.preference.patterns._PER_BIT = 16, 2
    base = shared_model(folder, "tiny", "epsilon")
    random, results = Random(seed), {}
    for name, arguments in commands(folder, base).items():
        ending = ENDINGS.get(name, ".safetensors")
        calm, rough = (folder / way / f"{name}{ending}" for way in ("calm", "rough"))
        start = time.monotonic()
        line = [*arguments, "--quiet", "--out"]
        if code := ended(forked([*line, str(calm)])):
            raise SystemExit(f"{name} ended with {code}")
        length = time.monotonic() - start
        count = 1 if name in SLOW else kills
        times = [random.uniform(0.1, 1) * length for _ in range(count)]
        killed = finish([*line, str(rough)], times)
        first, second = files(calm), files(rough)
        wrong = sorted(n for n in first.keys() | second.keys() if first.get(n) != second.get(n))
        left = [path.name for path in rough.parent.rglob(".*")]  # locks, temporary files
        results[name] = {"killed": killed, "files": len(first), "differ": wrong, "left": left}
    return results


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
