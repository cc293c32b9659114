"""What a suspect will be asked, fixed before it is asked: prompts, seeds, number and stopping rule.

Whoever may pick prompts and seeds afterwards can ask until a test succeeds by chance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from siren_ext.documents import read_json, read_toml
from siren_ext.errors import EvidenceError
from siren_ext.schema import convert

RECORDS = "the prompt and seed of each picture, of which is no record"
"""What stays open if the plan of the pictures is recorded, but not how each was made."""
LOST = "what the planned pictures show that could not be scored"
"""What stays open if there are such pictures, as whoever made the test could have damaged them."""
_ADVICE = 'Write, for example: prompts = ["a photo of a fox"], count = 40, seed = 0.'


class CommittedPlan(Struct, forbid_unknown_fields=True, frozen=True):
    """The plan of a test, in the names of :class:`siren_ext.suspects.base.PromptPlan`.

    Attributes
    ----------
    prompts : tuple[str, ...]
        1 to 10,000. Picture i has prompt i; after the last the first one follows.
    count : int
        number of pictures, at most 1,000,000.
    seed : int
        picture i has the seed ``seed + i``, where the suspect takes seeds.
    stopping : Literal['fixed', 'sequential']
        ``fixed``: all pictures are tested at once; ``sequential``: after each picture, by the test
        that allows this.
    """

    prompts: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=4096)], ...],
        Meta(min_length=1, max_length=10_000),
    ]
    count: Annotated[int, Meta(ge=1, le=1_000_000)]
    seed: Annotated[int, Meta(ge=0, le=2**62)] = 0
    stopping: Literal["fixed", "sequential"] = "fixed"

    def compare(
        self, source: Mapping[str, Any], images: int, hashes: Sequence[str] = ()
    ) -> tuple[list[str], list[str]]:
        """Compare what was asked with the plan.

        Parameters
        ----------
        source : Mapping[str, Any]
            how the pictures were made, as a score file records it.
        images : int
            number of scored pictures and of those that could not be scored.
        hashes : Sequence[str]
            SHA-256 of the scored pictures, to compare the record of each.

        Returns
        -------
        tuple[list[str], list[str]]
            what differs, and what could not be checked, in words.
        """
        record = source.get("provenance")
        asked = record.get("plan") if isinstance(record, Mapping) else None
        unplanned = images > self.count or (images < self.count and self.stopping == "fixed")
        number = [f"{images} pictures were scored, {self.count} were planned"] * unplanned
        unchecked = [LOST] * (0 < len(hashes) < images)
        if self.stopping == "sequential":
            unchecked.append("the stopping rule: the pictures were tested all at once")
        if not isinstance(record, Mapping) or not isinstance(asked, Mapping):
            return number, ["the prompts and seeds, of which is no record", *unchecked]
        planned = {"prompts": list(self.prompts), "count": self.count, "seed": self.seed}
        wrong = [
            f"the {name} of the pictures differs from the plan's"
            for name, value in planned.items()
            if asked.get(name) != value
        ]
        records = record.get("images")
        if not isinstance(records, Mapping) or not records or not hashes or not all(hashes):
            return [*wrong, *number], [RECORDS, *unchecked]
        return [*wrong, *number, *self._records(records, hashes)], unchecked

    def _records(self, records: Mapping[str, Any], hashes: Sequence[str]) -> list[str]:
        """What differs between the plan and the records of the scored pictures."""
        made = {
            one["sha256"]: (str(one.get("prompt")), str(one.get("seed")))
            for one in records.values()
            if isinstance(one, Mapping) and isinstance(one.get("sha256"), str)
        }
        planned = {
            (self.prompts[i % len(self.prompts)], str(self.seed + i)) for i in range(self.count)
        }
        without = sum(one not in made for one in hashes)
        used = Counter(made[one] for one in hashes if one in made)
        other = sum(times for pair, times in used.items() if pair not in planned)
        again = sum(times - 1 for pair, times in used.items() if pair in planned)
        found = (
            (without, "are not those that the record names"),
            (other, "have a prompt or seed that the plan lacks"),
            (again, "repeat a prompt and seed of others"),
        )
        return [f"{count} of {len(hashes)} pictures {what}" for count, what in found if count]


def read_plan(path: Path) -> CommittedPlan:
    """Read a plan.

    Parameters
    ----------
    path : Path
        a TOML file, or JSON if its name ends in ``.json``.

    Returns
    -------
    CommittedPlan
        the plan.

    Raises
    ------
    EvidenceError
        the file can't be read or is no plan.
    """
    name = Path(path).name
    read = read_json if Path(path).suffix.lower() == ".json" else read_toml
    values = read(path, error=EvidenceError, name=name, advice=_ADVICE)
    return convert(values, CommittedPlan, name=name, error=EvidenceError, advice=_ADVICE)
