"""The quickstart's figure: the path of every round, and the barrier against sparsity."""
from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ..prune.magnitude import sparsity_after
from .base import caption, colour, label


def rounds(alphas, heights: Mapping[str, np.ndarray], barriers: Mapping[str, np.ndarray], note: str,
           rate: float = 0.2) -> Figure:
    """Quickstart: a panel a way with the path of every pruning round, and the barrier against sparsity.

    Args:
        alphas: [A]. heights: train loss [rounds + 1, A] by way. barriers: nats [rounds + 1] by way.
        note: the caption. rate: share of the weights left that a round removes.
    """
    figure, axes = plt.subplots(1, len(heights) + 1, figsize=(10.5, 3.2), layout="constrained")
    for ax, (way, rows) in zip(axes, heights.items()):
        for r, row in enumerate(rows):
            ax.plot(alphas, row, color=plt.cm.viridis(r / max(1, len(rows) - 1)), linewidth=1.3)
        ax.set(xlabel="α", title=label(way), ylim=(0, 1.05 * max(float(np.max(h)) for h in heights.values())))
    axes[0].set_ylabel("train loss (nats)")
    count = len(next(iter(heights.values())))
    scale = plt.cm.ScalarMappable(plt.Normalize(0, count - 1), "viridis")
    figure.colorbar(scale, ax=axes[len(heights) - 1], label="pruning round")
    for way, values in barriers.items():
        sparse = [100 * sparsity_after(r, rate) for r in range(len(values))]
        axes[-1].plot(sparse, values, "o-", markersize=4, color=colour(way), label=label(way))
    top = max(float(np.max(v)) for v in barriers.values())
    axes[-1].set_ylim(-0.05 * max(top, 0.05), max(1.3 * top, 0.05))  # noise of a flat path must not look like a hill
    axes[-1].axhline(0, color="#999999", linewidth=0.8)
    axes[-1].set(xlabel="sparsity (%)", ylabel="barrier (nats, chord)", title="how far each path rises")
    axes[-1].legend()
    caption(figure, note)
    return figure
