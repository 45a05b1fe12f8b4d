"""Figure 13: what a ticket keeps under corruption and transfer, against its barrier."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..statistics import Claim, RankCorrelation, claim, rank_correlation
from ..tables import Table
from .base import WIDTH, caption, colour, label, marker, percent_sparse
from .judging import CORRELATION
from .parts import face, subnetwork

Values = Mapping[tuple[str, int], np.ndarray]  # by method and pruning round, one an initialisation
READINGS = {"given clean": "corrupted accuracy, less what the\nclean one predicts (points)",
            "kept": "clean accuracy kept (%)", "probe": "probe on the other data set (%)",
            "retrained": "ticket trained on the other data set (%)"}


def generalisation(table: Table, note: str = "") -> Figure:
    """Accuracy on corrupted images against clean accuracy, three readings against the barrier, and each corruption.

    What two networks of unlike clean accuracy differ by on corrupted images says little of either's robustness, so the
    first reading is the residual of the line through all networks.

    Args:
        table: by method, round and init: paths, or barriers, of the train loss; the shares "clean", "corrupted", "kept"
            and "probe"; "retrained", which takes the place of "kept"; "accuracy lost" by ``corruption``.
        note: the caption.
    """
    barrier = table.barriers().values_of()
    rounds, residuals = sorted({r for m, r in barrier if m != "dense"}), given_clean(table)
    height = 6.6 + 0.17 * len(barrier)
    figure = plt.figure(figsize=(WIDTH, height))
    axes = figure.add_gridspec(2, 2, left=0.065, right=0.755, top=1 - 0.35 / height, bottom=1 - 5.35 / height,
                               hspace=0.45, wspace=0.36).subplots(squeeze=False).flat
    low = figure.add_gridspec(1, 1, left=0.225, right=0.995, top=1 - 6.05 / height, bottom=0.4 / height)
    clean, corrupted = (table.values_of(name, scale=100) for name in ("clean", "corrupted"))
    _scatter(axes[0], clean, corrupted, rounds)
    x, y = (np.concatenate([*by_network.values()]) for by_network in (clean, corrupted))
    line = np.polynomial.Polynomial.fit(x, y, 1)
    axes[0].plot(*line.linspace(2), color="#999999", linewidth=0.8, zorder=0)
    axes[0].set(xlabel="accuracy on clean images (%)", ylabel="accuracy on corrupted images (%)",
                title="all networks, and their line")
    spared = "kept" if _retrained(table) else "retrained"
    for ax, name in zip(axes[1:], [n for n in READINGS if n != spared]):
        rows = residuals if name == "given clean" else table
        _scatter(ax, barrier, rows.values_of(name, scale=100), rounds)
        ax.set_title("\n".join(_correlations(rows, name, rounds)), fontweight="normal", loc="left")
        ax.set(xlabel="train-loss barrier (nats), midpoint", ylabel=READINGS[name])
    axes[1].axhline(0, color="#999999", linewidth=0.8, zorder=0)
    _corruptions(figure.add_subplot(low[0]), table, list(barrier))
    figure.legend(handles=_handles(barrier, rounds), loc="center left", labelspacing=0.8,
                  bbox_to_anchor=(0.77, 1 - 2.9 / height))
    caption(figure, note, bars=False)
    return figure


def _retrained(table: Table) -> bool:
    return "retrained" in set(table["quantity"])


def given_clean(table: Table) -> Table:
    """The table with "given clean": the residual of "corrupted" from its line on "clean", over all its networks."""
    key = ["method", "round", "init"]
    clean, rows = (table.select(quantity=q).set_index(key)["value"] for q in ("clean", "corrupted"))
    clean = clean.loc[rows.index]
    line = np.polynomial.Polynomial.fit(clean.to_numpy(float), rows.to_numpy(float), 1)
    left = (rows - line(clean.to_numpy(float))).reset_index().assign(quantity="given clean")
    return Table(pd.concat([table, left], ignore_index=True))


def _correlations(table: Table, name: str, rounds: Sequence[int]) -> list[str]:
    found = {r: within_initialisations(table.select(round=r), name)[0] for r in rounds}
    return [f"{percent_sparse(r)}: ρ " + (f"= {e.rho:+z.2f} [{e.low:+z.2f}, {e.high:+z.2f}]".replace("-", "−")
                                               if np.isfinite(e.rho) else "unknown") for r, e in found.items()]


def _corruptions(ax: Axes, table: Table, rows: Sequence[tuple[str, int]]) -> None:
    """The accuracy that each corruption costs, as a map."""
    lost = table.values_of("accuracy lost", ("corruption", "method", "round"), scale=100)
    corruptions = list(dict.fromkeys(c for c, _, _ in lost))
    few = len(corruptions) < 10  # whose names fit side by side
    cost = np.array([[lost[c, *key].mean() for c in corruptions] for key in rows])
    import seaborn as sns  # takes two seconds, and no other figure needs it

    sns.heatmap(cost, ax=ax, cmap="Purples", annot=True, fmt="z.0f", linewidths=0.5, cbar=False,
                xticklabels=[c.replace("_", "\n" if few else " ") for c in corruptions],
                yticklabels=[subnetwork(m, r) for m, r in rows])
    ax.tick_params(length=0, labelrotation=0)
    if not few:
        plt.setp(ax.get_xticklabels(), rotation=30, ha="right", rotation_mode="anchor")
    ax.set_title("points of accuracy that a corruption costs")


def _scatter(ax: Axes, xs: Values, ys: Values, rounds: Sequence[int]) -> None:
    for (method, r), x in xs.items():
        hue = colour(method)
        fill = face(hue, rounds, r)
        ax.plot(x, ys[method, r], marker(method), color=hue, markersize=3, alpha=0.45, markerfacecolor=fill)
        ax.plot(np.mean(x), np.mean(ys[method, r]), marker(method), color=hue, markersize=7, markerfacecolor=fill,
                markeredgewidth=1.4)


def _handles(barrier: Values, rounds: Sequence[int]) -> list[Line2D]:
    """A legend's entries: methods, and sparsities."""
    handles = [Line2D([], [], linestyle="", marker=marker(m), color=colour(m), label=label(m))
               for m in dict.fromkeys(m for m, _ in barrier)]
    handles += [Line2D([], [], linestyle="", marker="o", color="#555555", label=f"{percent_sparse(r)} sparse",
                       markerfacecolor=face("#555555", rounds, r)) for r in rounds]
    return handles


def generalisation_claims(table: Table, target: str) -> list[Claim]:
    """Q4: more stable tickets are more accurate on corrupted images, keep more, serve another data set better.

    What leads is the accuracy given the clean one: more stable tickets are more accurate on clean images, too.

    Args:
        table: as for the figure. target: the other data set.
    """
    sentences = {"given clean": "are more accurate on corrupted images than their clean accuracy predicts",
                 "corrupted": "are more accurate on corrupted images (clean accuracy not taken out)",
                 "kept": "keep more of their clean accuracy on corrupted images",
                 "probe": f"have better features for another data set ({target})"}
    if _retrained(table):
        sentences["retrained"] = f"are more accurate trained on another data set ({target})"
    table = given_clean(table)
    pruned, claims = table[table["method"] != "dense"], []
    for r in sorted(set(pruned["round"].dropna())):
        rows, sparse = pruned.select(round=r), percent_sparse(r)
        for name, text in sentences.items():
            found, count = within_initialisations(rows, name)
            claims.append(claim(f"Q4-{sparse} ({name})", f"more stable tickets ({sparse} sparse) {text}", found,
                                margin=CORRELATION, unit="rank correlation with the barrier",
                                units=f"{found.units} methods of {count}",
                                note="Spearman's ρ of the methods' means, within initialisations."))
    return claims


def within_initialisations(rows: Table, reading: str) -> tuple[RankCorrelation, int]:
    """The rank correlation of a reading with the barrier among methods, and the number of initialisations.

    It is that of the methods' means, in which each has the same initialisations, so that these take nothing out.
    """
    sides = [rows.barriers().values_of(by=["method"]), rows.values_of(reading, by=["method"], scale=100)]
    methods = [m for m in sides[0] for _ in sides[0][m]]
    x, y = (np.concatenate([side[m] for m in sides[0]]) for side in sides)
    return rank_correlation(x, y, groups=methods), len(methods) // len(sides[0])
