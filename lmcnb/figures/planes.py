"""Figure 5: loss landscapes on planes through trained networks."""
from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..statistics import Claim
from ..tables import Table
from .base import WIDTH, caption, label, percent_sparse
from .heat import above_chord
from .judging import named, stable, two_minima
from .parts import Numbers, subnetwork

TITLES = {"through": "through three trainings", "released": "as in the released code", "random": "random directions"}
UNITS = {"through": "weight space, Euclidean", "released": "multiples of (θ₀ − θ₁)/2",
         "random": "multiples of the filters' norms"}


def plane(ax: Axes, table: Table, levels: Numbers):
    """Filled contours of one plane with the trained networks: solid where they lie in it, hollow where projected.

    Losses that are not finite are drawn as the highest.
    """
    grid = table.select(quantity="train_loss").pivot(index="y", columns="x", values="value")
    xs, ys, loss = grid.columns.to_numpy(float), grid.index.to_numpy(float), grid.to_numpy(float)
    highest = max(loss.max(where=np.isfinite(loss), initial=levels[0]), 2 * levels[-1] - levels[-2])
    loss = np.where(np.isfinite(loss), loss, highest)
    shown = ax.contourf(xs, ys, np.maximum(loss, levels[0]), levels=levels, cmap="viridis", extend="max")
    ax.contour(xs, ys, loss, levels=levels[1:-1:2], colors="white", linewidths=0.3, alpha=0.6)
    networks = table.select(quantity="distance from the plane")
    near = 1e-3 * max(1.0, networks["value"].max())
    for k, x, y, away in networks[["network", "x", "y", "value"]].to_numpy(float):
        ax.plot(x, y, "o", color="white", markerfacecolor="white" if away < near else "none", markersize=5,
                clip_on=False)
        ax.annotate(f"{k:.0f}", (x, y), xytext=(4, 3), textcoords="offset points", color="white")
    ax.set(xlim=(xs[0], xs[-1]), ylim=(ys[0], ys[-1]))
    return shown


def shared_levels(planes: Table, count: int = 17) -> np.ndarray:
    """Levels from the smallest loss to what the planes between trainings hold; random directions rise out of them."""
    losses = planes.select(quantity="train_loss")
    losses = losses[np.isfinite(losses["value"])]
    between = losses.loc[losses["kind"] != "random", "value"]
    low = losses["value"].min()
    high = between.quantile(0.9) if len(between) else low
    return low + max(high - low, 1e-3) * np.linspace(0, 1, count) ** 1.5


def landscapes(table: Table, note: str = "", names: Mapping[str, str] | None = None) -> Figure:
    """Figure 5 of McDermott & Parhi (2025) on three kinds of plane, with the segment between two trainings.

    Args:
        table: planes of one initialisation by method and ``kind``, as in TITLES: the train loss (nats) at x and y, and
            the trained networks' places and distances; and paths from the first to the second training.
        names: how to call the methods. note: the caption.
    """
    planes = table[table["kind"].notna()]
    kinds, methods = planes["kind"].unique(), planes["method"].unique()
    paths = table[table["alpha"].notna()].select(init=planes["init"].iloc[0])
    levels = shared_levels(planes)
    figure, axes = plt.subplots(len(methods), len(kinds) + 1, figsize=(WIDTH, 0.9 + 1.95 * len(methods)),
                                layout="constrained", squeeze=False)
    for row, method in zip(axes, methods):
        for ax, kind in zip(row, kinds):
            shown = plane(ax, planes.select(kind=kind, method=method), levels)
            ax.set_title(TITLES[kind] if method == methods[0] else "")
        row[0].set_ylabel(f"{(names or {}).get(method, label(method))}\n\nweight space, Euclidean")
        _segment(row[-1], paths, method)
    for ax, kind in zip(axes[-1], kinds):
        ax.set_xlabel(UNITS[kind])
    axes[0, -1].set_title("along the segment 0 – 1")
    axes[-1, -1].set_xlabel("α")
    figure.colorbar(shown, ax=axes[:, :-1], location="bottom", shrink=0.5, aspect=45, format="%.2f",
                    label="train loss (nats), one scale for all panels")
    caption(figure, note, kept=True)
    return figure


def rises(paths: Table) -> dict[str, np.ndarray]:
    """By method how far the train loss rises above the chord, at each α: [A], of the first initialisation."""
    return {m: above_chord(paths.alphas, rows)[0] for m, rows in paths.curves(by=["method"]).items()}


def _segment(ax: Axes, paths: Table, strong: str) -> None:
    alphas, above = paths.alphas, rises(paths)
    top = max(float(np.abs(r).max()) for r in above.values()) or 1.0
    for method, rise in above.items():
        ax.plot(alphas, rise, color="#1f1f1f" if method == strong else "#c8c8c8",
                linewidth=1.8 if method == strong else 1, zorder=2 if method == strong else 1)
    ax.axhline(0, color="#999999", linewidth=0.6)
    ax.set(ylabel="rise above the chord (nats)", ylim=(-1.15 * top, 1.15 * top))


def landscapes_claims(table: Table, round: int) -> list[Claim]:
    """A1 on this figure's distilled set; B5, that trainings of the dense network, and of IMP's, lie in two minima.

    Args:
        table: as for the figure, with paths or their test-error barriers. round: of the subnetworks.
    """
    kept = "test_error barrier (points), frankle"  # as figures of version 0.1 have it
    rows = table.select(quantity=kept) if (table["quantity"] == kept).any() else \
        table[table["alpha"].notna()].barriers("test_error", "frankle", scale=100)
    layout, sparse = rows.layout(), percent_sparse(round)
    apart = [two_minima(layout, m, subnetwork(m, round, short=True)) for m in ("dense", "imp")]
    return [stable(f"A1-{sparse}", layout, named("idc", sparse), family="primary"), *apart]
