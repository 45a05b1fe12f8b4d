"""What an explorer shows first, as SVG; its script moves what is drawn here."""
from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from string import Template
from typing import Any

import contourpy
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex

from ..tables import Table
from .base import colour

BOX = {"left": 52, "top": 18, "width": 358, "height": 200}  # of the paths, in a drawing of 420 × 262
SIDE = 260  # of a landscape
PATH = Template("""<svg class="path" viewBox="0 0 420 262" role="img" aria-label="$title">
<g class="ticks">$ticks</g><rect class="frame" x="$left" y="$top" width="$width" height="$height"/>
<text class="axis" x="$left" y="8">$axis</text>$alphas
<text text-anchor="middle" x="231" y="256">α, position between the two trainings</text>
<g class="others">$others</g><polyline class="second" points="$second" style="--c:$dashed"/>
<path class="chord" d="$chord" fill="none"/><polyline class="main" points="$main" style="--c:$hue"/>
<circle class="dot" r="5.5" cx="$x" cy="$y"/></svg>""")
LAND = Template("""<div class="land"><svg viewBox="0 -18 260 318" role="img" aria-label="Train loss on the plane through
 trainings 0, 1 and 2; the dot walks from 0 to 1"><clipPath id="$id-clip"><rect width="260" height="260"/></clipPath>
<text y="-5">train loss on a plane in weight space</text><g clip-path="url(#$id-clip)">
<rect width="260" height="260" fill="$ground"/>$levels
<path class="walk" d="$walk" stroke="#fff" stroke-dasharray="4 3"/>
<g class="nets">$networks</g><circle class="dot" r="5.5" cx="$x" cy="$y"/></g>
$bar<text y="296">$low</text><text x="260" y="296" text-anchor="end">≥ $high nats</text></svg>
<p class="none" hidden>No landscape of this subnetwork was measured. There are of: $there.</p></div>""")


def hue(method: str) -> str:
    """What is black on paper takes the page's ink."""
    return "currentColor" if method.rstrip("*") == "dense" else colour(method.rstrip("*"))


def drawn(data: Mapping[str, Any]) -> tuple[str, str]:
    """The paths of the first choice, and what they say."""
    first, alphas = data["first"], data["alphas"]
    same = [p for p in data["paths"] if (p[0], p[1], p[4]) == (first["m"], first["r"], first["q"])]
    main = next(p[5] for p in same if p[3] == first["i"])
    beside = next((p[5] for p in data["paths"] if (p[0], *p[3:5]) == (first["c"], first["i"], first["q"])), [])
    scale, k = data["quantities"][first["q"]], first["k"]
    chord = (1 - alphas[k]) * main[0] + alphas[k] * main[-1]
    name = f"{data['methods'][first['m']]['label']}" + f", {same[0][2]:.0%} sparse" * (first["r"] > 0)
    value, rise = (format(v, f"{sign}.{scale['digits']}f") for v, sign in ((main[k], ""), (main[k] - chord, "+")))
    reading = html.escape(f"At α = {alphas[k]:.2f}. {name}: {value} {scale['unit']}, {rise} from the chord.")
    colours = [data["methods"][m]["colour"] if m else "none" for m in (first["c"], first["m"])]
    x, y, level = _x(alphas[k]), _y(main[k], scale), _y(chord, scale)
    return PATH.substitute(
        BOX, title=reading, axis=html.escape(scale["label"]), dashed=colours[0], hue=colours[1], x=x, y=y,
        ticks="".join(f'<path class="tick" d="M{BOX["left"]} {_y(v, scale)}h{BOX["width"]}"/><text text-anchor="end" '
                      f'x="{BOX["left"] - 6}" y="{_y(v, scale) + 4:g}">{text}</text>' for v, text in scale["ticks"]),
        alphas="".join(f'<text text-anchor="middle" x="{_x(a)}" y="234">{a:g}</text>' for a in (0, 0.25, 0.5, 0.75, 1)),
        others="".join(f'<polyline class="faint" style="--c:{colours[1]}" points="{_line(alphas, p[5], scale)}"/>'
                       for p in same if p[3] != first["i"]),
        second=_line(alphas, beside, scale), main=_line(alphas, main, scale),
        chord=f"M{_x(0)} {_y(main[0], scale)}L{_x(1)} {_y(main[-1], scale)}M{x} {level}V{y}"), reading


def _x(alpha: float) -> float:
    return round(BOX["left"] + alpha * BOX["width"], 1)


def _y(value: float, scale: Mapping[str, Any]) -> float:
    return round(BOX["top"] + BOX["height"] * (scale["high"] - value) / (scale["high"] - scale["low"]), 1)


def _line(alphas: Sequence[float], values: Sequence[float], scale: Mapping[str, Any]) -> str:
    return " ".join(f"{_x(a)},{_y(v, scale)}" for a, v in zip(alphas, values))


def contours(plane: Table, levels: np.ndarray) -> dict[str, Any]:
    """A landscape in a square of SIDE pixels: by level what lies above it, as the data of a path; and its networks.

    A network is [number, x, y, whether it lies in the plane]. Losses that are not finite count as the highest.
    """
    grid = plane.select(quantity="train_loss").pivot(index="y", columns="x", values="value")
    xs, ys, loss = grid.columns.to_numpy(float), grid.index.to_numpy(float), grid.to_numpy(float)
    loss = np.where(np.isfinite(loss), loss, max(loss.max(where=np.isfinite(loss), initial=0), 2 * levels[-1]))
    to_pixels = SIDE / (xs[-1] - xs[0]), SIDE / (ys[-1] - ys[0])
    pixels = (xs - xs[0]) * to_pixels[0], SIDE - (ys - ys[0]) * to_pixels[1]
    found = contourpy.contour_generator(*pixels, loss, fill_type="OuterOffset")
    networks = plane.select(quantity="distance from the plane").sort_values("network")
    near = 1e-3 * max(1.0, float(networks["value"].max()))
    return {"d": [_outlines(*found.filled(level, np.inf)) for level in levels[1:]],
            "n": [[int(k), round((x - xs[0]) * to_pixels[0], 1), round(SIDE - (y - ys[0]) * to_pixels[1], 1),
                   int(away < near)] for k, x, y, away in networks[["network", "x", "y", "value"]].to_numpy(float)]}


def _outlines(polygons: Sequence[Any], offsets: Sequence[Any]) -> str:
    """Closed lines of whole pixels, each step from the one before."""
    parts = []
    for points, ends in zip(polygons, offsets):
        for begin, end in zip(ends[:-1], ends[1:]):
            whole = np.rint(points[begin:end - 1]).astype(int)
            steps = np.diff(whole, axis=0)
            steps = steps[steps.any(1)]
            if len(steps) > 1:
                moves = "".join(f"{dx} {dy} ".replace(" -", "-") for dx, dy in steps).rstrip().replace(" -", "-")
                parts.append(f"M{whole[0, 0]} {whole[0, 1]}l{moves}z")
    return "".join(parts)


def landscape(data: Mapping[str, Any], levels: np.ndarray, id: str) -> str:
    """The landscape of the first choice, with a bar of its colours; nothing where there is none."""
    first, planes = data["first"], data["planes"]
    if not planes:
        return ""
    key = tuple(first[n] for n in "mri")
    shown = next((p for p in planes if (p["m"], p["r"], p["i"]) == key), planes[0])
    hues = [to_hex(c) for c in colormaps["viridis"](np.linspace(0, 1, len(levels)))]
    (_, a, b, _), (_, c, d, _) = shown["n"][:2]
    t = data["alphas"][first["k"]]
    there = ", ".join(dict.fromkeys(f"{data['methods'][p['m']]['label']}, initialisation {p['i']}" for p in planes))
    return LAND.substitute(
        id=id, ground=hues[0], low=f"{levels[0]:.2f}", high=f"{levels[-1]:.2f}", there=html.escape(there),
        walk=f"M{a} {b}L{c} {d}", x=round(a + t * (c - a), 1), y=round(b + t * (d - b), 1),
        levels="".join(f'<path class="level" d="{d}" fill="{h}" fill-rule="evenodd"/>'
                       for d, h in zip(shown["d"], hues[1:])),
        bar="".join(f'<rect x="{SIDE * k / len(hues):.1f}" y="268" width="{SIDE / len(hues) + 0.5:.1f}" height="12" '
                    f'fill="{h}"/>' for k, h in enumerate(hues)),
        networks="".join(f'<circle cx="{x}" cy="{y}" r="4" fill="{"#fff" if inside else "none"}" stroke="#fff"/>'
                         f'<text class="net" x="{x + 6:g}" y="{y - 5:g}">{k}</text>' for k, x, y, inside in shown["n"]))
