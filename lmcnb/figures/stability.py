"""Figure 3: paths over pruning rounds, the barriers with their intervals, and the differences that are judged."""
from __future__ import annotations

from collections.abc import Sequence

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ..statistics import Claim
from ..tables import Table
from .base import WIDTH, caption, percent_sparse
from .heat import paths_over_rounds
from .judging import RISE, because_distilled, more_stable, named, stable
from .parts import dots, judged


def stability(table: Table, compared: Sequence[int], note: str = "", methods: Sequence[str] = ("idc", "imp")
              ) -> Figure:
    """Figure 3 of McDermott & Parhi (2025) with what judging it needs: every method's barriers with intervals.

    Args:
        table: paths by method, round and init. compared: the rounds whose barriers are drawn, over all
            initialisations. methods: those whose train loss is drawn over all rounds, of the first initialisation.
        note: the caption.
    """
    shown = table.select(round=[0, *compared])
    losses, errors = shown.barriers("train_loss"), shown.barriers("test_error", "frankle", scale=100)
    height = 3.75 + 0.19 * len(losses.values_of())
    figure = plt.figure(figsize=(WIDTH, height))
    paths_over_rounds(figure, table, shown.select(method=["dense", "imp", "idc"]), methods, compared,
                      1 - 2.7 / height, 1 - 0.37 / height)
    right = judged(figure, losses, 1 - 3.25 / height, 0.5 / height, "train-loss barrier (nats)\nat the midpoint")
    dots(right, errors, "rise of the test error (points)\ndotted: stable below 2", RISE)
    caption(figure, note)
    return figure


def stability_claims(table: Table, compared: Sequence[int]) -> list[Claim]:
    """A1, stable where the dense network is not; A2, more than IMP; A2c, because the data are distilled.

    Args:
        table, compared: as for the figure.
    """
    claims = []
    for r in compared:
        paths, sparse = table.select(round=[0, r]), percent_sparse(r)
        rise, chord = (paths.barriers("test_error", c, scale=100).layout() for c in ("frankle", "chord"))
        loss, who = paths.barriers("train_loss").layout(), named("idc", sparse)
        how = f"largest rise over the mean of the ends; over the chord {chord.values('idc').mean():.2f}."
        claims.append(stable(f"A1-{sparse}", rise, who, how, family="primary"))
        claims.append(more_stable(f"A2-{sparse}", loss, "idc", "imp", f"{who} is", family="primary"))
        claims += because_distilled(loss, r, ("random mask", "random images"))
    return claims
