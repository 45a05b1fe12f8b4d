"""Figure 5: loss landscapes on planes through trained networks."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .base import caption, label

TITLES = {"through": "through three trainings", "released": "as in the released code", "random": "random directions"}


def plane(ax: Axes, xs, ys, loss, places, levels: Sequence[float], in_plane: int) -> None:
    """Filled contours of one plane with the trained networks: solid where they lie in it, hollow where projected.

    Infinite losses are drawn as the highest.
    """
    loss = np.asarray(loss, dtype=float)
    highest = max(loss.max(where=np.isfinite(loss), initial=levels[0]), 2 * levels[-1] - levels[-2])
    loss = np.where(np.isposinf(loss), highest, loss)
    shown = ax.contourf(xs, ys, np.maximum(loss, levels[0]), levels=levels, cmap="viridis", extend="max")
    ax.contour(xs, ys, loss, levels=levels[1:-1:2], colors="white", linewidths=0.3, alpha=0.6)
    for k, (x, y) in enumerate(places):
        face = "white" if k < in_plane else "none"
        ax.plot(x, y, "o", color="white", markerfacecolor=face, markersize=5, clip_on=False)
        ax.annotate(str(k), (x, y), xytext=(4, 3), textcoords="offset points", color="white", fontsize="x-small")
    ax.set(xlim=(xs[0], xs[-1]), ylim=(ys[0], ys[-1]))
    return shown


def shared_levels(planes: Mapping[tuple[str, str], Mapping], count: int = 17) -> np.ndarray:
    """Levels from the smallest loss to what the planes between trainings hold; random directions rise out of them."""
    losses = {key: np.asarray(p["loss"], dtype=float) for key, p in planes.items()}
    finite = {key: loss[np.isfinite(loss)] for key, loss in losses.items()}
    between = [loss for (kind, _), loss in finite.items() if kind != "random"]
    low = float(np.concatenate(list(finite.values())).min())
    high = float(np.quantile(np.concatenate(between), 0.9)) if between else low
    return low + max(high - low, 1e-3) * np.linspace(0, 1, count) ** 1.5


def landscapes(planes: Mapping[tuple[str, str], Mapping], alphas, segments: Mapping[str, np.ndarray], note: str,
               names: Mapping[str, str] | None = None) -> Figure:
    """Figure 5 of McDermott & Parhi (2025) on three kinds of plane, with the segment between two trainings.

    Args:
        planes: by (kind, way), kinds as in TITLES: xs [X], ys [Y], loss [Y, X] (nats), places [S, 2] of the trained
            networks and in_plane, how many of them lie in the plane.
        alphas: [A]. segments: train loss [A] from the first to the second training, by way.
        names: how to call the ways. note: the caption.
    """
    kinds, ways = (list(dict.fromkeys(k[i] for k in planes)) for i in (0, 1))
    levels = shared_levels(planes)
    figure, axes = plt.subplots(len(ways), len(kinds) + 1, figsize=(3 * len(kinds) + 3.4, 2.75 * len(ways)),
                                layout="constrained", squeeze=False)
    for row, way in zip(axes, ways):
        for ax, kind in zip(row, kinds):
            p = planes[kind, way]
            shown = plane(ax, p["xs"], p["ys"], p["loss"], p["places"], levels, p["in_plane"])
            ax.set_title(TITLES[kind] if way == ways[0] else "")
        row[0].set_ylabel(f"{(names or {}).get(way, label(way))}\n\nweight space, Euclidean")
        _segment(row[-1], alphas, segments, way)
    for ax, kind in zip(axes[-1], kinds):
        unit = {"through": "weight space, Euclidean", "released": "multiples of (θ₀ − θ₁)/2",
                "random": "multiples of the filters' norms"}
        ax.set_xlabel(unit[kind])
    axes[0, -1].set_title("along the segment 0 – 1")
    axes[-1, -1].set_xlabel("α")
    figure.colorbar(shown, ax=axes[:, :-1], location="bottom", shrink=0.5, aspect=45, format="%.2f",
                    label="train loss (nats), one scale for all panels")
    caption(figure, note)
    return figure


def _segment(ax: Axes, alphas, segments: Mapping[str, np.ndarray], way: str) -> None:
    share = np.asarray(alphas)
    rises = {w: np.asarray(v) - (1 - share) * v[0] - share * v[-1] for w, v in segments.items()}
    top = max(float(np.abs(r).max()) for r in rises.values()) or 1.0
    for w, rise in rises.items():
        ax.plot(alphas, rise, color="#1f1f1f" if w == way else "#c8c8c8", linewidth=1.8 if w == way else 1,
                zorder=2 if w == way else 1)
    ax.axhline(0, color="#999999", linewidth=0.6)
    ax.set(ylabel="rise above the chord (nats)", ylim=(-1.15 * top, 1.15 * top))
