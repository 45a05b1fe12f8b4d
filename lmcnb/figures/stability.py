"""Figures 3 and 4: paths over pruning rounds, overlaid and as surfaces, and the barriers with their intervals."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..statistics import estimate
from .base import caption, colour, label, percent_sparse


def surface(ax, alphas, rounds: Sequence[int], heights: np.ndarray, *, zlim: tuple[float, float], dark: Sequence[int],
            way: str, zlabel: str = "train loss (nats)") -> None:
    """Train loss over α and pruning round, one curve a round; the ``dark`` rounds are those of the overlay."""
    grid_a, grid_r = np.meshgrid(alphas, rounds)
    ax.plot_surface(grid_a, grid_r, heights, cmap="viridis", vmin=zlim[0], vmax=zlim[1], alpha=0.75, linewidth=0,
                    antialiased=True, rcount=len(rounds), ccount=len(alphas))
    for r, row in zip(rounds, heights):
        strong = r in dark
        ax.plot(alphas, [r] * len(alphas), row, color=colour("dense" if r == 0 else way) if strong else "#555555",
                linewidth=2 if strong else 0.5, zorder=10)
    ax.set(xlabel="α", ylabel="pruning round", zlim=zlim, title=label(way))
    ax.set_zlabel(zlabel, labelpad=4)
    ax.view_init(elev=24, azim=-58)
    ax.set_box_aspect((1, 1.15, 0.75), zoom=1.0)


def overlay(ax: Axes, alphas, curves: Mapping[tuple[str, int], np.ndarray], ylabel: str = "train loss (nats)",
            rate: float = 0.2) -> None:
    """Mean paths by (way, round), each over its initialisations [n, A], with the 95% band of their shape.

    The band is that of the rise over the path's own ends: what initialisations share in level is not instability.
    """
    for (way, round), rows in curves.items():
        rows = np.asarray(rows)
        mean, rise = rows.mean(0), rows - rows[:, [0, -1]].mean(1, keepdims=True)
        half = np.array([estimate(c).high - estimate(c).mean for c in rise.T]) if len(rows) > 1 else 0 * mean
        name = "dense" if way == "dense" else f"{label(way).split(' (')[0]}, {percent_sparse(round, rate)}"
        line = ax.plot(alphas, mean, color=colour(way), linestyle={0: "-", 4: "-", 9: "--"}.get(round, ":"), label=name)
        ax.fill_between(alphas, mean - half, mean + half, color=line[0].get_color(), alpha=0.12, linewidth=0)
    ax.set(xlabel="α, position between the two trained networks", ylabel=ylabel, title="dense, 4 and 9 rounds")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.3 * (high - low))  # room for the legend above the curves
    ax.legend(fontsize="x-small", ncol=2, loc="upper center")


def barrier_dots(ax: Axes, values: Mapping[tuple[str, int], Sequence[float]], xlabel: str,
                 threshold: float | None = None, zero: bool = True, rate: float = 0.2) -> None:
    """Values by (way, round): a small dot for each initialisation, mean and 95% interval (Student's t).

    ``zero`` draws a line there, ``threshold`` a dotted one.
    """
    keys = list(values)
    for y, key in enumerate(reversed(keys)):
        way, _ = key
        points = np.asarray(values[key], dtype=float)
        e = estimate(points)
        ax.plot(points, [y] * len(points), "o", color=colour(way), alpha=0.35, markersize=4, markeredgewidth=0)
        if e.n > 1:
            ax.plot([e.low, e.high], [y, y], color=colour(way), linewidth=1.6)
        ax.plot(e.mean, y, "D", color=colour(way), markersize=5)
    if zero:
        ax.axvline(0, color="#999999", linewidth=0.8)
    if threshold is not None:
        ax.axvline(threshold, color="#999999", linewidth=0.8, linestyle=":")
    names = [label(w) if w == "dense" else f"{label(w)}, {percent_sparse(r, rate)}" for w, r in keys]
    ax.set_yticks(range(len(keys)), names[::-1], fontsize="x-small")
    ax.set(xlabel=xlabel, ylim=(-0.6, len(keys) - 0.4))


def stability(alphas, surfaces: Mapping[str, np.ndarray], curves: Mapping[tuple[str, int], np.ndarray],
              loss_barriers: Mapping[tuple[str, int], Sequence[float]],
              error_barriers: Mapping[tuple[str, int], Sequence[float]], note: str, dark: Sequence[int] = (0, 4, 9),
              rate: float = 0.2) -> Figure:
    """Figure 3 of McDermott & Parhi (2025) with what judging it needs: every way's barriers with intervals.

    Args:
        alphas: [A]. surfaces: train loss [rounds + 1, A] of one initialisation for two ways.
        curves: train loss [n, A] by (way, round). loss_barriers, error_barriers: n values by (way, round), the latter
            in points of test error. note: the caption: data, network, recipe, n. rate: share of the weights left
            that a round removes.
    """
    rows = [np.asarray(s) for s in surfaces.values()]
    low, high = min(r.min() for r in rows), max(r.max() for r in rows)
    with matplotlib.rc_context({"axes.labelsize": "small", "xtick.labelsize": "x-small", "ytick.labelsize": "x-small"}):
        figure = plt.figure(figsize=(11.5, 8))
        top = figure.add_gridspec(1, 2, left=-0.02, right=0.63, top=0.97, bottom=0.55, wspace=0.14)
        beside = figure.add_gridspec(1, 1, left=0.72, right=0.99, top=0.95, bottom=0.57)
        for place, (way, rows) in zip(top, surfaces.items()):
            surface(figure.add_subplot(place, projection="3d"), alphas, range(len(rows)), np.asarray(rows),
                    zlim=(low, high), dark=dark, way=way)
        overlay(figure.add_subplot(beside[0]), alphas, curves, rate=rate)
        low_row = figure.add_gridspec(1, 2, left=0.22, right=0.99, top=0.46, bottom=0.07, wspace=0.06)
        left = figure.add_subplot(low_row[0])
        barrier_dots(left, loss_barriers, "train-loss barrier (nats), midpoint", rate=rate)
        right = figure.add_subplot(low_row[1], sharey=left)
        barrier_dots(right, error_barriers, "test-error barrier (points), Frankle; dotted: stable below 2", 2,
                     rate=rate)
        right.tick_params(labelleft=False)
    caption(figure, note)
    return figure
