"""What a demo records: its figures, and a log of time and memory.

Both survive interruptions, so that the figures of a resumed demo are those of the whole.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from siren_ext.errors import ConfigError
from siren_ext.workflows.run_log import RunLog


@dataclasses.dataclass(frozen=True)
class DemoSummary:
    """The figures of a finished demo, as written to ``summary.json``.

    Attributes
    ----------
    psnr_db, ssim, local_de00_p99 : float
        means over the written, coated files.
    scores_separate : bool
        whether every coated file scores below every clean one.
    suspect, innocent : dict[str, Any]
        verdict, p, n, m, d and headline of either test.
    seconds : float
        working time, summed over interrupted calls.
    peak_memory_gb : float | None
        largest resident memory of the process; None where the system tells none.
    report : Path
        the report on the suspect.
    """

    psnr_db: float
    ssim: float
    local_de00_p99: float
    scores_separate: bool
    suspect: dict[str, Any]
    innocent: dict[str, Any]
    seconds: float
    peak_memory_gb: float | None
    report: Path

    def to_dict(self, root: Path) -> dict[str, Any]:
        """Plain values; the report's path is relative to ``root``."""
        return {**dataclasses.asdict(self), "report": self.report.relative_to(root).as_posix()}

    @classmethod
    def load(cls, root: Path) -> DemoSummary | None:
        """The summary of a finished demo in ``root``, None if there is none."""
        try:
            values = json.loads((root / "summary.json").read_text(encoding="utf-8"))
            summary = cls(**{**values, "report": root / values["report"]})
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return summary if summary.report.is_file() else None

    def text(self) -> str:
        """The outcome in a few lines."""
        from siren_ext.text import duration

        memory = f", {self.peak_memory_gb:.1f} GB at most" if self.peak_memory_gb else ""
        lines = [
            f"Coated images              PSNR {self.psnr_db:.1f} dB, SSIM {self.ssim:.3f}, "
            f"local colour difference {self.local_de00_p99:.1f}",
        ]
        for what, result in (("coated images", self.suspect), ("clean originals", self.innocent)):
            lines.append(
                f"Trained on {what:<15} -> {result['verdict']} (p = {result['p']:.3g}, "
                f"{result['n']} images against {result['m']})"
            )
        lines.append(f"Took {duration(self.seconds)}{memory}")
        return "\n".join(lines)


class DemoLog(RunLog):
    """Time and memory of each step, kept over interruptions in ``demo.json``."""

    def __init__(self, root: Path, settings: dict[str, Any]) -> None:
        path = root / "demo.json"
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            kept = {}
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{path} can't be read ({error}); name another folder for the demo."
            ) from error
        settings = json.loads(json.dumps(settings))  # as they come back: tuples as lists
        if kept and kept.get("config") != settings:
            raise ConfigError(
                f"{root} holds a demo with other settings; name another folder, delete this one, "
                f"or call with its settings (see {path.name})."
            )
        if not kept and root.is_dir() and any(not p.name.startswith(".") for p in root.iterdir()):
            raise ConfigError(
                f"{root} holds files that are not of a demo; name a new or empty folder."
            )
        super().__init__(path, {"config": settings}, kept)

    @property
    def seconds(self) -> float:
        """Working time so far."""
        return float(sum(self._data["seconds"].values()))

    @property
    def memory(self) -> float | None:
        """Largest resident memory so far, in GB."""
        value: float | None = self._data["peak_memory_gb"]
        return value
