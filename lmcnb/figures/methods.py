"""Figure 11: sets of different distillation methods, what they cost, and the tickets found with them."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from ..statistics import Claim
from ..tables import Table
from .base import WIDTH, caption, colour, label, marker, percent_sparse
from .judging import as_accurate, because_distilled, depends, more_stable
from .parts import curve, dots, intervals, judged


def methods(table: Table, images: Mapping[str, np.ndarray], protocol: str, note: str = "") -> Figure:
    """Methods of distillation compared: images, accuracy against wall-clock, barriers and accuracies of the tickets.

    Args:
        table: by method, round and init: paths, or barriers, of the train loss and ``test_accuracy`` of the tickets;
            by method and ``share`` of its work: ``seconds``, and ``set_accuracy`` by ``protocol``.
        images: by method, one image of each class, uint8 [classes, H, W] or [classes, H, W, 3].
        protocol: whose accuracies are drawn. note: the caption.
    """
    barriers, accuracy = table.barriers(), table.select(quantity="test_accuracy").averaged("seeds").values_of(scale=100)
    height = 4.0 + 0.17 * len(barriers.values_of())
    figure = plt.figure(figsize=(WIDTH, height))
    top = figure.add_gridspec(1, 2, left=0.165, right=0.995, top=1 - 0.2 / height, bottom=1 - 2.6 / height,
                              width_ratios=(1.25, 1), wspace=0.22)
    mosaic(figure.add_subplot(top[0]), images)
    accuracy_against_time(figure.add_subplot(top[1]), table, protocol)
    right = judged(figure, barriers, 1 - 3.4 / height, 0.5 / height,
                   "train-loss barrier (nats)\nat the midpoint  ← more stable")
    dots(right, accuracy, "test accuracy of the trained\nsubnetwork (%)  better →", zero=False)
    values = np.concatenate([*accuracy.values()])
    room = 0.08 * max(np.ptp(values), 1e-3)
    right.set_xlim(values.min() - room, values.max() + room)
    caption(figure, note)
    return figure


def mosaic(ax: Axes, images: Mapping[str, np.ndarray], gap: int = 2) -> None:
    """One row of pictures a method, one column a class."""
    rows = [np.concatenate([np.pad(p, ((0, gap), (0, gap)) + ((0, 0),) * (p.ndim - 2), constant_values=255)
                            for p in pictures], 1) for pictures in images.values()]
    ax.imshow(np.concatenate(rows), cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto")
    height = rows[0].shape[0]
    ax.set_yticks([height * (k + 0.5) - gap / 2 for k in range(len(rows))], [label(n) for n in images])
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title("one stored image of each class")


def accuracy_against_time(ax: Axes, table: Table, protocol: str) -> None:
    """Accuracy of networks trained on a set against the seconds it took to make; what took none is a level."""
    key = ("method", "share")
    seconds = table.values_of("seconds", key)
    found = intervals(table.select(protocol=protocol), "set_accuracy", key, scale=100)
    for method in dict.fromkeys(m for m, _ in found):
        points = {float(seconds[m, s][0]): e for (m, s), e in found.items() if m == method}
        hue, name = colour(method), label(method).removeprefix("distilled, ")
        if any(points):
            curve(ax, points, color=hue, marker=marker(method), markersize=4, linewidth=1.4, elinewidth=0.8, label=name)
        else:
            ax.axhline(points[0].mean, color=hue, linewidth=1.2, linestyle=":", label=name)
            ax.axhspan(points[0].low, points[0].high, color=hue, alpha=0.1, linewidth=0)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set(xlabel="seconds to make the set", ylabel="accuracy of networks trained on it (%)",
           title="accuracy against wall-clock")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.3 * (high - low))  # room for the legend
    ax.legend(loc="upper left", ncol=2)


def methods_claims(table: Table, compared: Sequence[int], pruned: Sequence[str]) -> list[Claim]:
    """Q1, that stability depends on the method; Q1c, each against random images and mosaics; Q1a, against IMP.

    IDC against its controls is A2c; its accuracy against IMP's is A3, of figure 2.

    Args:
        table, compared: as for the figure. pruned: the sets that were pruned on.
    """
    accuracy = table.select(quantity="test_accuracy").averaged("seeds", 100)
    controls = tuple(c for c in ("random images", "random mosaics") if c in pruned)
    pairs = [(m, c) for m in pruned for c in controls if m not in ("idc", c)
             and (c == "random images" or m == "idc-early")]
    claims = []
    for r in compared:
        loss, sparse = table.barriers().select(round=[0, r]).layout(), percent_sparse(r)
        claims.append(depends(f"Q1-{sparse}", loss, list(pruned), f"the stability of the ticket ({sparse} sparse) "
                              "depends on the method that made its data"))
        claims += because_distilled(loss, r, controls)
        claims += [more_stable(f"Q1c-{sparse} ({m} / {c})", loss, m, c,
                               f"tickets ({sparse} sparse) from {label(m)} are") for m, c in pairs]
        points = accuracy.select(round=r).layout()
        claims += [as_accurate(f"Q1a-{sparse} ({m})", points, m, f"tickets ({sparse} sparse) from {label(m)} lose")
                   for m in pruned if m != "idc"]
    return claims
