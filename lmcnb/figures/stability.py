"""Figures 3 and 4: paths over pruning rounds, overlaid and as surfaces, and the barriers with their intervals."""
from __future__ import annotations

from collections.abc import Sequence

import matplotlib
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ..tables import Table
from .base import caption
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
