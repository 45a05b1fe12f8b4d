"""Figure 21: whose chance is in a barrier: the data orders', the initialisation's, the set's, or the mask draw's."""
from __future__ import annotations

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..statistics import Components, components
from ..tables import Table
from .base import WIDTH, caption, colour, label, marker

QUANTITIES = {"barrier": "train-loss barrier (nats)", "accuracy": "test accuracy (%)"}


def grouped(table: Table, quantity: str) -> dict[tuple[str, str], dict[int, np.ndarray]]:
    """By source of chance and method, each group's values, one for each pair of data orders.

    Args:
        table: by ``source``, ``method``, ``group`` and ``pair`` a ``value`` of each ``quantity``.
    """
    rows = table.select(quantity=quantity)
    return {(str(source), str(method)): {int(g): values["value"].to_numpy() for g, values in part.groupby("group")}
            for (source, method), part in rows.groupby(["source", "method"], sort=False)}


def parts_of_variance(table: Table, quantity: str) -> dict[tuple[str, str], Components]:
    """By source of chance and method, the variance components."""
    return {key: components(groups.values()) for key, groups in grouped(table, quantity).items()}


def variation(table: Table, note: str = "") -> Figure:
    """Every barrier, in sticks of one group; and below each source's share of the variance, of barrier and accuracy.

    Args:
        table: as of :func:`grouped`. note: the caption.
    """
    found = grouped(table, "barrier")
    sources = list(dict.fromkeys(source for source, _ in found))
    many = [sum(len(groups) + 1 for (s, _), groups in found.items() if s == source) for source in sources]
    figure = plt.figure(figsize=(WIDTH, 4.2 + 0.25 * len(found)), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[3.4, 0.8 + 0.25 * len(found)])[:, 0]
    axes = above.subplots(1, len(sources), sharey=True, squeeze=False, width_ratios=many)[0]
    for ax, source in zip(axes, sources):
        _sticks(ax, {m: groups for (s, m), groups in found.items() if s == source})
        ax.set_title(f"another {source}" + (": a stick each" if source == sources[0] else ""))
    axes[0].set_ylabel(f"{QUANTITIES['barrier']}, a dot a pair")
    _shares(below.subplots(), table)
    caption(figure, note)
    return figure


def _sticks(ax: Axes, found: dict[str, dict[int, np.ndarray]]) -> None:
    """Each group's values on a line of their own, the methods side by side."""
    start, middles = 0, {}
    for method, groups in found.items():
        hue = colour(method)
        for k, values in enumerate(groups.values()):
            ax.plot([start + k] * 2, [values.min(), values.max()], color=hue, linewidth=1.2)
            ax.plot([start + k] * len(values), values, marker(method), color=hue, markersize=3.5, markeredgewidth=0)
        middles[label(method).split(" (")[0]] = start + (len(groups) - 1) / 2
        start += len(groups) + 1
    ax.axhline(0, color="#999999", linewidth=0.8)
    ax.set_xlim(-1, start - 1)
    ax.set_xticks([*middles.values()], [name.replace(", ", ",\n").replace("random real ", "random\nreal ")
                                        for name in middles])
    ax.tick_params(axis="x", length=0)


def _shares(ax: Axes, table: Table) -> None:
    """The share of the variance with its 95% interval: of the barrier, and open of the accuracy."""
    rows: list[tuple[str, str]] = []
    for shift, quantity in ((0.14, "barrier"), (-0.14, "accuracy")):
        found = parts_of_variance(table, quantity)
        rows = [*found]
        for k, ((_, method), parts) in enumerate(reversed(found.items())):
            hue, face = colour(method), None if quantity == "barrier" else "white"
            ax.plot(parts.interval(), [k + shift] * 2, "-" if face is None else ":", color=hue, linewidth=1.4)
            ax.plot(parts.share, k + shift, marker(method), color=hue, markersize=5, markerfacecolor=face)
    ax.set_yticks(range(len(rows)), [f"{source}: {label(method).split(' (')[0]}" for source, method in reversed(rows)])
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.6, len(rows) - 0.4),
           xlabel="its share of the variance of one pair's barrier (filled) and accuracy (open, dotted); the rest is "
                  "the data orders'")
