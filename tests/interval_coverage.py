"""How often intervals hold the truth: simulated layouts with variances as in the committed figures.

``python tests/interval_coverage.py docs/verdicts.md`` writes the table there.
"""
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy import stats

from lmcnb.statistics import rank_correlation, spread
from lmcnb.statistics.layout import NOISY, initialisations_differ, of_blocks, of_units

# Standard deviations over initialisations of midpoint barriers, nats: of figures 3, 6 (an earlier one), 11 and 12.
AT_59 = {"imp": 0.0024, "idc": 0.0137, "dm": 0.0209, "dsa": 0.0098, "random images": 0.0079, "random mosaics": 0.0069,
         "dense": 0.0063, "random mask": 0.0161}
AT_87 = {"imp": 0.0065, "idc": 0.0071, "dm": 0.0078, "dsa": 0.0047, "random images": 0.0034, "random mosaics": 0.0037,
         "dense": 0.0063, "random mask": 0.055}
SIZES, SLOW = (3, 6, 9), 25
SETS = ("idc", "dm", "dsa", "random images", "random mosaics")
Draw = Callable[[np.random.Generator, int, int], float]  # of draws, n: the share of intervals that hold the truth


def difference(spreads: dict[str, float], other: str, shared: float = 0.0, skewed: bool = False) -> Draw:
    """IDC less another method; ``shared`` is the standard deviation of what an initialisation adds to all methods."""
    names, scale = list(spreads), np.array([*spreads.values()])[:, None]
    quiet = [k for k, name in enumerate(names) if name not in NOISY]
    one, two = names.index("idc"), names.index(other)

    def share(rng: np.random.Generator, draws: int, n: int) -> float:
        size = draws, len(names), n
        noise = (rng.gamma(4, size=size) - 4) / 2 if skewed else rng.normal(size=size)
        x = scale * noise + shared * rng.normal(size=(draws, 1, n))
        blocks = initialisations_differ(x[:, quiet])
        paired, units = of_blocks(x[:, one] - x[:, two]), of_units([x[:, one], x[:, two]], [1, -1])
        return held(*(np.where(blocks, a, b) for a, b in zip(paired, units)), 0.0)
    return share


def held(estimate: np.ndarray, error: np.ndarray, freedom: np.ndarray, truth: float) -> float:
    return float(np.mean(abs(estimate - truth) <= stats.t.ppf(0.975, freedom) * error))


def contrast(spreads: list[float], weights: list[float]) -> Draw:
    """A weighted sum of cells of which initialisations are the units: sets of a method, sizes of a set."""
    def share(rng: np.random.Generator, draws: int, n: int) -> float:
        return held(*of_units([s * rng.normal(size=(draws, n)) for s in spreads], weights), 0.0)
    return share


def one_by_one(draw: Callable[[np.random.Generator, int], bool], fewer: int) -> Draw:
    """Of a statistic that is slow to compute, a part of the draws."""
    return lambda rng, draws, n: float(np.mean([draw(rng, n) for _ in range(draws // fewer)]))


def slope() -> list[float]:
    x = np.log10([1, 10, 50])
    x -= x.mean()
    return list(x / (x ** 2).sum())


def dependence(spreads: dict[str, float], times: float) -> Draw:
    """The spread of five methods' means, ``times`` the noise of one value. In the interval is 2.5% to 97.5%."""
    noises = np.array([spreads[m] for m in SETS])
    means = np.array([-1.0, -0.4, 0.0, 0.5, 1.1])
    truth = times * float(np.sqrt((noises ** 2).mean()))
    means *= truth / means.std(ddof=1)

    def draw(rng: np.random.Generator, n: int) -> bool:
        found = spread({m: mean + s * rng.normal(size=n) for m, mean, s in zip(SETS, means, noises)})
        return 0.025 <= found.below(truth) <= 0.975
    return one_by_one(draw, SLOW)


def ranks(units: int, strength: float) -> Draw:
    """Spearman's ρ of so many methods, whose true values are normal; n initialisations of each, with noise."""
    truth = 6 / np.pi * np.arcsin(strength / 2)

    def draw(rng: np.random.Generator, n: int) -> bool:
        x = rng.normal(size=units)
        y = strength * x + (1 - strength ** 2) ** 0.5 * rng.normal(size=units)
        groups = np.repeat(np.arange(units), n)
        found = rank_correlation(*(np.repeat(v, n) + 0.05 * rng.normal(size=units * n) for v in (x, y)), groups=groups)
        low, high = found.interval()
        return low <= truth <= high
    return one_by_one(draw, SLOW)


ALIKE = dict.fromkeys(AT_59, 1.0)
TEN_TIMES = {**ALIKE, "dense": 3.0, "random mask": 10.0}
CASES: dict[str, Draw] = {
    "difference, all methods alike": difference(ALIKE, "imp"),
    "difference from IMP, 59%": difference(AT_59, "imp"),
    "difference from random images, 59%": difference(AT_59, "random images"),
    "difference from IMP, 87%": difference(AT_87, "imp"),
    "difference from random masks, 87%": difference(AT_87, "random mask"),
    "difference from masks that spread ten times more": difference(TEN_TIMES, "random mask"),
    "… and initialisations differ as much as noise": difference(TEN_TIMES, "imp", 1.0),
    "… by half of it": difference(TEN_TIMES, "imp", 0.5),
    "… by three times": difference(TEN_TIMES, "imp", 3.0),
    "difference in a layout of these two, initialisations differ": difference({"idc": 1.0, "imp": 1.0}, "imp", 1.0),
    "difference from IMP, 59%, skewed noise (skewness 1)": difference(AT_59, "imp", skewed=True),
    "two sets averaged, less IMP, 59%": contrast([0.0034, 0.0137, 0.0024], [0.5, 0.5, -1.0]),
    "slope against images per class": contrast([0.057, 0.0071, 0.0019], slope()),
    "one method's mean": contrast([1.0], [1.0]),
    "dependence, 59%, a quarter of the noise": dependence(AT_59, 0.25),
    "dependence, 59%, as large as the noise": dependence(AT_59, 1.0),
    "dependence, 87%, a quarter of the noise": dependence(AT_87, 0.25),
    "dependence, 87%, three times the noise": dependence(AT_87, 3.0),
    "rank correlation .5 of seven methods": ranks(7, 0.5),
    "rank correlation .9 of seven methods": ranks(7, 0.9),
}


def coverage(case: str, n: int, draws: int, seed: int = 0) -> float:
    """Share of 95% intervals that hold the truth, at n initialisations."""
    return CASES[case](np.random.default_rng([seed, n, *case.encode()]), draws, n)


def rows(draws: int) -> Iterator[str]:
    yield "| 95% interval of a | " + " | ".join(f"n = {n}" for n in SIZES) + " |"
    yield "|---|" + "---|" * len(SIZES)
    for case in CASES:
        yield f"| {case} | " + " | ".join(f"{100 * coverage(case, n, draws):.1f}" for n in SIZES) + " |"


if __name__ == "__main__":
    from lmcnb.cli.claims import inserted

    table, page = "\n".join(rows(100_000)), Path(sys.argv[1])
    page.write_text(inserted(page.read_text(), table, "coverage"))
