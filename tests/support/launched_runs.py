"""Commands in two processes of a launcher, one of which may be killed.

``python -m support.launched_runs COMMAND...`` is siren-ext, except that process 1 kills itself at
the beginning of the third training step if the file that ``SIREN_TEST_KILL`` names is missing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.processes import with_support

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
LIMIT = 300


def launch(*arguments: str | Path, kill: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command in two processes on the CPU; a killed one is started again, once."""
    module = "siren_ext" if kill is None else "support.launched_runs"
    line = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    line += ["--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"]
    line += ["--dynamo_backend", "no", "--main_process_port", "0", "--monitor_interval", "0.2"]
    line += ["--max_restarts", "0" if kill is None else "1", "-m", module]
    alone = {name: text for name, text in with_support().items() if name not in VARIABLES}
    environment = alone | {"OMP_NUM_THREADS": "1", "SIREN_TEST_KILL": str(kill or "")}
    return subprocess.run(
        [*line, *map(str, arguments)],
        capture_output=True, text=True, timeout=LIMIT, env=environment, check=False,
    )  # fmt: skip


def _kill_once(mark: Path) -> None:
    """Let this process end in its third step."""
    from siren_ext.personalize.run import Trainer

    advance = Trainer.advance

    def advance_or_die(self: Any) -> None:
        if self.step == 2 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        advance(self)

    Trainer.advance = advance_or_die  # type: ignore[method-assign]


if __name__ == "__main__":
    from siren_ext.cli.app import main

    if os.environ["RANK"] == "1":
        _kill_once(Path(os.environ["SIREN_TEST_KILL"]))
    main()
