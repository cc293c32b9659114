"""The result of "How robust is my coating?": its figures, its words and its files."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from siren_ext.attacks.registry import ATTACKS
from siren_ext.files import atomic, write_json
from siren_ext.report.template import render

FORMAT = "siren-ext robustness 1"
JSON, CSV, PAGE = "robustness.json", "robustness.csv", "robustness.html"
NONE = "none"
"""Name of the row of the pictures as they are published."""
HONESTY = (
    "This measures the coating in pictures. It does not measure what a model learns from them: a "
    "coating that survives an attack here may still not be learned. To test that, train a LoRA on "
    "coated images and verify it."
)
READABLE = 0.9
"""The area from which the coating counts as readable, if its interval is above 0.5."""


_ELSEWHERE = (
    "{0} needs {1}, which this measurement doesn't take. Attack a folder of coated pictures with "
    "'siren-ext attack FOLDER --with {0} --set {2} --out ATTACKED', and score that with 'siren-ext "
    "score'."
)
NOT_HERE = {
    "edit": _ELSEWHERE.format("edit", "the folder of an image editor", "model=FOLDER"),
    "uncoat": _ELSEWHERE.format("uncoat", "the file of a trained network", "file=FILE"),
}
"""Attacks that have no defaults, and what to do instead of measuring them here."""


@dataclass(frozen=True)
class AttackResult:
    """What one attack leaves of a coating.

    Attributes
    ----------
    attack : str
        Name in :data:`~siren_ext.attacks.registry.ATTACKS`, or ``none``.
    settings : dict[str, Any]
        Its settings.
    psnr_db : float | None
        Mean likeness of the attacked coated pictures to the coated ones, in dB; None if the attack
        changed no picture or was not measured.
    area, area_low, area_high : float | None
        Chance that a coated picture scores below an uncoated one, both attacked, and its 95 %
        interval.
    found, false_alarms : int | None
        How many attacked coated and attacked uncoated pictures score below the cut-off, which is
        set on uncoated pictures that were not attacked.
    found_low, found_high, false_low, false_high : float | None
        95 % intervals of their shares.
    bits_right, uncoated_bits_right : float | None
        Mean share of the message's bits that are read correctly from a picture; None without a key.
    key_p, uncoated_key_p : float | None
        p of the keyed test of all pictures together, as a verdict uses it; None without a key.
    problem : str
        Why it was not measured; empty if it was.
    """

    attack: str
    settings: dict[str, Any]
    psnr_db: float | None = None
    area: float | None = None
    area_low: float | None = None
    area_high: float | None = None
    found: int | None = None
    found_low: float | None = None
    found_high: float | None = None
    false_alarms: int | None = None
    false_low: float | None = None
    false_high: float | None = None
    bits_right: float | None = None
    key_p: float | None = None
    uncoated_bits_right: float | None = None
    uncoated_key_p: float | None = None
    problem: str = ""

    @property
    def outcome(self) -> str:
        """readable, weaker, not found or not measured."""
        if self.area is None or self.area_low is None:
            return "not measured"
        if self.area_low <= 0.5:
            return "not found"
        return "readable" if self.area >= READABLE else "weaker"

    @property
    def stands_for(self) -> str:
        """Who does this, in a few words."""
        known = ATTACKS.get(self.attack)
        return "publishing as it is" if known is None else known.stands_for


@dataclass(frozen=True)
class Robustness:
    """How a coating fares under attacks.

    Attributes
    ----------
    coater : str
        Its fingerprint.
    key : str
        How the key was chosen: ``none``, ``given`` or ``drawn for this test``.
    images : int
        Number of pictures, each coated and uncoated.
    side : int
        Longest side of the pictures; larger ones were shrunk first.
    seed : int
        Of the sample and of all draws.
    false_alarm : float
        Share of uncoated pictures that may score below the cut-off.
    psnr_db : float
        Mean likeness of the coated pictures to their originals, in dB.
    cut_off : float
        The score below which a picture counts as coated.
    rows : tuple[AttackResult, ...]
        One for each attack; the first is ``none``.
    problems : dict[str, str]
        Name and reason of every picture that was left out.
    """

    coater: str
    key: str
    images: int
    side: int
    seed: int
    false_alarm: float
    psnr_db: float
    cut_off: float
    rows: tuple[AttackResult, ...]
    problems: dict[str, str]

    def summary(self) -> str:
        """One sentence on all attacks."""
        if self.rows[0].outcome == "not found":
            return "The coating is not found in single pictures even without an attack."
        names: dict[str, list[str]] = {}
        for row in self.rows[1:]:
            names.setdefault(row.outcome, []).append(row.attack)
        words = {
            "readable": "stays readable after",
            "weaker": "is weaker after",
            "not found": "is not found after",
            "not measured": "was not measured after",
        }
        parts = [f"{words[key]} {', '.join(names[key])}" for key in words if key in names]
        return f"The coating {'; it '.join(parts)}." if parts else ""

    def warnings(self) -> list[str]:
        """What a reader has to know before relying on the figures."""
        from siren_ext.coater.bundled import public_warning

        lines = [HONESTY]
        if self.images < 24:
            lines.append(
                f"Only {self.images} pictures were measured, so the intervals are wide; use 24 or "
                "more."
            )
        if self.rows[0].outcome != "readable":
            lines.append(
                "The coating can't be read well from single pictures even without an attack: the "
                "coater does not suit them. Train it on pictures like these, or coat with more "
                "strength."
            )
        accused = [row.attack for row in self.rows if (row.false_low or 0) > self.false_alarm]
        if accused:
            lines.append(
                f"After {', '.join(accused)} uncoated pictures score below the cut-off more often "
                f"than {self.false_alarm:.0%}. There 'found' says little: compare with pictures "
                "that were handled in the same way, as the column AUC does."
            )
        public = public_warning(self.coater)
        return [*lines, public] if public else lines

    def fragment(self) -> str:
        """The table as HTML, for pages that have a style of their own."""
        return render("robustness_table.html", result=self)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``robustness.json`` has them."""
        values = asdict(self)
        for row, plain in zip(self.rows, values["rows"], strict=True):
            plain["outcome"] = row.outcome
        return {"format": FORMAT} | values | {"warnings": self.warnings()}

    def write(self, out: Path) -> Path:
        """Write the table as JSON and CSV, and a page.

        Parameters
        ----------
        out : Path
            The folder; made if it is missing.

        Returns
        -------
        Path
            The page.
        """
        names = [field.name for field in fields(AttackResult)]
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow([*names, "outcome"])
        for row in self.rows:
            plain = asdict(row) | {
                "settings": " ".join(f"{key}={value}" for key, value in row.settings.items())
            }
            writer.writerow([*(plain[name] for name in names), row.outcome])
        page = render("robustness.html", result=self)
        for name, text in ((CSV, table.getvalue()), (PAGE, page)):
            with atomic(out / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
        write_json(out / JSON, self.to_dict())
        return out / PAGE

    def lines(self) -> list[str]:
        """A line for each attack, for places without columns."""
        found = []
        for row in self.rows:
            line = f"{row.attack} ({row.stands_for}): {row.outcome}"
            if row.area is not None:
                line += f", AUC {row.area:.2f} ({row.area_low:.2f} to {row.area_high:.2f})"
            if row.bits_right is not None:
                line += f", {row.bits_right:.0%} of bits right, key p {row.key_p:.1g}"
            if row.psnr_db is not None:
                line += f", PSNR {row.psnr_db:.1f} dB"
            found.append(f"{line}. {row.problem}" if row.problem else line)
        return found

    def table(self) -> list[str]:
        """Lines of a table for a terminal."""
        keyed = self.key != NONE
        head = f"{'attack':<18}{'PSNR':>6}{'AUC':>7}{'95 %':>14}{'found':>9}{'false':>9}"
        lines = [head + f"{'bits':>7}{'key p':>9}" * keyed + "  outcome"]
        for row in self.rows:
            if row.area is None:
                lines.append(f"{row.attack:<18}not measured: {row.problem}")
                continue
            psnr = "same" if row.psnr_db is None else f"{row.psnr_db:.1f}"
            span = f"{row.area_low:.2f} to {row.area_high:.2f}"
            line = f"{row.attack:<18}{psnr:>6}{row.area:>7.3f}{span:>14}"
            line += f"{row.found:>5}/{self.images:<3}{row.false_alarms:>5}/{self.images:<3}"
            line += f"{row.bits_right:>7.0%}{row.key_p:>9.0e}" if row.bits_right is not None else ""
            lines.append(f"{line}  {row.outcome}")
        return lines
