"""Figure 4: the stability of a network with BatchNorm, under both conventions for its statistics on the path."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..statistics import Claim, claim
from ..tables import Table
from .base import WIDTH, caption, colour, label, percent_sparse
from .heat import paths_over_rounds
from .judging import NATS, RISE, as_accurate, barrier_margin, more_stable, named, stable
from .length import controls
from .parts import band, differences, directions, dots, less_than_others, subnetwork

GENERATED = "generated"  # images that were drawn, not photographed
WEIGHTS_ONLY = ", weights only"  # after a method's name: its tickets keep trained biases and normalisation
# By convention: what it is called, its line, its markers' face, and how far its dots stand above the row.
BY_BN = {"lerp": ("interpolated statistics", "-", None, 0.18),
         "recalibrate": ("re-estimated statistics", "--", "white", -0.18)}


def two_paths(ax: Axes, table: Table) -> None:
    """One subnetwork's mean path of the train loss by convention of BatchNorm, over its initialisations."""
    method, round = table[["method", "round"]].iloc[0]
    for bn, rows in table.curves(by=["bn"]).items():
        name, line, *_ = BY_BN[bn]
        band(ax, table.alphas, rows, colour(method), line, name)
    ax.set(xlabel="α", title=subnetwork(method, round, short=True))


def two_dots(ax: Axes, barriers: Table, xlabel: str, threshold: float | None = None) -> None:
    """Barriers by convention and subnetwork: a dot for each initialisation, mean and 95% interval (Student's t)."""
    for bn, (_, line, face, shift) in BY_BN.items():
        first = bn == "lerp"
        dots(ax, barriers.select(bn=bn), xlabel, threshold if first else None, first, shift, line, face)


def two_differences(ax: Axes, barriers: Table) -> None:
    """By convention and subnetwork, what the distilled one's barrier is less: with its interval and its margin.

    What was rewound by its weights alone is held against its own method, and has no row here.
    """
    for bn, (_, line, face, shift) in BY_BN.items():
        rows = barriers.select(bn=bn)
        found = less_than_others(rewound_in_full(rows))
        differences(ax, list(rows.values_of()), found, barrier_margin(rows.select(round=0).layout()),
                    f"{label('idc')} minus this (nats)\nshaded: does not matter", shift, line, face)


def rewound_in_full(table: Table) -> Table:
    """Without the tickets whose weights alone were rewound: they share sets and noise with the others."""
    return Table(table[~table["method"].str.endswith(WEIGHTS_ONLY, na=False)])


def legend(figure: Figure, y: float) -> None:
    """What the line styles and faces mean, once for both lower rows."""
    lines = [Line2D([], [], color="#444444", linestyle=line, marker="o", markersize=5,
                    markerfacecolor=face or "#444444", label=f"BatchNorm: {name}")
             for name, line, face, _ in BY_BN.values()]
    figure.legend(handles=lines, loc="center", bbox_to_anchor=(0.5, y), ncol=2)


def batchnorm(table: Table, compared: Sequence[int], note: str = "", banner: str = "",
              methods: Sequence[str] = ("idc", "imp")) -> Figure:
    """Figure 4 of McDermott & Parhi (2025), and what the treatment of BatchNorm's statistics does to it.

    Args:
        table: paths by method, round, init and ``bn`` ("lerp", "recalibrate"); of a method "…, weights only" the
            weights alone were rewound. compared: the rounds that are drawn over all initialisations. methods: those
            whose train loss is drawn over all rounds ("lerp"), of the first initialisation.
        note: the caption. banner: what nobody may overlook; it is printed above the panels.
    """
    judged, papers = table.select(round=[0, *compared]), table.select(bn="lerp")
    paths = judged.select(method=["dense", "imp", "idc"], quantity="train_loss")
    keys, losses = list(paths.values_of()), judged.barriers("train_loss")
    height = 6.55 + 0.36 * len(losses.values_of())
    figure = plt.figure(figsize=(WIDTH, height))
    paths_over_rounds(figure, papers, paths.select(bn="lerp"), methods, compared, 1 - 2.8 / height, 1 - 0.47 / height)
    legend(figure, 1 - 3.4 / height)
    middle = figure.add_gridspec(1, len(keys), left=0.065, right=0.995, top=1 - 3.8 / height, bottom=1 - 5.25 / height,
                                 wspace=0.08)
    axes = middle.subplots(sharey=True, squeeze=False)[0]
    for ax, (method, round) in zip(axes, keys):
        two_paths(ax, paths.select(method=method, round=round))
    axes[0].set_ylabel("train loss (nats)")
    below = figure.add_gridspec(1, 3, left=0.225, right=0.995, top=1 - 5.9 / height, bottom=0.5 / height, wspace=0.07)
    left, between, right = below.subplots(sharey=True, squeeze=False)[0]
    two_dots(left, losses, "train-loss barrier (nats)\nat the midpoint")
    two_differences(between, losses)
    directions(between)
    two_dots(right, judged.barriers("test_error", "frankle", scale=100),
             "rise of the test error (points)\ndotted: stable below 2", RISE)
    right.tick_params(labelleft=False)
    if banner:
        figure.text(0.5, 1 - 0.1 / height, banner, ha="center", va="bottom", fontsize=11, fontweight="bold",
                    color="#a04000")
    caption(figure, note)
    return figure


def batchnorm_claims(table: Table, compared: Sequence[int], setting: str = GENERATED) -> list[Claim]:
    """A1, A2 and A2c under both conventions, A3; what re-estimated statistics and weights-only rewinding (R) do.

    Args:
        table, compared: as for the figure. setting: what the images are, as a claim's id has it. On real ones the
            claims are the papers' own, under interpolated statistics, as theirs are, of sets that are each
            initialisation's own; on generated ones they are B4's, which judge nothing of the papers, and without A3.
    """
    real = setting != GENERATED
    where, prefix, sets = (f"on {setting}: ", "", "own") if real else ("on generated images: ", "B4-", 1)
    claims, full = [], rewound_in_full(table)
    for r in compared:
        sparse, who = percent_sparse(r), named("idc", percent_sparse(r))
        for bn, (name, *_) in BY_BN.items():
            rows = full.select(round=[0, r], bn=bn)
            rise, loss = (replace(part.layout(), sets=sets) for part in (
                rows.barriers("test_error", "frankle", scale=100), rows.barriers()))
            this, under = f"{where}with {name}, {who}", f"{setting}, {bn}"
            family = {"family": "primary"} if real and bn == "lerp" else {}
            claims += [stable(f"{prefix}A1-{sparse} ({under})", rise, this, **family),
                       more_stable(f"{prefix}A2-{sparse} ({under})", loss, "idc", "imp", f"{this} is", **family)]
            claims += [more_stable(f"{prefix}A2c-{sparse} ({aside}, {under})", loss, "idc", other, f"{this} is")
                       for other, aside in controls(loss).items()]
        if real:
            claims += _rewound(table.select(round=[0, r], bn="lerp").barriers(), sparse, setting)
            accuracy = full.select(round=[0, r], quantity="test_accuracy").averaged("seeds", 100)
            percent = replace(accuracy.layout(), sets=sets)
            claims.append(as_accurate(f"A3-{sparse} ({setting})", percent, "idc", f"{where}{who} loses",
                                      family="primary"))
    dense = table.select(method="dense").barriers()
    margin = max(0.01, 0.1 * float(dense.select(bn="lerp")["value"].mean()))
    claims.append(claim(f"B4-BN-dense ({setting})", f"{where}re-estimating BatchNorm's statistics lowers the dense "
                        "network's barrier", dense.contrast("recalibrate", "lerp", by=["bn"]), margin=margin, unit=NATS,
                        note="difference of midpoint barriers of the train loss, of the same networks."))
    return claims


def _rewound(barriers: Table, sparse: str, setting: str) -> list[Claim]:
    """Tickets whose weights alone were rewound, against the same method's that were rewound in full."""
    found = []
    for loose in (m for m in barriers["method"].unique() if m.endswith(WEIGHTS_ONLY)):
        method = loose.removesuffix(WEIGHTS_ONLY)
        layout = barriers.select(method=["dense", method, loose]).layout()
        found.append(more_stable(
            f"R-{sparse} ({method}, {setting})", replace(layout, sets=0 if method == "imp" else "own"), loose, method,
            f"on {setting}: with interpolated statistics, {method.upper()}'s tickets ({sparse} sparse) are, with "
            "weights alone rewound,", "with everything rewound"))
    return found
