"""The figures of a finished demo."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from siren_ext.documents import read_json
from siren_ext.errors import SirenError


@dataclasses.dataclass(frozen=True)
class DemoSummary:
    """The figures of a finished demo, as written to ``summary.json``.

    Attributes
    ----------
    psnr_db, ssim, local_de00_p99 : float
        means over the coated files as written.
    scores_separate : bool
        whether every coated file scores below every clean one.
    suspect, innocent : dict[str, Any]
        verdict, p, n, m, d and headline of each of the two tests.
    seconds : float
        working time, summed over all calls if the demo was interrupted.
    peak_memory_gb : float | None
        largest resident memory of the process in 1e9 bytes; None if the system does not report it.
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
        """The summary as plain values.

        Parameters
        ----------
        root : Path
            folder of the demo.

        Returns
        -------
        dict[str, Any]
            for JSON; the report's path is relative to ``root``.
        """
        return {**dataclasses.asdict(self), "report": self.report.relative_to(root).as_posix()}

    @classmethod
    def load(cls, root: Path) -> DemoSummary | None:
        """Read the summary of a demo.

        Parameters
        ----------
        root : Path
            folder of the demo.

        Returns
        -------
        DemoSummary | None
            None unless the demo is finished and its report is there.
        """
        try:
            values = read_json(root / "summary.json", error=SirenError)
            summary = cls(**{**values, "report": root / values["report"]})
        except (SirenError, TypeError, KeyError):
            return None
        return summary if summary.report.is_file() else None

    def text(self) -> str:
        """The result for people.

        Returns
        -------
        str
            a few lines.
        """
        from siren_ext.text import duration

        memory = f", {self.peak_memory_gb:.1f} GB of memory" if self.peak_memory_gb else ""
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
