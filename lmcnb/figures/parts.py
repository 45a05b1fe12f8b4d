"""What figures are made of: each part draws one panel from a table."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpecBase

from ..statistics import Estimate, estimate
from ..tables import Table
from .base import colour, label, percent_sparse

Numbers = Sequence[float] | np.ndarray
SMALL: dict[Any, Any] = {"axes.labelsize": "small", "xtick.labelsize": "x-small", "ytick.labelsize": "x-small"}


def subnetwork(method: str, round: int, rate: float = 0.2, short: bool = False) -> str:
    """A subnetwork's label: its method and sparsity; ``short`` leaves out what a label has in brackets."""
    name = label(method).split(" (")[0] if short else label(method)
    return name if method == "dense" else f"{name}, {percent_sparse(round, rate)}"


def surfaces(figure: Figure, places: GridSpecBase, table: Table, methods: Sequence[str], dark: Sequence[int]) -> None:
    """The train loss of each method over α and all rounds, of the table's first initialisation, on one scale."""
    first = table.select(init=table["init"].min(), quantity="train_loss")
    heights = {m: np.concatenate([*first.select(method=["dense", m]).sort_values("round").curves().values()])
               for m in methods}
    limits = min(h.min() for h in heights.values()), max(h.max() for h in heights.values())
    cells = (places[k] for k in range(places.nrows * places.ncols))
    for place, (method, rows) in zip(cells, heights.items()):
        surface(figure.add_subplot(place, projection="3d"), table.alphas, range(len(rows)), rows, zlim=limits,
                dark=dark, method=method)


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
    """Mean paths of every method and round of a table, with the 95% band of their shape over initialisations."""
    rounds = sorted(set(table["round"].dropna()) - {0})
    for (method, round), rows in table.curves(quantity).items():
        dash = "-" if round == 0 else ("-", "--", ":", "-.")[rounds.index(round) % 4]
        band(ax, table.alphas, rows, colour(method), dash, subnetwork(method, round, rate, short=True))
    named = " and ".join(map(str, rounds))
    ax.set(xlabel="α, position between the two trained networks", ylabel=f"{quantity.replace('_', ' ')} (nats)",
           title=f"dense, {named} rounds")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.3 * (high - low))  # room for the legend above the curves
    ax.legend(fontsize="x-small", ncol=2, loc="upper center")


def band(ax: Axes, alphas: np.ndarray, rows: np.ndarray, hue: str, line: str, name: str) -> None:
    """The mean of paths [n, A] with its 95% band.

    The band is that of the rise over the path's own ends: what initialisations share in level is not instability.
    """
    mean, rise = rows.mean(0), rows - rows[:, [0, -1]].mean(1, keepdims=True)
    half = np.array([estimate(c).high - estimate(c).mean for c in rise.T]) if len(rows) > 1 else 0 * mean
    ax.plot(alphas, mean, line, color=hue, label=name)
    ax.fill_between(alphas, mean - half, mean + half, color=hue, alpha=0.12, linewidth=0)


def dots(ax: Axes, table: Table | Mapping[tuple, Numbers], xlabel: str,
         threshold: float | None = None, zero: bool = True, rate: float = 0.2, shift: float = 0.0,
         line: str = "-", marker: str = "D", face: str | None = None, names: Sequence[str] | None = None) -> None:
    """One row a method and round: a small dot for each initialisation, mean and 95% interval (Student's t).

    ``table`` has one value an initialisation, or is a mapping from method and round to such values. ``zero`` draws a
    line there, ``threshold`` a dotted one. ``shift`` moves the rows up, so that another table's fit between; ``line``,
    ``marker`` and its ``face`` tell them apart. ``names`` stand for those of method and round.
    """
    values = table.values_of() if isinstance(table, Table) else table
    for k, (key, points) in enumerate(reversed([*values.items()])):
        row_of_dots(ax, k + shift, points, colour(key[0]), line, marker, face)
    if zero:
        ax.axvline(0, color="#999999", linewidth=0.8)
    if threshold is not None:
        ax.axvline(threshold, color="#999999", linewidth=0.8, linestyle=":")
    names = names or [subnetwork(m, r, rate) for m, r in values]
    ax.set_yticks(range(len(values)), names[::-1], fontsize="x-small")
    ax.set(xlabel=xlabel, ylim=(-0.6, len(values) - 0.4))


def row_of_dots(ax: Axes, y: float, points: Numbers, hue: str, line: str = "-", marker: str = "D",
                face: str | None = None) -> None:
    """A small dot for each initialisation at height ``y``, their mean and its 95% interval (Student's t)."""
    e = estimate(points)
    ax.plot(points, [y] * len(points), "o", color=hue, alpha=0.35, markersize=4, markeredgewidth=0)
    if e.n > 1:
        ax.plot([e.low, e.high], [y, y], line, color=hue, linewidth=1.6)
    ax.plot(e.mean, y, marker, color=hue, markersize=5, markerfacecolor=face)


def intervals(table: Table, quantity: str, by: Sequence[str], scale: float = 1.0) -> dict[Any, Estimate]:
    """By method and round (or other columns) the mean and 95% interval over initialisations.

    A table may keep but them, as quantities ", mean", ", low", ", high", and ", n", of how many.
    """
    ends = [f"{quantity}, {end}" for end in ("mean", "low", "high")]
    if (table["quantity"] == ends[0]).any():
        mean, low, high = (table.values_of(end, by, scale) for end in ends)
        n = table.values_of(f"{quantity}, n", by)
        return {key: Estimate(mean[key][0], low[key][0], high[key][0], int(n[key][0])) for key in mean}
    return {key: estimate(values) for key, values in table.values_of(quantity, by, scale).items()}


def curve(ax: Axes, found: Mapping[float, Estimate], **style: Any) -> None:
    """Means over x, with their 95% intervals."""
    half = [[e.mean - e.low for e in found.values()], [e.high - e.mean for e in found.values()]]
    ax.errorbar(list(found), [e.mean for e in found.values()], np.nan_to_num(half), **style)
