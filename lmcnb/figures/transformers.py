"""Figures 9 and 10: vision transformers trained twice, and what PLATON prunes of them."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..statistics import Claim, claim, estimate
from ..tables import Table
from .base import WIDTH, caption, colour, label, marker
from .judging import ACCURACY, RISE
from .parts import SHADE, band, curve, row_of_dots
from .planes import plane, shared_levels

STARTS = {"pretrained": "pretrained", "random": "random initialisation"}
HUES = {"pretrained": "#0072b2", "random": "#d55e00"}
COURSES = ("#111111", "#0072b2", "#d55e00", "#1a8f5b", "#822782")  # the dense network's, and those to a ratio


def peak_ratios(table: Table, quantity: str = "test_loss") -> dict[str, np.ndarray]:
    """By start, of each pair: the peak of its path over the mean of its ends."""
    return {key: rows.max(1) / rows[:, [0, -1]].mean(1) for key, rows in table.curves(quantity, by=["start"]).items()}


def connectivity(table: Table, note: str = "") -> Figure:
    """Figures 2 and 3 of Han & Zhu (2023), with intervals, and their schematic drawn from the trainings themselves.

    Args:
        table: by ``start`` (see STARTS) and init the test loss and test error on paths; by ``start`` one plane through
            the beginning and both ends, as :func:`.planes.landscapes` takes them. note: the caption.
    """
    starts = [s for s in STARTS if (table["start"] == s).any()]
    planes = table[table["x"].notna()]
    figure = plt.figure(figsize=(WIDTH, 5.6))
    low = figure.add_gridspec(1, 3, left=0.07, right=0.99, bottom=0.09, top=0.42, wspace=0.36)
    high = figure.add_gridspec(1, len(starts), left=0.07, right=0.99, bottom=0.58, top=0.95, wspace=0.2)
    for k, start in enumerate(starts):
        _schematic(figure.add_subplot(high[k]), planes.select(start=start), STARTS[start])
    loss, accuracy = (figure.add_subplot(low[k]) for k in range(2))
    ratio, rise = low[2].subgridspec(2, 1, hspace=1.0).subplots(squeeze=False)[:, 0]
    for start in starts:
        own = table.select(start=start)
        losses, errors = (own.curves(q, by=["start"])[start] for q in ("test_loss", "test_error"))
        band(loss, table.alphas, losses, HUES[start], "-", STARTS[start])
        band(accuracy, table.alphas, 100 * (1 - errors), HUES[start], "-", STARTS[start])
    loss.set(xlabel="α, between the two trainings", ylabel="test loss (nats)", title="test loss")
    accuracy.set(xlabel="α", ylabel="test accuracy (%)", title="test accuracy")
    loss.legend()
    errors = table[table["alpha"].notna()].barriers("test_error", "frankle", scale=100).values_of(by=["start"])
    _rows(ratio, peak_ratios(table), "peak of the test loss, × its ends", 1, 0.1)
    _rows(rise, errors, "rise of the test error (points)", 0, RISE)
    ratio.axvline(2, color="#999999", linewidth=0.8, linestyle=":")
    ratio.set_title("what is judged (shaded: flat)")
    caption(figure, note)
    return figure


def connectivity_claims(table: Table) -> list[Claim]:
    """C1, that a pretrained transformer's path does not rise; C2, that a random one's does, and to twice its ends."""
    paths = table[table["alpha"].notna()]
    ratios, how = peak_ratios(paths), "peak of the test loss over the mean of its ends, a pair an initialisation."
    errors = paths.barriers("test_error", "frankle", scale=100).values_of(by=["start"])
    found = []
    if "pretrained" in ratios:
        found.append(claim("C1", "a pretrained transformer, fine-tuned twice, has no barrier", ratios["pretrained"] - 1,
                           claimed="at most", margin=0.1, unit="of the mean of the ends", family="primary", note=how))
    if "random" in ratios:
        found += [claim("C2", "a randomly initialised transformer, trained twice, has a barrier", errors["random"],
                        claimed="above", margin=RISE, unit="points of test error", family="primary",
                        note="largest rise over the mean of the ends."),
                  claim("C2-twofold", "its test loss peaks at more than twice the mean of its ends",
                        ratios["random"] - 2, claimed="above", margin=0.0, unit="of the mean of the ends", note=how)]
    return found


def _schematic(ax: Axes, table: Table, title: str) -> None:
    """Where one pair of trainings began and ended, on the loss of the plane through the three points."""
    table = table.assign(kind="through")
    shown = plane(ax, table, shared_levels(table))
    places = table.select(quantity="distance from the plane").sort_values("network")[["x", "y"]].to_numpy(float)
    start, *ends = places
    for end in ends:
        ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": "white", "linewidth": 1.4})
    ax.plot(*zip(*ends), color="#f0e442", linewidth=1.4, linestyle="--")
    ax.set(title=f"{title}: one pair, from its start (0)", xlabel="weight space, Euclidean")
    ax.set_aspect("equal")
    plt.colorbar(shown, ax=ax, label="train loss (nats)", format="%.2f", shrink=0.9)


def _rows(ax: Axes, found: Mapping[str, np.ndarray], xlabel: str, flat: float, margin: float) -> None:
    """A row a start; shaded is what rises by no more than the ``margin`` above where a ``flat`` path is."""
    for k, (start, values) in enumerate(reversed([*found.items()])):
        row_of_dots(ax, k, values, HUES[start], marker("dense"))
    ax.axvspan(flat - margin, flat + margin, color=SHADE, linewidth=0, zorder=0)
    ax.axvline(flat, color="#999999", linewidth=0.8)
    ax.set_yticks(range(len(found)), [STARTS[s].replace(" initialisation", "") for s in found][::-1])
    ax.set(xlabel=xlabel, ylim=(-0.6, len(found) - 0.4))


def platon(table: Table, compared: Sequence[str], window: int, note: str = "") -> Figure:
    """Figures 4 to 6 of Han & Zhu (2023) with controls: PLATON's course, its mask's alone, what a mask is worth.

    Args:
        table: by method, ``ratio`` (share of the weights left) and ``at`` (step) the quantities ``loss`` and ``smooth
            loss`` of one training, and of "platon" the share ``kept``; by ``ratio`` and ``phase`` (steps since the last
            mask) ``loss at phase``; by method and ``ratio`` the ``test_accuracy`` of networks.
        compared: methods, in the order of their rows. window: steps between two masks. note: the caption.
    """
    courses = {key: Table(rows) for key, rows in table[table["at"].notna()].groupby(["method", "ratio"], sort=False)}
    ratios = [ratio for method, ratio in courses if method == "platon"]
    figure = plt.figure(figsize=(WIDTH, 5.6), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False)[:, 0]
    for ax, ((_, ratio), rows) in zip(above.subplots(1, len(courses), squeeze=False)[0], courses.items()):
        _course(ax, rows, ratio)
    left, right = below.subplots(1, 2, squeeze=False)[0]
    _accuracies(left, table, compared, ratios)
    _phases(right, table, window)
    caption(figure, note)
    return figure


def _course(ax: Axes, table: Table, ratio: float) -> None:
    """The loss of one training; where it prunes on the way, what a mask would leave is on the right axis."""
    loss, smooth, kept = (table[table["quantity"] == q].sort_values("at") for q in ("loss", "smooth loss", "kept"))
    ax.plot(loss["at"], loss["value"], color="#bbbbbb", linewidth=0.5, label="loss of a batch")
    ax.plot(smooth["at"], smooth["value"], color="#0072b2", linewidth=1.5, label="moving average")
    title = f"PLATON to {100 * ratio:g}%" if len(kept) else f"the {100 * ratio:g}% mask, trained anew"
    ax.set(xlabel="step", ylabel="train loss (nats)", title=title)
    ax.legend(loc="upper right")
    if len(kept):
        other = ax.twinx()
        other.plot(kept["at"], 100 * kept["value"], color="#d55e00", linewidth=1.2, linestyle="--")
        other.set(ylim=(0, 105))
        other.set_ylabel("weights left by a mask (%)", color="#d55e00")
        other.spines["right"].set_visible(True)


def _accuracies(ax: Axes, table: Table, compared: Sequence[str], ratios: Sequence[float]) -> None:
    found = table.select(quantity="test_accuracy").values_of(by=("method", "ratio"), scale=100)
    rows = [(m, r) for r in (1.0, *ratios) for m in compared if (m, r) in found]
    for k, key in enumerate(reversed(rows)):
        row_of_dots(ax, k, found[key], colour(key[0]), marker(key[0]))
    names = [label(m).replace("platon", "PLATON") + ("" if r == 1 else f", {100 * r:g}%") for m, r in rows]
    ax.set_yticks(range(len(rows)), names[::-1])
    ax.set(xlabel="test accuracy (%)    better →", title="what is left, and what a mask is worth",
           ylim=(-0.6, len(rows) - 0.4))


def _phases(ax: Axes, table: Table, window: int) -> None:
    """What the loss of a step is less the mean of its window, for the dense network too, which nothing masks."""
    rows = table.select(quantity="loss at phase")
    for k, ratio in enumerate(sorted(rows["ratio"].unique(), reverse=True)):
        of = rows.select(ratio=ratio).pivot(index="init", columns="phase", values="value")
        less = of.sub(of.mean(axis=1), axis=0)
        curve(ax, {p + 0.15 * (k - 1): estimate(less[p]) for p in less}, color=COURSES[k % 5],
              marker="so^Dv"[k % 5], markersize=4, linewidth=1,
              label="dense, no mask" if ratio == 1 else f"to {100 * ratio:g}% of the weights")
    ax.axhline(0, color="#999999", linewidth=0.6)
    ax.set(xlabel=f"steps since the last mask, of {window} (1: the masked network itself)",
           ylabel="train loss less its window's mean (nats)", xticks=range(1, window + 1),
           title="do masks make the oscillation?")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.3 * (high - low))  # room for the legend
    ax.legend(loc="upper right")


# Points that Han & Zhu lose (98 → 95.3 and 93.7%), and with the mask alone.
PAPER, ALONE = {0.2: 2.7, 0.05: 4.3}, {0.2: 4.4}


def platon_claims(table: Table, ratios: Sequence[float]) -> list[Claim]:
    """C3: PLATON, and its mask on the original weights, lose no more than in the paper. C3c: its mask's controls."""
    layout, found = table.select(quantity="test_accuracy"), []

    def lost(method: str, ratio: float, other: str = "dense", at: float = 1.0) -> np.ndarray:
        return 100 * layout.contrast((other, at), (method, ratio), by=["method", "ratio"])
    for ratio in ratios:
        allowed = PAPER.get(ratio, ACCURACY)
        found.append(claim(f"C3-{100 * ratio:g}%", f"PLATON with {100 * ratio:g}% of the weights loses at most "
                           f"{allowed:g} points of test accuracy", lost("platon", ratio), claimed="at most",
                           margin=allowed, unit="points", note="dense minus pruned, by initialisation."))
    first = ratios[0]
    alone = ALONE.get(first, ACCURACY)
    found.append(claim(f"C3-{100 * first:g}% (mask)", f"the {100 * first:g}% mask on the original weights loses at "
                       f"most {alone:g} points", lost("platon, retrained", first), claimed="at most", margin=alone,
                       unit="points", note="dense minus retrained, by initialisation."))
    for control in ("random mask", "magnitude mask", "platon, another init"):
        same = control == "platon, another init"
        statement = "is worth as much as one found for another head" if same else f"beats a {label(control)}"
        found.append(claim(f"C3c-{100 * first:g}% ({control})", f"PLATON's mask {statement}",
                           lost("platon, retrained", first, control, first), claimed="within" if same else "below",
                           margin=ACCURACY, unit="points", note="control minus PLATON's, by initialisation."))
    return found
