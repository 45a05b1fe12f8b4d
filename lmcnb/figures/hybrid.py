"""Figure 7: accuracy against sparsity of tickets rewound to initialisation, to an early step, and of hybrid ones."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..statistics import estimate
from .base import caption, percent_sparse

HUES = {"k=0": "#c44e52", "k>0": "#d98b0b", "hybrid": "#1f77b4"}
MARKS = {"k=0": "o", "k>0": "s", "hybrid": "D"}
TICKS = (0, 2, 4, 7, 10, 13, 18, 22)  # 0, 36, 59, 79, 89, 95, 98 and 99% sparse at rate 0.2

Values = Mapping[int, Sequence[float]]


def hybrid(accuracy: Mapping[str, Values], names: Mapping[str, str], switch: int, note: str, margin: float = 1.0,
           rate: float = 0.2) -> Figure:
    """Figure 7 of McDermott & Parhi (2025), and beside it every way's difference from IMP rewound to step k.

    Args:
        accuracy: test accuracies in %, by way ("k=0", "k>0", "hybrid") and round: n values, one an initialisation.
        names: the ways' names in the legend. switch: the round after which the hybrid prunes on real data.
        note: the caption. margin: points below the k > 0 tickets that still count as holding their accuracy.
        rate: share of the weights left that a round removes.
    Raises:
        ValueError: a way is missing.
    """
    if missing := sorted(set(HUES) - set(accuracy)):
        raise ValueError(f"accuracy lacks {', '.join(missing)}; it needs the ways {', '.join(HUES)}")
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 4.4), layout="constrained")
    for way in HUES:
        _curve(left, way, accuracy[way], names[way])
    dense = estimate(accuracy["k=0"][0]).mean
    left.axhline(dense, color="#222222", linewidth=0.9, linestyle="--", label="dense network", zorder=1)
    left.legend(loc="lower left", bbox_to_anchor=(0, 0.08))
    left.set(ylabel="test accuracy (%)", title="accuracy of the trained subnetworks")
    for shift, way in ((-0.13, "k=0"), (0.13, "hybrid")):
        _difference(right, way, accuracy[way], accuracy["k>0"], shift)
    right.axhline(0, color=HUES["k>0"], linewidth=1.4)
    right.axhline(-margin, color="#777777", linewidth=0.9, linestyle=":")
    right.set(ylabel="points of test accuracy", title=f"difference from {names['k>0']}")
    for ax in (left, right):
        _sparsity_axis(ax, max(accuracy["k=0"]), switch, rate)
    caption(figure, note)
    return figure


def _curve(ax: Axes, way: str, values: Values, name: str) -> None:
    """Mean and 95% band (Student's t) over initialisations."""
    each = [estimate(v) for v in values.values()]
    ax.plot(list(values), [e.mean for e in each], MARKS[way] + "-", markersize=3.5, color=HUES[way], label=name)
    ax.fill_between(list(values), [e.low for e in each], [e.high for e in each], color=HUES[way], alpha=0.14,
                    linewidth=0)


def _difference(ax: Axes, way: str, values: Values, reference: Values, shift: float) -> None:
    """Mean and 95% interval of the difference, paired by initialisation."""
    rounds = [r for r in values if r in reference]
    each = [estimate(np.subtract(values[r], reference[r])) for r in rounds]
    at = np.add(rounds, shift)
    ax.vlines(at, [e.low for e in each], [e.high for e in each], color=HUES[way], linewidth=1.2, alpha=0.8)
    ax.plot(at, [e.mean for e in each], MARKS[way] + "-", markersize=3.5, linewidth=0.8, color=HUES[way])


def _sparsity_axis(ax: Axes, last: int, switch: int, rate: float) -> None:
    """A round takes the same share of what is left, so even steps of rounds are a log axis of the weights left."""
    ticks = [t for t in TICKS if t < last - 1] + [last]
    ax.set_xticks(ticks, [percent_sparse(t, rate) for t in ticks])
    ax.set_xticks(range(last + 1), minor=True)
    ax.set(xlim=(-0.5, last + 0.5), xlabel="sparsity (a tick a pruning round: log axis of the weights left)")
    ax.axvspan(-0.5, switch, color=HUES["hybrid"], alpha=0.05, linewidth=0)
    ax.axvline(switch, color=HUES["hybrid"], linewidth=0.9, linestyle=":")
    for x, side, text in ((switch - 0.15, "right", "hybrid: distilled data"), (switch + 0.15, "left", "real data")):
        ax.text(x, 0.02, text, transform=ax.get_xaxis_transform(), ha=side, va="bottom", fontsize="x-small",
                color=HUES["hybrid"])
