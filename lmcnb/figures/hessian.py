"""Figure 8: the Hessian of dense, IMP and distilled subnetworks: diagonal, trace and spectral density."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..statistics import Claim, claim
from ..tables import Table
from .base import WIDTH, caption, colour, label, percent_sparse
from .judging import FLATNESS, log_cells, named
from .parts import differences, dots, subnetwork

ENOUGH = 30  # Lanczos steps; with fewer a density is spikes, whose places follow the start more than the network
MEASURES = {"trace": "trace", "largest eigenvalue": "largest"}


def lines(table: Table) -> Iterator[tuple[Table, dict[str, Any]]]:
    """The rows of every method and round, and how their line looks: colours are methods, dashes rounds."""
    rounds = sorted(set(table["round"]) - {0})
    for (method, round), rows in table.groupby(["method", "round"], sort=False):
        dash = "-" if method == "dense" else ("-", "--", ":", "-.")[rounds.index(round) % 4]
        yield rows, {"color": colour(method), "linestyle": dash, "label": subnetwork(method, round, short=True)}


def diagonal_ranks(ax: Axes, table: Table) -> None:
    """``|diagonal entries|``, largest first, over the share of the active weights that have a larger one."""
    for rows, look in lines(table):
        ax.plot(rows["share"], rows["value"], **look)
    top = table["value"].max()
    ax.set(xscale="log", yscale="log", xlabel="active weights, largest entry first (%)", ylabel="|Hessian diagonal|",
           ylim=(1e-6 * top, 2 * top), title="diagonal, one initialisation")
    ax.legend(loc="lower left")


def sample_dots(ax: Axes, table: Table, xlabel: str) -> None:
    """Means with 95% intervals over initialisations of each subnetwork: hollow on the first sample of images."""
    samples = table["images"].unique()
    for k, images in enumerate(samples):
        face, shift = None if k else "white", 0.28 * ((len(samples) - 1) / 2 - k)
        dots(ax, table.select(images=images), xlabel, zero=False, shift=shift, face=face)
        ax.plot([], [], "o", color="#555555", markerfacecolor=face, label=f"{images:,.0f} images")
    ax.set_xlim(min(0, ax.dataLim.xmin), None)  # an interval may reach below
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncol=len(samples), borderaxespad=0)


def flatter(ax: Axes, traces: Table) -> None:
    """The distilled subnetworks' traces over the others', on the larger sample: what is judged, with its margin."""
    found = {}
    for r in sorted(set(traces["round"]) - {0}):
        layout = log_cells(traces.select(images=traces["images"].max(), round=[0, r]).layout())
        found |= {(m, r): layout.difference("idc", m) for m in layout.cells if m != "idc"}
    differences(ax, list(found), found, FLATNESS, "log of the ratio of traces, distilled over this; ← flatter\n"
                f"{traces['images'].max():,.0f} images; shaded: does not matter")
    names = [f"{label(m).split(' (')[0]} (at {percent_sparse(r)})" for m, r in found]
    ax.set_yticks(range(len(found)), names[::-1])
    ax.tick_params(labelleft=True)
    ax.set_ylim(-0.6, len(found) - 0.4)


def spectra(ax: Axes, table: Table) -> None:
    """Spectral densities, smoothed, on a log scale, with each largest eigenvalue as a tick on the axis."""
    low, high = table["eigenvalue"].min(), table["eigenvalue"].max()
    grid, width, top = np.linspace(low - 0.1 * high, 1.05 * high, 400), 0.02 * high, 0.0
    for rows, look in lines(table):
        nodes, weights = (rows[c].to_numpy(float)[:, None] for c in ("eigenvalue", "value"))
        density = (weights * np.exp(-0.5 * ((grid - nodes) / width) ** 2)).sum(0) / (width * np.sqrt(2 * np.pi))
        top = max(top, density.max())
        ax.plot(grid, density, **look)
        ax.plot([nodes.max()] * 2, [0, 0.05], linewidth=2, transform=ax.get_xaxis_transform(), clip_on=False, **look)
    ax.set(yscale="log", ylim=(1e-6 * top, 2 * top), xlabel="eigenvalue (tick: the largest)",
           ylabel="spectral density", title="spectrum, one initialisation")


def hessian(table: Table, note: str = "") -> Figure:
    """The Hessian table of McDermott & Parhi (2025), drawn, with what it leaves out: intervals, trace, spectrum.

    Args:
        table: rows of :class:`lmcnb.Curvature`, by method, round, init, and images: the published sample, then a
            larger one, whose spectrum is drawn where it is of ENOUGH steps. note: the caption.
    """
    estimated = table[table["diagonal"] != "exact"]
    nodes = estimated.select(quantity="spectral weight", init=table["init"].min())
    nodes = nodes.select(images=nodes["images"].iloc[-1])
    tall = 3 if nodes.groupby(["method", "round"]).size().min() >= ENOUGH else 2
    figure = plt.figure(figsize=(WIDTH, 2.9 * tall), layout="constrained")
    grid = figure.add_gridspec(tall, 2)
    traces, ratios, largest, diagonal = (figure.add_subplot(grid[k // 2, k % 2]) for k in range(4))
    sample_dots(traces, estimated.select(quantity="trace"), "trace of the Hessian (nats)")
    flatter(ratios, estimated.select(quantity="trace"))
    sample_dots(largest, estimated.select(quantity="largest"), "largest eigenvalue (nats)")
    diagonal_ranks(diagonal, table.select(quantity="|diagonal|"))
    if tall == 3:
        spectra(figure.add_subplot(grid[2, :]), nodes)
    caption(figure, note)
    return figure


def hessian_claims(table: Table, rounds: Sequence[int], images: int) -> list[Claim]:
    """A4: distilled subnetworks are flatter than IMP's, in trace; and, exploratory, in the largest eigenvalue, than the
    dense network, and than every control that is in the table.

    Args:
        table: as for the figure. images: of the larger sample.
    """
    estimates, claims = table.select(diagonal="hutchinson", images=images), []
    for r in rounds:
        sparse = percent_sparse(r)
        for name, quantity in MEASURES.items():
            layout = log_cells(estimates.select(quantity=quantity, round=[0, r]).layout())
            for other in sorted(layout.cells.keys() - {"idc"}, key=lambda m: (m != "imp", m != "dense", m)):
                found = layout.difference("idc", other)
                claims.append(claim(f"A4-{sparse} ({other}, {name})", f"{named('idc', sparse)} is flatter than "
                                    f"{label(other)}: {name} of the Hessian", found, margin=FLATNESS, unit="log ratio",
                                    family="primary" if (other, name) == ("imp", "trace") else "secondary",
                                    note=f"on {images:,} training images; ratio {np.exp(found.estimate):.2f}."))
    return claims
