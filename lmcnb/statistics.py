"""Intervals and verdicts: what a handful of initialisations can and cannot tell."""
from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import scipy
from scipy import special  # whose stats and optimize each take a second to load

Verdict = Literal["supported", "not supported", "undecided"]
Values = Sequence[float] | np.ndarray


@dataclass(frozen=True)
class Estimate:
    """A mean over n independent units with its 95% interval (Student's t)."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}], n = {self.n}"


def estimate(values: Values, confidence: float = 0.95) -> Estimate:
    """Mean and Student's t interval over independent units (initialisations, not pairs that share one).

    With one unit the interval is unknown: NaN. Raises ValueError without any unit.

    >>> few, many = estimate([1, 2, 3]), estimate([1, 2, 3] * 10)
    >>> assert few.mean == many.mean == 2 and few.low < many.low < 2 < many.high < few.high
    >>> assert np.isnan(estimate([1]).low)
    """
    x = np.asarray(values, dtype=np.float64).ravel()
    if not len(x):
        raise ValueError("an estimate needs at least one value")
    if len(x) == 1:
        return Estimate(float(x[0]), float("nan"), float("nan"), 1)
    half = special.stdtrit(len(x) - 1, (1 + confidence) / 2) * x.std(ddof=1) / np.sqrt(len(x))
    return Estimate(float(x.mean()), float(x.mean() - half), float(x.mean() + half), len(x))


def verdict(low: float, high: float, threshold: float = 0.0) -> Verdict:
    """Of the statement "the quantity is below ``threshold``", from its interval. NaN bounds leave it undecided.

    >>> assert verdict(-2, -1) == "supported" and verdict(1, 2) == "not supported"
    >>> assert verdict(-1, 1) == verdict(float("nan"), float("nan")) == "undecided"
    """
    if high < threshold:
        return "supported"
    return "not supported" if low >= threshold else "undecided"


@dataclass(frozen=True)
class Claim:
    """One statement of a paper, with the evidence of this run."""

    id: str
    statement: str
    estimate: float
    interval: tuple[float, float]
    n: int
    verdict: Verdict
    note: str

    def as_dict(self) -> dict:
        return asdict(self)


def claim_below(id: str, statement: str, values: Values, note: str, threshold: float = 0.0) -> Claim:
    """The claim that the mean of ``values`` (one for each initialisation) lies below ``threshold``.

    >>> assert claim_below("A", "stable", [0.5, 0.6, 0.4], "", threshold=2).verdict == "supported"
    >>> assert claim_below("A", "stable", [0.5, 3.5, 0.4], "", threshold=2).verdict == "undecided"
    """
    e = estimate(values)
    return Claim(id, statement, e.mean, (e.low, e.high), e.n, verdict(e.low, e.high, threshold), note)


def claim_within(id: str, statement: str, values: Values, note: str, margin: float) -> Claim:
    """The claim that the mean of ``values`` (one for each initialisation) is nearer to 0 than ``margin``: equivalence.

    Supported when the interval lies within the margin on both sides, not supported when wholly beyond it on one.

    >>> verdicts = [claim_within("P", "", v, "", margin=1).verdict for v in ([-.1, .1, 0], [2, 2.1, 1.9], [0, 3, 1])]
    >>> assert verdicts == ["supported", "not supported", "undecided"]
    """
    e = estimate(values)
    found: Verdict = "supported" if -margin < e.low and e.high < margin else "undecided"
    if e.low >= margin or e.high <= -margin:
        found = "not supported"
    return Claim(id, statement, e.mean, (e.low, e.high), e.n, found, note)


def claim_stable(id: str, statement: str, values: Values, dense: Values, note: str,
                 threshold: float = 2.0) -> Claim:
    """The claim that a subnetwork is stable where the dense network is not (Frankle et al., 2020).

    Args:
        values, dense: test-error barriers in points, one for each initialisation. threshold: stable below it.
    Supported when the subnetwork's interval lies below the threshold and the dense network's above; not supported when
    either lies wholly on the other side.
    """
    mine, other = estimate(values), estimate(dense)
    parts = {verdict(mine.low, mine.high, threshold), verdict(-other.high, -other.low, -threshold)}
    found: Verdict = "undecided"
    if parts == {"supported"}:
        found = "supported"
    elif "not supported" in parts:
        found = "not supported"
    note = f"points of test error; the dense network's barrier is {other}. {note}"
    return Claim(id, statement, mine.mean, (mine.low, mine.high), mine.n, found, note)


def claim_depends(id: str, statement: str, table: Mapping[str, Values], note: str, tolerance: float) -> Claim:
    """The claim that a quantity depends on the way it came about by more than ``tolerance``.

    Two-way layout without replication: ways × initialisations, additive. The estimate is the standard deviation between
    the true means of these very ways (not of ways they might be a sample of), its interval :func:`spread_interval`'s.
    Supported when the interval lies above ``tolerance``, not supported when below; the note has the p-value of there
    being any difference at all.

    Args:
        table: by way, one value for each initialisation, in one order for all.
    Raises:
        ValueError: fewer than two ways or initialisations, or ways with unlike numbers of them.
    """
    lengths = set(map(len, table.values()))
    if len(table) < 2 or len(lengths) != 1 or min(lengths) < 2:
        raise ValueError("to tell ways apart there must be two of them at least, with the same two or more "
                         "initialisations each")
    x = np.array(list(table.values()), dtype=np.float64)
    ways, n = x.shape
    residual = x - x.mean(0) - x.mean(1, keepdims=True) + x.mean()
    within = (residual ** 2).sum() / ((ways - 1) * (n - 1))
    between = n * x.mean(1).var(ddof=1)
    freedom = ways - 1, (ways - 1) * (n - 1)
    low, high = spread_interval(between, within, ways, n)
    p = float(special.fdtrc(*freedom, between / within if within else np.inf))
    note = f"standard deviation between {ways} ways; F test of any difference: p = {p:.2g}. {note}"
    return Claim(id, statement, float(max(0.0, (between - within) / n) ** 0.5), (low, high), n,
                 verdict(-high, -low, -tolerance), note)


def spread_interval(between: float, within: float, ways: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the standard deviation (over ways − 1) between the true means of a fixed list of ways.

    Given the variance σ² within, the sum of squares between is σ² times a noncentral χ² with noncentrality
    n (ways − 1) spread² / σ² (Scheffé, 1959, section 2.9). σ² is known from the mean square within alone: the
    probability is averaged over its χ² distribution (a generalised interval; Weerahandi, 1995). For no spread that is
    the F test, for ways far apart Student's t. The noncentral F interval of spread / σ, times the measured σ, would
    count the error of σ twice: at six ways and three initialisations it cannot end below 1.75 times the estimate.

    Args:
        between, within: mean squares of the two-way layout of ``ways`` × ``n``; σ² is taken to be the same in all.
    """
    freedom, squares = ways - 1, between * (ways - 1)
    if not within:
        point = float(np.sqrt(between / n))
        return point, point
    share = (np.arange(100) + 0.5) / 100
    precision = _chi2_quantile(share, freedom * (n - 1))[:, None] / (freedom * (n - 1) * within)  # plausible 1 / σ²
    # A noncentral χ² is the square of one shifted normal number and a central χ² of the rest.
    rest = _chi2_quantile(share, freedom - 1) if freedom > 1 else 0.0
    reach = np.sqrt(np.maximum(squares * precision - rest, 0))

    def below(spread: float) -> float:
        """Probability of no more squares between than were measured."""
        shift = spread * np.sqrt(n * freedom * precision)
        return float((special.ndtr(reach - shift) - special.ndtr(-reach - shift)).mean())

    def where(probability: float) -> float:
        if below(0.0) <= probability:
            return 0.0
        top = np.sqrt(between / n) + np.sqrt(within)
        while below(top) > probability:
            top *= 2
        return float(scipy.optimize.brentq(lambda spread: below(spread) - probability, 0, top, xtol=1e-6 * top))
    return where((1 + confidence) / 2), where((1 - confidence) / 2)


def _chi2_quantile(share: np.ndarray, freedom: int) -> np.ndarray:
    return 2 * special.gammaincinv(freedom / 2, share)


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's ρ of ``n`` points in ``units`` independent units (groups, or the points themselves) and its interval.

    An unknown ρ is NaN, an unknown interval (−1, 1).
    """

    rho: float
    low: float
    high: float
    n: int
    units: int

    def __str__(self) -> str:
        units = f" in {self.units} groups" if self.units < self.n else ""
        return f"ρ = {self.rho:.2f} [{self.low:.2f}, {self.high:.2f}], n = {self.n}{units}"


def rank_correlation(x: Values, y: Values, *, level: float = 0.95,
                     groups: Sequence[Hashable] | None = None, resamples: int = 10_000) -> RankCorrelation:
    """Spearman's rank correlation of pairs with a bootstrap percentile interval. Deterministic.

    Points that share a method or an initialisation are not independent: name their group, and whole groups are
    resampled. The interval covers the choice of units, no more: neither a third quantity that drives both x and y, nor
    noise that all points of a unit share. With few units it is too narrow: in simulations of four to eight correlated
    groups it held the true ρ in 84…94% of cases instead of 95% (resampling single points: in 67…86%).

    Args:
        level: confidence. groups: for each point, the unit it belongs to; None takes points as independent.
    Returns:
        ρ over all points. The interval is (−1, 1) with fewer than four units or a constant x or y. In perfect order
        every resample is so too, which would make it a point: then it is Bonett & Wright's (2000), of the next
        smaller ``|ρ|`` that as many ranks as units can have.
    Raises:
        ValueError: x, y and groups of unlike lengths, or a value that is not finite.

    >>> x = [1.0, 2, 4, 3, 5, 6, 8, 7]
    >>> found = rank_correlation(x, range(8))
    >>> assert 0 < found.low < found.rho < 1 and found.rho == rank_correlation(np.exp(x), range(8)).rho
    >>> assert rank_correlation(x, range(8), groups="aaabbbcc").low == -1, "three groups tell nothing"
    """
    a, b = (np.asarray(v, dtype=np.float64).ravel() for v in (x, y))
    unit: dict[Hashable, int] = {}
    of = np.array([unit.setdefault(g, len(unit)) for g in (range(len(a)) if groups is None else groups)], dtype=int)
    if not len(a) == len(b) == len(of):
        raise ValueError(f"a point needs x, y and a group; got {len(a)}, {len(b)} and {len(of)} of them")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("x and y must be finite: leave out points that were not measured")
    rho, low, high = float(_spearman(a, b, np.ones((1, len(a))))[0]), -1.0, 1.0
    if len(unit) >= 4 and np.isfinite(rho):
        drawn = np.random.default_rng(0).multinomial(len(unit), np.full(len(unit), 1 / len(unit)), resamples)
        # A resample of one unit alone can lack an order; it says nothing.
        tails = np.nanquantile(_spearman(a, b, drawn[:, of].astype(float)), [(1 - level) / 2, (1 + level) / 2])
        low, high = map(float, _bonett_wright(rho, len(unit), level) if np.ptp(tails) < 1e-9 else tails)
    return RankCorrelation(rho, low, high, len(a), len(unit))


def _spearman(x: np.ndarray, y: np.ndarray, times: np.ndarray) -> np.ndarray:
    """ρ [resamples] of n points that occur ``times`` [resamples, n] times each; NaN where there is no order.

    scipy ranks one sample after another, which takes seconds for some thousand of them.
    """
    a, b = (_ranks(v, times) - times.sum(1, keepdims=True) / 2 for v in (x, y))
    covariance, *variances = ((times * u * v).sum(1) for u, v in ((a, b), (a, a), (b, b)))
    scale = np.sqrt(variances[0] * variances[1])
    return np.divide(covariance, scale, out=np.full(len(times), np.nan), where=scale > 0).clip(-1, 1)


def _ranks(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Ranks [resamples, n] less ½; ties share the mean of theirs."""
    distinct, which = np.unique(values, return_inverse=True)
    occurrences = times @ np.eye(len(distinct))[which]
    return (occurrences.cumsum(1) - occurrences / 2)[:, which]


def _bonett_wright(rho: float, units: int, level: float) -> np.ndarray:
    most = 1 - 12 / (units * (units ** 2 - 1))
    rho = min(max(rho, -most), most)
    half = special.ndtri((1 + level) / 2) * np.sqrt((1 + rho ** 2 / 2) / (units - 3))
    return np.tanh(np.arctanh(rho) + np.array([-half, half]))
