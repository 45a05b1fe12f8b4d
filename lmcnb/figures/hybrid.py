"""Figure 7: accuracy against sparsity of tickets rewound to initialisation, to an early step, and of hybrid ones."""
from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..statistics import Claim, Estimate, claim, estimate
from ..tables import Table
from .base import WIDTH, caption, marker, percent_sparse
from .judging import ACCURACY
from .parts import SHADE, judged_difference

HUES = {"k=0": "#d55e00", "k>0": "#ea9c00", "hybrid": "#0072b2"}
MARKS = {"k=0": marker("imp"), "k>0": marker("imp"), "hybrid": marker("idc")}
TICKS = (0, 4, 7, 10, 13, 18, 22)  # 0, 59, 79, 89, 95, 98 and 99% sparse


def hybrid(table: Table, names: Mapping[str, str], switch: int, note: str = "", margin: float = 1.0) -> Figure:
    """Figure 7 of McDermott & Parhi (2025), and beside it every method's difference from IMP rewound to step k.

    Args:
        table: test_accuracy by method ("k=0", "k>0", "hybrid"), round and init.
        names: the methods' names in the legend. switch: the round after which the hybrid prunes on real data.
        note: the caption. margin: points below the k > 0 tickets that still count as holding their accuracy.
    Raises:
        ValueError: a method is missing.
    """
    accuracy = table.select(quantity="test_accuracy").assign(value=lambda rows: 100 * rows["value"])
    last = int(accuracy["round"].max())
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.6), layout="constrained")
    for method in HUES:
        means = accuracy.select(method=method).values_of(by=["round"])
        _band(left, method, {r: estimate(v) for r, v in means.items()}, names[method])
    dense = estimate(accuracy.select(method="k=0", round=0)["value"]).mean
    left.axhline(dense, color="#222222", linewidth=0.9, linestyle="--", label="dense network", zorder=1)
    left.legend(loc="lower left", bbox_to_anchor=(0, 0.08), frameon=True, edgecolor="none", framealpha=1)
    left.set(ylabel="test accuracy (%)", title="accuracy of the trained subnetworks")
    for shift, method in ((-0.13, "k=0"), (0.13, "hybrid")):
        rounds = accuracy.select(method=method)["round"].unique()
        _bars(right, method, {r + shift: judged_difference(accuracy.select(round=r).layout(), method, "k>0")
                              for r in rounds})
    right.axhline(0, color=HUES["k>0"], linewidth=1.4)
    right.axhspan(-margin, margin, color=SHADE, linewidth=0, zorder=0)
    right.set(ylabel="points of test accuracy", title=f"difference from {names['k>0']} (shaded: does not matter)")
    for ax in (left, right):
        _sparsity_axis(ax, last, switch)
    caption(figure, note)
    return figure


def _band(ax: Axes, method: str, found: Mapping[float, Estimate], name: str) -> None:
    """Means with their 95% band over rounds."""
    low, mean, high = np.array([(e.low, e.mean, e.high) for e in found.values()]).T
    ax.plot(list(found), mean, MARKS[method] + "-", markersize=3.5, color=HUES[method], label=name,
            markerfacecolor="white" if method == "k>0" else None)
    ax.fill_between(list(found), low, high, color=HUES[method], alpha=0.14, linewidth=0)


def _bars(ax: Axes, method: str, found: Mapping[float, Estimate]) -> None:
    """Means with their 95% intervals over rounds."""
    low, mean, high = np.array([(e.low, e.mean, e.high) for e in found.values()]).T
    ax.vlines(list(found), low, high, color=HUES[method], linewidth=1.2, alpha=0.8)
    ax.plot(list(found), mean, MARKS[method] + "-", markersize=3.5, linewidth=0.8, color=HUES[method])


def _sparsity_axis(ax: Axes, last: int, switch: int) -> None:
    """A round takes the same share of what is left, so even steps of rounds are a log axis of the weights left."""
    ticks = [t for t in TICKS if t < last - 1] + [last]
    ax.set_xticks(ticks, [percent_sparse(t) for t in ticks])
    ax.set_xticks(range(last + 1), minor=True)
    ax.set(xlim=(-0.5, last + 0.5), xlabel="weights pruned, a tick a round (log axis of what is left)")
    ax.axvspan(-0.5, switch, color=HUES["hybrid"], alpha=0.05, linewidth=0)
    ax.axvline(switch, color=HUES["hybrid"], linewidth=0.9, linestyle=":")
    for x, side, text in ((switch - 0.15, "right", "hybrid: distilled data"), (switch + 0.15, "left", "real data")):
        ax.text(x, 0.98, text, transform=ax.get_xaxis_transform(), ha=side, va="top",
                color=HUES["hybrid"])


def hybrid_claims(table: Table, rounds: int, switch: int, margin: float = ACCURACY) -> list[Claim]:
    """B7: distilled rounds first extend IMP, rewound to initialisation, to sparsities where that loses accuracy.

    At 95% and at the last sparsity; not tested where IMP loses nothing by rewinding to initialisation.

    Args:
        table: as for the figure. rounds: the last. switch: after which the hybrid prunes on real data.
    """
    accuracy = table.select(quantity="test_accuracy").assign(value=lambda rows: 100 * rows["value"])
    step = f"IMP rewound to step {table['step'].max():.0f}"
    claims = []
    for r in sorted({r for r in (13, rounds) if switch < r <= rounds}):
        layout, sparse = accuracy.select(round=r).layout(), percent_sparse(r)
        lost = layout.difference("k=0", "k>0", sets=0)
        low, high = lost.interval()
        premise = (f"{step} is more accurate than IMP rewound to initialisation, by {-lost.estimate:.1f} "
                   f"[{-high:.1f}, {-low:.1f}] points", 2 * lost.below(0.0) <= 0.05)
        claims.append(claim(f"B7-{sparse}", f"at {sparse} sparsity, distilled rounds before IMP make it more accurate, "
                            "both rewound to initialisation", layout.difference("hybrid", "k=0"), claimed="above",
                            margin=ACCURACY, unit="points", family="primary", premise=premise,
                            note="the hybrid's test accuracy minus IMP's."))
        claims.append(claim(f"B7h-{sparse}", f"at {sparse} sparsity, the hybrid loses at most {margin:g} point against "
                            f"{step}", layout.difference("k>0", "hybrid"), claimed="at most", margin=margin,
                            unit="points", premise=premise, note="IMP's test accuracy minus the hybrid's."))
    return claims
