"""A command that is killed at random times and run again writes what an undisturbed one writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.processes import with_support
from support.tiny_models import need_models

SEED, KILLS = 16, 2


@pytest.mark.slow
@pytest.mark.models
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_commands_write_the_same(tmp_path: Path) -> None:
    need_models()
    words = ["-m", "support.killed_runs", str(tmp_path), str(SEED), str(KILLS)]
    environment = with_support() | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env=environment, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found) >= {"coat", "score", "generate", "personalize", "train", "meta", "preference"}
    assert set(found) >= {"attack", "robustness", "decoys", "attribute", "passive"}
    assert {name: one["differ"] for name, one in found.items() if one["differ"]} == {}
    assert {name: one["left"] for name, one in found.items() if one["left"]} == {}
    assert sum(one["killed"] for one in found.values()) >= len(found), found
