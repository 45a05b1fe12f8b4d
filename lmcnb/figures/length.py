"""Figure 20: whether the claims survive the papers' own recipe, and how they change with the length of training."""
from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..statistics import Claim, Layout, estimate
from ..tables import Table
from .base import WIDTH, caption, colour, kind, label, marker, percent_sparse
from .judging import RISE, as_accurate, more_stable, named, stable, two_minima
from .parts import Numbers, curve, dots, judged

PAPERS = "papers"  # the recipe that is judged


def length(table: Table, at: float, compared: Sequence[int], note: str = "") -> Figure:
    """Barrier and accuracy against the epochs of training, a row a recipe, and below them the length that is judged.

    Args:
        table: by ``recipe``, ``length`` (epochs, of the final training and of IMP's rounds alike), method, round and
            init paths and test accuracies. at: the length that is judged, under the recipe "papers".
        compared: pruning rounds; the lengths are drawn of the first one. note: the caption.
    """
    recipes = list(table["recipe"].unique())
    shown = table.select(recipe=PAPERS, length=at, round=[0, *compared])
    losses, errors = shown.barriers(), shown.barriers("test_error", "frankle", scale=100)
    below = 1.1 + 0.19 * len(losses.values_of())
    height = below + 0.45 + 2.75 * len(recipes)
    figure = plt.figure(figsize=(WIDTH, height))
    grid = figure.add_gridspec(len(recipes), 2, left=0.075, right=0.995, top=1 - 0.25 / height,
                               bottom=(below + 0.85) / height, hspace=0.42, wspace=0.17)
    for row, recipe in enumerate(recipes):
        mine = table.select(recipe=recipe, round=[0, compared[0]])
        left, right = (figure.add_subplot(grid[row, column]) for column in (0, 1))
        over_lengths(left, mine.barriers().values_of(by=["method", "length"]))
        left.axhline(0, color="#999999", linewidth=0.6)
        left.set_ylabel("train-loss barrier (nats), midpoint")
        name = "the papers' recipe" if recipe == PAPERS else recipe
        left.set_title(f"{name}, masks {percent_sparse(compared[0])} sparse")
        accuracy = mine.select(quantity="test_accuracy").averaged("seeds")
        over_lengths(right, accuracy.values_of(by=["method", "length"], scale=100))
        right.set_ylabel("test accuracy (%)")
    last = judged(figure, losses, (below - 0.55) / height, 0.5 / height, "train-loss barrier (nats)\nat the midpoint")
    dots(last, errors, "rise of the test error (points)\ndotted: stable below 2", RISE)
    figure.axes[-3].set_title(f"after {at:g} epochs", loc="left")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="center",
                  bbox_to_anchor=(0.5, (below + 0.12) / height), ncol=7, columnspacing=0.9,
                  handlelength=1.5, handletextpad=0.5)
    caption(figure, note)
    return figure


def over_lengths(ax: Axes, found: Mapping[tuple[str, float], Numbers]) -> None:
    """By method a quantity against the epochs of training, with 95% intervals; dashed, open: the larger of two sets.

    Methods stand side by side, so that no interval hides another.
    """
    lengths, methods = sorted({epochs for _, epochs in found}), list(dict.fromkeys(m for m, _ in found))
    for k, method in enumerate(methods):
        beside = 1.025 ** (k - (len(methods) - 1) / 2)
        points = {epochs * beside: estimate(found[method, epochs]) for epochs in lengths if (method, epochs) in found}
        larger = _per_class(method) > min(_per_class(m) for m in methods if kind(m) == kind(method))
        curve(ax, points, color=colour(method), marker=marker(method), linestyle="--" if larger else "-",
              markerfacecolor="white" if larger else None, markersize=4.5, linewidth=1.2, label=label(method))
    ax.set_xscale("log")
    ax.set_xticks(lengths, [f"{e:g}" for e in lengths])
    ax.set_xlim(0.85 * lengths[0], lengths[-1] / 0.85)
    ax.minorticks_off()
    ax.set_xlabel("epochs of the final training, and of IMP's rounds")


def _per_class(method: str) -> int:
    return int(found[0]) if (found := re.search(r"\d+$", method)) else 0


def length_claims(table: Table, at: float, compared: Sequence[int]) -> list[Claim]:
    """A1, A2, A2c and A3 under the papers' recipe at one length; B5, of the dense network: the premise of A1.

    Args:
        table, at, compared: as for the figure.
    """
    mine, claims = table.select(recipe=PAPERS, length=at), []
    for r in compared:
        rows, sparse = mine.select(round=[0, r]), percent_sparse(r)
        rise = _own(rows.barriers("test_error", "frankle", scale=100))
        loss, who = _own(rows.barriers()), named("idc", sparse)
        percent = _own(rows.select(quantity="test_accuracy").averaged("seeds", 100))
        claims += [stable(f"A1-{sparse}", rise, who, family="primary"),
                   more_stable(f"A2-{sparse}", loss, "idc", "imp", f"{who} is", family="primary"),
                   *(more_stable(f"A2c-{sparse} ({aside})", loss, "idc", other, f"{who} is")
                     for other, aside in controls(loss).items()),
                   as_accurate(f"A3-{sparse}", percent, "idc", f"{who} loses", family="primary")]
    dense = mine.select(round=0).barriers("test_error", "frankle", scale=100).layout()
    return [*claims, two_minima(dense, "dense", "the dense network")]


def _own(rows: Table) -> Layout:
    return replace(rows.layout(), sets="own")  # every initialisation has a set, a subset and a random mask of its own


def controls(layout: Layout) -> dict[str, str]:
    """What prunes without distilled data, as its claim is called: of random images the larger set has as many as IDC's.

    >>> controls(Layout(dict.fromkeys(["idc", "random images 10", "random images 40", "random mask"], {})))
    {'random images 10': 'random images', 'random images 40': 'as many images', 'random mask': 'random mask'}
    """
    images = sorted((m for m in layout.cells if kind(m) == "random images"), key=_per_class)
    names = {m: kind(m) for m in layout.cells if kind(m) in ("random mosaics", "random images", "random mask")}
    return names | ({images[-1]: "as many images"} if len(images) > 1 else {})
