"""Simulated calibration and power of the tests in siren_ext.stats.

Run: python benchmarks/stats_calibration.py [--runs 10000] [--only sequential-ks ...]
The same seed gives the same figures. The defaults take about five minutes on one core.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from functools import cache

import numpy as np

from siren_ext.stats.keyed import keyed_test
from siren_ext.stats.keyed_bounds import message_tail, share_of_messages, whole_distribution
from siren_ext.stats.keyed_power import KeyedEffect, plan_keyed
from siren_ext.stats.ks import ks_less
from siren_ext.stats.ks_distribution import exact_p
from siren_ext.stats.low_end import LOW_END, low_end_count
from siren_ext.stats.low_end_distribution import low_end_critical_gap, low_end_p
from siren_ext.stats.power import plan_size
from siren_ext.stats.rank_evidence import log_rank_evidence, references_above, shape_bets
from siren_ext.stats.sequential import SequentialKeyed, sequential_keyed, sequential_ks
from siren_ext.stats.sequential_power import plan_sequential

ALPHAS = (0.05, 0.01, 0.001)


def row(*cells: object) -> None:
    """Print one aligned line."""
    print("  ".join(f"{cell:>14}" if i else f"{cell!s:44}" for i, cell in enumerate(cells)))


def rates(name: str, log_evidence: np.ndarray) -> None:
    """Print the share of runs whose evidence reaches 1 / alpha, for each alpha."""
    row(name, *(f"{(log_evidence >= -math.log(a)).mean():.4f}" for a in ALPHAS))


def sequential_ks_null(runs: int, rng: np.random.Generator, m: int = 40, images: int = 40) -> None:
    """False rejections of the sequential KS-type test, and of repeating the ordinary one."""
    print(f"\nSequential KS-type test, null, {runs} runs, {m} references, up to {images} images")
    row("stopping rule", *(f"alpha {a:g}" for a in ALPHAS))
    pools = np.sort(rng.normal(size=(runs, m)), axis=1)
    scores = rng.normal(size=(runs, images))
    above = np.stack([references_above(s, r) for s, r in zip(scores, pools, strict=True)])
    bets = shape_bets(None)
    path = np.stack([log_rank_evidence(above[:, :t], m, *bets) for t in range(1, images + 1)], 1)
    for run in range(3):
        again = sequential_ks(scores[run], pools[run]).path
        np.testing.assert_allclose(path[run], again, atol=1e-9)
    every = np.arange(runs)
    rates("stop as soon as it rejects", path.max(axis=1))
    rates("stop at a random image", path[every, rng.integers(0, images, runs)])
    low = np.minimum.accumulate(scores, axis=1)[:, ::5].argmin(axis=1) * 5
    rates("stop at the lowest score so far", path[every, low])
    rates("never stop early", path[:, -1])
    best = np.ones(runs)
    for t in range(2, images + 1):
        common = math.gcd(t, m)
        order = np.sort(above[:, :t], axis=1)[:, ::-1]  # ascending scores
        gap = m // common * np.arange(1, t + 1) - t // common * (m - order)
        best = np.minimum(best, exact_p(np.maximum(gap.max(axis=1), 0), t, m, 1))
    rates("for comparison: repeating the ordinary test", -np.log(best))


def sequential_ks_power(rng: np.random.Generator) -> None:
    """Images used with the planned effect, compared with the fixed plan of power 0.95."""
    print("\nSequential KS-type test, planned effect: images until rejection (power 0.95 plan)")
    row("effect, references, alpha", "fixed n", "median", "ratio", "9 of 10", "effect unknown")
    for effect, m, alpha in (
        (1.0, 300, 1e-3),
        (1.0, 300, 1e-6),
        (1.5, 100, 1e-3),
        (1.5, 100, 1e-6),
        (2.0, 100, 1e-3),
        (2.0, 100, 1e-6),
    ):
        fixed = plan_size(effect, alpha=alpha, references=m, rng=rng)
        if fixed.images is None:
            row(f"{effect} sd, {m}, {alpha:g}", "out of reach")
            continue
        medians, most = [], None
        for planned in (True, False):
            plan = plan_sequential(
                effect,
                alpha=alpha,
                references=m,
                limit=2 * fixed.images,
                planned=planned,
                draws=1000,
                rng=rng,
            )
            medians.append(plan.median)
            most = most or plan.most
        ratio = f"{(medians[0] or math.inf) / fixed.images:.0%}"
        row(f"{effect} sd, {m}, {alpha:g}", fixed.images, medians[0], ratio, most, medians[1])


def styled(rng: np.random.Generator, images: int, bits: int) -> np.ndarray:
    """Features of an innocent model whose images share a style, so their features are shifted."""
    return 2 * rng.normal(size=bits) + 3 * rng.normal(size=(images, bits))


def message_of(rng: np.random.Generator, bits: int) -> np.ndarray:
    """A uniform message."""
    return rng.integers(0, 2, bits) * 2.0 - 1


def look_evidence(given: np.ndarray, message: np.ndarray, test: SequentialKeyed) -> np.ndarray:
    """The evidence of SequentialKeyed at its looks, without the images between them."""
    sums = np.cumsum(given, axis=0)[np.array(test.looks) - 1]
    tails = [message_tail(F, float(F @ message)) for F in sums]
    return np.log(np.array(test.shares) / tails)


def sequential_keyed_null(runs: int, rng: np.random.Generator, planned: int | None) -> None:
    """False rejections of the sequential keyed test, and of bets over images, which fail."""
    bits, images = 16, 140
    test = SequentialKeyed(np.ones(bits), planned=planned, last=images)
    looks = test.looks
    print(f"\nSequential keyed test, null with style, {runs} runs, {bits} bits, {len(looks)} looks")
    row("stopping rule", *(f"alpha {a:g}" for a in ALPHAS))
    paths, naive = np.empty((runs, len(looks))), np.empty(runs)
    for run in range(runs):
        features, message = styled(rng, images, bits), message_of(rng, bits)
        given = np.tanh(features / 4)
        paths[run] = look_evidence(given, message, test)
        naive[run] = np.cumsum(np.log1p(0.5 * (given @ message) / bits)).max()
        if run < 3:
            whole = sequential_keyed(features, message, planned=planned, last=images).path
            np.testing.assert_allclose(np.array(whole)[np.array(looks) - 1], paths[run], atol=1e-6)
    rates("stop as soon as it rejects", paths.max(axis=1))
    rates("stop at a random look", paths[np.arange(runs), rng.integers(0, len(looks), runs)])
    rates("never stop early", paths[:, -1])
    rates("for comparison: bets multiplied over images", naive)


def keyed_effect_images(
    rng: np.random.Generator, images: int, effect: KeyedEffect, message: np.ndarray
) -> np.ndarray:
    """Contributions of a guilty model with the planned effect."""
    own = effect.mean + effect.bits_spread * rng.normal(size=effect.bits)
    noise = effect.images_spread * rng.normal(size=(images, effect.bits))
    return (own + noise) * message


def keyed_power(rng: np.random.Generator) -> None:
    """Planned and simulated power of the keyed test, and images used one at a time."""
    print("\nKeyed test, 48 bits: planned power, simulated power, and images until rejection")
    row("mean, spread of bits; alpha", "fixed n", "planned", "simulated", "median", "ratio")
    for mean, spread, alpha in ((0.1, 0.04, 1e-3), (0.1, 0.04, 1e-6), (0.2, 0.08, 1e-6)):
        effect = KeyedEffect(mean, spread, 1.0, 48)
        plan = plan_keyed(effect, alpha=alpha, rng=rng)
        if plan.images is None:
            row(f"{mean}, {spread}; {alpha:g}", "out of reach")
            continue
        test = SequentialKeyed(np.ones(48), planned=plan.images)
        looks = test.looks
        hits, stops, tests = 0, [], 400
        for _ in range(tests):
            message = message_of(rng, 48)
            given = keyed_effect_images(rng, looks[-1], effect, message)
            F = given[: plan.images].sum(axis=0)
            hits += message_tail(F, float(F @ message)) <= alpha
            crossed = look_evidence(given, message, test) >= -math.log(alpha)
            stops.append(looks[int(crossed.argmax())] if crossed.any() else math.inf)
        median = float(np.median(stops))
        row(
            f"{mean}, {spread}; {alpha:g}",
            plan.images,
            f"{plan.power:.3f}",
            f"{hits / tests:.3f}",
            f"{median:.0f}",
            f"{median / plan.images:.0%}",
        )


def keyed_null(runs: int, rng: np.random.Generator) -> None:
    """Size of the keyed test on innocent models, with and without a style, and its cost."""
    runs *= 2
    levels = (0.5, 0.25, 0.1, 0.05, 0.01, 1e-3)
    print(f"\nKeyed test of whole sums, null, {runs} runs: share with p <= alpha")
    row("bits, images, style", *(f"alpha {a:g}" for a in levels))
    for bits, images, style in ((48, 10, True), (48, 200, True), (48, 30, False), (16, 10, True)):
        p = np.empty(runs)
        for run in range(runs):
            features = styled(rng, images, bits) if style else rng.normal(size=(images, bits))
            p[run] = keyed_test(features, message_of(rng, bits)).p_value
        name = f"{bits}, {images}, {'strong' if style else 'none'}"
        row(name, *(f"{(p <= a).mean():.4f}" for a in levels))
    features, message = styled(rng, 150, 48), message_of(rng, 48)
    start = time.perf_counter()
    for _ in range(100):
        keyed_test(features, message)
    row("one test: milliseconds", f"{10 * (time.perf_counter() - start):.2f}")


def keyed_rounding(rng: np.random.Generator) -> None:
    """What rounding F costs, and how many messages are left to somebody who knows |F| and T."""
    tests = 400
    print(f"\nKeyed test, 48 bits, {tests} guilty models: rounding of F")
    row("images, strength; largest |F|", "mean log10 p", "p <= 1e-6", "messages left, log2")
    for images, strength in ((30, 1.2), (200, 0.6)):
        drawn = []
        for _ in range(tests):
            message = message_of(rng, 48)
            style = 1.5 * rng.normal(size=48)
            features = strength * message + style + 3 * rng.normal(size=(images, 48))
            drawn.append((np.tanh(features / 4).sum(axis=0), message))
        for largest in (3, 5, 10, 20, 4000):
            p, left = np.empty(tests), np.empty(tests)
            for run, (F, message) in enumerate(drawn):
                scaled = np.abs(F) / np.abs(F).max() * largest
                whole = (np.sign(F) * np.maximum(np.rint(scaled), 1)).astype(int)
                statistic, spread = int(whole @ message), whole_distribution(np.abs(whole))
                p[run] = share_of_messages(spread, statistic)
                same = spread[(statistic + int(np.abs(whole).sum())) // 2]
                left[run] = 48 + np.log2(max(same, 0.5**48))
            row(
                f"{images}, {strength}; {largest}",
                f"{np.log10(p).mean():.2f}",
                f"{(p <= 1e-6).mean():.3f}",
                f"{np.median(left):.1f}",
            )


def keyed_lengths(rng: np.random.Generator) -> None:
    """What longer messages would gain: equal strength in all, shared by more bits.

    Visibility limits the strength of the whole coating, so each of k bits gets 1/sqrt(k) of it.
    That every bit is as easily learnt as the first is the best case.
    """
    tests, lengths = 400, (24, 48, 96, 192, 384)
    print(f"\nKeyed test by bits of the message, equal strength in all, {tests} guilty models")
    row("strength in noise of a bit", *(f"{bits} bits: median p" for bits in lengths))
    for strength in (2.0, 3.0, 4.0, 5.0, 6.0, 8.0):
        medians = []
        for bits in lengths:
            found = []
            for _ in range(tests):
                message = message_of(rng, bits)
                sums = strength / np.sqrt(bits) * message + rng.normal(size=bits)
                found.append(keyed_test(sums[None], message).p_value)
            medians.append(f"{np.median(found):.2g}")
        row(f"{strength:g}", *medians)


def low_end_null(runs: int, rng: np.random.Generator) -> None:
    """Size of the verdict's comparison with a reference, with and without ties."""
    runs *= 2
    print(
        f"\nLowest quarter, null, {runs} runs: exact size / share with p <= alpha / upper bound's"
    )
    row("suspects, references", *(f"alpha {a:g}" for a in ALPHAS))
    for n, m, digits in ((30, 100, None), (60, 300, None), (100, 100, None), (60, 300, 1)):
        p = np.empty((runs, 2))
        for run in range(runs):
            scores = rng.normal(size=n + m)
            scores = scores if digits is None else scores.round(digits)
            exact = ks_less(scores[:n], scores[n:], share=LOW_END)
            p[run] = exact.p_value, whole_p(round(exact.statistic * math.lcm(n, m)), n, m)
        cells, count = [], low_end_count(m)
        for alpha in ALPHAS:
            size = low_end_p(low_end_critical_gap(alpha, n, m, count), n, m, count)
            share, bound = (p <= alpha).mean(axis=0)
            cells.append(f"{size:.5f}/{share:.5f}/{bound:.5f}")
        row(f"{n}, {m}{'' if digits is None else ', ties'}", *cells)


@cache
def whole_p(gap: int, n: int, m: int) -> float:
    """The p of a gap anywhere."""
    return float(exact_p(np.array([gap]), n, m, 1)[0])


def delivered(
    effect: float, n: int, m: int, alpha: float, runs: int, rng: np.random.Generator
) -> float:
    """Share of simulated verdicts that reject, by ks_less itself."""
    found = (
        ks_less(rng.normal(-effect, 1, n), rng.normal(size=m), share=LOW_END).p_value
        for _ in range(runs)
    )
    return float(np.mean([p <= alpha for p in found]))


def ks_power(runs: int, rng: np.random.Generator) -> None:
    """Planned power of the verdict's test, and of simulated verdicts, for plans of all sizes."""
    print(f"\nKS test, lowest quarter: planned power against {runs} fresh tests")
    row("effect, references, alpha, wanted", "n", "planned", "delivered", "difference")
    worst, seen = 0.0, 0
    for effect, m, alpha, power in itertools.product(
        (0.3, 0.5, 0.7, 1.0, 1.5), (100, 200, 300), (0.05, 1e-3, 1e-6), (0.8, 0.95)
    ):
        plan = plan_size(effect, alpha=alpha, power=power, references=m, limit=400, rng=rng)
        if plan.images is None or plan.images < 5:
            continue
        share = delivered(effect, plan.images, m, alpha, runs, rng)
        worst, seen = max(worst, abs(plan.power - share)), seen + 1
        name = f"{effect} sd, {m}, {alpha:g}, {power}"
        row(name, plan.images, f"{plan.power:.3f}", f"{share:.3f}", f"{plan.power - share:+.3f}")
    row(f"largest difference of {seen} plans", f"{worst:.3f}")


def main() -> None:
    """Print the chosen tables."""
    parts = {
        "sequential-ks": lambda rng, runs: sequential_ks_null(runs, rng),
        "sequential-ks-power": lambda rng, runs: sequential_ks_power(rng),
        "keyed": lambda rng, runs: keyed_null(runs, rng),
        "sequential-keyed": lambda rng, runs: sequential_keyed_null(runs, rng, 100),
        "sequential-keyed-unplanned": lambda rng, runs: sequential_keyed_null(runs // 5, rng, None),
        "keyed-power": lambda rng, runs: keyed_power(rng),
        "ks-power": lambda rng, runs: ks_power(runs, rng),
        "low-end": lambda rng, runs: low_end_null(runs, rng),
        "keyed-rounding": lambda rng, runs: keyed_rounding(rng),
        "keyed-lengths": lambda rng, runs: keyed_lengths(rng),
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=tuple(parts), default=tuple(parts))
    options = parser.parse_args()
    for index, (name, part) in enumerate(parts.items()):
        if name in options.only:  # each part has its own seed, so --only does not change figures
            part(np.random.default_rng([options.seed, index]), options.runs)


if __name__ == "__main__":
    main()
