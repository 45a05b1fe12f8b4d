"""Intervals and verdicts: what a handful of initialisations can and cannot tell."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from scipy import stats

Verdict = Literal["supported", "not supported", "undecided"]


@dataclass(frozen=True)
class Estimate:
    """A mean over n independent units with its 95% interval (Student's t)."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}], n = {self.n}"


def estimate(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Mean and Student's t interval over independent units (initialisations, not pairs that share one).

    With one unit the interval is unknown: NaN. Raises ValueError without any unit.
    """
    x = np.asarray(values, dtype=np.float64).ravel()
    if not len(x):
        raise ValueError("an estimate needs at least one value")
    if len(x) == 1:
        return Estimate(float(x[0]), float("nan"), float("nan"), 1)
    half = stats.t.ppf((1 + confidence) / 2, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x))
    return Estimate(float(x.mean()), float(x.mean() - half), float(x.mean() + half), len(x))


def verdict(low: float, high: float, threshold: float = 0.0) -> Verdict:
    """Of the statement "the quantity is below ``threshold``", from its interval. NaN bounds leave it undecided."""
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


def claim_below(id: str, statement: str, values: Sequence[float], note: str, threshold: float = 0.0) -> Claim:
    """The claim that the mean of ``values`` (one for each initialisation) lies below ``threshold``."""
    e = estimate(values)
    return Claim(id, statement, e.mean, (e.low, e.high), e.n, verdict(e.low, e.high, threshold), note)


def claim_stable(id: str, statement: str, values: Sequence[float], dense: Sequence[float], note: str,
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
