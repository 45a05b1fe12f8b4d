"""Whose chance is in a number: variance components of groups with several measurements each."""
from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import scipy

from .estimates import Values


@dataclass(frozen=True)
class Components:
    """A one-way random model, :math:`y_{gp} = \\mu + a_g + e_{gp}`, with as many measurements in every group.

    Attributes:
        between, within: mean squares between the groups and within them. groups, each: how many groups, and
            measurements of each.
    """

    between: float
    within: float
    groups: int
    each: int

    @property
    def sd_within(self) -> float:
        """The standard deviation of e."""
        return self.within ** 0.5

    @property
    def sd_between(self) -> float:
        """The standard deviation of a: what the groups' means spread beyond what e alone makes; 0 where it is less."""
        return max(0.0, (self.between - self.within) / self.each) ** 0.5

    @property
    def share(self) -> float:
        """The groups' share of the variance of a single measurement (the intraclass correlation), at least 0."""
        total = self.sd_between ** 2 + self.within
        return self.sd_between ** 2 / total if total else float("nan")

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Of the share: exact for normal numbers, by the F distribution (Searle, 1971, section 9.5); cut off at 0."""
        if not self.within:
            known = 1.0 if self.between else float("nan")
            return known, known
        freedom = self.groups - 1, self.groups * (self.each - 1)
        ends = []
        for tail in ((1 + confidence) / 2, (1 - confidence) / 2):
            ratio = self.between / self.within / scipy.special.fdtri(*freedom, tail)
            ends.append(float(max(0.0, (ratio - 1) / (ratio + self.each - 1))))
        return ends[0], ends[1]

    def measurements(self, cost: float) -> float:
        """How many measurements of each group make a mean over groups most precise, where a new group costs as much
        as ``cost`` measurements beside those of its own (Cochran, 1977, section 10.6); at least 1.

        Infinite where groups do not differ.
        """
        if cost < 0:
            raise ValueError(f"cost must not be negative; got {cost}")
        if not self.sd_between:
            return float("inf")
        return max(1.0, float((cost * self.within) ** 0.5 / self.sd_between))


def components(values: Collection[Values]) -> Components:
    """Of groups of numbers.

    Raises:
        ValueError: fewer than two groups, groups of fewer than two, or not all of one size.
    """
    sizes = {len(group) for group in values}
    if len(values) < 2 or len(sizes) > 1 or min(sizes) < 2:
        raise ValueError(f"variance components need two groups or more, of one size of 2 or more; got sizes "
                         f"{', '.join(str(len(group)) for group in values)}")
    x = np.array([*values], dtype=np.float64)
    groups, each = x.shape
    return Components(between=float(each * x.mean(1).var(ddof=1)), within=float(x.var(1, ddof=1).mean()),
                      groups=groups, each=each)
