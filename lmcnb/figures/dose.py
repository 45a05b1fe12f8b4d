"""Figure 17: what a mask's stability follows, when only the images that it was found on differ."""
from __future__ import annotations

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..statistics import Claim, Estimate, claim, estimate, rank_correlation
from ..tables import Table, percent_sparse
from .base import caption, label
from .judging import CORRELATION, as_accurate, more_stable
from .parts import SMALL, Numbers

FAMILIES = {"distilled": ("#0072b2", "o"), "real images": ("#d55e00", "X"), "mosaics of real ones": ("#cc79a7", "s"),
            "all images, IMP": ("#222222", "D")}
RIVALS = {"images": "distinct images", "distance moved": "distance moved in the last pruning round",
          "last loss": "loss on its own images, last steps of the round (nats)"}


def family(method: str) -> str:
    """What made the images of a method.

    >>> family("random images 40"), family("random mosaics 10"), family("dm")
    ('real images', 'mosaics of real ones', 'distilled')
    """
    if method == "imp":
        return "all images, IMP"
    if method.startswith("random images"):
        return "real images"
    return "mosaics of real ones" if method.startswith("random mosaics") or method == "rded" else "distilled"


def short(method: str) -> str:
    """A method's name at a point."""
    return method.removeprefix("random ").replace("mtt, published", "MTT").upper().replace("IMAGES", "img").replace(
        "MOSAICS", "mos.").replace("EARLY", "early")


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


def dose(table: Table, round: int, note: str = "", rate: float = 0.2) -> Figure:
    """Barrier and accuracy against distinct images, and the barrier against the two rival explanations.

    Args:
        table: by method, round and init paths and test accuracies of the subnetworks, ``distinct images`` (all of round
            ``round``), and ``moved`` and ``loss`` of the trainings that found their masks (of the round before).
        note: the caption. rate: share of the weights left that a round removes.
    """
    found = readings(table, round)
    dense = estimate(table.select(method="dense").barriers().values_of(by=["method"])["dense"])
    with matplotlib.rc_context(SMALL):
        figure, axes = plt.subplots(2, 2, figsize=(11.5, 7.4), layout="constrained")
        for ax, x, y in zip(axes.flat, ("images", "images", "distance moved", "last loss"),
                            ("barrier", "accuracy", "barrier", "barrier")):
            points(ax, found[x], found[y], RIVALS[x])
            ax.set_ylabel("train-loss barrier (nats), midpoint" if y == "barrier" else "test accuracy (%)")
            if x != "distance moved":
                ax.set_xscale("log" if x == "images" else "symlog", **({} if x == "images" else {"linthresh": 1e-3}))
            if y == "barrier":
                ax.axhspan(dense.low, dense.high, color="#999999", alpha=0.15, linewidth=0)
                ax.axhline(dense.mean, color="#666666", linewidth=1, linestyle="--", label="dense network")
                ax.axhline(0, color="#999999", linewidth=0.6)
        axes[0, 0].set_title(f"{percent_sparse(round, rate)} sparse, masks found with equal steps")
        axes[0, 0].legend(fontsize="x-small")
    caption(figure, note)
    return figure


def points(ax: Axes, xs: Mapping[str, Numbers], ys: Mapping[str, Numbers], xlabel: str) -> None:
    """A point a method, with 95% intervals both ways, coloured by what made its images; and ρ over the methods."""
    seen = set()
    for method in (m for m in ys if m in xs):
        hue, marker = FAMILIES[name := family(method)]
        x, y = estimate(xs[method]), estimate(ys[method])
        ax.errorbar(x.mean, y.mean, _half(y), _half(x), color=hue, marker=marker, markersize=6, linewidth=0.9,
                    label=None if name in seen else name)
        ax.annotate(short(method), (x.mean, y.mean), xytext=(5, 4), textcoords="offset points", fontsize="xx-small",
                    color=hue)
        seen.add(name)
    rho = correlation(xs, ys)
    ax.set_xlabel(f"{xlabel}\nρ = {rho.rho:.2f} [{rho.low:.2f}, {rho.high:.2f}] over {rho.units} kinds of masks")


def _half(e: Estimate) -> list[list[float]] | None:
    return None if np.isnan(e.low) else [[e.mean - e.low], [e.high - e.mean]]


def correlation(xs: Mapping[str, Numbers], ys: Mapping[str, Numbers]):
    """Spearman's ρ of the methods' means."""
    methods = [m for m in ys if m in xs]
    return rank_correlation([float(np.mean(xs[m])) for m in methods], [float(np.mean(ys[m])) for m in methods])


def dose_claims(table: Table, round: int) -> list[Claim]:
    """Q2d: what the barrier follows, over kinds of masks. The others: pairs that differ in one thing alone."""
    sparse, found, claims = percent_sparse(round), readings(table, round), []
    for rival in RIVALS:
        sign = "above" if rival == "last loss" else "below"
        goes = "rises" if sign == "above" else "falls"
        claims.append(claim(f"Q2d-{sparse} ({rival})", f"the barrier {goes} with the {RIVALS[rival]}",
                            correlation(found[rival], found["barrier"]), claimed=sign, margin=CORRELATION,
                            unit="rank correlation", note="means over initialisations; every kind of masks is a "
                            "point, and some share their images."))
    rows = table.select(round=[0, round])
    layout, accuracy = rows.barriers().layout(), rows.select(quantity="test_accuracy").averaged("seeds")
    percent = accuracy.assign(value=100 * accuracy["value"]).layout()
    ipc = int(np.mean(found["images"]["idc"])) // 4 // _classes(found)
    pairs = [("A2c", "idc", f"random mosaics {ipc}", "random mosaics"),
             ("A2c", "idc", f"random images {4 * ipc}", "as many images"),
             ("Q1c", "mtt, published", f"random images {ipc}", "mtt / random images"),
             ("Q1c", "rded", f"random mosaics {ipc}", "rded / random mosaics"),
             ("A2", "idc", f"random images {max(_per_class(found))}", "")]
    for part, one, other, how in pairs:
        if one in found["barrier"] and other in found["barrier"] and one != other:
            named = f"{how}, equal steps" if how else "equal steps"
            claims.append(more_stable(f"{part}-{sparse} ({named})", layout, one, other, f"masks of {label(one)} are"))
    most = f"random images {max(_per_class(found))}"
    claims.append(as_accurate(f"A3-{sparse} (equal steps)", percent, "idc", "the distilled mask loses", other=most))
    return claims


def _per_class(found: Mapping[str, Mapping[str, Numbers]]) -> list[int]:
    return [int(m.rsplit(" ", 1)[1]) for m in found["images"] if m.startswith("random images")]


def _classes(found: Mapping[str, Mapping[str, Numbers]]) -> int:
    """Classes of the data: images of a random set over those per class."""
    method, values = next((m, v) for m, v in found["images"].items() if m.startswith("random images"))
    return int(np.mean(values)) // int(method.rsplit(" ", 1)[1])
