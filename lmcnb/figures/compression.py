"""Figure 12: what becomes of sets and tickets as the data are compressed."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from ..statistics import estimate
from .base import caption, colour, label, percent_sparse

Key = tuple[str, int, int]  # way, images per class, pruning round
LINES = ("-", "--", ":", "-.")


def compression(quality: Mapping[tuple[str, int], Sequence[float]], barriers: Mapping[Key, Sequence[float]],
                accuracy: Mapping[Key, Sequence[float]], cost: Mapping[Key, float], whole: int, note: str,
                rate: float = 0.2) -> Figure:
    """Four readings against images per class, for sets that were distilled and for random ones.

    Args:
        quality: accuracies (%) of networks trained on a set alone, by (way, ipc).
        barriers, accuracy: n values by (way, ipc, round), one an initialisation: midpoint barriers of the train loss
            (nats) and test accuracies (%) of the tickets; ways "imp" and "dense" stand at ``whole`` images per class.
        cost: images that passed through training to find the mask. note: the caption.
        rate: share of the weights left that a round removes.
    """
    with matplotlib.rc_context({"axes.labelsize": "small", "xtick.labelsize": "x-small", "ytick.labelsize": "x-small"}):
        figure, axes = plt.subplots(2, 2, figsize=(11.5, 7.2), layout="constrained", sharex=True)
        _lines(axes[0, 0], {(w, k, 0): v for (w, k), v in quality.items()}, whole, rate)
        _lines(axes[0, 1], barriers, whole, rate)
        _lines(axes[1, 0], accuracy, whole, rate)
        _cost(axes[1, 1], cost, whole)
        axes[0, 0].set(title="networks trained on the set alone", ylabel="test accuracy (%)")
        axes[0, 1].set(title="stability of the ticket", ylabel="train-loss barrier (nats), midpoint")
        axes[1, 0].set(title="accuracy of the ticket, trained on real data", ylabel="test accuracy (%)")
        axes[1, 1].set(title="cost of the mask", ylabel="images looked at, distillation included")
        _axis(axes[1, 0], sorted({k for _, k in quality}), whole)
        for ax in axes[1]:
            ax.set_xlabel("images per class")
        handles = {h.get_label(): h for ax in axes.flat for h in ax.get_legend_handles_labels()[0]}
        axes[0, 1].legend(handles=handles.values(), fontsize="x-small", loc="best", ncol=2)
    caption(figure, note)
    return figure


def _lines(ax: Axes, table: Mapping[Key, Sequence[float]], whole: int, rate: float) -> None:
    """Means with 95% intervals, a line for each way and round; ways that are single points stay points."""
    rounds = sorted({r for w, _, r in table if w != "dense"})
    shift = {key: 1.03 ** j for j, key in enumerate(dict.fromkeys((w, r) for w, _, r in table))}
    for way, r in shift:
        found = {k: estimate(v) for (w, k, other), v in sorted(table.items(), key=lambda e: e[0][1])
                 if (w, other) == (way, r)}
        if way == "dense":
            ax.axhline(found[whole].mean, color=colour(way), linewidth=1, linestyle="--", label="dense")
            continue
        xs, means = [k * shift[way, r] for k in found], [e.mean for e in found.values()]
        half = [[e.mean - e.low for e in found.values()], [e.high - e.mean for e in found.values()]]
        single, level = way == "imp", rounds.index(r)
        ax.errorbar(xs, means, yerr=half, color=colour(way), elinewidth=0.9, markersize=5 if single else 4,
                    linewidth=1.5, marker="D" if single else "o", linestyle="" if single else LINES[level % 4],
                    markerfacecolor=colour(way) if level == 0 else "white",
                    label=f"{label(way)}, {percent_sparse(r, rate)}" if r else None)


def _cost(ax: Axes, cost: Mapping[Key, float], whole: int) -> None:
    rounds = sorted({r for w, _, r in cost if w != "dense"})
    for way, r in dict.fromkeys((w, r) for w, _, r in cost if w != "dense"):
        found = dict(sorted((k, v) for (w, k, other), v in cost.items() if (w, other) == (way, r)))
        level = rounds.index(r)
        ax.plot(list(found), list(found.values()), color=colour(way), marker="D" if way == "imp" else "o", markersize=4,
                linestyle=LINES[level % 4], markerfacecolor=colour(way) if level == 0 else "white")
    ax.set_yscale("log")


def _axis(ax: Axes, sizes: Sequence[int], whole: int) -> None:
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator([*sizes, whole]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticklabels([*map(str, sizes), f"all\n({whole:,})"])
