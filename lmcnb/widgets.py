"""ipywidgets explorers. Each follows a static figure that shows the same, and only indexes what has been computed."""
from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import ipywidgets as widgets
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .figures import TITLES, colour, label, percent_sparse, subnetwork, within_initialisations
from .figures.generalisation import READINGS, given_clean
from .figures.planes import UNITS, plane, rises, shared_levels
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
    alpha = _alpha_slider(alphas)

    def draw() -> Figure:
        shown = paths[quantity.value]
        values = shown[which.value][0]
        figure, ax = plt.subplots(figsize=(5.5, 3))
        for other in shown.values():
            ax.plot(alphas, other[0], color="#dddddd", linewidth=0.8, zorder=0)
        ax.plot(alphas, values, color=colour(which.value[0]))
        ax.plot(alphas[alpha.value], values[alpha.value], "o", color=colour(which.value[0]))
        ax.set(xlabel="α", ylabel=quantity.value.replace("_", " "),
               title=f"{values[alpha.value]:.3f} at α = {alphas[alpha.value]:.2f}")
        return figure
    return widgets.VBox([widgets.HBox([which, quantity]), alpha, _following([which, quantity, alpha], draw)])


def round_explorer(table: Table) -> widgets.Widget:
    """Train loss of every method along α, for a chosen pruning round, with a marker at a chosen α.

    Args:
        table: the train loss on paths, by method and round (0: before pruning), of one initialisation.
    """
    alphas, heights = table.alphas, by_method(table)
    rounds = min(len(h) for h in heights.values())
    which = widgets.IntSlider(0, 0, rounds - 1, description="round")
    alpha = _alpha_slider(alphas)
    top = max(float(h.max()) for h in heights.values())

    def draw() -> Figure:
        figure, ax = plt.subplots(figsize=(5.5, 3))
        for method, rows in heights.items():
            row = rows[which.value]
            ax.plot(alphas, row, color=colour(method), label=f"{label(method)}: {row[alpha.value]:.3f}")
            ax.plot(alphas[alpha.value], row[alpha.value], "o", color=colour(method))
        ax.set(xlabel="α", ylabel="train loss (nats)", ylim=(0, 1.05 * top),
               title=f"round {which.value}: {percent_sparse(which.value)} sparse, α = {alphas[alpha.value]:.2f}")
        ax.legend()
        return figure
    return widgets.VBox([which, alpha, _following([which, alpha], draw)])


def landscape_explorer(table: Table) -> widgets.Widget:
    """A landscape at a time, with a marker that walks from training 0 to training 1, and the path beside it.

    Args:
        table: as :func:`lmcnb.figures.landscapes` takes it.
    Raises:
        ValueError: there is no plane.
    """
    planes = table[table["kind"].notna()] if "kind" in table else table.iloc[:0]
    if planes.empty:
        raise ValueError("landscape_explorer needs a table with at least one plane")
    paths = table[table["alpha"].notna()].select(init=planes["init"].iloc[0])
    alphas, above, levels = paths.alphas, rises(paths), shared_levels(planes)
    methods = widgets.Dropdown(options=[(label(m), m) for m in planes["method"].unique()], description="subnetwork")
    kinds = widgets.Dropdown(options=[(TITLES[k], k) for k in planes["kind"].unique()], description="plane")
    alpha = _alpha_slider(alphas)

    def draw() -> Figure:
        method, k = methods.value, alpha.value
        shown = planes.select(method=method, kind=kinds.value)
        figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
        figure.colorbar(plane(left, shown, levels), ax=left, format="%.2f", label="train loss (nats)")
        left.set(xlabel=UNITS[kinds.value], title=_walk(left, shown, alphas[k]))
        for other, rise in above.items():
            strong = other == method
            right.plot(alphas, rise, color=colour(other) if strong else "#c8c8c8", zorder=1 + strong)
        right.plot(alphas[k], above[method][k], "o", color="#e6007e", zorder=3)
        right.axhline(0, color="#999999", linewidth=0.6)
        right.set(xlabel="α", ylabel="rise above the chord (nats)",
                  title=f"{above[method][k]:+.3f} at α = {alphas[k]:.2f}")
        return figure
    return widgets.VBox([widgets.HBox([methods, kinds]), alpha, _following([methods, kinds, alpha], draw)])


def _walk(ax: Axes, shown: Table, alpha: float) -> str:
    """Marks the place at α on the segment, where the plane holds it, and says whether it does."""
    ends = shown.select(quantity="distance from the plane").sort_values("network")[["x", "y"]].to_numpy(float)
    if len(ends) < 2:
        return "the segment is not in this plane"
    x, y = (1 - alpha) * ends[0] + alpha * ends[1]
    ax.plot(*ends[:2].T, "--", color="white", linewidth=1)
    ax.plot(x, y, "o", color="#e6007e", markeredgecolor="white", markersize=8)
    return f"at α = {alpha:.2f} between 0 and 1"


def reading_explorer(table: Table) -> widgets.Widget:
    """A reading of every ticket against its barrier, at one sparsity, with one method of finding them brought out.

    Args:
        table: as :func:`lmcnb.figures.generalisation` takes it.
    """
    table = given_clean(table)
    pruned = table[table["method"].notna() & (table["method"] != "dense")]
    barrier = pruned.barriers().values_of()
    reading = widgets.Dropdown(options=[(text.replace("\n", " "), name) for name, text in READINGS.items()],
                               description="reading",
                               layout={"width": "30em"})
    rounds = widgets.SelectionSlider(options=[(percent_sparse(r), r) for r in sorted({r for _, r in barrier})],
                                     description="sparsity")
    method = widgets.Dropdown(options=[(label(m), m) for m in dict.fromkeys(m for m, _ in barrier)],
                              description="method")

    def draw() -> Figure:
        values = pruned.values_of(reading.value, scale=100)
        figure, ax = plt.subplots(figsize=(5.5, 3.4))
        for (m, r), xs in barrier.items():
            if r == rounds.value:
                strong, ys = m == method.value, values[m, r]
                hue = colour(m) if strong else "#c8c8c8"
                ax.plot(xs, ys, "o", color=hue, markersize=4, alpha=0.6)
                ax.plot(np.mean(xs), np.mean(ys), "o", color=hue, markersize=9, zorder=2 + strong)
        found, _ = within_initialisations(pruned.select(round=rounds.value), reading.value)
        ax.set(xlabel="train-loss barrier (nats), midpoint", ylabel=reading.label,
               title=f"{subnetwork(method.value, rounds.value, short=True)}; of all: ρ = {found.rho:+z.2f} "
                     f"[{found.low:+z.2f}, {found.high:+z.2f}]")
        return figure
    controls = [reading, rounds, method]
    return widgets.VBox([reading, widgets.HBox([rounds, method]), _following(controls, draw)])


def _alpha_slider(alphas: np.ndarray) -> widgets.SelectionSlider:
    return widgets.SelectionSlider(options=[(f"{a:.2f}", k) for k, a in enumerate(alphas)], description="α")


def _following(controls: Sequence[widgets.Widget], draw: Callable[[], Figure]) -> widgets.Image:
    """Where what ``draw`` draws is shown, now and whenever a control moves.

    A picture, no widgets.Output: a program that executes notebooks answers those, and may then miss that a cell ended.
    """
    area = widgets.Image(format="png", layout={"max_width": "100%", "align_self": "flex-start"})

    def show(_=None) -> None:
        area.value = png(draw())
    for control in controls:
        control.observe(show, names="value")
    show()
    return area


def png(figure: Figure) -> bytes:
    """A figure as a PNG, and closed."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", bbox_inches="tight")
    plt.close(figure)
    return picture.getvalue()
