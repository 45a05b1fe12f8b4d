"""Figure 2: test accuracy against sparsity, and the data points that each sparsity cost."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..statistics import Claim, Layout, Student, claim, estimate
from ..tables import Table
from .base import WIDTH, caption, colour, label, marker, percent_sparse
from .judging import ACCURACY, as_accurate, named
from .parts import SHADE, curve, judged_difference

ByRound = dict[int, np.ndarray]
WORDS = {"trained": "decoded", "stored": "stored (the paper's count)", "with distillation": "decoded + distillation"}
BARS: dict[str, Any] = {"linewidth": 1.3, "markersize": 4, "elinewidth": 1.3, "capsize": 2}
STYLES = {"trained": "-", "stored": "--", "with distillation": ":"}


def accuracy_against_sparsity(table: Table, note: str = "", tolerance: float = 1.0) -> Figure:
    """Figure 2 of McDermott & Parhi (2025) with controls and the differences between them, as judged.

    Args:
        table: test_accuracy by method, round and init, of "dense", "imp", "idc" and others; and what
            :func:`images_seen` reads. tolerance: points of accuracy that do not matter, shaded among the differences.
        note: the caption.
    Raises:
        ValueError: the dense network is missing, or a method has other initialisations.
    """
    dense = table.select(method="dense", quantity="test_accuracy")
    accuracy: dict[str, ByRound] = {}
    for (method, r), rows in table.select(quantity="test_accuracy").groupby(["method", "round"], sort=False):
        if sorted(rows["init"]) != sorted(dense["init"]):
            raise ValueError(f"every method needs one value for each initialisation of the dense network, "
                             f"{list(dense['init'])}; {method} has {list(rows['init'])} after {r} rounds")
        values = 100 * rows.sort_values("init")["value"].to_numpy(float)
        accuracy.setdefault("imp" if method == "dense" else method, {})[r] = values
    figure = plt.figure(figsize=(WIDTH, 5.6))
    left = figure.add_gridspec(1, 1, left=0.06, right=0.52, top=0.95, bottom=0.1)
    right = figure.add_gridspec(2, 1, left=0.61, right=0.99, top=0.95, bottom=0.1, hspace=0.42)
    axes = [figure.add_subplot(g) for g in (left[0], right[0], right[1])]
    _curves(axes[0], accuracy)
    _differences(axes[1], accuracy, _layouts(table), tolerance)
    _cost(axes[2], images_seen(table))
    for ax in axes:
        _sparsity_axis(ax, range(max(accuracy["imp"]) + 1))
    caption(figure, note)
    return figure


def images_seen(table: Table) -> dict[tuple[str, str], dict[int, float]]:
    """Images that passed through training until a mask was found, by method and way to count, and round.

    A distilled set counts as "stored", as the decoded images that are "trained" on, or those "with distillation".

    Args:
        table: data_points of "imp", "idc" and perhaps "platon" by round, to the last round that its subnetworks were
            trained after; data_points and factor of the distilled set, which have no round.
    """
    tried = table.select(quantity="test_accuracy").groupby("method")["round"].max()
    seen = {key: n for key, (n, *_) in table.values_of("data_points").items() if key[1] <= tried.get(key[0], 0)}
    imp, trained, platon = ({r: n for (m, r), n in seen.items() if m == method} for method in ("imp", "idc", "platon"))
    made = table[table["round"].isna()].select(method="idc").set_index("quantity")["value"]
    return {("imp", "trained"): imp,
            ("idc", "with distillation"): {r: n + made["data_points"] for r, n in trained.items()},
            ("idc", "trained"): trained,
            ("idc", "stored"): {r: n / made["factor"] ** 2 for r, n in trained.items()},
            **({("platon", "trained"): platon} if platon else {})}


def _curves(ax: Axes, accuracy: Mapping[str, ByRound]) -> None:
    """Mean test accuracy of every method with its 95% interval, and the dense network's as a line across."""
    dense = estimate(accuracy["imp"][0])
    ax.axhspan(dense.low, dense.high, color=colour("dense"), alpha=0.08, linewidth=0)
    ax.axhline(dense.mean, color=colour("dense"), linewidth=1, label="dense, and its interval")
    for method, shift, rounds in _apart(accuracy):
        curve(ax, {r + shift: estimate(accuracy[method][r]) for r in rounds}, color=colour(method),
              marker=marker(method), label=label(method), **BARS)
    ax.set(ylabel="test accuracy (%)", title="accuracy of the subnetwork, trained on real data")
    ax.legend(loc="lower left")


def _layouts(table: Table) -> dict[int, Layout]:
    """By round, all methods' test accuracies (%): what is drawn and judged."""
    points = table.select(quantity="test_accuracy").assign(value=lambda rows: 100 * rows["value"])
    return {r: points.select(round=r).layout() for r in sorted(points["round"].unique())}


def _differences(ax: Axes, accuracy: Mapping[str, ByRound], layouts: Mapping[int, Layout], tolerance: float) -> None:
    """Accuracy of every other method minus the distilled subnetwork's; a dot: of one initialisation."""
    base = accuracy["idc"]
    others = {m: {r: v - base[r] for r, v in rounds.items() if r in base}
              for m, rounds in accuracy.items() if m != "idc"}
    for method, shift, rounds in _apart(others):
        for r in rounds:
            values = others[method][r]
            ax.plot([r + shift] * len(values), values, "o", color=colour(method), alpha=0.35, markersize=3,
                    markeredgewidth=0)
        judged = {r + shift: judged_difference(layouts[r], method, "idc") for r in rounds}
        curve(ax, judged, color=colour(method), linestyle="none",
              marker=marker(method), label=label(method).split(" (")[0], **BARS)
    ax.axhline(0, color="#999999", linewidth=0.8)
    ax.axhspan(-tolerance, tolerance, color=SHADE, linewidth=0, zorder=0)
    ax.set(ylabel="difference (points)", title="other minus distilled (shaded: does not matter)")


def _cost(ax: Axes, seen: Mapping[tuple[str, str], Mapping[int, float]]) -> None:
    """Images seen until a mask of that sparsity was found; log scale."""
    tried = range(1 + max(seen["idc", "trained"]))
    for (method, count), rounds in seen.items():
        last = max(r for r in rounds if r in tried)
        times = seen["imp", "trained"][last] / rounds[last]
        than = f"{times:.3g} times fewer" if times >= 1 else f"{1 / times:.3g} times more"
        name = label(method) if method == "imp" else f"{WORDS[count] if method == 'idc' else label(method)}: {than}"
        ax.plot(list(rounds), list(rounds.values()), STYLES[count], marker=marker(method), markersize=3,
                color=colour(method), linewidth=1.3, label=name)
    ax.set(yscale="log", ylabel="data points (images)", title="images seen to find the mask")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high * (high / low) ** 0.8)  # room for the legend
    ax.legend(loc="upper left")


def _sparsity_axis(ax: Axes, rounds: Sequence[int]) -> None:
    """One tick a pruning round: equal steps, because each removes the same share of what is left."""
    ax.set_xticks(list(rounds), [percent_sparse(r).rstrip("%") for r in rounds])
    ax.set(xlabel="weights pruned (%), one tick a round", xlim=(min(rounds) - 0.4, max(rounds) + 0.4))


def _apart(methods: Mapping[str, ByRound]) -> list[tuple[str, float, list[int]]]:
    """Every method with a small sideways shift, so that intervals at one sparsity do not hide each other."""
    middle = (len(methods) - 1) / 2
    return [(method, 0.14 * (k - middle), list(rounds)) for k, (method, rounds) in enumerate(methods.items())]


def sparsity_claims(table: Table) -> list[Claim]:
    """A3, as accurate as IMP; A3c, more than the controls; A3d, with fewer data points.

    Args:
        table: as for the figure.
    """
    claims = []
    for r, layout in _layouts(table).items():
        if "idc" not in layout.cells:
            continue
        sparse = percent_sparse(r)
        who = named("idc", sparse)
        claims.append(as_accurate(f"A3-{sparse}", layout, "idc", f"{who} loses", family="primary"))
        for other in ("random mask", "random images"):
            if other in layout.cells:
                claims.append(claim(f"A3c-{sparse} ({other})", f"{who} is more accurate than {label(other)}",
                                    layout.difference("idc", other), claimed="above", margin=ACCURACY, unit="points",
                                    note="its test accuracy minus the other's."))
    seen = images_seen(table)
    last = max(seen["idc", "trained"])
    sparse = percent_sparse(last)
    for count in ("stored", "trained", "with distillation"):
        times = seen["imp", "trained"][last] / seen["idc", count][last]
        ratio = Student(float(np.log10(times)), 0.0, 1.0, 2)  # counted, so without an error
        statement = f"distilled pruning ({sparse} sparse) takes fewer data points than IMP, {WORDS[count]}"
        claims.append(claim(f"A3d-{sparse} ({count})", statement, ratio, claimed="above", margin=float(np.log10(2)),
                            family="count", unit="log₁₀ of the ratio", units="a count",
                            note=f"{times:.3g} times fewer; half is the margin. The papers' 150 is of their round "
                            "lengths, 300 epochs against 1,000 passes."))
    return claims
