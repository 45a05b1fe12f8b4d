"""Figure 14: what each departure of the released code, and the recipe, do to the claims; how alike the masks are."""
from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..statistics import estimate
from ..tables import Table
from .base import WIDTH, caption, colour, label, marker
from .parts import SHADE, row_of_dots


def switch_dots(ax: Axes, table: Table) -> None:
    """One row a switch: a dot for each initialisation, mean and 95% interval; green below the threshold.

    Purple above it; what is nearer to it than the margin is shaded.
    """
    values, threshold, margin = table.values_of(by=["switch"]), *table[["threshold", "margin"]].iloc[0]
    ax.axvspan(threshold - margin, threshold + margin, color=SHADE, linewidth=0, zorder=0)
    for y, points in enumerate(reversed(values.values())):
        e = estimate(points)
        hue = "#1a8f5b" if e.high < threshold else "#822782" if e.low >= threshold else "#8a8a8a"  # no method's
        row_of_dots(ax, y, points, hue, "o")
    ax.axvline(threshold, color="#555555", linewidth=0.9, linestyle=":")
    ax.set_yticks(range(len(values)), list(values)[::-1])
    ax.set(ylim=(-0.6, len(values) - 0.4))
    ax.set_xlabel(table["quantity"].iloc[0])
    ax.locator_params("x", nbins=5)


def recipe_lines(ax: Axes, table: Table) -> None:
    """Barrier against one setting of the recipe, by method; numbers on a log axis, names side by side."""
    settings = list(table["setting"].unique())
    numeric = all(isinstance(s, (int, float)) for s in settings)
    at = {s: (s if numeric else k) for k, s in enumerate(settings)}
    for method, rows in table.groupby("method", sort=False):
        values, hue = rows.values_of(by=["setting"]), colour(method)
        ax.plot([at[s] for s in values], [v.mean() for v in values.values()], marker(method) + "-" * numeric, color=hue,
                markersize=4, linewidth=1.4, label=label(method))
        for s, points in values.items():
            if len(points) > 1:
                ax.plot([at[s]] * len(points), points, "o", color=hue, alpha=0.35, markersize=3)
    ax.axhline(0, color="#999999", linewidth=0.8)
    if numeric:
        ax.set_xscale("log")
        ax.set_xticks(settings, [f"{s:g}" for s in settings])
        ax.minorticks_off()
    else:
        ax.set_xticks(range(len(settings)), settings, rotation=12)
        ax.set_xlim(-0.5, len(settings) - 0.5)


def overlaps(ax: Axes, table: Table, chance: float) -> None:
    """Jaccard index of every pair of masks over what independent masks of that density would have."""
    names = list(table["mask"].unique())
    ratio = table.pivot(index="mask", columns="other", values="value").loc[names, names].to_numpy() / chance
    shown = np.where(np.eye(len(names), dtype=bool), np.nan, ratio)
    ax.imshow(shown, cmap="Blues", vmin=0.8, vmax=max(1.5, float(np.nanmax(shown))))
    for (i, j), value in np.ndenumerate(shown):
        if i != j:
            ax.text(j, i, f"{value:.2f}", ha="center", va="center",
                    color="white" if value > 0.6 * np.nanmax(shown) + 0.4 else "black")
    ax.set_xticks(range(len(names)), names, rotation=25, ha="right")
    ax.set_yticks(range(len(names)), names)
    ax.tick_params(length=0)
    ax.set_title("mask overlap, × chance")


def layers(ax: Axes, table: Table) -> None:
    """Share of the weights that masks leave in each layer."""
    for method, rows in table.groupby("method", sort=False):
        ax.plot(100 * rows["value"].to_numpy(), marker(method) + "-", color=colour(method), markersize=4,
                label=label(method))
    ax.set_xticks(range(table["quantity"].nunique()))
    ax.set(xlabel="layer, input to output", ylabel="weights left (%)", ylim=(0, None),
           title="where the weights are left")
    ax.legend()


def audit(table: Table, varied: Mapping[str, str], note: str = "") -> Figure:
    """Claims under switches, barriers under recipes, and masks side by side.

    Args:
        table: by ``claim`` and ``switch`` one value for each initialisation, whose quantity is its axis' label, and
            the ``threshold`` that a supported claim lies below, and the ``margin`` within which a distance from it does
            not matter (0: the threshold is one); midpoint barriers (nats) by method and by what is
            ``varied`` and its ``setting``; "jaccard" of a ``mask`` and an ``other``, and "jaccard by chance", that of
            independent masks; "density.…" of each layer by method.
        varied: what is varied in the recipe, and the label of its axis. note: the caption.
    """
    claims = {c: table.select(claim=c) for c in table["claim"].dropna().unique()}
    rows = [1.5 + rows["switch"].nunique() for rows in claims.values()]
    figure = plt.figure(figsize=(WIDTH, 3.2 + 0.25 * sum(rows)), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[0.25 * sum(rows), 2.7])[:, 0]
    left, right = above.subfigures(1, 2, squeeze=False, width_ratios=[1.25, 1])[0]
    for ax, (claim, some) in zip(np.atleast_1d(left.subplots(len(claims), 1, height_ratios=rows)), claims.items()):
        switch_dots(ax, some)
        ax.set_title(claim)
    left.suptitle("interval below the dotted line: green; above it: purple; shaded: does not matter", fontsize=8)
    upper, lower = right.subplots(2, 1)
    overlaps(upper, table.select(quantity="jaccard"), table.select(quantity="jaccard by chance")["value"].item())
    layers(lower, table[table["quantity"].str.startswith("density.")])
    barriers = table.select(quantity="train_loss barrier, midpoint")
    varied = {title: axis for title, axis in varied.items() if (barriers["varied"] == title).any()}
    panels = np.atleast_1d(below.subplots(1, len(varied), sharey=True))
    for ax, (title, xlabel) in zip(panels, varied.items()):
        recipe_lines(ax, barriers.select(varied=title))
        ax.set_title(title)
        ax.set_xlabel(xlabel)
    panels[0].set_ylabel("train-loss barrier (nats)")
    n = barriers["init"].nunique()
    inits = "one initialisation" if n == 1 else f"{n} initialisations"
    below.suptitle(f"recipes: {inits}, width and length as the caption says", fontsize=8)
    below.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncol=6)
    caption(figure, note, kept=True)
    return figure
