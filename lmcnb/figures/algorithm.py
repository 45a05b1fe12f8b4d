"""Figure 1: distilled pruning, drawn from the objects that it made."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator

from ..prune.magnitude import RATE
from ..tables import Table
from .base import WIDTH, caption, colour, percent_sparse

KEPT, PRUNED, TRAINED = colour("idc"), colour("imp"), "#e0a458"
ARROW = "#555555"


def first_round(losses: Sequence[float], initial: np.ndarray, trained: np.ndarray, rewound: np.ndarray,
                kept: np.ndarray, sample: int = 1500) -> Iterator[dict[str, Any]]:
    """What one round did to the weights, as rows of a table: counts by magnitude, and a fixed sample of them.

    Args:
        losses: train loss (nats) of every step. initial, trained, rewound: prunable weights [w] before and after the
            round's training and where the next round begins. kept: bool [w], what pruning left.
    Raises:
        ValueError: weights that are not of one length.
    """
    initial, trained, rewound = (np.asarray(v, dtype=float) for v in (initial, trained, rewound))
    size, kept = np.abs(trained), np.asarray(kept, dtype=bool)
    if len({len(v) for v in (initial, trained, rewound, kept)}) != 1:
        raise ValueError("initial, trained, rewound and kept must hold the same weights: flatten the same layers")
    edges = np.linspace(0, np.quantile(size, 0.995), 60)
    yield from ({"quantity": "train_loss", "step": k, "value": float(v)} for k, v in enumerate(losses, 1))
    yield {"quantity": "threshold", "value": size[kept].min()}
    for name, some in (("weights pruned", ~kept), ("weights kept", kept)):
        yield {"quantity": name, "value": some.sum()}
        yield from ({"quantity": f"{name}, by magnitude", "magnitude": low, "value": n}
                    for low, n in zip(edges, np.histogram(size[some], edges)[0]))
    for k in np.random.default_rng(0).permutation(len(initial))[:sample]:
        yield {"quantity": "weight after training", "initial": initial[k], "value": trained[k]}
        yield {"quantity": "weight rewound" if kept[k] else "weight pruned", "initial": initial[k], "value": rewound[k]}


def montage(grid: np.ndarray, gap: int = 1) -> np.ndarray:
    """[rows, columns, C, H, W] in 0…1 as one picture uint8 [·, ·, 3], white between the images."""
    grid = np.rint(255 * np.clip(np.asarray(grid, dtype=float), 0, 1)).astype(np.uint8)
    rows, columns, channels, height, width = grid.shape
    sheet = np.full((rows, columns, channels, height + gap, width + gap), 255, dtype=np.uint8)
    sheet[..., :height, :width] = grid
    picture = sheet.transpose(0, 3, 1, 4, 2).reshape(rows * (height + gap), columns * (width + gap), channels)
    return np.repeat(picture, 3, axis=2) if channels == 1 else picture


def distilled_pruning(table: Table, images: Mapping[str, Sequence[np.ndarray]], rounds: Sequence[int], note: str = ""
                      ) -> Figure:
    """Figure 1 of McDermott & Parhi (2025), the loop of distilled pruning, with the run's own numbers in every step.

    Args:
        table: of the first round what :func:`first_round` says; by round the "density, <layer>", shares of weights
            left; of trained subnetworks the test accuracy, and "test_accuracy, untrained".
        images: "stored" and "decoded", a montage each, of the set as it is kept and as a network trains on it; and
            "mask, <layer>", uint8 [rounds, outputs, inputs · kernel], 0 where a weight is pruned.
        rounds: those whose masks these are. note: the caption: data, network, recipe.
    Raises:
        ValueError: there are no such images.
    """
    masks = {n.removeprefix("mask, "): m for n, m in images.items() if n.startswith("mask, ")}
    if not masks or not {"stored", "decoded"} <= set(images):
        raise ValueError("images lack the distilled set or the masks: a figure that was saved without its pictures is "
                         "drawn by running its notebook")
    figure = plt.figure(figsize=(WIDTH, 6.6))
    picture(_title(figure.add_axes((0.01, 0.60, 0.17, 0.27)), "1 · distill"), images["stored"][0])
    top = _title(figure.add_axes((0.27, 0.755, 0.175, 0.115)), "2 · train on them, decoded")
    picture(top, images["decoded"][0])
    figure.axes[0].set_xlabel("a class a column")
    learning(figure.add_axes((0.27, 0.60, 0.175, 0.115)), table)
    prune(_title(figure.add_axes((0.585, 0.60, 0.135, 0.27)), f"3 · prune the lowest {100 * RATE:.0f}%"), table)
    rewind(_title(figure.add_axes((0.86, 0.60, 0.135, 0.27)), "4 · rewind"), table)
    matrices(figure, (0.06, 0.07, 0.42, 0.31), masks, rounds)
    densities(_title(figure.add_axes((0.56, 0.07, 0.17, 0.31)), "what every layer keeps"), table)
    final(_title(figure.add_axes((0.85, 0.07, 0.145, 0.31)), "6 · train on real data"), table)
    arrows(figure, table["round"].max())
    caption(figure, note)
    return figure


def picture(ax: Axes, pixels: np.ndarray) -> None:
    ax.imshow(pixels, interpolation="nearest", aspect="auto")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def learning(ax: Axes, table: Table) -> None:
    losses = table.select(quantity="train_loss")
    ax.plot(losses["step"], losses["value"], color=KEPT, linewidth=0.9)
    ax.set(xlabel="SGD step", ylabel="train loss\non distilled\nimages (nats)", ylim=(0, None))


def prune(ax: Axes, table: Table) -> None:
    """Magnitudes after training, and the threshold that those to be pruned fall below."""
    bottom: Any = 0
    for name, hue in (("pruned", PRUNED), ("kept", KEPT)):
        bars = table.select(quantity=f"weights {name}, by magnitude")
        low, counts = bars["magnitude"].to_numpy(), bars["value"].to_numpy()
        [total] = table.select(quantity=f"weights {name}")["value"]
        ax.bar(low, counts, low[1] - low[0], bottom, align="edge", color=hue, label=f"{name}: {total:,.0f}")
        bottom = bottom + counts
    [threshold], top = table.select(quantity="threshold")["value"], 1.05 * bottom.max()
    ax.axvline(threshold, color="black", linewidth=1)
    ax.text(threshold, top, f" threshold {threshold:.3g}", va="top")
    ax.set(xlabel="|weight| after training", ylabel="weights", ylim=(0, 1.3 * top))
    ax.legend(loc="upper right", handlelength=0.8, borderaxespad=0)


def rewind(ax: Axes, table: Table) -> None:
    """Each weight of the sample against its initial value: trained, and where the next round begins."""
    for name, hue, alpha, text in (("after training", TRAINED, 0.6, "after training"),
                                   ("rewound", KEPT, 1, "kept, rewound"), ("pruned", PRUNED, 1, "pruned, zero")):
        some = table.select(quantity=f"weight {name}")
        ax.plot(some["initial"], some["value"], "o", color=hue, alpha=alpha, label=text, markersize=2,
                markeredgewidth=0, rasterized=True)
    edge = 1.05 * table.select(quantity="weight after training")["value"].abs().quantile(0.995)
    ax.set(xlabel="initial value", ylabel="value", ylim=(-edge, 2.3 * edge))
    ax.legend(loc="upper left", labelspacing=0.2, markerscale=2)


def matrices(figure: Figure, place: tuple[float, float, float, float], masks: Mapping[str, Sequence[np.ndarray]],
             rounds: Sequence[int]) -> None:
    """A row a round, a column a layer: every mask as a matrix of outputs × (inputs · kernel); white is pruned."""
    left, bottom, width, height = place
    grid = figure.add_gridspec(len(rounds), len(masks), left=left, bottom=bottom, right=left + width,
                               top=bottom + height, hspace=0.18, wspace=0.08,
                               width_ratios=[np.shape(m)[-1] ** 0.5 for m in masks.values()])
    for column, (name, pictures) in enumerate(masks.items()):
        for row, (r, mask) in enumerate(zip(rounds, pictures, strict=True)):
            ax = figure.add_subplot(grid[row, column])
            ax.imshow(np.where(mask, 0.0, 1.0), cmap="Blues_r", vmin=-0.3, vmax=1, aspect="auto")
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set(visible=True, color="#999999", linewidth=0.6)
            if row == 0:
                ax.set_title(f"{name}\n{mask.shape[0]} × {mask.shape[1]}", fontweight="normal")
            if column == 0:
                ax.set_ylabel(f"round {r}\n{percent_sparse(r)}")
    figure.text(left, bottom + height + 0.06, "masks: blue kept, white pruned; outputs × (inputs · kernel), % pruned",
                fontweight="bold")


def densities(ax: Axes, table: Table) -> None:
    """Weights left in every layer over the rounds, beside the share that all rounds leave overall."""
    layers = [q for q in table["quantity"].unique() if q.startswith("density, ")]
    rounds = np.arange(table["round"].max() + 1)
    for k, name in enumerate(layers):
        left = table.select(quantity=name).sort_values("round")["value"]
        ax.plot(rounds, [100, *100 * left], "o-", markersize=3, linewidth=1.2, label=name.removeprefix("density, "),
                color=plt.cm.viridis(0.85 * k / max(1, len(layers) - 1)))
    ax.plot(rounds, 100 * (1 - RATE) ** rounds, color="black", linestyle="--", linewidth=1, label="all layers")
    ax.set(yscale="log", xlabel="pruning round", ylabel="weights left (%, log scale)")
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ticks = [t for t in (100, 50, 20, 10, 5, 2, 1) if t >= ax.get_ylim()[0]]
    ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
    ax.minorticks_off()
    ax.legend(loc="lower left", labelspacing=0.2)


def final(ax: Axes, table: Table) -> None:
    """Test accuracy of the dense network and of subnetworks before and after their training on real data."""
    before = table.values_of("test_accuracy, untrained", scale=100)
    after = table.select(seeds="0").values_of("test_accuracy", scale=100)
    for y, (key, [end]) in enumerate(reversed(after.items())):
        shade, [begin] = colour(key[0]), before[key]
        ax.annotate("", (end, y), (begin, y), arrowprops={"arrowstyle": "-|>", "color": shade, "shrinkA": 0,
                                                          "shrinkB": 0, "linewidth": 1.5})
        ax.plot(begin, y, "o", markersize=4, color=shade, markerfacecolor="white")
        ax.text(end, y + 0.07, f"{end:.1f}%", ha="right", va="bottom", color=shade)
    names = ["dense" if r == 0 else percent_sparse(r) for _, r in after]
    ax.set_yticks(range(len(names)), names[::-1])
    top = max(end for [end] in after.values())
    ax.set(xlabel="test accuracy (%)\nopen: untrained", xlim=(0, 1.08 * top), ylim=(-0.5, len(names) - 0.3))


def arrows(figure: Figure, rounds: int) -> None:
    """The order of the steps: along the top row, back for the next round, and down to what the rounds leave."""
    for a, b in ((0.185, 0.225), (0.455, 0.5), (0.735, 0.775)):
        _arrow(figure, [(a, 0.735), (b, 0.735)])
    _arrow(figure, [(0.907, 0.92), (0.907, 0.965), (0.357, 0.965), (0.357, 0.92)])
    figure.text(0.632, 0.972, f"5 · repeat, {rounds} rounds: each trains what is left, from its initial values",
                ha="center", va="bottom", fontweight="bold")
    _arrow(figure, [(0.907, 0.535), (0.907, 0.51), (0.27, 0.51), (0.27, 0.475)])
    _arrow(figure, [(0.74, 0.16), (0.785, 0.16)])


def _arrow(figure: Figure, corners: Sequence[tuple[float, float]]) -> None:
    figure.add_artist(FancyArrowPatch(path=Path(corners), arrowstyle="-|>", mutation_scale=14, color=ARROW,
                                      linewidth=1.6, transform=figure.transFigure))


def _title(ax: Axes, text: str) -> Axes:
    ax.set_title(text, loc="left")
    return ax
