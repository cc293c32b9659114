"""How strict a verdict is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from msgspec import Meta

from siren_ext.config import Config
from siren_ext.stats.low_end import LOW_END


@dataclass(frozen=True)
class VerifyConfig(Config):
    """Settings of a verification.

    Attributes
    ----------
    alpha : float
        Accepted risk of a false alarm, 1e-299 to 0.5: of the keyed test, the share of random keys
        that may fit as well; of the rank, the risk that another innocent model is accused; of the
        comparison with a reference, the risk that a model that does not differ counts as lower.
    method : Literal['auto', 'exact', 'asymptotic']
        How p of the comparison with a reference is computed; ``auto`` is exact up to 10,000
        images per model.
    low_end : float
        Share of the reference's scores, from the lowest, in which that test looks for the largest
        gap, 0.01 to 1; 1 looks everywhere. See :mod:`siren_ext.stats.low_end_distribution`.
    two_sided : bool
        Whether to use the paper's test, which looks everywhere and also rejects if the suspect
        scores *higher*.
    price : int
        What p of the keyed test, of twins, and of the rank among decoys is multiplied by: the
        number of keys that could have been chosen, times the price of earlier tests; see
        :mod:`siren_ext.evidence.ledger`.
    """

    alpha: Annotated[float, Meta(ge=1e-299, le=0.5)] = 1e-6
    method: Literal["auto", "exact", "asymptotic"] = "auto"
    low_end: Annotated[float, Meta(ge=0.01, le=1.0)] = LOW_END
    two_sided: bool = False
    price: Annotated[int, Meta(ge=1, le=10**15)] = 1

    def comparison(self) -> dict[str, Any]:
        """The settings of the comparison with a reference.

        Returns
        -------
        dict[str, Any]
            Keyword arguments of :func:`~siren_ext.verdict.findings.ks_finding`.
        """
        return {"method": self.method, "two_sided": self.two_sided, "share": self.low_end}
