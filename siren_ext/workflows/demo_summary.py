"""The figures of a finished demo."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypedDict

from msgspec import Struct

from siren_ext.documents import read_json
from siren_ext.errors import SirenError
from siren_ext.files import is_file
from siren_ext.schema import convert, to_plain
from siren_ext.text import duration


class ModelResult(TypedDict):
    """The test of one model.

    ``p`` is its p-value, and ``n`` is the number of images of the model. In a comparison with a
    reference, ``m`` is the number of the reference's images and ``d`` the largest gap between their
    scores. In a test with a key, ``m`` is 0 and ``d`` is how well the message fits, from 0 to 1.
    """

    verdict: str
    headline: str
    p: float
    n: int
    m: int
    d: float


class _Stored(Struct, forbid_unknown_fields=True):
    """The content of ``summary.json``; ``report`` is relative to the demo's folder."""

    psnr_db: float
    ssim: float
    local_de00_p99: float
    scores_separate: bool
    suspect: ModelResult
    innocent: ModelResult
    seconds: float
    peak_memory_gb: float | None
    report: str


@dataclasses.dataclass(frozen=True)
class DemoSummary:
    """The figures of a finished demo, as written to ``summary.json``.

    Attributes
    ----------
    psnr_db, ssim, local_de00_p99 : float
        means over the coated files as written.
    scores_separate : bool
        whether every coated file scores below every clean one.
    suspect, innocent : ModelResult
        the two tests.
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
    suspect: ModelResult
    innocent: ModelResult
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
        name = root / "summary.json"
        try:
            values = read_json(name, error=SirenError)
            stored = convert(values, _Stored, name=str(name), error=SirenError)
        except SirenError:
            return None
        summary = cls(**to_plain(stored) | {"report": root / stored.report})
        return summary if is_file(summary.report) else None

    def text(self) -> str:
        """The result for people.

        Returns
        -------
        str
            a few lines.
        """
        memory = f", {self.peak_memory_gb:.1f} GB of memory" if self.peak_memory_gb else ""
        lines = [
            f"Coated images              PSNR {self.psnr_db:.1f} dB, SSIM {self.ssim:.3f}, "
            f"local colour difference {self.local_de00_p99:.1f}",
        ]
        for what, result in (("coated images", self.suspect), ("clean originals", self.innocent)):
            against = f" against {result['m']}" if result["m"] else ""
            lines.append(
                f"Trained on {what:<15} -> {result['verdict']} (p = {result['p']:.3g}, "
                f"{result['n']} images{against})"
            )
        lines.append(f"Took {duration(self.seconds)}{memory}")
        return "\n".join(lines)
