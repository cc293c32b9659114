"""How strict a verdict is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from msgspec import Meta

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

    alpha: Annotated[float, Meta(ge=1e-299, le=0.5)] = 1e-6
    method: Literal["auto", "exact", "asymptotic"] = "auto"
    low_end: Annotated[float, Meta(ge=0.01, le=1.0)] = LOW_END
    two_sided: bool = False
    decoys: Annotated[int, Meta(ge=1000, le=2_000_000)] = 100_000
    decoy_seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0

    def comparison(self) -> dict[str, Any]:
        """The settings of the test against a reference, as :func:`ks_finding` takes them."""
        return {"method": self.method, "two_sided": self.two_sided, "share": self.low_end}
