"""What figures are made of: each part draws one panel from a table."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from ..statistics import estimate
from ..tables import Table
from .base import colour, label, percent_sparse

SMALL = {"axes.labelsize": "small", "xtick.labelsize": "x-small", "ytick.labelsize": "x-small"}


def surface(ax, alphas, rounds: Sequence[int], heights: np.ndarray, *, zlim: tuple[float, float], dark: Sequence[int],
            method: str, zlabel: str = "train loss (nats)") -> None:
    """Train loss over α and pruning round, one curve a round; the ``dark`` rounds are those of the overlay."""
    grid_a, grid_r = np.meshgrid(alphas, rounds)
    ax.plot_surface(grid_a, grid_r, heights, cmap="viridis", vmin=zlim[0], vmax=zlim[1], alpha=0.75, linewidth=0,
                    antialiased=True, rcount=len(rounds), ccount=len(alphas))
    for r, row in zip(rounds, heights):
        strong = r in dark
        ax.plot(alphas, [r] * len(alphas), row, color=colour("dense" if r == 0 else method) if strong else "#555555",
                linewidth=2 if strong else 0.5, zorder=10)
    ax.set(xlabel="α", ylabel="pruning round", zlim=zlim, title=label(method))
    ax.set_zlabel(zlabel, labelpad=4)
    ax.view_init(elev=24, azim=-58)
    ax.set_box_aspect((1, 1.15, 0.75), zoom=1.0)


def overlay(ax: Axes, table: Table, quantity: str = "train_loss", rate: float = 0.2) -> None:
    """Mean paths of every method and round of a table, with the 95% band of their shape over initialisations.

    The band is that of the rise over the path's own ends: what initialisations share in level is not instability.
    """
    rounds = sorted(set(table["round"].dropna()) - {0})
    for (method, round), rows in table.curves(quantity).items():
        mean, rise = rows.mean(0), rows - rows[:, [0, -1]].mean(1, keepdims=True)
        half = np.array([estimate(c).high - estimate(c).mean for c in rise.T]) if len(rows) > 1 else 0 * mean
        name = "dense" if method == "dense" else f"{label(method).split(' (')[0]}, {percent_sparse(round, rate)}"
        dash = "-" if round == 0 else ("-", "--", ":", "-.")[rounds.index(round) % 4]
        line = ax.plot(table.alphas, mean, color=colour(method), linestyle=dash, label=name)
        ax.fill_between(table.alphas, mean - half, mean + half, color=line[0].get_color(), alpha=0.12, linewidth=0)
    named = " and ".join(map(str, rounds))
    ax.set(xlabel="α, position between the two trained networks", ylabel=f"{quantity.replace('_', ' ')} (nats)",
           title=f"dense, {named} rounds")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.3 * (high - low))  # room for the legend above the curves
    ax.legend(fontsize="x-small", ncol=2, loc="upper center")


def dots(ax: Axes, table: Table | Mapping[tuple[str, int], Sequence[float]], xlabel: str,
         threshold: float | None = None, zero: bool = True, rate: float = 0.2) -> None:
    """One row a method and round: a small dot for each initialisation, mean and 95% interval (Student's t).

    ``table`` has one value an initialisation, or is a mapping from method and round to such values. ``zero`` draws a
    line there, ``threshold`` a dotted one.
    """
    values = table.values_of() if isinstance(table, Table) else table
    for y, (key, points) in enumerate(reversed(values.items())):
        e, hue = estimate(points), colour(key[0])
        ax.plot(points, [y] * len(points), "o", color=hue, alpha=0.35, markersize=4, markeredgewidth=0)
        if e.n > 1:
            ax.plot([e.low, e.high], [y, y], color=hue, linewidth=1.6)
        ax.plot(e.mean, y, "D", color=hue, markersize=5)
    if zero:
        ax.axvline(0, color="#999999", linewidth=0.8)
    if threshold is not None:
        ax.axvline(threshold, color="#999999", linewidth=0.8, linestyle=":")
    names = [label(m) if m == "dense" else f"{label(m)}, {percent_sparse(r, rate)}" for m, r in values]
    ax.set_yticks(range(len(values)), names[::-1], fontsize="x-small")
    ax.set(xlabel=xlabel, ylim=(-0.6, len(values) - 0.4))
