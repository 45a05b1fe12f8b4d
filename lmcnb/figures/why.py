"""Figure 19: what makes a barrier: how far apart two trainings end, or how the loss bends between them."""
from __future__ import annotations

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..statistics import Claim, claim
from ..tables import Table
from .base import WIDTH, caption, colour, kind, label, marker, percent_sparse
from .dose import correlation, points
from .judging import CORRELATION
from .parts import apart

READINGS = {"distance": "distance between the two trainings",
            "curvature": "curvature along the segment, at its middle (nats per squared distance)",
            "untrained": "test accuracy of the untrained masked network (%)",
            "bent": "−⅛ · curvature · distance² (nats)"}
RISES = ("distance", "bent")  # readings that a higher barrier is expected to go up with


def bent(table: Table, round: int) -> dict[str, dict[str, np.ndarray]]:
    """By reading, and for "barrier", by method the values of the initialisations; of the dense network, too.

    Args:
        table: by method, round and init paths (train loss, nats), and of their segments ``distance``, ``curvature`` and
            ``bend`` at α = ½ and ``untrained test_accuracy``.
    """
    of = table.select(round=[0, round])
    middle, by = of.select(alpha=0.5), ["method"]
    return {"barrier": of.barriers().values_of(by=by), "distance": of.values_of("distance", by),
            "curvature": middle.values_of("curvature", by),
            "untrained": of.values_of("untrained test_accuracy", by, scale=100),
            "bent": middle.values_of("bend", by, scale=-1 / 8)}


def why(table: Table, round: int, note: str = "") -> Figure:
    """The barrier against each reading: a point a kind of masks, and, to compare, the dense network.

    Args:
        table: as of :func:`bent`. note: the caption.
    """
    found = bent(table, round)
    figure, axes = plt.subplots(2, 2, figsize=(WIDTH, 7.4), layout="constrained", sharey=True)
    for ax, (name, text) in zip(axes.flat, READINGS.items()):
        points(ax, found[name], found["barrier"], text)
        ax.axhline(0, color="#999999", linewidth=0.6)
    for ax in axes[:, 0]:
        ax.set_ylabel("train-loss barrier (nats), midpoint")
    ends = [f([v.mean() for v in found["barrier"].values()]) for f in (min, max)]
    axes[1, 1].plot(ends, ends, color="#999999", linewidth=1, linestyle="--", zorder=0)
    axes[1, 1].set_title("a check; dashed: the two are equal")
    axes[0, 0].set_title(f"masks {percent_sparse(round)} sparse, and dense (not in ρ)")
    kinds = [Line2D([], [], linestyle="", marker=marker(m), color=colour(m), label=label(m))
             for m in dict.fromkeys(map(kind, found["barrier"]))]
    figure.legend(handles=kinds, loc="outside lower center", ncol=4)
    apart(figure)
    caption(figure, note)
    return figure


def why_claims(table: Table, round: int) -> list[Claim]:
    """W: which of the readings the barrier goes with, over kinds of masks.

    The last reading explains nothing: it is the barrier itself where the loss is a parabola along the segment.
    """
    found, sparse, claims = bent(table, round), percent_sparse(round), []
    for name, text in READINGS.items():
        says = f"the barrier {'rises' if name in RISES else 'falls'} with the {text.split(' (')[0]}"
        if name == "bent":
            says = f"a check: the barrier rises with {text.split(' (')[0]}, which it is on a parabola"
        claims.append(claim(f"W-{sparse} ({name})", says,
                            correlation(found[name], found["barrier"]), claimed="above" if name in RISES else "below",
                            margin=CORRELATION, unit="rank correlation",
                            note="means over initialisations; every kind of masks is a point."))
    return claims
