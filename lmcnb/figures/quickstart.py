"""The quickstart's figure: the path of every round, and the barrier against sparsity."""
from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ..prune.magnitude import sparsity_after
from ..tables import Table
from .base import WIDTH, caption, colour, label, marker


def rounds(table: Table, note: str = "") -> Figure:
    """Quickstart: a panel a method with the path of every pruning round, and the barrier against sparsity.

    Args:
        table: the train loss on paths, by method and round (0: before pruning). note: the caption.
    """
    heights, viridis = by_method(table), colormaps["viridis"]
    count, top = max(map(len, heights.values())), max(float(h.max()) for h in heights.values())
    figure, axes = plt.subplots(1, len(heights) + 1, figsize=(WIDTH, 2.7), layout="constrained")
    for ax, (method, rows) in zip(axes, heights.items()):
        for r, row in enumerate(rows):
            ax.plot(table.alphas, row, color=viridis(r / max(1, count - 1)), linewidth=1.3)
        ax.set(xlabel="α", title=label(method), ylim=(0, 1.05 * top))
    axes[0].set_ylabel("train loss (nats)")
    scale = ScalarMappable(Normalize(0, count - 1), "viridis")
    figure.colorbar(scale, ax=axes[len(heights) - 1], label="pruning round", ticks=range(count))
    barriers = table.barriers("train_loss", "chord")
    for method in heights:
        own = barriers.select(method=method).sort_values("round")
        sparse = [100 * sparsity_after(r) for r in own["round"]]
        axes[-1].plot(sparse, own["value"], marker(method) + "-", markersize=4, color=colour(method),
                      label=label(method))
    top = barriers["value"].max()
    axes[-1].set_ylim(-0.05 * max(top, 0.05), max(1.3 * top, 0.05))  # noise of a flat path must not look like a hill
    axes[-1].axhline(0, color="#999999", linewidth=0.8)
    axes[-1].set(xlabel="sparsity (%)", ylabel="barrier (nats, chord)", title="how far each path rises")
    axes[-1].legend()
    caption(figure, note)
    return figure


def by_method(table: Table) -> dict[str, np.ndarray]:
    """The train loss [rounds + 1, A] of each method, of one initialisation."""
    return {m: np.concatenate([*table.select(method=m).sort_values("round").curves().values()])
            for m in dict.fromkeys(table["method"])}
