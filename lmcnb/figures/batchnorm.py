"""Figure 4: the stability of a network with BatchNorm, under both conventions for its statistics on the path."""
from __future__ import annotations

from collections.abc import Sequence

import matplotlib
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..statistics import Claim, claim
from ..tables import Table
from .base import caption, colour, percent_sparse
from .judging import NATS, more_stable, named, stable
from .parts import SMALL, band, dots, overlay, subnetwork, surfaces

# By convention: what it is called, its line, marker and the marker's face, and how far its dots stand above the row.
BY_BN = {"lerp": ("interpolated statistics", "-", "D", None, 0.16),
         "recalibrate": ("re-estimated statistics", "--", "o", "white", -0.16)}


def two_paths(ax: Axes, table: Table, rate: float = 0.2) -> None:
    """One subnetwork's mean path of the train loss by convention of BatchNorm, over its initialisations."""
    method, round = table[["method", "round"]].iloc[0]
    for bn, rows in table.curves(by=["bn"]).items():
        name, line, *_ = BY_BN[bn]
        band(ax, table.alphas, rows, colour(method), line, name)
    ax.set(xlabel="α", title=subnetwork(method, round, rate, short=True))


def two_dots(ax: Axes, barriers: Table, xlabel: str, threshold: float | None = None, rate: float = 0.2) -> None:
    """Barriers by convention and subnetwork: a dot for each initialisation, mean and 95% interval (Student's t)."""
    for bn, (_, line, marker, face, shift) in BY_BN.items():
        first = bn == "lerp"
        dots(ax, barriers.select(bn=bn), xlabel, threshold if first else None, first, rate, shift, line, marker, face)


def legend(figure: Figure, y: float) -> None:
    """What the line styles and markers mean, once for both lower rows."""
    lines = [Line2D([], [], color="#444444", linestyle=line, marker=marker, markersize=5,
                        markerfacecolor=face or "#444444", label=f"BatchNorm: {name}")
             for name, line, marker, face, _ in BY_BN.values()]
    figure.legend(handles=lines, loc="center", bbox_to_anchor=(0.5, y), ncol=2, fontsize="small")


def batchnorm(table: Table, compared: Sequence[int], note: str = "", banner: str = "",
              methods: Sequence[str] = ("idc", "imp"), rate: float = 0.2) -> Figure:
    """Figure 4 of McDermott & Parhi (2025), and what the treatment of BatchNorm's statistics does to it.

    Args:
        table: paths by method, round, init and ``bn`` ("lerp", "recalibrate"). compared: the rounds that are drawn
            over all initialisations. methods: those whose train loss is drawn over all rounds ("lerp"), of the first
            initialisation.
        note: the caption. banner: what nobody may overlook; it is printed above the panels. rate: share of the
            weights left that a round removes.
    """
    judged, papers = table.select(round=[0, *compared]), table.select(bn="lerp")
    paths = judged.select(method=["dense", "imp", "idc"], quantity="train_loss")
    keys = list(paths.values_of())
    with matplotlib.rc_context(SMALL):
        figure = plt.figure(figsize=(11.5, 10.5))
        top = figure.add_gridspec(1, 2, left=-0.02, right=0.63, top=0.98, bottom=0.67, wspace=0.14)
        surfaces(figure, top, papers, methods, (0, *compared))
        beside = figure.add_gridspec(1, 1, left=0.72, right=0.99, top=0.96, bottom=0.69)
        overlay(figure.add_subplot(beside[0]), paths.select(bn="lerp"), rate=rate)
        legend(figure, 0.615)
        middle = figure.add_gridspec(1, len(keys), left=0.07, right=0.99, top=0.575, bottom=0.405, wspace=0.08)
        axes = middle.subplots(sharey=True, squeeze=False)[0]
        for ax, (method, round) in zip(axes, keys):
            two_paths(ax, paths.select(method=method, round=round), rate)
        axes[0].set_ylabel("train loss (nats)")
        below = figure.add_gridspec(1, 2, left=0.2, right=0.99, top=0.325, bottom=0.045, wspace=0.06)
        left, right = below.subplots(sharey=True, squeeze=False)[0]
        two_dots(left, judged.barriers("train_loss"), "train-loss barrier (nats), midpoint", rate=rate)
        two_dots(right, judged.barriers("test_error", "frankle", scale=100),
                 "test-error barrier (points), Frankle; dotted: stable below 2", 2, rate)
    if banner:
        figure.text(0.5, 1.0, banner, ha="center", va="bottom", fontsize="x-large", fontweight="bold", color="#a04000")
    caption(figure, note)
    return figure


def batchnorm_claims(table: Table, compared: Sequence[int], generated: bool) -> list[Claim]:
    """A1, A2 and A2c under both conventions, and that re-estimated statistics lower the dense network's barrier.

    Args:
        table, compared: as for the figure. generated: whether generated images stand in for ImageNet-10.
    """
    where, kind = ("on generated images: ", "generated") if generated else ("", "real")
    claims = []
    for r in compared:
        for bn, (name, *_) in BY_BN.items():
            paths, under = table.select(round=[0, r], bn=bn), f"{percent_sparse(r)} ({kind}, {bn})"
            rise, loss = paths.barriers("test_error", "frankle", scale=100).layout(), paths.barriers().layout()
            who = f"{where}with {name}, {named('idc', percent_sparse(r))}"
            claims.append(stable(f"B4-A1-{under}", rise, who))
            claims += [more_stable(f"B4-{id}-{under}", loss, "idc", other, f"{who} is")
                       for id, other in (("A2", "imp"), ("A2c", "random mask"))]
    dense = table.select(method="dense").barriers().layout(["bn"])
    margin = max(0.01, 0.1 * float(dense.values("lerp").mean()))
    claims.append(claim(f"B4-BN-dense ({kind})", f"{where}re-estimating BatchNorm's statistics lowers the dense "
                        "network's barrier", dense.difference("recalibrate", "lerp", sets=0), margin=margin, unit=NATS,
                        note="difference of midpoint barriers of the train loss."))
    return claims
