"""Means and effects of a few independent units, with intervals by Student's t."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # which loads a part when it is first asked for

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
    half = scipy.special.stdtrit(len(x) - 1, (1 + confidence) / 2) * x.std(ddof=1) / np.sqrt(len(x))
    return Estimate(float(x.mean()), float(x.mean() - half), float(x.mean() + half), len(x))


@dataclass(frozen=True)
class Student:
    """A statistic whose error, in units of its standard error, has Student's distribution.

    Every statistic that a claim is judged by has what this has: an estimate, how surely it lies below or above a
    number, and, for planning, an error and degrees of freedom.
    """

    estimate: float
    error: float
    freedom: float
    n: int

    def below(self, bound: float) -> float:
        """The one-sided p-value of the statistic's being ``bound`` or more: small if it is surely below."""
        return self._tail(bound - self.estimate)

    def above(self, bound: float) -> float:
        """The one-sided p-value of the statistic's being ``bound`` or less: small if it is surely above."""
        return self._tail(self.estimate - bound)

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        half = scipy.special.stdtrit(self.freedom, (1 + confidence) / 2) * self.error if self.n > 1 else np.nan
        return self.estimate - float(half), self.estimate + float(half)

    def _tail(self, distance: float) -> float:
        if self.n < 2:
            return 1.0  # one unit tells nothing
        if not self.error:
            return 0.0 if distance > 0 else 1.0
        return float(scipy.special.stdtr(self.freedom, -distance / self.error))


def paired(values: Values) -> Student:
    """The mean of differences, one for each initialisation.

    >>> assert np.allclose(paired([1, 2, 3]).interval(), (estimate([1, 2, 3]).low, estimate([1, 2, 3]).high))
    """
    x = np.asarray(values, dtype=np.float64).ravel()
    error = float(x.std(ddof=1) / np.sqrt(len(x))) if len(x) > 1 else float("nan")
    return Student(float(x.mean()), error, float(max(1, len(x) - 1)), len(x))
