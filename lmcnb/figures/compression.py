"""Figure 12: what becomes of sets and tickets as the data are compressed."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from ..statistics import Claim, Estimate, claim
from ..tables import Table
from .base import WIDTH, caption, colour, label, marker, percent_sparse
from .judging import ACCURACY, NATS
from .parts import curve, intervals, subnetwork

KEY = ("method", "ipc", "round")
DECODED = {"idc": 4}  # at IDC's factor of 2
LINES = ("-", "--", ":", "-.")


def compression(table: Table, note: str = "", decoded: Mapping[str, int] = DECODED) -> Figure:
    """Four readings against the images that a round trained on, for sets that were distilled and for random ones.

    Args:
        table: by method, ``ipc`` (images per class), round and init: paths, or barriers, of the train loss,
            ``test_accuracy``, ``images looked at`` to find the mask, and of each set ``set_accuracy``. Methods "imp"
            and "dense" stand at the images per class of the data set itself.
        note: the caption. decoded: images that a stored one is
            decoded into, of methods that have several.
    """
    losses, accuracy = table.barriers(), table.select(quantity="test_accuracy").averaged("seeds")
    pruned = table[table["method"] != "dense"]
    quality = intervals(table, "set_accuracy", ("method", "ipc"), scale=100)
    readings = [({(m, k, 0): e for (m, k), e in quality.items()},
                 "networks trained on the set alone", "test accuracy (%)"),
                (intervals(losses, losses["quantity"].iloc[0], KEY),
                 "stability of the ticket", "train-loss barrier (nats), midpoint"),
                (intervals(accuracy, "test_accuracy", KEY, scale=100),
                 "accuracy of the ticket, trained on real data", "test accuracy (%)"),
                (intervals(pruned, "images looked at", KEY),
                 "cost of the mask", "images, distillation included")]
    figure, axes = plt.subplots(2, 2, figsize=(WIDTH, 5.6), layout="constrained", sharex=True)
    for ax, (found, title, ylabel) in zip(axes.flat, readings):
        _lines(ax, {(m, k * decoded.get(m, 1), r): e for (m, k, r), e in found.items()})
        ax.set(title=title, ylabel=ylabel)
    axes[1, 1].set_yscale("log")
    sizes = sorted({k * decoded.get(m, 1) for m, k in quality})
    _axis(axes[1, 0], sizes, int(table.select(method="dense")["ipc"].iloc[0]))
    for ax in axes[1]:
        ax.set_xlabel("images per class that a round trained on, decoded")
    handles = {h.get_label(): h for ax in axes.flat for h in ax.get_legend_handles_labels()[0]}
    figure.legend(handles=handles.values(), loc="outside lower center", ncol=len(handles))
    caption(figure, note)
    return figure


def _lines(ax: Axes, found: Mapping[tuple[str, int, int], Estimate]) -> None:
    """Means with 95% intervals, a line for each method and round; a method that is one point stays a point."""
    rounds = sorted({r for m, _, r in found if m != "dense"})
    for j, (method, r) in enumerate(dict.fromkeys((m, r) for m, _, r in found)):
        line = {k: e for (m, k, other), e in sorted(found.items()) if (m, other) == (method, r)}
        if method == "dense":
            ax.axhline(next(iter(line.values())).mean, color=colour(method), linewidth=1, linestyle="--", label="dense")
            continue
        level = rounds.index(r)
        curve(ax, {k * 1.03 ** j: e for k, e in line.items()}, color=colour(method), elinewidth=0.9,
              markersize=5, linewidth=1.5, marker=marker(method), linestyle=LINES[level % 4],
              markerfacecolor=colour(method) if level == 0 else "white",
              label=subnetwork(method, r) if r else None)


def _axis(ax: Axes, sizes: list[int], whole: int) -> None:
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator([*sizes, whole]))
    ax.xaxis.set_minor_locator(NullLocator())
    near = [a > 0 and b / a < 1.5 for a, b in zip([0, *sizes], sizes)]  # their labels would run into each other
    ax.set_xticklabels([*("" if close else str(k) for k, close in zip(sizes, near)), f"all\n({whole:,})"])


def compression_claims(table: Table, compared: Sequence[int], sizes: Mapping[str, Sequence[int]]) -> list[Claim]:
    """Q2: what ten times the images per class change, as a slope; and distilled against random at equal stored size.

    Args:
        table, compared: as for the figure. sizes: by method, "idc" or "random images", its images per class.
    """
    loss, accuracy = table.barriers(), table.select(quantity="test_accuracy").averaged("seeds", 100)
    readings = (("stability", loss, "stable", "nats"), ("accuracy", accuracy, "inaccurate", "points of test accuracy"))
    claims, both = [], sorted(set(sizes["idc"]) & set(sizes["random images"]))
    for r in compared:
        sparse = percent_sparse(r)
        tenth = max(0.01, 0.1 * float(loss.select(method="dense")["value"].mean()))
        for method, ipcs in sizes.items():
            for what, rows, word, unit in readings:
                layout = rows.select(round=r).layout(["method", "ipc"])
                claims.append(claim(f"Q2-{sparse} ({what}, {method})", "the more the data are compressed, the more "
                                    f"{word} is the ticket ({sparse} sparse, {label(method)})",
                                    layout.contrast(_slope(method, ipcs)), claimed="above",
                                    margin=tenth if what == "stability" else ACCURACY, unit=f"{unit} for ten times",
                                    note=f"slope against log₁₀ of images per class, {min(ipcs)} to {max(ipcs)}."))
        layout = loss.select(round=r).layout(["method", "ipc"])
        weights = {f"{m} {k}": w / len(both) for m, w in (("idc", 1), ("random images", -1)) for k in both}
        claims.append(claim(f"Q2-{sparse} (distillation)", "at equal stored size, tickets from distilled images are "
                            f"more stable than from random real ones ({sparse} sparse)", layout.contrast(weights),
                            margin=tenth, unit=NATS, note="difference of midpoint barriers of the train loss, averaged "
                            f"over {', '.join(map(str, both))} images per class."))
    return claims


def _slope(method: str, ipcs: Sequence[int]) -> dict[str, float]:
    """The weights of a least-squares slope against log₁₀ of the images per class."""
    x = np.log10(sorted(ipcs))
    x -= x.mean()
    return {f"{method} {k}": float(w) for k, w in zip(sorted(ipcs), x / (x ** 2).sum())}
