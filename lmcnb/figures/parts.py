"""What figures are made of: each part draws a panel, or a row of them, from a table."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from ..statistics import Contrast, Estimate, Layout, estimate
from ..tables import Table
from .base import colour, label, marker, percent_sparse
from .judging import barrier_margin

Numbers = Sequence[float] | np.ndarray
Key = tuple[str, int]  # a method and its pruning round
# Points of 1/72 inch from a point to its annotation, the nearest first.
NEAR = [(round(r * np.cos(a), 1), round(0.75 * r * np.sin(a), 1)) for far in ((9, 12), (16, 21, 27), (35, 44))
        for angles in ((0.25, -0.25, 0.75, -0.75), (0, 1, 0.5, -0.5)) for r in far for a in np.pi * np.array(angles)]
SHADE = "#dcdcdc"  # where a difference does not matter, on the board too


def subnetwork(method: str, round: int, short: bool = False) -> str:
    """A subnetwork's label: its method and sparsity; ``short`` leaves out what a label has in brackets."""
    name = label(method).split(" (")[0] if short else label(method)
    return name if method == "dense" else f"{name}, {percent_sparse(round)}"


def overlay(ax: Axes, table: Table) -> None:
    """Mean train loss on the paths of every method and round, with the 95% band of their shape over initialisations."""
    rounds = sorted(set(table["round"].dropna()) - {0})
    for (method, round), rows in table.curves().items():
        dash = "-" if round == 0 else ("-", "--", ":", "-.")[rounds.index(round) % 4]
        band(ax, table.alphas, rows, colour(method), dash, subnetwork(method, round, short=True))
    ax.set(xlabel="α, between the two trainings", ylabel="train loss (nats)",
           title="paths, all initialisations")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.14 * (1 + 2 * len(rounds)) * (high - low))  # room for the legend above the curves
    ax.legend(loc="upper center", borderaxespad=0)


def band(ax: Axes, alphas: np.ndarray, rows: np.ndarray, hue: str, line: str, name: str) -> None:
    """The mean of paths [n, A] with its 95% band.

    The band is that of the rise over the path's own ends: what initialisations share in level is not instability.
    """
    mean, rise = rows.mean(0), rows - rows[:, [0, -1]].mean(1, keepdims=True)
    half = np.array([estimate(c).high - estimate(c).mean for c in rise.T]) if len(rows) > 1 else 0 * mean
    ax.plot(alphas, mean, line, color=hue, label=name)
    ax.fill_between(alphas, mean - half, mean + half, color=hue, alpha=0.12, linewidth=0)


def dots(ax: Axes, table: Table | Mapping[tuple, Numbers], xlabel: str,
         threshold: float | None = None, zero: bool = True, shift: float = 0.0,
         line: str = "-", face: str | None = None, names: Sequence[str] | None = None) -> None:
    """One row a method and round: a small dot for each initialisation, mean and 95% interval (Student's t).

    ``table`` has one value an initialisation, or is a mapping from method and round to such values. ``zero`` draws a
    line there, ``threshold`` a dotted one. ``shift`` moves the rows up, so that another table's fit between; ``line``
    and the markers' ``face`` tell them apart. ``names`` stand for those of method and round.
    """
    values = table.values_of() if isinstance(table, Table) else table
    for k, (key, points) in enumerate(reversed([*values.items()])):
        row_of_dots(ax, k + shift, points, colour(key[0]), marker(key[0]), line, face)
    if zero:
        ax.axvline(0, color="#999999", linewidth=0.8)
    if threshold is not None:
        ax.axvline(threshold, color="#999999", linewidth=0.8, linestyle=":")
    names = names or [subnetwork(m, r) for m, r in values]
    ax.set_yticks(range(len(values)), names[::-1])
    ax.set(xlabel=xlabel, ylim=(-0.6, len(values) - 0.4))


def face(hue: str, rounds: Sequence[int], round: int) -> str:
    """What fills a marker: its colour at the first round, white at the last of several, paler ones between."""
    paler = rounds.index(round) / max(1, len(rounds) - 1) if round in rounds else 0  # the dense network's is full
    red, green, blue = (1 - (1 - paler) * (1 - part) for part in to_rgb(hue))
    return hue if not paler else "white" if paler == 1 else to_hex((red, green, blue))


def row_of_dots(ax: Axes, y: float, points: Numbers, hue: str, shape: str, line: str = "-",
                face: str | None = None) -> None:
    """A small dot for each initialisation at height ``y``, their mean and its 95% interval (Student's t)."""
    e = estimate(points)
    ax.plot(points, [y] * len(points), "o", color=hue, alpha=0.35, markersize=4, markeredgewidth=0)
    if e.n > 1:
        ax.plot([e.low, e.high], [y, y], line, color=hue, linewidth=1.6)
    ax.plot(e.mean, y, shape, color=hue, markersize=5.5, markerfacecolor=face)


def judged_difference(layout: Layout, one: str, other: str) -> Estimate:
    """The difference of two methods' means with the interval by which it is judged."""
    found = layout.difference(one, other)
    return Estimate(found.estimate, *found.interval(), found.n)


def less_than_others(barriers: Table) -> dict[Key, Contrast]:
    """By method and round, what IDC's barriers of that round are less the method's: what is judged."""
    rounds = sorted(set(barriers["round"]) - {0})
    layouts = {r: barriers.select(round=[0, r]).layout() for r in rounds}
    return {(m, r): layout.difference("idc", m) for r, layout in layouts.items() if "idc" in layout.cells
            for m in layout.cells if m not in ("dense", "idc")}


def differences(ax: Axes, rows: Sequence[Key], found: Mapping[Key, Contrast], margin: float, xlabel: str,
                shift: float = 0.0, line: str = "-", face: str | None = None) -> None:
    """Differences with 95% intervals, each before its margin, a row for a row of :func:`dots`; some may be empty.

    ``shift``, ``line`` and ``face`` are those of the dots; with a shift two tables share a row.
    """
    half = 0.15 if shift else 0.5
    for y, key in enumerate(reversed(rows)):
        if key in found:
            (low, high), hue, y = found[key].interval(), colour(key[0]), y + shift
            ax.add_patch(Rectangle((-margin, y - half), 2 * margin, 2 * half, color=SHADE, linewidth=0, zorder=0))
            ax.plot([low, high], [y, y], line, color=hue, linewidth=1.6)
            ax.plot(found[key].estimate, y, marker(key[0]), color=hue, markersize=5.5, markerfacecolor=face)
    ax.axvline(0, color="#999999", linewidth=0.8)
    ax.set_xlabel(xlabel)
    ax.tick_params(labelleft=False)


def directions(ax: Axes) -> None:
    """Above the differences of barriers, whose side is whose."""
    ax.set_title("← distilled more stable", loc="left", fontweight="normal")
    ax.set_title("this one →", loc="right", fontweight="normal")


def judged(figure: Figure, barriers: Table, top: float, bottom: float, xlabel: str) -> Axes:
    """The row of panels that a claim of stability is read from: barriers, and what IDC's are less the others'.

    Args:
        barriers: by method, round and init (nats), the dense network's of round 0. xlabel: of them.
        top, bottom: of the row, as shares of the figure's height.
    Returns:
        The empty third panel, of the same rows.
    """
    grid = figure.add_gridspec(1, 3, left=0.225, right=0.995, top=top, bottom=bottom, wspace=0.07)
    left, middle, right = grid.subplots(sharey=True, squeeze=False)[0]
    dots(left, barriers, xlabel)
    differences(middle, list(barriers.values_of()), less_than_others(barriers),
                barrier_margin(barriers.select(round=0).layout()),
                f"{label('idc')} minus this (nats)\nshaded: does not matter")
    directions(middle)
    right.tick_params(labelleft=False)
    return right


def intervals(table: Table, quantity: str, by: Sequence[str], scale: float = 1.0) -> dict[Any, Estimate]:
    """By method and round (or other columns) the mean and 95% interval over initialisations.

    A table may keep but them, as quantities ", mean", ", low", ", high", and ", n", of how many.
    """
    ends = [f"{quantity}, {end}" for end in ("mean", "low", "high")]
    if (table["quantity"] == ends[0]).any():
        mean, low, high = (table.values_of(end, by, scale) for end in ends)
        n = table.values_of(f"{quantity}, n", by)
        return {key: Estimate(mean[key][0], low[key][0], high[key][0], int(n[key][0])) for key in mean}
    return {key: estimate(values) for key, values in table.values_of(quantity, by, scale).items()}


def curve(ax: Axes, found: Mapping[float, Estimate], **style: Any) -> None:
    """Means over x, with their 95% intervals."""
    half = [[e.mean - e.low for e in found.values()], [e.high - e.mean for e in found.values()]]
    ax.errorbar(list(found), [e.mean for e in found.values()], np.nan_to_num(half), **style)


def apart(figure: Figure) -> None:
    """Moves the annotations of points to where they hide neither each other nor any point, near their own.

    The figure is laid out for it; call it before :func:`.base.caption`.
    """
    figure.draw_without_rendering()
    for ax in figure.axes:
        points = [ax.transData.transform(line.get_xydata()) for line in ax.get_lines() if line.get_marker() != "None"]
        taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in np.concatenate([np.empty((0, 2)), *points])]
        for text in [t for t in ax.texts if isinstance(t, Annotation)]:
            for place in NEAR:
                text.set_position(place)
                box = text.get_window_extent()
                if not box.count_overlaps(taken) and ax.bbox.contains(*box.min) and ax.bbox.contains(*box.max):
                    break
            taken.append(text.get_window_extent())
