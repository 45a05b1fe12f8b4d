"""The rise of the train loss between two trainings over all pruning rounds: as a map, and as a surface."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..tables import Table
from .base import colour, label, percent_sparse
from .parts import overlay

BLUE_RED = "RdBu_r"  # white is 0: a path that is as flat as its chord


def heights(table: Table, methods: Sequence[str]) -> dict[str, tuple[list[int], np.ndarray]]:
    """By method its rounds and their train loss [rounds, A], of the initialisation that has most of them; 0: dense."""
    losses = table.select(method=["dense", *methods], quantity="train_loss")
    whole = losses.select(init=losses.groupby("init")["round"].nunique().idxmax())
    curves = {m: whole.select(method=["dense", m]).sort_values("round").curves(by=["round"]) for m in methods}
    return {m: ([int(r) for r in rows], np.concatenate([*rows.values()])) for m, rows in curves.items()}


def above_chord(alphas: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Paths [n, A] less the straight line between their own ends."""
    return rows - (1 - alphas) * rows[:, :1] - alphas * rows[:, -1:]


def paths_over_rounds(figure: Figure, table: Table, overlaid: Table, methods: Sequence[str], compared: Sequence[int],
                      low: float, high: float) -> None:
    """The upper row of figures 3 and 4: paths of all initialisations; of one, every round's rise, and a surface.

    Args:
        table: with all rounds of ``methods``. overlaid: what the first panel draws. compared: rounds with a tick.
        low, high: of the row, as shares of the figure's height.
    """
    def panel(left: float, right: float, **options) -> Axes:
        return figure.add_axes((left, low, right - left, high - low), **options)
    overlay(panel(0.065, 0.335), overlaid)
    levels = heights(table, methods)
    rises = {m: (rounds, above_chord(table.alphas, rows)) for m, (rounds, rows) in levels.items()}
    top, edges = max(float(np.abs(r).max()) for _, r in rises.values()), np.linspace(0.405, 0.72, len(methods) + 1)
    for left, right, (method, rise) in zip(edges, edges[1:], rises.items()):
        ax = panel(left, right - 0.015)
        shown = heat(ax, table.alphas, *rise, top, label(method).split(" (")[0])
        ticks = [0, *compared] if left == edges[0] else []
        ax.set_yticks(ticks, [percent_sparse(r) if r else "dense" for r in ticks])
        ax.set_ylabel("pruning round" if ticks else "", labelpad=-1)
    figure.colorbar(shown, cax=panel(0.712, 0.722))
    figure.text(0.55, high + 0.24 / figure.get_figheight(), "rise above the chord (nats)", ha="center",
                fontweight="bold")
    ax = panel(0.775, 0.985, projection="3d")
    method, (rounds, rows) = next(iter(levels.items()))
    surface(ax, table.alphas, rounds, rows, zlim=(rows.min(), rows.max()), dark=(0, *compared), method=method)


def heat(ax: Axes, alphas: np.ndarray, rounds: Sequence[int], rise: np.ndarray, top: float, title: str):
    """The rise [rounds, A] over α and pruning round, on a scale from -``top`` to ``top`` nats."""
    shown = ax.pcolormesh(alphas, rounds, rise, cmap=BLUE_RED, vmin=-top, vmax=top, shading="nearest")
    ax.set(xlabel="α", title=title, xticks=(0, 0.5, 1), xticklabels=("0", "½", "1"))
    ax.spines[:].set_visible(False)
    return shown


def surface(ax, alphas: np.ndarray, rounds: Sequence[int], levels: np.ndarray, *, zlim: tuple[float, float],
            dark: Sequence[int], method: str) -> None:
    """Train loss over α and pruning round, one curve a round; the ``dark`` rounds are those of the overlay."""
    grid_a, grid_r = np.meshgrid(alphas, rounds)
    ax.plot_surface(grid_a, grid_r, levels, cmap="viridis", vmin=zlim[0], vmax=zlim[1], alpha=0.75, linewidth=0,
                    antialiased=True, rcount=len(rounds), ccount=len(alphas))
    for r, row in zip(rounds, levels):
        strong = r in dark
        ax.plot(alphas, [r] * len(alphas), row, color=colour("dense" if r == 0 else method) if strong else "#555555",
                linewidth=1.6 if strong else 0.4, zorder=10)
    ax.set(zlim=zlim, title=f"{label(method)}:\ntrain loss (nats)", xticks=(0, 1), yticks=(rounds[0], rounds[-1]))
    for axis, text in ((ax.set_xlabel, "α"), (ax.set_ylabel, "round")):
        axis(text, labelpad=-10)
    for axis in "xyz":
        ax.tick_params(axis, pad=-3)
    ax.locator_params("z", nbins=4)
    ax.patch.set_visible(False)  # its corners reach over what stands beside it
    ax.view_init(elev=24, azim=-58)
    ax.set_box_aspect((1, 1.15, 0.85), zoom=1.0)
