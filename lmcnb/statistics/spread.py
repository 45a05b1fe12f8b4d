"""How much a quantity depends on the way that it came about: the spread of the true means of a fixed list of ways."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy

from .estimates import Values


@dataclass(frozen=True)
class Spread:
    """The standard deviation (over ways − 1) between the true means of these very ways.

    Given the variance σ² within, the sum of squares between is σ² times a noncentral χ² with noncentrality
    n (ways − 1) spread² / σ² (Scheffé, 1959, section 2.9). σ² is known from the mean square within alone: the
    probability is averaged over its χ² distribution (a generalised interval; Weerahandi, 1995). For no spread that is
    the F test, for ways far apart Student's t. The noncentral F interval of spread / σ, times the measured σ, would
    count the error of σ twice: at six ways and three initialisations it cannot end below 1.75 times the estimate.

    Attributes:
        between, within: mean squares of the two-way layout of ``ways`` × ``n``. within_freedom: degrees of freedom of
            the latter, Satterthwaite's where the ways' variances differ (Box, 1954).
    """

    between: float
    within: float
    ways: int
    n: int
    within_freedom: float

    @property
    def estimate(self) -> float:
        return float(max(0.0, (self.between - self.within) / self.n) ** 0.5)

    def below(self, bound: float) -> float:
        """The one-sided p-value of a spread of ``bound`` or more: no more squares than were measured are so likely."""
        if bound < 0 or not self.within:
            return 1.0 if bound <= self.estimate else 0.0
        precision, reach = self._reach
        shift = bound * np.sqrt(self.n * (self.ways - 1) * precision)
        return float((scipy.special.ndtr(reach - shift) - scipy.special.ndtr(-reach - shift)).mean())

    def above(self, bound: float) -> float:
        """The one-sided p-value of a spread of ``bound`` or less."""
        return 0.0 if bound < 0 else 1 - self.below(bound)

    @cached_property
    def _reach(self) -> tuple[np.ndarray, np.ndarray]:
        freedom, squares = self.ways - 1, self.between * (self.ways - 1)
        share = (np.arange(100) + 0.5) / 100
        precision = _chi2_quantile(share, self.within_freedom)[:, None] / (self.within_freedom * self.within)
        # A noncentral χ² is the square of one shifted normal number and a central χ² of the rest.
        rest = _chi2_quantile(share, freedom - 1) if freedom > 1 else 0.0
        return precision, np.sqrt(np.maximum(squares * precision - rest, 0))

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        if not self.within:
            return self.estimate, self.estimate

        def where(probability: float) -> float:
            if self.below(0.0) <= probability:
                return 0.0
            top = np.sqrt(self.between / self.n) + np.sqrt(self.within)
            while self.below(top) > probability:
                top *= 2
            return float(scipy.optimize.brentq(lambda s: self.below(s) - probability, 0, top, xtol=1e-6 * top))
        return where((1 + confidence) / 2), where((1 - confidence) / 2)

    @cached_property
    def error(self) -> float:
        """About, for planning: half the interval in standard errors."""
        low, high = self.interval()
        return (high - low) / 2 / float(scipy.special.ndtri(0.975))

    freedom = 1e9  # it is treated as normal


def spread(table: Mapping[str, Values]) -> Spread:
    """Of ways × initialisations, additive, without replication.

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
    squares, freedom = (residual ** 2).sum(1), (ways - 1) * (n - 1)
    total = float(squares.sum())
    equal = total ** 2 / (ways * float((squares ** 2).sum())) if total else 1.0  # 1 of equal variances, to 1 / ways
    return Spread(float(n * x.mean(1).var(ddof=1)), total / freedom, ways, n, freedom * equal)


def _chi2_quantile(share: np.ndarray, freedom: float) -> np.ndarray:
    return 2 * scipy.special.gammaincinv(freedom / 2, share)
