"""Figure 15: when two trainings begin to end in one basin, along a training, along pretraining, and by their noise."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from ..statistics import Claim, claim, estimate
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
    for ax in axes.flat[len(panels) + 1:]:
        ax.set_axis_off()
    _noises(axes.flat[len(panels)], table.select(panel="noise"), noises)
    caption(figure, note)
    return figure


def _curves(ax: Axes, table: Table, title: str) -> None:
    for method in dict.fromkeys(table["method"]):
        found = table.select(method=method).values_of(by=["step"])
        curve(ax, {s + 1: estimate(found[s]) for s in sorted(found)}, color=colour(method), marker=marker(method),
              markersize=4, linewidth=1.3, elinewidth=0.7, label=label(method))
    every = sorted(set(table["step"]))
    ax.axhline(0, color="#999999", linewidth=0.8)
    ax.axhline(RISE, color="#999999", linewidth=0.8, linestyle=":")
    ax.set_xscale("log")
    ax.set_xticks([s + 1 for s in every], [f"{s:g}" for s in every])
    ax.minorticks_off()
    ax.set(title=title, xlabel="k (steps)", ylabel="rise of the test error (points)")
    ax.legend()


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
    ax.set(title="by what differs", xlabel="rise of the test error (points)", ylim=(-0.6, len(noises) - 0.4))
    ax.legend()


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
    """C4: a later spawn lowers the path of dense networks, and more pretraining that of a transformer."""
    found = []
    for panel, who in (("network", "trainings of the dense network that part later"),
                       ("transformer", "trainings of a transformer that part later"),
                       ("pretraining", "fine-tunings after more pretraining")):
        if not ((table["panel"] == panel) & (table["method"] == "dense")).any():
            continue
        rises = table.select(panel=panel, method="dense")
        first, last = min(rises["step"]), max(rises["step"])
        if first == last:
            continue  # one step alone says nothing of later ones
        gain = rises.contrast(first, last, by=["step"])
        found.append(claim(f"C4-{panel}", f"{who} rise less between their ends", gain, claimed="above", margin=RISE,
                           unit="points of test error",
                           note=f"rise with k = {first:g} minus rise with k = {last:g}, by initialisation."))
    return found
