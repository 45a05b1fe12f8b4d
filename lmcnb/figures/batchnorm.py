"""Figure 4: the stability of a network with BatchNorm, under both ways to set its statistics on the path."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..statistics import estimate
from .base import caption, colour, label, percent_sparse
from .stability import overlay, surface

Key = tuple[str, int]
BY_BN = {"lerp": ("interpolated statistics", "-", "D"), "recalibrate": ("re-estimated statistics", "--", "o")}


def name_of(key: Key, short: bool = False, rate: float = 0.2) -> str:
    """A subnetwork's label: the way it was found and its sparsity."""
    way, round = key
    name = label(way).split(" (")[0] if short else label(way)
    return name if way == "dense" else f"{name}, {percent_sparse(round, rate)}"


def two_paths(ax: Axes, alphas, curves: Mapping[str, np.ndarray], key: Key, rate: float = 0.2) -> None:
    """One subnetwork's mean path by convention of BatchNorm, each over its initialisations [n, A].

    The band is the 95% interval of the rise over the path's own ends, as in :func:`lmcnb.figures.overlay`.
    """
    for bn, rows in curves.items():
        rows, (name, line, _) = np.asarray(rows), BY_BN[bn]
        mean, rise = rows.mean(0), rows - rows[:, [0, -1]].mean(1, keepdims=True)
        half = np.array([estimate(c).high - estimate(c).mean for c in rise.T]) if len(rows) > 1 else 0 * mean
        ax.plot(alphas, mean, line, color=colour(key[0]), label=name)
        ax.fill_between(alphas, mean - half, mean + half, color=colour(key[0]), alpha=0.12, linewidth=0)
    ax.set(xlabel="α", title=name_of(key, True, rate))


def two_dots(ax: Axes, values: Mapping[str, Mapping[Key, Sequence[float]]], xlabel: str,
             threshold: float | None = None, rate: float = 0.2) -> None:
    """Barriers by convention and subnetwork: a dot for each initialisation, mean and 95% interval (Student's t)."""
    keys = list(next(iter(values.values())))
    for (bn, barriers), shift in zip(values.items(), (0.16, -0.16)):
        _, line, marker = BY_BN[bn]
        for y, key in enumerate(reversed(keys)):
            points, e = np.asarray(barriers[key], dtype=float), estimate(barriers[key])
            ink = {"color": colour(key[0])}
            ax.plot(points, [y + shift] * len(points), "o", **ink, alpha=0.35, markersize=3.5, markeredgewidth=0)
            if e.n > 1:
                ax.plot([e.low, e.high], [y + shift] * 2, line, **ink, linewidth=1.4)
            ax.plot(e.mean, y + shift, marker, **ink, markersize=5, markerfacecolor=None if bn == "lerp" else "white")
    ax.axvline(0, color="#999999", linewidth=0.8, zorder=0)
    if threshold is not None:
        ax.axvline(threshold, color="#999999", linewidth=0.8, linestyle=":", zorder=0)
    ax.set_yticks(range(len(keys)), [name_of(k, rate=rate) for k in keys[::-1]], fontsize="x-small")
    ax.set(xlabel=xlabel, ylim=(-0.6, len(keys) - 0.4))


def _paper_row(figure: Figure, alphas, surfaces: Mapping[str, np.ndarray], curves: Mapping[Key, np.ndarray],
               rate: float) -> None:
    """The paper's three panels: two surfaces and the overlay of their chosen rounds."""
    heights = [np.asarray(rows) for rows in surfaces.values()]
    limits, rounds = (min(h.min() for h in heights), max(h.max() for h in heights)), sorted({r for _, r in curves})
    left = figure.add_gridspec(1, 2, left=-0.02, right=0.63, top=0.98, bottom=0.67, wspace=0.14)
    for place, way, rows in zip(left, surfaces, heights):
        surface(figure.add_subplot(place, projection="3d"), alphas, range(len(rows)), rows, zlim=limits, dark=rounds,
                way=way)
    right = figure.add_subplot(figure.add_gridspec(1, 1, left=0.72, right=0.99, top=0.96, bottom=0.69)[0])
    overlay(right, alphas, curves, rate=rate)
    right.set_title(f"dense, {' and '.join(str(r) for r in rounds if r)} rounds")


def legend(figure: Figure, y: float) -> None:
    """What the line styles and markers mean, once for both lower rows."""
    lines = [plt.Line2D([], [], color="#444444", linestyle=line, marker=marker, markersize=5,
                        markerfacecolor="#444444" if bn == "lerp" else "white", label=f"BatchNorm: {name}")
             for bn, (name, line, marker) in BY_BN.items()]
    figure.legend(handles=lines, loc="center", bbox_to_anchor=(0.5, y), ncol=2, fontsize="small")


def batchnorm(alphas, surfaces: Mapping[str, np.ndarray], curves: Mapping[str, Mapping[Key, np.ndarray]],
              loss_barriers: Mapping[str, Mapping[Key, Sequence[float]]],
              error_barriers: Mapping[str, Mapping[Key, Sequence[float]]], note: str, banner: str = "",
              rate: float = 0.2) -> Figure:
    """Figure 4 of McDermott & Parhi (2025), and what the treatment of BatchNorm's statistics does to it.

    Args:
        alphas: [A]. surfaces: train loss [rounds + 1, A] (nats) of one initialisation for two ways, "lerp".
        curves: train loss [n, A] by convention ("lerp", "recalibrate") and (way, round).
        loss_barriers, error_barriers: n values by convention and (way, round), the latter in points of test error.
        note: the caption. banner: what nobody may overlook; it is printed above the panels. rate: share of the
            weights left that a round removes.
    """
    shown = curves["lerp"]
    with matplotlib.rc_context({"axes.labelsize": "small", "xtick.labelsize": "x-small", "ytick.labelsize": "x-small"}):
        figure = plt.figure(figsize=(11.5, 10.5))
        _paper_row(figure, alphas, surfaces, shown, rate)
        legend(figure, 0.615)
        middle = figure.add_gridspec(1, len(shown), left=0.07, right=0.99, top=0.575, bottom=0.405, wspace=0.08)
        axes = middle.subplots(sharey=True, squeeze=False)[0]
        for ax, key in zip(axes, shown):
            two_paths(ax, alphas, {bn: c[key] for bn, c in curves.items()}, key, rate)
        axes[0].set_ylabel("train loss (nats)")
        below = figure.add_gridspec(1, 2, left=0.2, right=0.99, top=0.325, bottom=0.045, wspace=0.06)
        left, right = below.subplots(sharey=True)
        two_dots(left, loss_barriers, "train-loss barrier (nats), midpoint", rate=rate)
        two_dots(right, error_barriers, "test-error barrier (points), Frankle; dotted: stable below 2", 2, rate)
    if banner:
        figure.text(0.5, 1.0, banner, ha="center", va="bottom", fontsize="x-large", fontweight="bold", color="#a04000")
    caption(figure, note)
    return figure
