"""Figure 11: sets of different distillation methods, what they cost, and the tickets found with them."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from ..statistics import estimate
from .base import caption, colour, label
from .parts import dots

ByWay = Mapping[tuple[str, int], Sequence[float]]


def methods(images: Mapping[str, np.ndarray], cost: Mapping[str, Sequence[tuple[float, Sequence[float]]]],
            barriers: ByWay, accuracy: ByWay, note: str, rate: float = 0.2) -> Figure:
    """Methods of distillation compared: images, accuracy against wall-clock, barriers and accuracies of the tickets.

    Args:
        images: by method, one image of each class [classes, C, H, W] in 0…1.
        cost: by method, (seconds, test accuracies in percent of networks trained on the set) at each of its lengths.
        barriers, accuracy: n values by (way, round), one an initialisation: midpoint barriers of the train loss (nats)
            and test accuracies (%) of the tickets. note: the caption: data, network, recipe, n.
        rate: share of the weights left that a round removes.
    """
    with matplotlib.rc_context({"axes.labelsize": "small", "xtick.labelsize": "x-small", "ytick.labelsize": "x-small"}):
        rows = max(len(barriers), 8)
        figure = plt.figure(figsize=(11.5, 4.2 + 0.17 * rows))
        share = 1 - 3.9 / figure.get_figheight()
        top = figure.add_gridspec(1, 2, left=0.14, right=0.88, top=0.965, bottom=share + 0.07, width_ratios=(1.3, 1),
                                  wspace=0.2)
        low = figure.add_gridspec(1, 2, left=0.2, right=0.99, top=share - 0.03, bottom=0.06, wspace=0.06)
        mosaic(figure.add_subplot(top[0]), images)
        accuracy_against_time(figure.add_subplot(top[1]), cost)
        left = figure.add_subplot(low[0])
        dots(left, barriers, "train-loss barrier (nats), midpoint    ← more stable", rate=rate)
        right = figure.add_subplot(low[1], sharey=left)
        dots(right, accuracy, "test accuracy of the trained subnetwork (%)    better →", zero=False,
                     rate=rate)
        right.tick_params(labelleft=False)
        right.set_xlim(*_around([v for values in accuracy.values() for v in values]))
    caption(figure, note)
    return figure


def mosaic(ax: Axes, images: Mapping[str, np.ndarray], gap: int = 2) -> None:
    """One row of pictures a method, one column a class."""
    rows = []
    for pictures in images.values():
        padded = [np.pad(np.clip(np.moveaxis(np.asarray(p), 0, -1), 0, 1), ((0, gap), (0, gap), (0, 0)),
                         constant_values=1.0) for p in pictures]
        rows.append(np.concatenate(padded, 1))
    whole = np.concatenate(rows)
    ax.imshow(whole.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    height = rows[0].shape[0]
    ax.set_yticks([height * (k + 0.5) - gap / 2 for k in range(len(rows))], [label(n) for n in images])
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title("one stored image of each class")


def accuracy_against_time(ax: Axes, cost: Mapping[str, Sequence[tuple[float, Sequence[float]]]]) -> None:
    """Accuracy of networks trained on a set against the seconds it took to make; what took none is a level."""
    for way, points in cost.items():
        values, name = [estimate(a) for _, a in points], label(way).removeprefix("distilled, ")
        if not any(s for s, _ in points):
            ax.axhline(values[-1].mean, color=colour(way), linewidth=1.2, linestyle=":", label=name)
            ax.axhspan(values[-1].low, values[-1].high, color=colour(way), alpha=0.1, linewidth=0)
            continue
        half = [[v.mean - v.low for v in values], [v.high - v.mean for v in values]]
        ax.errorbar([s for s, _ in points], [v.mean for v in values], yerr=half, color=colour(way), marker="o",
                    markersize=4, linewidth=1.4, elinewidth=0.8, label=name)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set(xlabel="seconds to make the set", ylabel="accuracy of networks trained on it (%)",
           title="accuracy against wall-clock")
    ax.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5))


def _around(values: Sequence[float]) -> tuple[float, float]:
    room = 0.08 * max(max(values) - min(values), 1e-3)
    return min(values) - room, max(values) + room
