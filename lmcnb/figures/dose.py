"""Figure 17: what a mask's stability follows, when only the images that it was found on differ."""
from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..statistics import Claim, Estimate, claim, estimate, rank_correlation
from ..tables import Table
from .base import WIDTH, caption, colour, kind, label, marker, percent_sparse
from .judging import CORRELATION, as_accurate, barrier_margin, more_stable
from .parts import Numbers, apart, differences, less_than_others

RIVALS = {"images": "distinct images", "distance moved": "distance moved in the last pruning round",
          "last loss": "loss on its own images, last steps of the round (nats)"}
ASIDES = {"last loss": " Written first, by mistake, the other way round, and mended after the data; nothing was "
                       "predicted for it."}


def short(method: str) -> str:
    """A method's name at a row."""
    return method.removeprefix("random ").replace("mtt, published", "MTT").upper().replace("IMAGES", "img").replace(
        "MOSAICS", "mos.").replace("EARLY", "early")


def many(method: str) -> str:
    """A method's masks in a sentence.

    >>> assert many("random images 40") == "those of 40 random images per class" and many("idc") == "IDC's"
    """
    found = re.fullmatch(r"(random \w+) (\d+)", method)
    return f"those of {found[2]} {found[1]} per class" if found else f"{short(method)}'s"


def readings(table: Table, round: int) -> dict[str, dict[str, np.ndarray]]:
    """By rival explanation, and for "barrier" and "accuracy", by method the values of the initialisations."""
    own = table[~table["method"].isin(["dense", "random mask"])]
    after, before = own.select(round=round), own.select(round=round - 1)
    by = {"by": ["method"]}
    found = {"barrier": after.barriers().values_of(**by),
             "accuracy": after.select(quantity="test_accuracy").averaged("seeds").values_of(scale=100, **by),
             "images": after.select(quantity="distinct images").values_of(**by)}
    for name, quantity in (("distance moved", "moved"), ("last loss", "loss")):
        found[name] = before.select(quantity=[quantity, f"{quantity}, trained on the set"]).values_of(**by)
    return found


def dose(table: Table, round: int, note: str = "") -> Figure:
    """Barrier and accuracy against distinct images, the barrier against the two rival explanations, and differences.

    Args:
        table: by method, round and init paths and test accuracies of the subnetworks, ``distinct images`` (all of round
            ``round``), and ``moved`` and ``loss`` of the trainings that found their masks (of the round before).
        note: the caption.
    """
    found = readings(table, round)
    dense = estimate(table.select(method="dense").barriers().values_of(by=["method"])["dense"])
    own = table.select(round=[0, round]).barriers()
    less = {key: e for key, e in less_than_others(own).items() if key[0] in found["barrier"]}
    order = sorted(less, key=lambda key: found["images"][key[0]].mean())
    figure = plt.figure(figsize=(WIDTH, 6.9 + 0.17 * len(less)), layout="constrained")
    grid = figure.add_gridspec(3, 2, height_ratios=(3, 3, 0.9 + 0.17 * len(less)))
    axes = [figure.add_subplot(grid[k // 2, k % 2]) for k in range(4)]
    for ax, x, y in zip(axes, ("images", "images", "distance moved", "last loss"),
                        ("barrier", "accuracy", "barrier", "barrier")):
        points(ax, found[x], found[y], RIVALS[x])
        ax.set_ylabel("train-loss barrier (nats), midpoint" if y == "barrier" else "test accuracy (%)")
        if x != "distance moved":
            ax.set_xscale("log" if x == "images" else "symlog", **({} if x == "images" else {"linthresh": 1e-3}))
        if x == "last loss":
            ax.set_xlim(0, None)
        if y == "barrier":
            ax.axhspan(dense.low, dense.high, color="#999999", alpha=0.15, linewidth=0)
            ax.axhline(dense.mean, color="#666666", linewidth=1, linestyle="--", label="dense network")
            ax.axhline(0, color="#999999", linewidth=0.6)
    axes[0].set_title(f"{percent_sparse(round)} sparse, equal steps but for IMP\n"
                      "numbers: images per class (m: mosaics)")
    pairs = figure.add_subplot(grid[2, :])
    differences(pairs, order, less, barrier_margin(own.select(round=0).layout()),
                f"train-loss barrier of {label('idc')} minus this (nats); shaded: does not matter")
    pairs.set_yticks(range(len(order)), [short(m) for m, _ in reversed(order)])
    pairs.tick_params(labelleft=True)
    kinds = [Line2D([], [], linestyle="", marker=marker(m), color=colour(m), label=label(m))
             for m in dict.fromkeys(map(kind, found["barrier"]))]
    figure.legend(handles=[*kinds, *axes[0].get_legend_handles_labels()[0]], loc="outside lower center", ncol=3)
    apart(figure)
    caption(figure, note)
    return figure


def points(ax: Axes, xs: Mapping[str, Numbers], ys: Mapping[str, Numbers], xlabel: str) -> None:
    """A point a method with 95% intervals both ways and, of random ones, the images per class; and ρ over masks."""
    for method in (m for m in ys if m in xs):
        hue = colour(method)
        x, y = estimate(xs[method]), estimate(ys[method])
        ax.errorbar(x.mean, y.mean, _half(y), _half(x), color=hue, marker=marker(method), markersize=6, linewidth=0.9)
        if number := re.search(r"\d+$", method):
            drawn = "m" * method.startswith("random mosaics") + number[0]
            ax.annotate(drawn, (x.mean, y.mean), (0, 0), textcoords="offset points", ha="center", va="center")
    rho = correlation(xs, ys)
    said = f"= {rho.rho:.2f} [{rho.low:.2f}, {rho.high:.2f}]" if np.isfinite(rho.rho) else "unknown"
    ax.set_xlabel(f"{xlabel}\nρ {said} over {rho.units} kinds of masks")


def _half(e: Estimate) -> list[list[float]] | None:
    return None if np.isnan(e.low) else [[e.mean - e.low], [e.high - e.mean]]


def correlation(xs: Mapping[str, Numbers], ys: Mapping[str, Numbers]):
    """Spearman's ρ of the means of kinds of masks. The dense network is no mask, and an extreme point."""
    methods = [m for m in ys if m in xs and m != "dense"]
    return rank_correlation([float(np.mean(xs[m])) for m in methods], [float(np.mean(ys[m])) for m in methods])


def dose_claims(table: Table, round: int) -> list[Claim]:
    """Q2d: what the barrier follows, over kinds of masks. The others: pairs that differ in one thing alone."""
    sparse, found, claims = percent_sparse(round), readings(table, round), []
    for rival in RIVALS:
        claims.append(claim(f"Q2d-{sparse} ({rival})", f"the barrier falls with the {RIVALS[rival]}",
                            correlation(found[rival], found["barrier"]), margin=CORRELATION,
                            unit="rank correlation", note="means over initialisations; every kind of masks is a "
                            "point, and some share their images." + ASIDES.get(rival, "")))
    rows = table.select(round=[0, round])
    layout, percent = rows.barriers().layout(), rows.select(quantity="test_accuracy").averaged("seeds", 100).layout()
    ipc = int(np.mean(found["images"]["idc"])) // 4 // _classes(found)
    pairs = [("A2c", "idc", f"random mosaics {ipc}", "random mosaics"),
             ("A2c", "idc", f"random images {4 * ipc}", "as many images"),
             ("Q1c", "mtt, published", f"random images {ipc}", "mtt / random images"),
             ("Q1c", "rded", f"random mosaics {ipc}", "rded / random mosaics"),
             ("A2", "idc", f"random images {max(_per_class(found))}", "")]
    for part, one, other, how in pairs:
        if one in found["barrier"] and other in found["barrier"] and one != other:
            named = f"{how}, equal steps" if how else "equal steps"
            cells = layout if one == "mtt, published" else replace(layout, sets="own")
            claims.append(more_stable(f"{part}-{sparse} ({named})", cells, one, other, f"{many(one)} masks are",
                                      many(other)))
    most = f"random images {max(_per_class(found))}"
    claims.append(as_accurate(f"A3-{sparse} (equal steps)", replace(percent, sets="own"), "idc", "IDC's masks lose",
                              most, many(most)))
    return claims


def _per_class(found: Mapping[str, Mapping[str, Numbers]]) -> list[int]:
    return [int(m.rsplit(" ", 1)[1]) for m in found["images"] if m.startswith("random images")]


def _classes(found: Mapping[str, Mapping[str, Numbers]]) -> int:
    """Classes of the data: images of a random set over those per class."""
    method, values = next((m, v) for m, v in found["images"].items() if m.startswith("random images"))
    return int(np.mean(values)) // int(method.rsplit(" ", 1)[1])
