"""What figures judge alike: margins below which nothing matters, and statements that several of them have evidence for.

One id stands for one claim: evidence of several figures for it is made one (:func:`lmcnb.statistics.merged`).
"""
from __future__ import annotations

from typing import Any

import numpy as np

from ..statistics import Claim, Layout, claim, spread
from .base import label, percent_sparse

RISE = 2.0  # points of test error: Frankle et al. (2020) call what rises by less stable
ACCURACY = 1.0  # points of test accuracy
FLATNESS = 0.2  # of a log ratio of curvatures
CORRELATION = 0.3  # of ranks: below it less than a tenth of the variance is shared
NATS = "nats"


def two_minima(layout: Layout, method: str, who: str) -> Claim:
    """B5: that two trainings of such networks do not end in one minimum.

    Args:
        layout: rises of the test error, points.
    """
    return claim(f"B5-{method}", f"two trainings of {who} lie in two minima", layout.contrast({method: 1.0}, sets=0),
                 claimed="above", margin=RISE, unit="points of test error",
                 note="largest rise over the mean of the ends.")


def barrier_margin(layout: Layout) -> float:
    """A tenth of the dense network's barrier in the same regime, .01 nats at least."""
    return max(0.01, 0.1 * float(layout.values("dense").mean()))


def named(method: str, sparse: str) -> str:
    """A subnetwork in a sentence.

    >>> named("idc", "59%")
    'the distilled subnetwork (59% sparse)'
    """
    return f"the distilled subnetwork ({sparse} sparse)" if method == "idc" else f"{label(method)}'s ({sparse} sparse)"


def stable(id: str, layout: Layout, who: str, how: str = "largest rise over the mean of the ends", **options: Any
           ) -> Claim:
    """That distilled subnetworks are stable where the dense network is not; without the latter nothing is tested.

    Args:
        layout: rises of the test error, points. options: of :func:`lmcnb.statistics.claim`.
    """
    dense = layout.contrast({"dense": 1.0}, sets=0)
    low, high = dense.interval()
    return claim(id, f"{who} is stable (test error rises by less than {RISE:g} points) where the dense network is not",
                 layout.contrast({"idc": 1.0}), claimed="at most", margin=RISE, unit="points of test error",
                 premise=(f"the dense network is not stable: its test error rises by {dense.estimate:.2f} "
                          f"[{low:.2f}, {high:.2f}] points", 2 * dense.above(RISE) <= 0.05), note=how, **options)


def more_stable(id: str, layout: Layout, one: str, other: str, who: str, whose: str = "", **options: Any) -> Claim:
    """That one method's subnetworks are more stable than another's.

    Args:
        layout: midpoint barriers of the train loss, nats, with the dense network's. whose: the other's name.
    """
    found, dense = layout.difference(one, other), float(layout.values("dense").mean())
    note = f"difference of midpoint barriers of the train loss; {found.estimate / dense:+.0%} of the dense network's."
    return claim(id, f"{who} more stable than {whose or label(other)}", found, margin=barrier_margin(layout), unit=NATS,
                 note=note, **options)


def because_distilled(layout: Layout, r: int, controls: tuple[str, ...]) -> list[Claim]:
    """A2c: distilled against each control that prunes without distilled data."""
    sparse = percent_sparse(r)
    return [more_stable(f"A2c-{sparse} ({control})", layout, "idc", control, f"{named('idc', sparse)} is")
            for control in controls]


def as_accurate(id: str, layout: Layout, method: str, who: str, other: str = "imp", whose: str = "", **options: Any
                ) -> Claim:
    """That a method's subnetworks lose at most a point against IMP's, or another method's.

    Args:
        layout: test accuracies, %. whose: the other's name.
    """
    whose = whose or ("IMP's" if other == "imp" else f"{label(other)}'s")
    return claim(id, f"{who} at most {ACCURACY:g} point of test accuracy against {whose}",
                 layout.difference(other, method), claimed="at most", margin=ACCURACY, unit="points",
                 note=f"{whose} test accuracy minus this one's.", **options)


def depends(id: str, layout: Layout, methods: list[str], statement: str) -> Claim:
    """That a barrier depends on which of these methods it is."""
    found = spread({m: layout.values(m) for m in methods})
    return claim(id, statement, found, claimed="above", margin=barrier_margin(layout), unit=NATS,
                 units=f"{found.n} × 1 set", note=f"standard deviation between the means of {found.ways} methods; "
                 f"of any difference: p = {found.above(0.0):.2g}.")


def log_cells(layout: Layout) -> Layout:
    """The layout of the natural logarithms of positive values."""
    return Layout({m: {i: float(np.log(v)) for i, v in cell.items()} for m, cell in layout.cells.items()}, layout.sets)
