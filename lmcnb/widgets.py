"""ipywidgets explorers. Each follows a static figure that shows the same, and only indexes what has been computed."""
from __future__ import annotations

from collections.abc import Mapping

import ipywidgets as widgets
import numpy as np
from IPython.display import display
from matplotlib import pyplot as plt

from .figures import colour, label, percent_sparse
from .measure.path import QUANTITIES

Paths = Mapping[tuple[str, int, int], Mapping[str, np.ndarray]]


def path_explorer(alphas: np.ndarray, paths: Paths) -> widgets.Widget:
    """A path at a time, with a marker to move along it.

    Args:
        alphas: [A]. paths: by (way, round, init), the four quantities [A].
    Raises:
        ValueError: there is no path.
    """
    if not paths:
        raise ValueError("path_explorer needs at least one path")
    names = {f"{label(w)}, {percent_sparse(r)} sparse, init {i}" if r else f"{label(w)}, init {i}": (w, r, i)
             for w, r, i in paths}
    which = widgets.Dropdown(options=names, description="subnetwork", layout={"width": "30em"})
    quantity = widgets.Dropdown(options=list(QUANTITIES), description="quantity")
    alpha = widgets.SelectionSlider(options=[(f"{a:.2f}", k) for k, a in enumerate(alphas)], description="α")
    area = widgets.Output()

    def draw(_=None) -> None:
        way, round, init = which.value
        values = np.asarray(paths[which.value][quantity.value])
        with area:
            area.clear_output(wait=True)
            figure, ax = plt.subplots(figsize=(5.5, 3))
            for other in paths.values():
                ax.plot(alphas, other[quantity.value], color="#dddddd", linewidth=0.8, zorder=0)
            ax.plot(alphas, values, color=colour(way))
            ax.plot(alphas[alpha.value], values[alpha.value], "o", color=colour(way))
            ax.set(xlabel="α", ylabel=quantity.value.replace("_", " "),
                   title=f"{values[alpha.value]:.3f} at α = {alphas[alpha.value]:.2f}")
            display(figure)
            plt.close(figure)
    for control in (which, quantity, alpha):
        control.observe(draw, names="value")
    draw()
    return widgets.VBox([widgets.HBox([which, quantity]), alpha, area])


def round_explorer(alphas: np.ndarray, heights: Mapping[str, np.ndarray]) -> widgets.Widget:
    """Train loss of every way along α, for a chosen pruning round, with a marker at a chosen α.

    Args:
        alphas: [A]. heights: by way, train loss [rounds + 1, A].
    """
    rounds = min(len(h) for h in heights.values())
    which = widgets.IntSlider(0, 0, rounds - 1, description="round")
    alpha = widgets.SelectionSlider(options=[(f"{a:.2f}", k) for k, a in enumerate(alphas)], description="α")
    area = widgets.Output()
    top = max(float(np.max(h)) for h in heights.values())

    def draw(_=None) -> None:
        with area:
            area.clear_output(wait=True)
            figure, ax = plt.subplots(figsize=(5.5, 3))
            for way, rows in heights.items():
                row = np.asarray(rows)[which.value]
                ax.plot(alphas, row, color=colour(way), label=f"{label(way)}: {row[alpha.value]:.3f}")
                ax.plot(alphas[alpha.value], row[alpha.value], "o", color=colour(way))
            ax.set(xlabel="α", ylabel="train loss (nats)", ylim=(0, 1.05 * top),
                   title=f"round {which.value}: {percent_sparse(which.value)} sparse, α = {alphas[alpha.value]:.2f}")
            ax.legend()
            display(figure)
            plt.close(figure)
    for control in (which, alpha):
        control.observe(draw, names="value")
    draw()
    return widgets.VBox([which, alpha, area])
