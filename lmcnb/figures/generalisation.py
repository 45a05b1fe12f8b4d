"""Figure 13: what a ticket keeps under corruption and transfer, against its barrier."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..statistics import RankCorrelation
from .base import caption, colour, label, percent_sparse

Cell = tuple[str, int]  # way and pruning round
READINGS = {"corrupted": "accuracy on corrupted images (%)", "kept": "clean accuracy kept (%)",
            "probe": "probe on the other data set (%)"}


def generalisation(barrier: Mapping[Cell, Sequence[float]], readings: Mapping[str, Mapping[Cell, Sequence[float]]],
                   found: Mapping[tuple[str, int], RankCorrelation], loss: Mapping[Cell, Sequence[float]],
                   corruptions: Sequence[str], note: str, rate: float = 0.2) -> Figure:
    """Three readings against the barrier, and the accuracy that each corruption costs.

    Args:
        barrier: midpoint barriers of the train loss (nats) by (way, round), one an initialisation.
        readings: by name ("corrupted", "kept", "probe"), values in percent like ``barrier``.
        found: rank correlations by (reading, round). loss: points of accuracy lost, one a corruption.
        note: the caption. rate: share of the weights left that a round removes.
    """
    rounds = sorted({r for w, r in barrier if w != "dense"})
    with matplotlib.rc_context({"axes.labelsize": "small", "xtick.labelsize": "x-small", "ytick.labelsize": "x-small"}):
        figure = plt.figure(figsize=(11.5, 4.6 + 0.17 * len(loss)), layout="constrained")
        grid = figure.add_gridspec(2, 3, height_ratios=(3.6, 0.6 + 0.17 * len(loss)))
        for k, (name, values) in enumerate(readings.items()):
            ax = figure.add_subplot(grid[0, k])
            _scatter(ax, barrier, values, rounds)
            words = [f"{percent_sparse(r, rate)}: ρ = {found[name, r].rho:+z.2f} [{found[name, r].low:+z.2f}, "
                     f"{found[name, r].high:+z.2f}]" for r in rounds]
            ax.set_title("\n".join(words), fontsize="x-small", fontweight="normal", loc="left")
            ax.set(xlabel="train-loss barrier (nats), midpoint", ylabel=READINGS.get(name, name))
        _heat(figure.add_subplot(grid[1, :2]), loss, corruptions, rate)
        _legend(figure.add_subplot(grid[1, 2]), barrier, rounds, rate)
    caption(figure, note)
    return figure


def _scatter(ax: Axes, barrier: Mapping[Cell, Sequence[float]], values: Mapping[Cell, Sequence[float]],
             rounds: Sequence[int]) -> None:
    for (way, r), xs in barrier.items():
        open_ = r == rounds[-1] and len(rounds) > 1
        face = "white" if open_ else colour(way)
        ax.plot(xs, values[way, r], "o", color=colour(way), markersize=3, alpha=0.45, markerfacecolor=face)
        ax.plot(np.mean(xs), np.mean(values[way, r]), "s" if way == "dense" else "o", color=colour(way), markersize=8,
                markerfacecolor=face, markeredgewidth=1.6)


def _heat(ax: Axes, loss: Mapping[Cell, Sequence[float]], corruptions: Sequence[str], rate: float) -> None:
    names = [label(w) + (f", {percent_sparse(r, rate)}" if r else "") for w, r in loss]
    sns.heatmap(np.array(list(loss.values())), ax=ax, cmap="rocket_r", annot=True, fmt="z.0f", linewidths=0.5,
                annot_kws={"fontsize": "x-small"}, xticklabels=[c.replace("_", " ") for c in corruptions],
                yticklabels=names, cbar_kws={"label": "points of accuracy lost"})
    ax.tick_params(axis="both", length=0, labelsize="x-small")
    ax.set_xticklabels(ax.get_xticklabels(), rotation=20, ha="right")


def _legend(ax: Axes, barrier: Mapping[Cell, Sequence[float]], rounds: Sequence[int], rate: float) -> None:
    ways = dict.fromkeys(w for w, _ in barrier)
    handles = [Line2D([], [], linestyle="", marker="s" if w == "dense" else "o", color=colour(w), label=label(w))
               for w in ways]
    handles += [Line2D([], [], linestyle="", marker="o", color="#555555", label=f"{percent_sparse(r, rate)} sparse",
                       markerfacecolor="white" if r == rounds[-1] and len(rounds) > 1 else "#555555") for r in rounds]
    ax.legend(handles=handles, loc="center left", fontsize="x-small", labelspacing=0.8)
    ax.set_axis_off()
