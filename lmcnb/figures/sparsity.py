"""Figure 2: test accuracy against sparsity, and the data points that each sparsity cost."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..statistics import estimate
from .base import caption, colour, label, percent_sparse

ByRound = Mapping[int, Sequence[float]]
STYLES = {"trained": "-", "stored": "--", "with distillation": ":"}


def accuracy_against_sparsity(accuracy: Mapping[str, ByRound], points: Mapping[tuple[str, str], Mapping[int, float]],
                              names: Mapping[tuple[str, str], str], note: str, tolerance: float = 1.0,
                              rate: float = 0.2) -> Figure:
    """Figure 2 of McDermott & Parhi (2025) with two controls and the paired differences between them.

    Args:
        accuracy: test accuracy in percent by way and round, n values each, one an initialisation, in one order for
            all; must have "imp" with round 0 (the dense network), and "idc".
        points: images seen up to a round, by (way, count) and round; count is "trained", "stored" or
            "with distillation". names: what the legend calls each. tolerance: points of accuracy, drawn as a dotted
            line among the differences. note: the caption: data, network, recipe, n. rate: share of the weights left
            that a round removes.
    Raises:
        ValueError: no round 0 of IMP, or ways with unlike numbers of initialisations.
    """
    counts = {len(v) for rounds in accuracy.values() for v in rounds.values()}
    if len(counts) != 1 or 0 not in accuracy["imp"]:
        raise ValueError(f"every way needs the same initialisations (found {sorted(counts)}) and IMP its round 0, "
                         f"the dense network: pass one value for each initialisation, everywhere")
    with matplotlib.rc_context({"axes.labelsize": "small", "xtick.labelsize": "x-small", "ytick.labelsize": "x-small"}):
        figure = plt.figure(figsize=(11.5, 6.4))
        left = figure.add_gridspec(1, 1, left=0.06, right=0.52, top=0.95, bottom=0.1)
        right = figure.add_gridspec(2, 1, left=0.61, right=0.99, top=0.95, bottom=0.1, hspace=0.42)
        axes = [figure.add_subplot(g) for g in (left[0], right[0], right[1])]
        curves(axes[0], accuracy)
        differences(axes[1], accuracy, tolerance)
        cost(axes[2], points, names)
        for ax in axes:
            sparsity_axis(ax, range(max(accuracy["imp"]) + 1), rate)
    caption(figure, note)
    return figure


def curves(ax: Axes, accuracy: Mapping[str, ByRound]) -> None:
    """Mean test accuracy of every way with its 95% interval, and the dense network's as a line across."""
    dense = estimate(accuracy["imp"][0])
    ax.axhspan(dense.low, dense.high, color=colour("dense"), alpha=0.08, linewidth=0)
    ax.axhline(dense.mean, color=colour("dense"), linewidth=1, label="dense, and its interval")
    for way, shift, rounds in _apart(accuracy):
        _interval_line(ax, [r + shift for r in rounds], accuracy[way].values(), way, label(way))
    ax.set(ylabel="test accuracy (%)", title="accuracy of the subnetwork, trained on real data")
    ax.legend(fontsize="small", loc="lower left")


def differences(ax: Axes, accuracy: Mapping[str, ByRound], tolerance: float) -> None:
    """Accuracy of every other way minus that of the distilled subnetwork, initialisation by initialisation."""
    base = accuracy["idc"]
    others = {w: {r: np.subtract(v, base[r]) for r, v in rounds.items() if r in base}
              for w, rounds in accuracy.items() if w != "idc"}
    for way, shift, rounds in _apart(others):
        for r in rounds:
            values = others[way][r]
            ax.plot([r + shift] * len(values), values, "o", color=colour(way), alpha=0.35, markersize=3,
                    markeredgewidth=0)
        _interval_line(ax, [r + shift for r in rounds], others[way].values(), way, label(way).split(" (")[0],
                       linestyle="none")
    ax.axhline(0, color="#999999", linewidth=0.8)
    ax.axhline(tolerance, color="#999999", linewidth=0.8, linestyle=":")
    ax.set(ylabel="difference (points of accuracy)", title="other way − distilled, paired by initialisation")
    _room_above(ax, 0.35)
    ax.legend(fontsize="x-small", ncol=len(others), loc="upper center", columnspacing=1, handletextpad=0.2)


def cost(ax: Axes, points: Mapping[tuple[str, str], Mapping[int, float]], names: Mapping[tuple[str, str], str]) -> None:
    """Images seen until a mask of that sparsity was found; log scale."""
    for (way, count), rounds in points.items():
        ax.plot(list(rounds), list(rounds.values()), STYLES[count], marker="o", markersize=3, color=colour(way),
                linewidth=1.3, label=names[way, count])
    ax.set(yscale="log", ylabel="data points (images)", title="images seen to find the mask")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high * (high / low) ** 0.5)  # room for the legend
    ax.legend(fontsize="x-small", loc="upper left", labelspacing=0.2)


def sparsity_axis(ax: Axes, rounds: Sequence[int], rate: float = 0.2) -> None:
    """One tick a pruning round: equal steps, because each removes the same share of what is left."""
    ax.set_xticks(list(rounds), [percent_sparse(r, rate).rstrip("%") for r in rounds])
    ax.set(xlabel="sparsity (%), one tick a pruning round", xlim=(min(rounds) - 0.4, max(rounds) + 0.4))


def _apart(ways: Mapping[str, ByRound]) -> list[tuple[str, float, list[int]]]:
    """Every way with a small sideways shift, so that intervals at one sparsity do not hide each other."""
    middle = (len(ways) - 1) / 2
    return [(way, 0.09 * (k - middle), list(rounds)) for k, (way, rounds) in enumerate(ways.items())]


def _interval_line(ax: Axes, x: Sequence[float], values, way: str, name: str, linestyle: str = "-") -> None:
    found = [estimate(v) for v in values]
    bars = [[e.mean - e.low for e in found], [e.high - e.mean for e in found]]
    ax.errorbar(x, [e.mean for e in found], np.nan_to_num(bars), color=colour(way), label=name, linestyle=linestyle,
                linewidth=1.3, marker="D", markersize=4, elinewidth=1.3, capsize=2)


def _room_above(ax: Axes, share: float) -> None:
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + share * (high - low))
