"""Figure 1: distilled pruning, drawn from the objects that it made."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from matplotlib.path import Path

from .base import caption, colour, percent_sparse

KEPT, PRUNED, TRAINED = colour("idc"), colour("imp"), "#e0a458"
ARROW = "#555555"


def distilled_pruning(stored: np.ndarray, decoded: np.ndarray, losses: Sequence[float], initial: np.ndarray,
                      trained: np.ndarray, rewound: np.ndarray, kept: np.ndarray,
                      masks: Mapping[int, Mapping[str, np.ndarray]], density: Mapping[str, Sequence[float]],
                      accuracy: Mapping[int, tuple[float, float]], note: str, rate: float = 0.2) -> Figure:
    """Figure 1 of McDermott & Parhi (2025), the loop of distilled pruning, with the run's own numbers in every step.

    Args:
        stored, decoded: images [rows, classes, C, H, W] in 0…1, as the set is kept and as a network trains on it.
        losses: train loss (nats) of every step of one round. initial, trained, rewound: prunable weights [w] before
            and after that round's training and where the next round begins; kept: bool [w], what pruning left.
        masks: bool [out, ...] of every layer, by round and layer. density: share of weights left, 0…1, by layer, for
            rounds 0, 1, …. accuracy: test accuracy in percent by round, before and after training on real data.
        note: the caption: data, network, recipe. rate: share of the weights left that a round removes.
    Raises:
        ValueError: weights of one round that are not of one length.
    """
    if len({np.size(v) for v in (initial, trained, rewound, kept)}) != 1:
        raise ValueError("initial, trained, rewound and kept must hold the same weights: flatten the same layers")
    with matplotlib.rc_context({"axes.labelsize": "small", "xtick.labelsize": "x-small", "ytick.labelsize": "x-small"}):
        figure = plt.figure(figsize=(12, 7.6))
        images(_title(figure.add_axes((0.01, 0.60, 0.17, 0.27)), "1 · distil"), stored)
        images(_title(figure.add_axes((0.27, 0.755, 0.175, 0.115)), "2 · train on them, decoded"), decoded)
        learning(figure.add_axes((0.27, 0.60, 0.175, 0.115)), losses)
        lowest = _title(figure.add_axes((0.55, 0.60, 0.165, 0.27)), f"3 · prune the lowest {100 * rate:.0f}%")
        prune(lowest, trained, kept)
        rewind(_title(figure.add_axes((0.825, 0.60, 0.165, 0.27)), "4 · rewind"), initial, trained, rewound, kept)
        matrices(figure, (0.06, 0.07, 0.42, 0.31), masks, rate)
        densities(_title(figure.add_axes((0.56, 0.07, 0.17, 0.31)), "what every layer keeps"), density, rate)
        final(_title(figure.add_axes((0.825, 0.07, 0.165, 0.31)), "6 · train on real data"), accuracy, rate)
        arrows(figure, len(next(iter(density.values()))) - 1)
    caption(figure, note)
    return figure


def montage(grid: np.ndarray, gap: int = 1) -> np.ndarray:
    """[rows, columns, C, H, W] in 0…1 as one picture [·, ·, 3], white between the images."""
    grid = np.clip(np.asarray(grid, dtype=float), 0, 1)
    rows, columns, channels, height, width = grid.shape
    sheet = np.ones((rows, columns, channels, height + gap, width + gap))
    sheet[..., :height, :width] = grid
    picture = sheet.transpose(0, 3, 1, 4, 2).reshape(rows * (height + gap), columns * (width + gap), channels)
    return np.repeat(picture, 3, axis=2) if channels == 1 else picture


def images(ax: Axes, grid: np.ndarray) -> None:
    """A class a column."""
    ax.imshow(montage(grid), interpolation="nearest", aspect="auto")
    ax.set(xticks=[], yticks=[], xlabel="a class a column" if len(grid) > 4 else "")
    ax.spines[:].set_visible(False)


def learning(ax: Axes, losses: Sequence[float]) -> None:
    ax.plot(np.arange(1, len(losses) + 1), losses, color=KEPT, linewidth=0.9)
    ax.set(xlabel="SGD step", ylabel="loss (nats)", ylim=(0, None))


def prune(ax: Axes, trained: np.ndarray, kept: np.ndarray) -> None:
    """Magnitudes after training, and the threshold that those to be pruned fall below."""
    size, kept = np.abs(trained), np.asarray(kept, dtype=bool)
    threshold = size[kept].min()
    bins = np.linspace(0, np.quantile(size, 0.995), 60)
    ax.hist([size[~kept], size[kept]], bins, stacked=True, rwidth=1, color=[PRUNED, KEPT],
            label=[f"pruned: {(~kept).sum():,}", f"kept: {kept.sum():,}"])
    ax.axvline(threshold, color="black", linewidth=1)
    ax.text(threshold, ax.get_ylim()[1], f" threshold {threshold:.3g}", va="top", fontsize="x-small")
    ax.set(xlabel="|weight| after training", ylabel="weights", ylim=(0, 1.3 * ax.get_ylim()[1]))
    ax.legend(fontsize="x-small", loc="upper right")


def rewind(ax: Axes, initial: np.ndarray, trained: np.ndarray, rewound: np.ndarray, kept: np.ndarray,
           shown: int = 1500) -> None:
    """Each weight against its initial value: trained, and where the next round begins. A fixed sample is drawn."""
    some = np.random.default_rng(0).permutation(len(initial))[:shown]
    x, y, start, kept = (np.asarray(v)[some] for v in (initial, trained, rewound, np.asarray(kept, dtype=bool)))
    dots = {"linestyle": "none", "marker": "o", "markeredgewidth": 0, "rasterized": True}
    ax.plot(x, y, color=TRAINED, markersize=2, alpha=0.6, label="after training", **dots)
    ax.plot(x[kept], start[kept], color=KEPT, markersize=2, label="kept, rewound", **dots)
    ax.plot(x[~kept], start[~kept], color=PRUNED, markersize=2, label="pruned, zero", **dots)
    edge = 1.05 * np.quantile(np.abs(y), 0.995)
    ax.set(xlabel="initial value", ylabel="value", ylim=(-edge, 1.7 * edge))
    ax.legend(fontsize="x-small", loc="upper left", labelspacing=0.2, markerscale=2)


def matrices(figure: Figure, place: tuple[float, float, float, float], masks: Mapping[int, Mapping[str, np.ndarray]],
             rate: float = 0.2) -> None:
    """A row a round, a column a layer: every mask as a matrix of outputs × (inputs · kernel); white is pruned."""
    flat = {r: {n: np.asarray(m).reshape(len(m), -1) for n, m in layers.items()} for r, layers in masks.items()}
    first = next(iter(flat.values()))
    left, bottom, width, height = place
    grid = figure.add_gridspec(len(flat), len(first), left=left, bottom=bottom, right=left + width, top=bottom + height,
                               hspace=0.18, wspace=0.08, width_ratios=[m.shape[1] ** 0.5 for m in first.values()])
    for row, (r, layers) in enumerate(flat.items()):
        for column, (name, mask) in enumerate(layers.items()):
            ax = figure.add_subplot(grid[row, column])
            ax.imshow(np.where(mask, 0.0, 1.0), cmap="Blues_r", vmin=-0.3, vmax=1, aspect="auto")
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set(visible=True, color="#999999", linewidth=0.6)
            if row == 0:
                ax.set_title(f"{name}\n{mask.shape[0]} × {mask.shape[1]}", fontsize="x-small", fontweight="normal")
            if column == 0:
                ax.set_ylabel(f"round {r}\n{percent_sparse(r, rate)} sparse", fontsize="x-small")
    figure.text(left, bottom + height + 0.05, "what the rounds leave: outputs × (inputs · kernel), white is pruned",
                fontweight="bold", fontsize="medium")


def densities(ax: Axes, density: Mapping[str, Sequence[float]], rate: float = 0.2) -> None:
    """Weights left in every layer over the rounds, beside the share that all rounds leave overall."""
    rounds = np.arange(len(next(iter(density.values()))))
    for k, (name, values) in enumerate(density.items()):
        ax.plot(rounds, 100 * np.asarray(values), "o-", markersize=3, linewidth=1.2, label=name,
                color=plt.cm.viridis(0.85 * k / max(1, len(density) - 1)))
    ax.plot(rounds, 100 * (1 - rate) ** rounds, color="black", linestyle="--", linewidth=1, label="all layers")
    ax.set(yscale="log", xlabel="pruning round", ylabel="weights left (%)")
    ticks = [t for t in (100, 50, 20, 10, 5, 2, 1) if t >= ax.get_ylim()[0]]
    ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
    ax.minorticks_off()
    ax.legend(fontsize="x-small", loc="lower left", labelspacing=0.2)


def final(ax: Axes, accuracy: Mapping[int, tuple[float, float]], rate: float = 0.2) -> None:
    """Test accuracy of the dense network and of subnetworks before and after their training on real data."""
    for y, (r, (before, after)) in enumerate(reversed(accuracy.items())):
        shade = colour("idc" if r else "dense")
        ax.annotate("", (after, y), (before, y), arrowprops={"arrowstyle": "-|>", "color": shade, "shrinkA": 0,
                                                              "shrinkB": 0, "linewidth": 1.5})
        ax.plot(before, y, "o", markersize=4, color=shade, markerfacecolor="white")
        ax.text(after, y + 0.07, f"{after:.1f}%", ha="right", va="bottom", fontsize="x-small", color=shade)
    names = ["dense" if r == 0 else percent_sparse(r, rate) for r in accuracy]
    ax.set_yticks(range(len(names)), names[::-1])
    top = max(after for _, after in accuracy.values())
    ax.set(xlabel="test accuracy (%), open: untrained", xlim=(0, 1.08 * top), ylim=(-0.5, len(names) - 0.3))


def arrows(figure: Figure, rounds: int) -> None:
    """The order of the steps: along the top row, back for the next round, and down to what the rounds leave."""
    for a, b in ((0.19, 0.235), (0.455, 0.5), (0.725, 0.77)):
        _arrow(figure, [(a, 0.735), (b, 0.735)])
    _arrow(figure, [(0.907, 0.92), (0.907, 0.965), (0.357, 0.965), (0.357, 0.92)])
    figure.text(0.632, 0.972, f"5 · repeat, {rounds} rounds: each trains what is left, from its initial values",
                ha="center", va="bottom", fontsize="medium", fontweight="bold")
    _arrow(figure, [(0.907, 0.535), (0.907, 0.51), (0.27, 0.51), (0.27, 0.475)])
    _arrow(figure, [(0.74, 0.225), (0.785, 0.225)])


def _arrow(figure: Figure, corners: Sequence[tuple[float, float]]) -> None:
    figure.add_artist(FancyArrowPatch(path=Path(corners), arrowstyle="-|>", mutation_scale=14, color=ARROW,
                                      linewidth=1.6, transform=figure.transFigure))


def _title(ax: Axes, text: str) -> Axes:
    ax.set_title(text, loc="left")
    return ax
