"""Time the 10,000-repeat Kolmogorov-Smirnov study against a loop over SciPy.

Run: python benchmarks/ks_speed.py [--repeats 10000]
Both use the same pools (1,000 suspect and 1,000 reference scores, normal, one standard deviation
apart) and draw 30 against one fixed subset of 300. Rounds are interleaved and the minimum of each
is printed, as other work on the machine only adds time.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from scipy.stats import ks_2samp

from siren_ext.stats.ks import ks_less
from siren_ext.stats.ks_distribution import exact_table
from siren_ext.stats.resample import resampled_ks


def scipy_loop(suspect: np.ndarray, reference: np.ndarray, repeats: int, seed: int) -> np.ndarray:
    """The published study's structure: one exact SciPy test per random subset."""
    rng = np.random.default_rng(seed)
    fixed = rng.choice(reference, 300, replace=False)
    return np.array(
        [
            ks_2samp(
                rng.choice(suspect, 30, replace=False), fixed, alternative="greater", method="exact"
            ).pvalue
            for _ in range(repeats)
        ]
    )


def vectorised(
    suspect: np.ndarray, reference: np.ndarray, repeats: int, seed: int, *, redraw: bool
) -> np.ndarray:
    """The same study with this package."""
    return resampled_ks(
        suspect,
        reference,
        size=30,
        reference_size=300,
        repeats=repeats,
        redraw_reference=redraw,
        rng=np.random.default_rng(seed),
    ).p_values


def main() -> None:
    """Print the times, their ratios and the largest difference of p."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    suspect, reference = rng.normal(-1, 1, 1000), rng.normal(0, 1, 1000)

    best: dict[str, float] = {}

    def timed(name: str, work: object, *args: object, **kwargs: object) -> None:
        start = time.perf_counter()
        work(*args, **kwargs)  # type: ignore[operator]
        best[name] = min(best.get(name, float("inf")), time.perf_counter() - start)

    data = (suspect, reference, options.repeats, 1)
    for _ in range(options.rounds):
        timed("scipy loop", scipy_loop, *data)
        for _ in range(3):
            exact_table.cache_clear()
            timed("vectorised, cold table", vectorised, *data, redraw=False)
            timed("vectorised, cached table", vectorised, *data, redraw=False)
            exact_table.cache_clear()
            timed("vectorised, new reference each time", vectorised, *data, redraw=True)
    for _ in range(20):
        timed("one verdict, 30 against 300", ks_less, suspect[:30], reference[:300])

    loop = best["scipy loop"]
    for name, seconds in best.items():
        ratio = f"{loop / seconds:6.1f}x" if name.startswith("vectorised") else ""
        print(f"{name:38s} {seconds * 1e3:10.2f} ms  {ratio}")

    worst = 0.0
    for _ in range(200):
        first, second = rng.choice(suspect, 30, replace=False), rng.choice(reference, 300)
        ours = ks_less(first, second).p_value
        theirs = ks_2samp(first, second, alternative="greater", method="exact").pvalue
        worst = max(worst, abs(ours - theirs) / theirs)
    print(f"largest relative difference of p over 200 subsets: {worst:.1e}")


if __name__ == "__main__":
    main()
