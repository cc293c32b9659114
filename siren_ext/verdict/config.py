"""How strict a verdict is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from siren_ext.config import Config
from siren_ext.stats.low_end import LOW_END


@dataclass(frozen=True)
class VerifyConfig(Config):
    """How strict the verdict is.

    Attributes
    ----------
    alpha : float
        accepted risk of accusing a model that does not differ from the reference.
    method : Literal['auto', 'exact', 'asymptotic']
        how p of the reference test is computed; ``auto`` is exact up to 10,000 images a
        side.
    low_end : float
        share of the reference, from its lowest score, in which the reference test looks
        for its gap, see :mod:`siren_ext.stats.low_end`; 1 looks everywhere.
    two_sided : bool
        the paper's test; it looks everywhere and also rejects when the suspect scores
        *higher*.
    decoys : int
        random messages that the keyed test ranks the secret among.
    decoy_seed : int
        fixes them, so that the rank can be computed again.
    """

    alpha: float = 1e-6
    method: Literal["auto", "exact", "asymptotic"] = "auto"
    low_end: float = LOW_END
    two_sided: bool = False
    decoys: int = 100_000
    decoy_seed: int = 0

    bounds: ClassVar[dict[str, tuple[float, float]]] = {
        "alpha": (1e-299, 0.5),
        "low_end": (0.01, 1.0),
        "decoys": (1000, 2_000_000),
        "decoy_seed": (0, 2**63 - 1),
    }
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {
        "method": ("auto", "exact", "asymptotic"),
        "two_sided": (True, False),
    }

    def comparison(self) -> dict[str, Any]:
        """The settings of the test against a reference, as :func:`ks_finding` takes them."""
        return {"method": self.method, "two_sided": self.two_sided, "share": self.low_end}
