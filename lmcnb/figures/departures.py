"""Two trainings that leave one point: on a plane through it and their ends, as a table, a film and a strip."""
from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from ..data import Dataset, load
from ..kernel.exact import exact
from ..kernel.recipe import Recipe
from ..kernel.step import State
from ..kernel.training import fit
from ..measure.path import path
from ..measure.plane import grid, loss_on_plane, plane_through
from ..models import Net
from ..networks import Networks, noise
from ..prune.magnitude import prune_iteratively
from ..tables import Table
from .base import percent_sparse, styled
from .planes import plane as landscape
from .planes import shared_levels

HUES = ("#ffffff", "#ff9d5c")  # of the two trainings, on viridis
WALKER = "#e6007e"


def departures(networks: Networks, data: Dataset, recipe: Recipe, of: Sequence[Mapping[str, Any]],
               seeds: Sequence[int] = (0, 1), frames: int = 24, points: int = 25) -> Table:
    """Trains each network twice, and says where both are at ``frames`` moments, on the plane through start and ends.

    Args:
        networks: K, ready to be trained. of: by column, what each is. points: of the plane, along each axis.
    Returns:
        Of each network the train loss (nats) on the plane, as of kind "through"; its places, "distance from the plane"
        by ``network`` (0 and 1: the ends, 2: the start), and "distance on the way" by ``network`` and ``step``; and the
        path between the ends.
    """
    last = recipe.steps(len(data.train))
    moments = sorted({round(last * (k / frames) ** 1.5) for k in range(1, frames + 1)})  # what is early moves fast
    rows: list[dict[str, Any]] = []
    for one, where in zip(networks, of):
        start = replace(one, step=0)
        tracks = [_track(start, data, recipe, seed, moments) for seed in seeds]
        ends = [replace(track[len(track) - 1], labels=start.labels) for track in tracks]
        rows += _on_plane([*ends, start], tracks, [0, *moments], data, where, points)
        rows += Table.of_path(path(ends[0], ends[1], data), [where]).to_dict("records")
    return Table.of(rows)


def _track(start: Networks, data: Dataset, recipe: Recipe, seed: int, moments: Sequence[int]) -> Networks:
    """A training at its start and at these steps, as one stack. It is one training: its momentum goes on."""
    found, state = [start], State.start(start.params, start.buffers)
    for moment in moments:
        state = fit(start.net, start.params, start.buffers, data.train, recipe, noise(seed, start.labels), start.masks,
                    state=state, stop=moment)
        found.append(replace(start, params=state.params, buffers=state.buffers))
    return Networks.join(found)


def _on_plane(corners: Sequence[Networks], tracks: Sequence[Networks], steps: Sequence[int], data: Dataset,
              where: Mapping[str, Any], points: int) -> Iterator[dict[str, Any]]:
    plane = plane_through(Networks.join(corners))
    xs, ys = grid(plane, points, Networks.join([*corners, *tracks]), margin=0.25)
    loss = loss_on_plane(plane, data.train, xs, ys)[0]
    where = {**where, "kind": "through"}
    yield from ({**where, "quantity": "train_loss", "x": float(x), "y": float(y), "value": float(loss[j, i])}
                for j, y in enumerate(ys) for i, x in enumerate(xs))
    for name, stacks, at in (("distance from the plane", corners, [None]), ("distance on the way", tracks, steps)):
        for k, stack in enumerate(stacks):
            for step, (x, y), away in zip(at, *(found.tolist() for found in plane.project(stack))):
                yield {**where, "quantity": name, "network": k, "step": step, "x": x, "y": y, "value": away}


def film(table: Table, names: Sequence[str], hold: int = 6) -> list[Image.Image]:
    """The frames: both trainings from the start to their ends, and then a walk in a straight line between these.

    Args:
        table: what :func:`departures` gives, of networks that differ in ``round``. names: a title for each.
        hold: how many frames the last one stays.
    """
    found = [_picture(figure) for figure in _drawn(table, names)]
    return found + found[-1:] * hold


def strip(table: Table, names: Sequence[str], count: int = 5) -> Figure:
    """For print: ``count`` moments side by side, a row a network; the last has the walk and how far it rises."""
    rounds, levels = _rounds(table), shared_levels(table)
    with styled():
        figure, axes = plt.subplots(len(rounds), count, figsize=(2.2 * count, 2.35 * len(rounds)), squeeze=False,
                                    layout="constrained")
        for row, r, name in zip(axes, rounds, names):
            own = table.select(round=r)
            steps = _steps(own)
            chosen = [steps[round(k * (len(steps) - 1) / (count - 1))] for k in range(count)]
            for ax, step in zip(row, chosen):
                _ground(ax, own, levels)
                _follow(own, step, _trails(ax))
                ax.set_title(f"step {step}", fontsize="small", fontweight="normal")
            ends = _ends(own)
            row[-1].plot(*ends.T, "--", color=WALKER, linewidth=1.5)
            row[-1].set_title(f"step {chosen[-1]}; between the ends: {_rise(own):+.2f} nats", fontsize="small",
                              fontweight="normal")
            row[0].set_ylabel(name)
    return figure


def _drawn(table: Table, names: Sequence[str]) -> Iterator[Figure]:
    """One figure, moved on from frame to frame: planes above, the loss along the walk below."""
    rounds, levels = _rounds(table), shared_levels(table)
    own = [table.select(round=r) for r in rounds]
    alphas = table.alphas
    with styled():
        figure, axes = plt.subplots(2, len(rounds), figsize=(3.2 * len(rounds), 4.3), dpi=100, squeeze=False,
                                    sharey="row", gridspec_kw={"height_ratios": (3, 1)}, layout="constrained")
        height = 1.3 * max(float(_loss(one).max()) for one in own)
        walks = [_walk(ax, one, levels, height, name) for ax, one, name in zip(axes.T, own, names)]
        axes[1, 0].set_ylabel("train loss\n(nats)")
        for step in _steps(own[0]):
            for one, (trails, *_) in zip(own, walks):
                _follow(one, step, trails)
            figure.suptitle(f"two trainings, step {step}", fontsize="medium")
            yield figure
        for k in range(len(alphas)):
            for one, (_, dashes, dot, line) in zip(own, walks):
                ends, loss = _ends(one), _loss(one)
                x, y = (1 - alphas[k]) * ends[0] + alphas[k] * ends[1]
                dashes.set_data(*ends.T)
                dot.set_data([x], [y])
                line.set_data(alphas[:k + 1], loss[:k + 1])
            figure.suptitle(f"in a straight line between them, α = {alphas[k]:.1f}", fontsize="medium")
            yield figure
    plt.close(figure)


def _walk(axes: Sequence[Axes], own: Table, levels: np.ndarray, height: float, name: str):
    top, below = axes
    _ground(top, own, levels)
    top.set_title(name)
    dashes, = top.plot([], [], "--", color=WALKER, linewidth=1.5)
    trails = _trails(top)
    dot, = top.plot([], [], "o", color=WALKER, markeredgecolor="white", markersize=9, zorder=5)
    line, = below.plot([], [], color=WALKER)
    below.set(xlim=(0, 1), ylim=(0, height), xlabel="α")
    return trails, dashes, dot, line


def _trails(ax: Axes):
    return [(ax.plot([], [], color=hue, linewidth=1.6)[0],
             ax.plot([], [], "o", color=hue, markeredgecolor="black", markersize=7, zorder=4)[0]) for hue in HUES]


def _follow(own: Table, step: int, trails) -> None:
    ways = own.select(quantity="distance on the way")
    for k, (line, head) in enumerate(trails):
        way = ways[(ways["network"] == k) & (ways["step"] <= step)].sort_values("step")[["x", "y"]].to_numpy(float)
        line.set_data(*way.T)
        head.set_data(*way[-1:].T)


def _ground(ax: Axes, own: Table, levels: np.ndarray) -> None:
    """The landscape without the marks of its networks: where the trainings end is not known yet."""
    landscape(ax, own[own["kind"].notna()], levels)
    for mark in [*ax.lines, *ax.texts]:
        mark.remove()
    ax.set(xticks=[], yticks=[], aspect="equal")


def _rounds(table: Table) -> list[int]:
    return [int(r) for r in table["round"].dropna().unique()]


def _steps(own: Table) -> list[int]:
    return sorted({int(s) for s in own.select(quantity="distance on the way")["step"]})


def _ends(own: Table) -> np.ndarray:
    """[2, 2]: x and y of the first and the second training's end."""
    found = own.select(quantity="distance from the plane", network=[0, 1])
    return found.sort_values("network")[["x", "y"]].to_numpy(float)


def _loss(own: Table) -> np.ndarray:
    return own[own["alpha"].notna()].select(quantity="train_loss").sort_values("alpha")["value"].to_numpy(float)


def _rise(own: Table) -> float:
    """Largest rise of the train loss over the chord, in nats."""
    return float(own[own["alpha"].notna()].barriers("train_loss", "chord")["value"].iloc[0])


def _picture(figure: Figure) -> Image.Image:
    figure.canvas.draw()
    return Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())  # pyright: ignore


def gif(pictures: Sequence[Image.Image], milliseconds: int = 160) -> bytes:
    """An animation that repeats, of one palette of 64 colours; the same pictures give the same bytes."""
    palette = Image.new("RGB", (pictures[0].width, 2 * pictures[0].height))
    for k, picture in enumerate((pictures[0], pictures[-1])):
        palette.paste(picture, (0, k * picture.height))
    palette = palette.quantize(64)
    few = [p.quantize(palette=palette, dither=Image.Dither.NONE) for p in pictures]
    file = io.BytesIO()
    few[0].save(file, format="gif", save_all=True, append_images=few[1:], duration=milliseconds, loop=0, optimize=False)
    return file.getvalue()


def quickstart_setting() -> tuple[Dataset, Net, Recipe]:
    """Notebook 0's data, network and recipe."""
    data = load("shapes")
    recipe = Recipe(epochs=12, batch=16, lr=0.2, schedule="one_cycle", augment="none", cutmix=0)
    return data, Net.of(data.train, "convnet2", 8), recipe


def quickstart() -> tuple[Table, list[str]]:
    """The film's own trainings, and titles: notebook 0's dense network, and its IMP ticket after six rounds.

    The round was chosen because it shows one basin at the dense network's loss: it illustrates, and is no evidence.
    """
    (data, net, recipe), rounds = quickstart_setting(), 6
    with exact():
        found = prune_iteratively(Networks.initialise(net, [0]), data, recipe, rounds)
        table = departures(Networks.join([found[0], found[rounds]]), data, recipe,
                           [{"method": "dense", "round": 0, "init": 0}, {"method": "imp", "round": rounds, "init": 0}])
    return table, ["dense: two basins", f"IMP, {percent_sparse(rounds)} sparse: one basin"]
