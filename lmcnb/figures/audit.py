"""Figure 14: what each departure of the released code, and the recipe, do to the claims; how alike the masks are."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..statistics import estimate
from .base import caption, colour, label

Switches = Mapping[str, Sequence[float]]


def switch_dots(ax: Axes, rows: Switches, xlabel: str, threshold: float) -> None:
    """One row a switch: a dot for each initialisation, mean and 95% interval; blue: below the threshold, red: above."""
    for y, (_, values) in enumerate(reversed(rows.items())):
        e, points = estimate(values), np.asarray(values, dtype=float)
        hue = "#1f77b4" if e.high < threshold else "#c44e52" if e.low >= threshold else "#8a8a8a"
        ax.plot(points, [y] * len(points), "o", color=hue, alpha=0.35, markersize=4, markeredgewidth=0)
        if e.n > 1:
            ax.plot([e.low, e.high], [y, y], color=hue, linewidth=1.6)
        ax.plot(e.mean, y, "D", color=hue, markersize=5)
    ax.axvline(threshold, color="#555555", linewidth=0.9, linestyle=":")
    ax.set_yticks(range(len(rows)), list(rows)[::-1], fontsize="x-small")
    ax.set(ylim=(-0.6, len(rows) - 0.4))
    ax.set_xlabel(xlabel, fontsize="small")


def recipe_lines(ax: Axes, barriers: Mapping[str, Mapping], title: str, xlabel: str) -> None:
    """Barrier against one setting of the recipe, by way; numbers on a log axis, names side by side."""
    settings = list(dict.fromkeys(s for by in barriers.values() for s in by))
    numeric = all(isinstance(s, (int, float)) for s in settings)
    at = {s: (s if numeric else k) for k, s in enumerate(settings)}
    for way, by in barriers.items():
        means = [float(np.mean(v)) for v in by.values()]
        ax.plot([at[s] for s in by], means, "o-" if numeric else "o", color=colour(way), markersize=4, linewidth=1.4,
                label=label(way))
        for s, values in by.items():
            if len(values) > 1:
                ax.plot([at[s]] * len(values), values, "o", color=colour(way), alpha=0.35, markersize=3)
    ax.axhline(0, color="#999999", linewidth=0.8)
    ax.set_title(title)
    ax.set_xlabel(xlabel, fontsize="small")
    if numeric:
        ax.set_xscale("log")
        ax.set_xticks(settings, [f"{s:g}" for s in settings])
        ax.minorticks_off()
    else:
        ax.set_xticks(range(len(settings)), settings, fontsize="x-small", rotation=12)
        ax.set_xlim(-0.5, len(settings) - 0.5)


def overlaps(ax: Axes, names: Sequence[str], jaccard: np.ndarray, chance: float) -> None:
    """Jaccard index of every pair of masks over what independent masks of that density would have."""
    ratio = np.asarray(jaccard) / chance
    shown = np.where(np.eye(len(names), dtype=bool), np.nan, ratio)
    ax.imshow(shown, cmap="Blues", vmin=0.8, vmax=max(1.5, float(np.nanmax(shown))))
    for (i, j), value in np.ndenumerate(shown):
        if i != j:
            ax.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize="x-small",
                    color="white" if value > 0.6 * np.nanmax(shown) + 0.4 else "black")
    ax.set_xticks(range(len(names)), names, fontsize="x-small", rotation=25, ha="right")
    ax.set_yticks(range(len(names)), names, fontsize="x-small")
    ax.tick_params(length=0)
    ax.set_title("mask overlap, × chance")


def audit(claims: Mapping[str, Switches], axes_of: Mapping[str, tuple[str, float]],
          curves: Mapping[str, tuple[str, Mapping[str, Mapping]]], names: Sequence[str], jaccard: np.ndarray,
          chance: float, layers: Mapping[str, Sequence[float]], note: str) -> Figure:
    """Claims under switches, barriers under recipes, and masks side by side.

    Args:
        claims: by claim, then switch: one value for each initialisation. axes_of: by claim, the axis label and the
            threshold that a supported claim lies below.
        curves: by title: the axis label and barriers (nats) by way and setting, a value for each initialisation.
        names, jaccard, chance: K masks, their Jaccard indices [K, K], and that of independent masks.
        layers: percent of weights left in each layer [L], by way. note: the caption.
    """
    figure = plt.figure(figsize=(11.5, 11.5), layout="constrained")
    rows = figure.subfigures(3, 1, height_ratios=[1.25, 1, 1])
    for ax, (name, switches) in zip(np.atleast_1d(rows[0].subplots(1, len(claims))), claims.items()):
        switch_dots(ax, switches, *axes_of[name])
        ax.set_title(name)
    panels = np.atleast_1d(rows[1].subplots(1, len(curves), sharey=True))
    for ax, (title, (xlabel, barriers)) in zip(panels, curves.items()):
        recipe_lines(ax, barriers, title, xlabel)
    panels[0].set_ylabel("train-loss barrier (nats), midpoint", fontsize="small")
    panels[-1].legend(fontsize="x-small", loc="best")
    left, right = rows[2].subplots(1, 2)
    overlaps(left, names, jaccard, chance)
    for way, shares in layers.items():
        right.plot(range(len(shares)), shares, "o-", color=colour(way), markersize=4, label=label(way))
    right.set_xticks(range(len(next(iter(layers.values())))))
    right.set(xlabel="layer, input to output", ylabel="weights left (%)", ylim=(0, None),
              title="where the weights are left")
    right.legend(fontsize="x-small")
    caption(figure, note)
    return figure
