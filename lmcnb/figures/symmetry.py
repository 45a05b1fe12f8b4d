"""Figure 16: which layers a barrier is of, and what is left of one between initialisations once units are matched."""
from __future__ import annotations

from collections.abc import Sequence

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..statistics import Claim, claim, estimate
from ..tables import Table
from .base import WIDTH, caption, colour, label, marker
from .judging import ACCURACY, RISE
from .parts import curve, row_of_dots

MATCHED = "#822782"  # no method's colour
WAYS = {"as they are": "#bbbbbb", "re-estimated": "#e69f00", "matched": MATCHED, "matched, re-estimated": "#1a8f5b"}
OWN = ("own mask", "mask of another init, matched", "mask of another init", "random mask")


def symmetry(table: Table, note: str = "") -> Figure:
    """Barriers by layer, barriers between initialisations before and after matching, and masks that were carried over.

    Args:
        table: by method, init, ``layers`` and ``layer`` ``layer rise`` (points of test error); by method, width,
            ``way`` (see WAYS) and init, of a pair the first, ``rise between inits`` (the same); by ``mask`` (see OWN),
            init, the same, and ``onto``, the one that is trained, ``test_accuracy``. note: the caption.
    """
    figure, axes = plt.subplots(2, 2, figsize=(WIDTH, 6), layout="constrained")
    for ax, which, title in zip(axes[0], ("each", "cumulative"), ("one layer moves", "the first layers move")):
        _layers(ax, table.select(quantity="layer rise", layers=which), title)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncol=5)
    _between(axes[1, 0], table.select(quantity="rise between inits"))
    _masks(axes[1, 1], _accuracy(table))
    caption(figure, note)
    return figure


def _layers(ax: Axes, table: Table, title: str) -> None:
    names = list(dict.fromkeys(table["layer"]))
    for method in dict.fromkeys(table["method"]):
        found = table.select(method=method).values_of(by=["layer"])
        curve(ax, {k: estimate(found[n]) for k, n in enumerate(names)}, color=colour(method), marker=marker(method),
              markersize=4, linewidth=1.3, elinewidth=0.7, label=label(method))
    ax.axhline(0, color="#999999", linewidth=0.8)
    ax.axhline(RISE, color="#999999", linewidth=0.8, linestyle=":")
    short = [n.removeprefix("blocks.").removesuffix(".proj") for n in names]
    if len(names) > 12:
        ax.set_xticks(range(len(names)), short, rotation=90, fontsize=6)
    else:
        ax.set_xticks(range(len(names)), short, rotation=30, ha="right")
    ax.set(title=f"two seeds, {title}", ylabel="rise of the test error (points)")


def _between(ax: Axes, table: Table) -> None:
    found = table.values_of(by=["method", "width", "way"])
    rows = list(dict.fromkeys((m, w) for m, w, _ in found))
    ways = [w for w in WAYS if any(key[2] == w for key in found)]
    for k, row in enumerate(reversed(rows)):
        for shift, way in enumerate(ways):
            if (*row, way) in found:
                row_of_dots(ax, k + 0.25 - 0.5 * shift / max(1, len(ways) - 1), found[*row, way], WAYS[way],
                            marker(row[0]))
    for way in ways:
        ax.plot([], [], color=WAYS[way], linewidth=3, label=way)
    ax.axvline(0, color="#999999", linewidth=0.8)
    ax.axvline(RISE, color="#999999", linewidth=0.8, linestyle=":")
    ax.set_yticks(range(len(rows)), [f"{label(m).split(' (')[0]}\nwidth {w:g}" for m, w in rows][::-1])
    ax.set(title="two initialisations", xlabel="rise of the test error (points); dotted: stable below 2",
           ylim=(-0.6, len(rows) - 0.4))
    ax.legend()


def _masks(ax: Axes, table: Table) -> None:
    found = table.values_of(by=["mask"], scale=100)
    rows = [m for m in OWN if m in found]
    for k, mask in enumerate(reversed(rows)):
        row_of_dots(ax, k, found[mask], MATCHED if "matched" in mask else "#222222",
                    marker("random mask" if mask == "random mask" else "imp"))
    ax.set_yticks(range(len(rows)), [r.replace(" init", "\ninit") for r in rows][::-1])
    ax.set(title="IMP's mask on another initialisation", xlabel="test accuracy (%)    better →",
           ylim=(-0.6, len(rows) - 0.4))


def _accuracy(table: Table) -> Table:
    """Of retrained tickets, the mean of a pair's two: they share the dense networks that were matched."""
    return table.select(quantity="test_accuracy").averaged("onto")


def symmetry_claims(table: Table, methods: Sequence[str], width: int) -> list[Claim]:
    """S1: matched networks of two initialisations lie in one basin. S2: a mask is carried over by matching."""
    rises = table.select(quantity="rise between inits", width=width)
    way = "matched, re-estimated" if (rises["way"] == "matched, re-estimated").any() else "matched"
    values = rises.values_of(by=["method", "way"])
    who = {m: "two dense networks" if m == "dense" else f"two subnetworks ({label(m)})" for m in methods}
    found = [claim(f"S1-{m}", f"{who[m]} of two initialisations lie in one basin once their units are matched",
                   values[m, way], claimed="at most", margin=RISE, unit="points of test error",
                   note="largest rise over the mean of the ends; pairs of initialisations of their own.")
             for m in methods]
    gain = _accuracy(table).contrast(OWN[2], OWN[1], by=["mask"])
    return [*found, claim("S2", "a mask is worth more on another initialisation once its units are matched",
                          100 * gain, claimed="below", margin=ACCURACY, unit="points of test accuracy",
                          note="unmatched minus matched, by pair of initialisations, the mean of both directions.")]
