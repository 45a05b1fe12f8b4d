"""Figure 6: how much more stable than IMP's, and how much more accurate, are the subnetworks of other methods?"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..statistics import Claim, Estimate, Layout, estimate
from ..tables import Table
from .base import WIDTH, caption, colour, label, marker, percent_sparse
from .judging import ACCURACY, barrier_margin, because_distilled, more_stable, named
from .parts import SHADE, dots, face, judged_difference


def ratio(numerator: Sequence[float], denominator: Sequence[float], confidence: float = 0.95) -> Estimate | None:
    """Ratio of the means of n paired values with Fieller's interval; None where it is undefined.

    It is undefined unless the denominator's own interval lies above zero: otherwise the interval of the ratio is
    unbounded, or its sign has no meaning.
    """
    x, y = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    if not estimate(y, confidence).low > 0:  # NaN with one value
        return None
    n = len(x)
    t2 = scipy.special.stdtrit(n - 1, (1 + confidence) / 2) ** 2 / n
    (vx, cov), (_, vy) = np.cov(x, y)
    a, b, c = y.mean() ** 2 - t2 * vy, x.mean() * y.mean() - t2 * cov, x.mean() ** 2 - t2 * vx
    root = np.sqrt(max(0.0, b * b - a * c))
    return Estimate(float(x.mean() / y.mean()), float((b - root) / a), float((b + root) / a), n)


@dataclass(frozen=True)
class Beside:
    """A subnetwork beside IMP's of the same setting and sparsity: n values each, one an initialisation.

    Attributes:
        setting, method, name, mask: of the table's row; of "dense" too, which is beside IMP's of any sparsity.
        round: IMP's. compression: images per class for each stored one, or NaN.
        barrier, imp_barrier: nats, midpoint. accuracy, imp_accuracy: %.
        margin: of a difference of barriers in this setting, nats; NaN where it has no dense network.
        less_barrier, more_accuracy: the mean differences from IMP's, nats and points, with the intervals by which they
            are judged: of all methods of the setting.
    """

    setting: str
    method: str
    name: str
    mask: str
    round: int
    compression: float
    barrier: np.ndarray
    imp_barrier: np.ndarray
    accuracy: np.ndarray
    imp_accuracy: np.ndarray
    margin: float
    less_barrier: Estimate
    more_accuracy: Estimate

    @property
    def in_margins(self) -> Estimate:
        """``less_barrier`` in margins of its setting."""
        e = self.less_barrier
        return replace(e, mean=e.mean / self.margin, low=e.low / self.margin, high=e.high / self.margin)


def beside_imp(table: Table, compared: Sequence[int]) -> list[Beside]:
    """Every subnetwork that shares two initialisations or more with IMP's of its setting, after ``compared`` rounds.

    Args:
        table: train_loss barriers and test_accuracy by init and round, and the columns method, setting (a text), name
            (of the subnetwork), mask (a text for what it was found with), compression. The first setting leads.
    """
    by, found = ["setting", "method", "name", "mask", "round"], []

    def by_init(rows: Table, scale: float = 1.0) -> dict[tuple, dict[int, float]]:
        return {key: dict(zip(group["init"], scale * group["value"])) for key, group in rows.groupby(by, sort=False)}
    barriers, accuracies = by_init(table.barriers()), by_init(table.select(quantity="test_accuracy"), 100)
    compression, home = table.groupby(by)["compression"].first(), table["setting"].iloc[0]
    margins = {setting: barrier_margin(Table(rows).barriers().layout())
               for setting, rows in table[table["method"] == "dense"].groupby("setting", sort=False)}
    imp = {(setting, round): key for key in barriers for setting, method, *_, round in [key] if method == "imp"}
    for key, own in barriers.items():
        setting, method, name, mask, own_round = key
        for round in compared:
            partner = imp.get((setting, round))
            if partner is None:
                continue
            shared = sorted(own.keys() & barriers[partner].keys())
            if len(shared) > 1 and method != "imp" and own_round in (0, round):
                values = [np.array([of[k][i] for i in shared]) for of in (barriers, accuracies) for k in (key, partner)]
                less, more = (judged_difference(_layout(of, key, partner), method, "imp")
                              for of in (barriers, accuracies))
                found.append(Beside(setting, method, name, mask, round, float(compression[key]), *values,
                                    margin=margins.get(setting, np.nan), less_barrier=less, more_accuracy=more))
    order = {"dense": 0, "idc": 1, "random mask": 9}
    return sorted(found, key=lambda r: (r.setting != home, r.setting, order.get(r.method, 5), r.name, r.mask, r.round))


def _layout(cells: Mapping[tuple, Mapping[int, float]], own: tuple, imp: tuple) -> Layout:
    """A subnetwork, IMP's, and the first of every other method, all of one setting and round; dense, too."""
    found = {own[1]: cells[own], "imp": cells[imp]}
    for key, cell in cells.items():
        if key[0] == own[0] and key[-1] in (0, imp[-1]):
            found.setdefault(key[1], cell)
    return Layout(found)


def tradeoff(table: Table, compared: Sequence[int], note: str = "") -> Figure:
    """Figure 6 of McDermott & Parhi (2025), with differences from IMP where the paper has ratios to it.

    Those of barriers are in margins of their setting: a tenth of its dense network's barrier, .01 nats at least.

    Args:
        table, compared: as :func:`beside_imp` takes them. note: the caption.
    Raises:
        ValueError: there is no subnetwork beside IMP's in a setting with a dense network.
    """
    records = [r for r in beside_imp(table, compared) if r.margin > 0]
    if not records:
        raise ValueError("tradeoff needs a subnetwork, IMP's and the dense network with the same settings and two "
                         "inits or more")
    settings, rounds = list(dict.fromkeys(r.setting for r in records)), sorted({r.round for r in records})
    rows, entries = _denominators(records, settings), _entries(records, rounds)
    heights = 0.6 + 0.16 * len(rows), 0.3 + 0.17 * len(entries)
    several = len(settings) > 1
    listed = f"Numbers: {'; '.join(f'{k}: {s}' for k, s in enumerate(settings, 1))}. " * several
    figure = plt.figure(figsize=(WIDTH, max(5.2, sum(heights))), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(1.9, 1), height_ratios=heights)
    _scatter(figure.add_subplot(grid[:, 0]), records, settings, rounds)
    right = figure.add_subplot(grid[0, 1])
    dots(right, rows, "barrier of IMP (nats)", names=[f"{k}: " * several + percent_sparse(r) for _, k, r in rows])
    right.set_title("the paper's denominator")
    key = figure.add_subplot(grid[1, 1])
    key.legend(handles=entries, loc="upper left", bbox_to_anchor=(-0.25, 1.0), labelspacing=0.5)
    key.set_axis_off()
    caption(figure, listed + note, kept=True)
    return figure


def area(compression: float) -> float:
    """A marker's area in points²: a decade of compression adds as much everywhere; NaN is no compression."""
    return 30.0 if np.isnan(compression) else 30 + 45 * max(0.0, np.log10(compression))


def _scatter(ax: Axes, records: Sequence[Beside], settings: list[str], rounds: list[int]) -> None:
    for axis in (ax.axhline, ax.axvline):
        axis(0, color="#cccccc", linewidth=0.8, zorder=0)
    for span, half in ((ax.axvspan, 1.0), (ax.axhspan, ACCURACY)):
        span(-half, half, color=SHADE, alpha=0.6, linewidth=0, zorder=-1)
    joined: dict[tuple, list] = {}
    for record in sorted(records, key=lambda r: r.round):
        x, y = record.in_margins, record.more_accuracy
        hue = colour(record.method)
        ax.plot([x.low, x.high], [y.mean, y.mean], color=hue, linewidth=1, alpha=0.6)
        ax.plot([x.mean, x.mean], [y.low, y.high], color=hue, linewidth=1, alpha=0.6)
        ax.scatter(x.mean, y.mean, s=area(record.compression), marker=marker(record.method),
                   facecolor=face(hue, rounds, record.round), edgecolor=hue, linewidth=1.4, zorder=5)
        if len(settings) > 1:
            ax.annotate(f"{settings.index(record.setting) + 1}", (x.mean, y.mean), xytext=(7, 5),
                        textcoords="offset points", color=hue, fontsize=6)
        joined.setdefault((record.setting, record.name, record.mask), []).append((x.mean, y.mean, hue))
    for points in joined.values():
        xs, ys, hues = zip(*points)
        ax.plot(xs, ys, color=hues[0], linestyle=":", linewidth=1.2, zorder=4)
    ax.plot(0, 0, marker("imp"), color=colour("imp"), markersize=7, zorder=6)
    ax.annotate("IMP", (0, 0), xytext=(7, 7), textcoords="offset points", color=colour("imp"), fontweight="bold")
    _frame([r.in_margins.mean for r in records], ax.set_xlim)
    _frame([r.more_accuracy.mean for r in records], ax.set_ylim)
    ax.set(xlabel="train-loss barrier minus IMP's (midpoint, in margins)   ← more stable",
           ylabel="test accuracy minus IMP's (points)  more accurate →",
           title="shaded: does not matter; bars end at the frame")


def _frame(means: Sequence[float], set_limits) -> None:
    """The axis holds the means and IMP at 0; an interval wider than all of them is cut, not allowed to shrink them."""
    low, high = min(0.0, *means), max(0.0, *means)
    room = 0.3 * max(high - low, 1e-3)
    set_limits(low - room, high + room)


def _denominators(records: Sequence[Beside], settings: list[str]) -> dict[tuple, np.ndarray]:
    """IMP's own barriers, by which the paper divides, a row a setting and round."""
    rows: dict[tuple, np.ndarray] = {}
    for r in sorted(records, key=lambda r: (settings.index(r.setting), r.round)):
        key = "imp", settings.index(r.setting) + 1, r.round
        rows[key] = max(rows.get(key, r.imp_barrier), r.imp_barrier, key=len)  # some have fewer initialisations
    return rows


def _entries(records: Sequence[Beside], rounds: list[int]) -> list[Line2D]:
    """The legend's: kinds of subnetworks, sparsities, and three sizes at most."""
    def dot(name: str, hue: str = "#555555", size: float = 6, shape: str = "o", fill: str = "") -> Line2D:
        return Line2D([], [], linestyle="", marker=shape, markersize=size, color=hue, label=name,
                      markerfacecolor=fill or hue, markeredgewidth=1.4)
    names = {label(r.method): dot(label(r.method), colour(r.method), shape=marker(r.method)) for r in records}
    sparse = [dot(f"beside IMP at {percent_sparse(r)}", fill=face("#555555", rounds, r)) for r in rounds]
    found = sorted({r.compression for r in records if r.compression > 0})
    some = dict.fromkeys((found[0], found[len(found) // 2], found[-1])) if found else ()
    sizes = [dot(f"1 stored for {c:,.0f} image{'s' * (c > 1)}", size=area(c) ** 0.5) for c in some]
    return [*names.values(), *sparse, *sizes]


def tradeoff_claims(table: Table, compared: Sequence[int]) -> list[Claim]:
    """A2 and A2c on this figure's distilled set, in the setting that stands first.

    B6 of the paper is A2 and A3 side by side, on the networks of figures 2 and 3: it has no statistic of its own.

    Args:
        table, compared: as for the figure.
    """
    own = table.select(setting=table["setting"].iloc[0]).barriers()
    first = own.groupby("method")["mask"].transform("first")  # whatever else the store held stands behind
    claims = []
    for r in compared:
        layout, sparse = own[own["mask"] == first].select(round=[0, r]).layout(), percent_sparse(r)
        claims.append(more_stable(f"A2-{sparse}", layout, "idc", "imp", f"{named('idc', sparse)} is", family="primary"))
        claims += because_distilled(layout, r, ("random mask",))
    return claims
