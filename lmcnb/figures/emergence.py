"""Figure 15: when two trainings begin to end in one basin, along a training, along pretraining, and by their noise."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from ..statistics import Claim, claim, estimate, paired
from ..tables import Table
from .base import WIDTH, caption, colour, label, marker
from .judging import RISE
from .parts import curve, row_of_dots

PANELS = {"network": "parted after k steps", "transformer": "a transformer, parted after k steps",
          "pretraining": "a transformer, fine-tuned after k steps of pretraining"}


def emergence(table: Table, noises: Sequence[str], note: str = "") -> Figure:
    """How far the test error rises between two trainings, against the step at which they part.

    Args:
        table: of ``rise`` (points of test error over the mean of the ends) by ``panel`` (see PANELS), method, step and
            init; of panel "noise" by ``noise``, step and init. noises: their names, smallest first. note: the caption.
    """
    panels = [p for p in PANELS if (table["panel"] == p).any()]
    tall = (len(panels) + 2) // 2
    figure, axes = plt.subplots(tall, 2, figsize=(WIDTH, 2.7 * tall), layout="constrained")
    for ax, panel in zip(axes.flat, panels):
        _curves(ax, table.select(panel=panel), PANELS[panel])
    small = [ax for ax, panel in zip(axes.flat, panels) if panel != "network"]
    for ax in small:  # of the same networks, and with the same first pairs
        ax.set_ylim(min(a.get_ylim()[0] for a in small), max(a.get_ylim()[1] for a in small))
    for ax in axes.flat[len(panels) + 1:]:
        ax.set_axis_off()
    _noises(axes.flat[len(panels)], table.select(panel="noise"), noises)
    caption(figure, note, kept=True)  # a badge would say of all panels what is so of the first
    return figure


def _curves(ax: Axes, table: Table, title: str) -> None:
    methods, every = list(dict.fromkeys(table["method"])), sorted(set(table["step"]))
    top = 0.0
    for k, method in enumerate(methods):
        found = {s: estimate(v) for s, v in sorted(table.select(method=method).values_of(by=["step"]).items())}
        beside = 1 + 0.05 * (k - (len(methods) - 1) / 2)  # bars of one step do not hide each other
        curve(ax, {(s + 1) * beside: e for s, e in found.items()}, color=colour(method), marker=marker(method),
              markersize=4, linewidth=1.3, elinewidth=0.7, label=label(method))
        top = max(top, *(max(e.mean, np.nan_to_num(e.high)) for e in found.values()))
    ax.axhline(0, color="#999999", linewidth=0.8)
    ax.axhline(RISE, color="#999999", linewidth=0.8, linestyle=":")
    ax.set_xscale("log")
    ax.set_xticks([s + 1 for s in every], [f"{s:g}" if s in told(every) else "" for s in every])
    ax.minorticks_off()
    ax.set(title=title, xlabel="k (steps; log scale of k + 1)", ylabel="rise of the test error (points)")
    # No rise is below zero, whatever an interval says.
    ax.set_ylim(-0.04 * (top or 1), (1.4 if len(methods) > 1 else 1.05) * (top or 1))
    if len(methods) > 1:
        ax.legend(loc="upper right", ncols=2)


def told(steps: Sequence[float], apart: float = 0.1) -> list[float]:
    """The steps, in order, whose labels do not touch on the axis of log(k + 1): the last, and those far enough from it.

    >>> told([0, 50, 200, 600, 1200, 2344])
    [0, 50, 200, 600, 2344]
    """
    kept = [steps[-1]]
    for step in reversed(steps[:-1]):
        if np.log((kept[0] + 1) / (step + 1)) > apart * np.log(steps[-1] + 1):
            kept.insert(0, step)
    return kept


def _noises(ax: Axes, table: Table, noises: Sequence[str]) -> None:
    found = table.values_of(by=["noise", "step"])
    steps = sorted({step for _, step in found})
    shades = {step: to_hex(matplotlib.colormaps["viridis"](0.15 + 0.6 * k / max(1, len(steps) - 1)))
              for k, step in enumerate(steps)}
    for k, noise in enumerate(reversed(noises)):
        for shift, step in enumerate(steps):
            if (noise, step) in found:
                row_of_dots(ax, k + 0.2 - 0.4 * shift / max(1, len(steps) - 1), found[noise, step], shades[step],
                            marker("dense"))
    for step in steps:
        ax.plot([], [], marker("dense"), color=shades[step], label=f"from step {step:g}")
    ax.axvline(0, color="#999999", linewidth=0.8)
    ax.axvline(RISE, color="#999999", linewidth=0.8, linestyle=":")
    ax.set_yticks(range(len(noises)), list(noises)[::-1])
    ax.set(title="by the noise that differs", xlabel="rise of the test error (points)", ylim=(-0.6, len(noises) + 0.4))
    ax.legend(loc="upper right", ncols=len(steps))


def emerged(rises: Mapping[float, np.ndarray], allowed: float = RISE) -> float | None:
    """The first step from which on the mean rise stays below what is allowed; None where it never does.

    >>> emerged({0: np.array([5.0]), 10: np.array([1.0]), 20: np.array([3.0]), 30: np.array([1.0])})
    30
    """
    found = None
    for step in sorted(rises, reverse=True):
        if float(np.mean(rises[step])) >= allowed:
            return found
        found = step
    return found


def emergence_claims(table: Table) -> list[Claim]:
    """C4: a later spawn lowers the path of dense networks, and more pretraining that of a transformer.

    Nothing is tested where the first pairs are stable: then there was nothing to emerge.
    """
    found = []
    pretrained = "after {:g} steps of pretraining"
    for panel, pairs, part, when in (
            ("network", "trainings of the dense network", "that part at step {:g}", "where they part at step {:g}"),
            ("transformer", "trainings of a transformer", "that part at step {:g}", "where they part at step {:g}"),
            ("pretraining", "fine-tunings of a transformer", pretrained, pretrained)):
        if not ((table["panel"] == panel) & (table["method"] == "dense")).any():
            continue
        rises = table.select(panel=panel, method="dense")
        first, last = min(rises["step"]), max(rises["step"])
        if first == last:
            continue  # one step alone says nothing of later ones
        start = paired(rises.values_of(by=["step"])[first])
        low, high = start.interval()
        found.append(claim(
            f"C4-{panel}", f"between {pairs} the test error rises less {when.format(last)} than {when.format(first)}",
            rises.contrast(first, last, by=["step"]), claimed="above", margin=RISE, unit="points of test error",
            premise=(f"{pairs} {part.format(first)} are not stable: the test error rises by {start.estimate:.2f} "
                     f"[{low:.2f}, {high:.2f}] points", start.n < 2 or 2 * start.above(RISE) <= 0.05),
            note=f"rise with k = {first:g} minus rise with k = {last:g}, by initialisation."))
    return found
