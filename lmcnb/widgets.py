"""ipywidgets explorers. Each follows a static figure that shows the same, and only indexes what has been computed."""
from __future__ import annotations

import ipywidgets as widgets
from IPython.display import display
from matplotlib import pyplot as plt

from .figures import colour, label, percent_sparse
from .figures.quickstart import by_method
from .measure.path import QUANTITIES
from .tables import Table


def path_explorer(table: Table) -> widgets.Widget:
    """A path at a time, with a marker to move along it.

    Args:
        table: paths: quantities by α, of each method, round and init.
    Raises:
        ValueError: there is no path.
    """
    table = table[table["alpha"].notna()] if "alpha" in table else table.iloc[:0]
    if table.empty:
        raise ValueError("path_explorer needs a table with at least one path")
    alphas, by = table.alphas, ("method", "round", "init")
    paths = {quantity: table.curves(quantity, by) for quantity in QUANTITIES}
    names = {f"{label(m)}, {percent_sparse(r)} sparse, init {i}" if r else f"{label(m)}, init {i}": (m, r, i)
             for m, r, i in paths[QUANTITIES[0]]}
    which = widgets.Dropdown(options=names, description="subnetwork", layout={"width": "30em"})
    quantity = widgets.Dropdown(options=list(QUANTITIES), description="quantity")
    alpha = widgets.SelectionSlider(options=[(f"{a:.2f}", k) for k, a in enumerate(alphas)], description="α")
    area = widgets.Output()

    def draw(_=None) -> None:
        shown = paths[quantity.value]
        values = shown[which.value][0]
        with area:
            area.clear_output(wait=True)
            figure, ax = plt.subplots(figsize=(5.5, 3))
            for other in shown.values():
                ax.plot(alphas, other[0], color="#dddddd", linewidth=0.8, zorder=0)
            ax.plot(alphas, values, color=colour(which.value[0]))
            ax.plot(alphas[alpha.value], values[alpha.value], "o", color=colour(which.value[0]))
            ax.set(xlabel="α", ylabel=quantity.value.replace("_", " "),
                   title=f"{values[alpha.value]:.3f} at α = {alphas[alpha.value]:.2f}")
            display(figure)
            plt.close(figure)
    for control in (which, quantity, alpha):
        control.observe(draw, names="value")
    draw()
    return widgets.VBox([widgets.HBox([which, quantity]), alpha, area])


def round_explorer(table: Table) -> widgets.Widget:
    """Train loss of every method along α, for a chosen pruning round, with a marker at a chosen α.

    Args:
        table: the train loss on paths, by method and round (0: before pruning), of one initialisation.
    """
    alphas, heights = table.alphas, by_method(table)
    rounds = min(len(h) for h in heights.values())
    which = widgets.IntSlider(0, 0, rounds - 1, description="round")
    alpha = widgets.SelectionSlider(options=[(f"{a:.2f}", k) for k, a in enumerate(alphas)], description="α")
    area = widgets.Output()
    top = max(float(h.max()) for h in heights.values())

    def draw(_=None) -> None:
        with area:
            area.clear_output(wait=True)
            figure, ax = plt.subplots(figsize=(5.5, 3))
            for method, rows in heights.items():
                row = rows[which.value]
                ax.plot(alphas, row, color=colour(method), label=f"{label(method)}: {row[alpha.value]:.3f}")
                ax.plot(alphas[alpha.value], row[alpha.value], "o", color=colour(method))
            ax.set(xlabel="α", ylabel="train loss (nats)", ylim=(0, 1.05 * top),
                   title=f"round {which.value}: {percent_sparse(which.value)} sparse, α = {alphas[alpha.value]:.2f}")
            ax.legend()
            display(figure)
            plt.close(figure)
    for control in (which, alpha):
        control.observe(draw, names="value")
    draw()
    return widgets.VBox([which, alpha, area])
