"""Figure 13: what a ticket keeps under corruption and transfer, against its barrier."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..tables import Table
from .base import caption, colour, label, percent_sparse
from .parts import SMALL, subnetwork

Values = Mapping[tuple[str, int], np.ndarray]  # by method and pruning round, one an initialisation
READINGS = {"corrupted": "accuracy on corrupted images (%)", "kept": "clean accuracy kept (%)",
            "probe": "probe on the other data set (%)"}


def generalisation(table: Table, note: str = "", rate: float = 0.2) -> Figure:
    """Three readings against the barrier, and the accuracy that each corruption costs.

    Args:
        table: by method, round and init: paths, or barriers, of the train loss; the shares "corrupted", "kept" and
            "probe"; "accuracy lost" by ``corruption``; by round "rank correlation, kept" and so on, with ", low" and
            ", high".
        note: the caption. rate: share of the weights left that a round removes.
    """
    barrier = table.barriers().values_of()
    rounds = sorted({r for m, r in barrier if m != "dense"})
    lost = table.values_of("accuracy lost", ("corruption", "method", "round"), scale=100)
    corruptions = list(dict.fromkeys(c for c, _, _ in lost))
    import seaborn as sns  # takes two seconds, and no other figure needs it

    with matplotlib.rc_context(SMALL):
        figure = plt.figure(figsize=(11.5, 4.6 + 0.17 * len(barrier)), layout="constrained")
        grid = figure.add_gridspec(2, 3, height_ratios=(3.6, 0.6 + 0.17 * len(barrier)))
        for k, (name, ylabel) in enumerate(READINGS.items()):
            ax = figure.add_subplot(grid[0, k])
            _scatter(ax, barrier, table.values_of(name, scale=100), rounds)
            rho, low, high = (table.values_of(f"rank correlation, {name}{end}", by=["round"])
                              for end in ("", ", low", ", high"))
            words = [f"{percent_sparse(r, rate)}: ρ = {rho[r][0]:+z.2f} [{low[r][0]:+z.2f}, {high[r][0]:+z.2f}]"
                     for r in rounds]
            ax.set_title("\n".join(words), fontsize="x-small", fontweight="normal", loc="left")
            ax.set(xlabel="train-loss barrier (nats), midpoint", ylabel=ylabel)
        ax = figure.add_subplot(grid[1, :2])
        sns.heatmap(np.array([[lost[c, *key].mean() for c in corruptions] for key in barrier]), ax=ax, cmap="rocket_r",
                    annot=True, fmt="z.0f", linewidths=0.5, annot_kws={"fontsize": "x-small"},
                    xticklabels=[c.replace("_", " ") for c in corruptions],
                    yticklabels=[subnetwork(m, r, rate) for m, r in barrier],
                    cbar_kws={"label": "points of accuracy lost"})
        ax.tick_params(axis="both", length=0, labelsize="x-small")
        ax.set_xticklabels(ax.get_xticklabels(), rotation=20, ha="right")
        _legend(figure.add_subplot(grid[1, 2]), barrier, rounds, rate)
    caption(figure, note)
    return figure


def _scatter(ax: Axes, barrier: Values, values: Values, rounds: Sequence[int]) -> None:
    for (method, r), xs in barrier.items():
        open_ = r == rounds[-1] and len(rounds) > 1
        face = "white" if open_ else colour(method)
        ax.plot(xs, values[method, r], "o", color=colour(method), markersize=3, alpha=0.45, markerfacecolor=face)
        ax.plot(np.mean(xs), np.mean(values[method, r]), "s" if method == "dense" else "o", color=colour(method),
                markersize=8, markerfacecolor=face, markeredgewidth=1.6)


def _legend(ax: Axes, barrier: Values, rounds: Sequence[int], rate: float) -> None:
    handles = [Line2D([], [], linestyle="", marker="s" if m == "dense" else "o", color=colour(m), label=label(m))
               for m in dict.fromkeys(m for m, _ in barrier)]
    handles += [Line2D([], [], linestyle="", marker="o", color="#555555", label=f"{percent_sparse(r, rate)} sparse",
                       markerfacecolor="white" if r == rounds[-1] and len(rounds) > 1 else "#555555") for r in rounds]
    ax.legend(handles=handles, loc="center left", fontsize="x-small", labelspacing=0.8)
    ax.set_axis_off()
