"""A figure's paths to explore without a kernel: inline SVG, its numbers as JSON, and a script that asks for nothing."""
from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from ..measure.path import QUANTITIES
from ..tables import Table
from .base import label
from .planes import shared_levels
from .saved import Saved, read
from .vector import BOX, contours, drawn, hue, landscape

LEVELS = 13  # of a landscape


@dataclass(frozen=True)
class Explorer:
    """What a notebook shows as an explorer: ``html`` needs no kernel, no network, and without a script is a figure."""

    html: str
    summary: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.summary


def explorer(shown: Table | Saved | str, planes: Table | Saved | str | None = None, profile: str = "laptop"
             ) -> Explorer | str:
    """An explorer of measured paths: method, another beside it, sparsity, initialisation, quantity, and α.

    Moving α moves a dot along the path, and along the segment on the landscape of the same trainings, where there is
    one. Printed, or without scripts, it is the figure of the first choice.

    Args:
        shown: a table with paths, a saved figure, or the name of one of ``profile``.
        planes: the same, for the landscapes; by default those of ``shown``. A landscape whose segment is not the path
            of that method in ``shown`` comes with its own path, as a method of its own.

    Returns:
        The explorer; where no figure has that name, a sentence that says so.
    Raises:
        ValueError: there is no path, paths differ in more than their method, round and initialisation, or they were
            not measured at the same α from 0 to 1.
    """
    found = []
    for each in (shown, shown if planes is None else planes):
        try:
            found.append(_table(each, profile))
        except FileNotFoundError:
            return f"{each} of profile {profile} is not here"
    table, other = found
    paths, landscapes = _joined(_paths(table), other)
    return _written(paths, landscapes, other)


def _table(shown: Table | Saved | str, profile: str) -> Table:
    found = read(shown, profile) if isinstance(shown, str) else shown
    return found.table if isinstance(found, Saved) else found


Key = tuple[str, int, int, str]  # method, round, initialisation, quantity


def _paths(table: Table) -> tuple[np.ndarray, dict[Key, tuple[float, np.ndarray]]]:
    """The α [A], and by method, round, initialisation and quantity the sparsity and values [A], errors in points."""
    rows = table.iloc[:0]
    if {"alpha", "method", "round", "init", "quantity"} <= {*table}:
        rows = table[table["alpha"].notna() & table["quantity"].isin(QUANTITIES)]
    if rows.empty:
        raise ValueError("an explorer needs a table with at least one path")
    if not np.isfinite(rows["value"]).all():  # of a training that diverged: it has no place on a scale
        rows = Table(rows.groupby(["method", "round", "init", "quantity"], sort=False).filter(
            lambda path: np.isfinite(path["value"]).all()))
        if rows.empty:
            raise ValueError("no path is finite all along, so there is nothing to explore")
    found, alphas = {}, rows.alphas
    for (method, round, init, quantity), path in rows.groupby(["method", "round", "init", "quantity"], sort=False):
        path = path.sort_values("alpha")
        if path["alpha"].tolist() != alphas.tolist() or (alphas[0], alphas[-1]) != (0, 1):
            raise ValueError(f"an explorer needs each path once, at the same α from 0 to 1; {quantity} of {method}, "
                             f"round {round}, init {init} has {len(path)} values: select one setting")
        scale = 100 if quantity.endswith("error") else 1
        sparse = float(path["sparsity"].iloc[0]) if "sparsity" in path else 1 - 0.8 ** round
        found[method, int(round), int(init), quantity] = sparse, scale * path["value"].to_numpy(float)
    return alphas, found


def _joined(own: tuple[np.ndarray, dict], other: Table) -> tuple[tuple[np.ndarray, dict], dict[tuple, Table]]:
    """Paths with those of the landscapes that they lack, and by method, round and initialisation the landscapes."""
    alphas, paths = own[0], dict(own[1])
    through = other[other["kind"] == "through"] if "kind" in other else other.iloc[:0]
    if through.empty:
        return own, {}
    landscapes, (segment_alphas, segments) = {}, _paths(other)
    for (method, round, init), plane in through.groupby(["method", "round", "init"], sort=False):
        key = method, int(round), int(init)
        segment = segments.get((*key, "train_loss"))
        here = paths.get((*key, "train_loss"))
        if segment is None or segment_alphas.tolist() != alphas.tolist():
            continue
        if here is None or not np.allclose(here[1], segment[1], rtol=1e-3):
            key = f"{method}*", *key[1:]
            paths |= {(key[0], r, i, q): p for (m, r, i, q), p in segments.items() if m == method}
        landscapes[key] = plane
    return (alphas, paths), landscapes


def _written(own: tuple[np.ndarray, dict[Key, tuple[float, np.ndarray]]], landscapes: Mapping[tuple, Table],
             other: Table) -> Explorer:
    alphas, paths = own
    names = list(dict.fromkeys(m for m, *_ in paths))
    levels = shared_levels(other, LEVELS) if landscapes else np.zeros(1)
    data = {"alphas": alphas.round(4).tolist(), "box": BOX,
            "methods": {m: {"label": _named(m), "colour": hue(m)} for m in names},
            "quantities": {q: _scale(q, [v for (*_, each), (_, v) in paths.items() if each == q])
                           for q in QUANTITIES if any(each == q for *_, each in paths)},
            "paths": [[m, r, round(s, 4), i, q, [float(f"{x:.4g}") for x in v]]
                      for (m, r, i, q), (s, v) in paths.items()],
            "planes": [{"m": m, "r": r, "i": i, **contours(plane, levels)}
                       for (m, r, i), plane in landscapes.items()]}
    data["first"] = _first(paths, list(landscapes), names, len(alphas))
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    id = "lmcnb-" + hashlib.sha256(text.encode()).hexdigest()[:8]
    template = Template(Path(__file__).with_name("explorer.html").read_text(encoding="utf-8"))
    path, reading = drawn(data)
    count = len({key[:3] for key in paths})
    summary = f"an explorer of {count} paths of {len(names)} methods, with {len(landscapes)} landscapes"
    caption = (f"{count} paths, measured at {len(alphas)} positions each; straight lines join them. Solid: the choice, "
               "faint its other initialisations, dashed what stands beside it, dotted the chord between the ends. The "
               "barrier is half way, above the mean of the ends.")
    return Explorer(template.substitute(id=id, path=path, land=landscape(data, levels, id), data=text, caption=caption,
                                        reading=reading), summary)


def _named(method: str) -> str:
    """A star marks a method whose landscape is of another set than its paths."""
    return label(method.rstrip("*")) + ", another set" * method.endswith("*")


def _scale(quantity: str, values: Sequence[np.ndarray]) -> dict[str, Any]:
    """One scale for all paths of a quantity, so that a flat path looks flat beside a hill."""
    low, high = float(np.min(values)), float(np.max(values))
    room = 0.06 * (high - low) or 0.05
    low, high = low - room, high + room
    marks = [v for v in MaxNLocator(5).tick_values(low, high) if low <= v <= high]
    error = quantity.endswith("error")
    unit, name = ("points", "%") if error else ("nats", "nats")
    return {"label": f"{quantity.replace('_', ' ')} ({name})", "unit": unit, "digits": 2 if error else 3,
            "low": float(f"{low:.5g}"), "high": float(f"{high:.5g}"),
            "ticks": [[v, f"{v:g}"] for v in np.round(marks, 6)]}


def _first(paths: Mapping[Key, Any], landscapes: Sequence[tuple], names: Sequence[str], count: int) -> dict[str, Any]:
    """The first choice: what was distilled, on its landscape if there is one, beside the dense network."""
    loss = [key for key in paths if key[3] == "train_loss"] or list(paths)
    wanted = [k for k in loss if k[:3] in landscapes] or loss
    inits = {key[:2]: sum(k[:2] == key[:2] for k in loss) for key in loss}
    sparse = [k for k in wanted if k[1]] or wanted
    distilled = [k for k in sparse if k[0].startswith("idc")] or sparse
    m, r, i, q = max(distilled, key=lambda k: (inits[k[:2]], -k[1], -k[2]))
    return {"m": m, "r": r, "i": i, "q": q, "k": count // 2, "c": "dense" if "dense" in names and m != "dense" else ""}
