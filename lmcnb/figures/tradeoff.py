"""Figure 6: how much more stable than IMP's, and how much more accurate, are the subnetworks found in other ways?"""
from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import stats

from ..statistics import Estimate, estimate
from .base import caption, colour, percent_sparse

SHAPES = "o^svPX<>"


def ratio(numerator: Sequence[float], denominator: Sequence[float], confidence: float = 0.95) -> Estimate | None:
    """Ratio of the means of n paired values with Fieller's interval; None where it is undefined.

    It is undefined unless the denominator's own interval lies above zero: otherwise the interval of the ratio is
    unbounded, or its sign has no meaning.
    """
    x, y = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    if not estimate(y, confidence).low > 0:  # NaN with one value
        return None
    n = len(x)
    t2 = stats.t.ppf((1 + confidence) / 2, n - 1) ** 2 / n
    (vx, cov), (_, vy) = np.cov(x, y)
    a, b, c = y.mean() ** 2 - t2 * vy, x.mean() * y.mean() - t2 * cov, x.mean() ** 2 - t2 * vx
    root = np.sqrt(max(0.0, b * b - a * c))
    return Estimate(float(x.mean() / y.mean()), float((b - root) / a), float((b + root) / a), n)


def tradeoff(records: Sequence[Mapping], note: str, rate: float = 0.2) -> Figure:
    """Figure 6 of McDermott & Parhi (2025), with differences from IMP where the paper has ratios to it.

    Args:
        records: for each way and sparsity: ``setting`` and ``name`` (texts), ``way``, ``round``, ``compression``
            (images per class / stored ones, or None), and n values paired by initialisation: ``barrier`` and
            ``imp_barrier`` (nats), ``accuracy`` and ``imp_accuracy`` (%).
        note: the caption. rate: share of the weights left that a round removes.
    Raises:
        ValueError: there is no record.
    """
    if not records:
        raise ValueError("tradeoff needs at least one record: a way and IMP with the same settings, two inits or more")
    settings = list(dict.fromkeys(r["setting"] for r in records))
    rounds = sorted({r["round"] for r in records})
    figure = plt.figure(figsize=(11.5, 5.2), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(2.3, 1), height_ratios=(1, 1.25))
    _scatter(figure.add_subplot(grid[:, 0]), records, settings, rounds)
    _denominators(figure.add_subplot(grid[0, 1]), records, settings, rate)
    _legend(figure.add_subplot(grid[1, 1]), records, settings, rounds, rate)
    caption(figure, note)
    return figure


def differences(record: Mapping) -> tuple[np.ndarray, np.ndarray]:
    """Barrier (nats) and accuracy (points) minus IMP's, for each initialisation."""
    return (np.subtract(record["barrier"], record["imp_barrier"]),
            np.subtract(record["accuracy"], record["imp_accuracy"]))


def area(compression: float | None) -> float:
    """A marker's area in points²: a decade of compression adds as much everywhere."""
    return 30.0 if compression is None else 30 + 45 * max(0.0, np.log10(compression))


def _scatter(ax: Axes, records: Sequence[Mapping], settings: list[str], rounds: list[int]) -> None:
    for axis in (ax.axhline, ax.axvline):
        axis(0, color="#cccccc", linewidth=0.8, zorder=0)
    joined: dict[tuple, list] = {}
    for record in sorted(records, key=lambda r: r["round"]):
        x, y = (estimate(d) for d in differences(record))
        hue = colour(record["way"])
        ax.plot([x.low, x.high], [y.mean, y.mean], color=hue, linewidth=1, alpha=0.6)
        ax.plot([x.mean, x.mean], [y.low, y.high], color=hue, linewidth=1, alpha=0.6)
        ax.scatter(x.mean, y.mean, s=area(record["compression"]), marker=SHAPES[settings.index(record["setting"]) % 8],
                   facecolor=hue if record["round"] == rounds[0] else "white", edgecolor=hue, linewidth=1.4, zorder=5)
        joined.setdefault((record["setting"], record["name"], record.get("set")), []).append((x.mean, y.mean, hue))
    for points in joined.values():
        xs, ys, hues = zip(*points)
        ax.plot(xs, ys, color=hues[0], linestyle=":", linewidth=1.2, zorder=4)
    ax.plot(0, 0, "D", color=colour("imp"), markersize=7, zorder=6)
    ax.annotate("IMP", (0, 0), xytext=(7, 7), textcoords="offset points", color=colour("imp"), fontweight="bold")
    _frame([estimate(d).mean for r in records for d in differences(r)[:1]], ax.set_xlim)
    _frame([estimate(d).mean for r in records for d in differences(r)[1:]], ax.set_ylim)
    ax.set(xlabel="train-loss barrier minus IMP's (nats, midpoint)   ← more stable",
           ylabel="test accuracy minus IMP's (points)   more accurate →", title="stability against performance")


def _frame(means: Sequence[float], set_limits) -> None:
    """The axis holds the means and IMP at 0; an interval wider than all of them is cut, not allowed to shrink them."""
    low, high = min(0.0, *means), max(0.0, *means)
    room = 0.3 * max(high - low, 1e-3)
    set_limits(low - room, high + room)


def _denominators(ax: Axes, records: Sequence[Mapping], settings: list[str], rate: float) -> None:
    """IMP's own barrier, by which the paper divides: a dot for each initialisation, mean and 95% interval."""
    rows: dict[tuple[str, int], Sequence[float]] = {}
    for r in records:  # some ways have fewer initialisations: the row shows the most there are
        key = r["setting"], r["round"]
        rows[key] = max(rows.get(key, ()), r["imp_barrier"], key=len)
    keys = sorted(rows, key=lambda k: (settings.index(k[0]), k[1]))
    for height, key in enumerate(reversed(keys)):
        values, e = rows[key], estimate(rows[key])
        ax.plot(values, [height] * len(values), "o", color=colour("imp"), alpha=0.35, markersize=4, markeredgewidth=0)
        ax.plot([e.low, e.high], [height, height], color=colour("imp"), linewidth=1.6)
        ax.plot(e.mean, height, "D", color=colour("imp"), markersize=5)
    ax.axvline(0, color="#999999", linewidth=0.8)
    several = len(settings) > 1
    names = [(f"{settings.index(s) + 1}: " if several else "") + percent_sparse(r, rate) for s, r in keys]
    ax.set_yticks(range(len(keys)), names[::-1])
    ax.set(xlabel="barrier of IMP (nats)", ylim=(-0.6, len(keys) - 0.4), title="the paper's denominator")


def _legend(ax: Axes, records: Sequence[Mapping], settings: list[str], rounds: list[int], rate: float) -> None:
    def dot(name: str, hue: str = "#555555", size: float = 6.5, shape: str = "o", fill: bool = True) -> Line2D:
        return Line2D([], [], linestyle="", marker=shape, markersize=size, color=hue, label=name,
                      markerfacecolor=hue if fill else "white", markeredgewidth=1.4)
    ways = {r["name"]: dot(r["name"], colour(r["way"])) for r in records}
    sparse = [dot(f"{percent_sparse(r, rate)} sparse", fill=r == rounds[0]) for r in rounds]
    sizes = [dot(f"1 stored for {c:.0f} images", size=area(c) ** 0.5)
             for c in sorted({r["compression"] for r in records if r["compression"]})]
    where = [dot("\n".join(textwrap.wrap(f"{k + 1}: {s}", 44)), shape=SHAPES[k % 8])
             for k, s in enumerate(settings) if len(settings) > 1]
    ax.legend(handles=[*ways.values(), *sparse, *sizes, *where], loc="upper left", bbox_to_anchor=(-0.2, 1.0),
              fontsize="x-small", labelspacing=0.7)
    ax.set_axis_off()
