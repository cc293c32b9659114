"""Whether coater, key and files were chosen before a test: what checking a commitment gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["committed before", "no commitment", "does not fit"]

_ALWAYS = ("status", "text", "created", "sha256", "checked")


@dataclass(frozen=True)
class Precedence:
    """Whether coater, key and files were committed to before the test.

    Attributes
    ----------
    status : Status
        "does not fit" if the commitment is to something else.
    text : str
        the result in a sentence or two, with the claimed time and how reliable it is.
    created : str
        the time that the commitment claims; "" without a commitment.
    sha256 : str
        of the commitment file, to compare with the published one; "" without a commitment.
    checked : tuple[str, ...]
        names of the things that match.
    stamped : str
        the time of a checked time stamp, in the form of ``created``; "" without one.
    keys : int
        K, the number of keys in the commitment, by which p is multiplied; 0 if none is tested.
    unchecked : tuple[str, ...]
        what could not be checked, in words.
    number : int
        j, which test of the key file this is; 0 where no ledger was kept.
    ledger : str
        SHA-256 of the ledger's last line, which fixes all lines; "" without a ledger.
    """

    status: Status
    text: str
    created: str = ""
    sha256: str = ""
    checked: tuple[str, ...] = ()
    stamped: str = ""
    keys: int = 0
    unchecked: tuple[str, ...] = ()
    number: int = 0
    ledger: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The result as plain values for JSON, without what is empty of the later fields."""
        values = asdict(self) | {"checked": [*self.checked], "unchecked": [*self.unchecked]}
        return {name: value for name, value in values.items() if value or name in _ALWAYS}

    @property
    def left_open(self) -> str:
        """What could not be checked, as a sentence; "" if nothing was left."""
        return f"Not checked: {'; '.join(self.unchecked)}." if self.unchecked else ""

    def beside(self, warnings: Sequence[str]) -> str:
        """What to show beside a verdict's warnings.

        Parameters
        ----------
        warnings : Sequence[str]
            of the verdict.

        Returns
        -------
        str
            text and what is left open; the text is left out if it is one of the warnings, or if
            there is neither commitment nor ledger.
        """
        said = self.text in warnings or not (self.created or self.number)
        return " ".join(filter(None, ["" if said else self.text, self.left_open]))


def not_committed(*, keyed: bool, twins: bool = False) -> Precedence:
    """The result without a commitment.

    Parameters
    ----------
    keyed : bool
        whether a key is tested.
    twins : bool
        whether the coins of twins are tested.

    Returns
    -------
    Precedence
        with the status "no commitment".
    """
    what = "coins of the twins" if twins else "key" if keyed else "coater"
    return Precedence(
        "no commitment", f"No commitment: the {what} could have been chosen afterwards."
    )
