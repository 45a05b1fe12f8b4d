"""Figure 8: the Hessian of dense, IMP and distilled subnetworks: diagonal, trace and spectral density."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..statistics import estimate
from .base import caption, colour, label, percent_sparse

Key = tuple[str, int]
DASHES = ("-", "--", ":", "-.")


def named(key: Key, rate: float = 0.2) -> str:
    way, round = key
    return label(way) if way == "dense" else f"{label(way).split(' (')[0]}, {percent_sparse(round, rate)}"


def _dash(key: Key, keys: Sequence[Key]) -> str:
    rounds = sorted({r for w, r in keys if w != "dense"})
    return DASHES[rounds.index(key[1]) % len(DASHES)] if key[0] != "dense" else "-"


def diagonal_ranks(ax: Axes, diagonals: Mapping[Key, Sequence[float]], rate: float = 0.2) -> None:
    """|diagonal entries|, largest first, over the share of the active weights that have a larger one."""
    floor = min(1e-9, *(float(np.abs(d).max()) for d in diagonals.values())) + 1e-12
    for key, values in diagonals.items():
        size = np.sort(np.abs(np.asarray(values)))[::-1]
        share = 100 * (np.arange(len(size)) + 1) / len(size)
        ax.plot(share, np.maximum(size, floor), color=colour(key[0]), linestyle=_dash(key, list(diagonals)),
                label=named(key, rate))
    top = max(float(np.abs(d).max()) for d in diagonals.values())
    ax.set(xscale="log", yscale="log", xlabel="active weights, largest entry first (%)", ylabel="|Hessian diagonal|",
           ylim=(1e-6 * top, 2 * top), title="diagonal, one initialisation")
    ax.legend(fontsize="x-small", loc="lower left")


def trace_dots(ax: Axes, traces: Mapping[str, Mapping[Key, Sequence[float]]], xlabel: str, rate: float = 0.2) -> None:
    """Means with 95% intervals over initialisations for each subnetwork, one marker for each set of images."""
    keys = list(next(iter(traces.values())))
    for which, (name, values) in enumerate(traces.items()):
        shift = 0.28 * (which - (len(traces) - 1) / 2)
        for row, key in enumerate(reversed(keys)):
            points, y = np.asarray(values[key], dtype=float), row - shift
            e = estimate(points)
            ax.plot(points, [y] * len(points), "o", color=colour(key[0]), alpha=0.35, markersize=3, markeredgewidth=0)
            if e.n > 1:
                ax.plot([e.low, e.high], [y, y], color=colour(key[0]), linewidth=1.5)
            face = colour(key[0]) if which else "white"
            ax.plot(e.mean, y, "D", color=colour(key[0]), markerfacecolor=face, markersize=5)
        ax.plot([], [], "D", color="#555555", markerfacecolor="#555555" if which else "white", label=name)
    ax.set_yticks(range(len(keys)), [named(k, rate) for k in reversed(keys)], fontsize="small")
    ax.set(xlabel=xlabel, xlim=(0, None), ylim=(-0.6, len(keys) - 0.4))
    ax.legend(fontsize="x-small", loc="best")


def spectra(ax: Axes, eigenvalues, densities: Mapping[Key, Sequence[float]], largest: Mapping[Key, float]) -> None:
    """Spectral densities on a common grid, log scale, with each largest eigenvalue as a tick on the axis."""
    top = max(float(np.max(d)) for d in densities.values())
    for key, density in densities.items():
        line, = ax.plot(eigenvalues, density, color=colour(key[0]), linestyle=_dash(key, list(densities)))
        ax.plot([largest[key]] * 2, [0, 0.05], color=line.get_color(), linestyle=line.get_linestyle(), linewidth=2,
                transform=ax.get_xaxis_transform(), clip_on=False)
    ax.set(yscale="log", ylim=(1e-6 * top, 2 * top), xlabel="eigenvalue (tick: the largest)",
           ylabel="spectral density", title="spectrum, one initialisation")


def hessian(diagonals: Mapping[Key, Sequence[float]], traces: Mapping[str, Mapping[Key, Sequence[float]]],
            largest: Mapping[str, Mapping[Key, Sequence[float]]], eigenvalues, densities: Mapping[Key, Sequence[float]],
            note: str, rate: float = 0.2) -> Figure:
    """The Hessian table of McDermott & Parhi (2025), drawn, with what it leaves out: intervals, trace, spectrum.

    Args:
        diagonals: exact entries of the active weights by (way, round), one initialisation.
        traces, largest: by name of the images measured on, then (way, round): one value for each initialisation.
        eigenvalues: [G]. densities: [G] by (way, round), one initialisation. note: the caption.
        rate: share of the weights left that a round removes.
    """
    figure, axes = plt.subplots(2, 2, figsize=(11, 7.2), layout="constrained")
    diagonal_ranks(axes[0, 0], diagonals, rate)
    trace_dots(axes[0, 1], traces, "trace of the Hessian (nats)", rate)
    axes[0, 1].set_title("how curved in all, every initialisation")
    peak = {k: v[0] for k, v in next(reversed(largest.values())).items()}  # of the initialisation whose density it is
    spectra(axes[1, 0], eigenvalues, densities, peak)
    trace_dots(axes[1, 1], largest, "largest eigenvalue", rate)
    axes[1, 1].set_title("the sharpest direction, every initialisation")
    caption(figure, note)
    return figure
