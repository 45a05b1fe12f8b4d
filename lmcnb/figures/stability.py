"""Figures 3 and 4: paths over pruning rounds, overlaid and as surfaces, and the barriers with their intervals."""
from __future__ import annotations

from collections.abc import Sequence

import matplotlib
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ..statistics import Claim
from ..tables import Table
from .base import caption, percent_sparse
from .judging import because_distilled, more_stable, named, stable
from .parts import SMALL, dots, overlay, surfaces


def stability(table: Table, compared: Sequence[int], note: str = "", methods: Sequence[str] = ("idc", "imp"),
              rate: float = 0.2) -> Figure:
    """Figure 3 of McDermott & Parhi (2025) with what judging it needs: every method's barriers with intervals.

    Args:
        table: paths by method, round and init. compared: the rounds whose barriers are drawn, over all
            initialisations. methods: those whose train loss is drawn over all rounds, of the first initialisation.
        note: the caption. rate: share of the weights left that a round removes.
    """
    judged = table.select(round=[0, *compared])
    losses, errors = judged.barriers("train_loss"), judged.barriers("test_error", "frankle", scale=100)
    with matplotlib.rc_context(SMALL):
        figure = plt.figure(figsize=(11.5, 8))
        top = figure.add_gridspec(1, 2, left=-0.02, right=0.63, top=0.97, bottom=0.55, wspace=0.14)
        beside = figure.add_gridspec(1, 1, left=0.72, right=0.99, top=0.95, bottom=0.57)
        surfaces(figure, top, table, methods, (0, *compared))
        overlay(figure.add_subplot(beside[0]), judged.select(method=["dense", "imp", "idc"]), rate=rate)
        low_row = figure.add_gridspec(1, 2, left=0.22, right=0.99, top=0.46, bottom=0.07, wspace=0.06)
        left = figure.add_subplot(low_row[0])
        dots(left, losses, "train-loss barrier (nats), midpoint", rate=rate)
        right = figure.add_subplot(low_row[1], sharey=left)
        dots(right, errors, "test-error barrier (points), Frankle; dotted: stable below 2", 2, rate=rate)
        right.tick_params(labelleft=False)
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
