"""The board as a picture: a row a headline, what was found in units of its margin, and the word for it."""
from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from PIL import Image

from ..statistics import Claim
from .base import styled
from .effects import GAP, LINE, MORE, Line, Row, effect, times
from .saved import pdf, png

# By word: its colour (of Okabe and Ito, or grey), the marker that says it without colour, and its chip's colours.
WORDS = {"reproduced": ("#0072b2", "o", "#0072b2", "white"),
         "reproduced, size unclear": ("#56b4e9", "o", "#56b4e9", "black"),
         "no difference that matters": ("#009e73", "s", "#009e73", "black"),
         "contradicted": ("#d55e00", "X", "#d55e00", "black"),
         "too close to call": ("#6f6f6f", "D", "#d6d6d6", "black"),
         "not tested": ("#adadad", "x", "#f0f0f0", "#595959")}
FAINT, PALE, SHADE = "#767676", "#f0f0f0", "#dcdcdc"
BEYOND = 8  # margins, where the axis ends

# Inches from the left, for a page 900 pixels wide: 100 of them an inch.
WIDTH, NAME, SENTENCE, LABEL, ZERO, WORD, REGIME, N = 9.0, 0.05, 0.44, 2.14, 4.74, 5.94, 7.26, 8.35
UNIT, HEAD, FOOT = 0.135, 0.74, 0.72
NOTES = (
    "Dot and 95% interval of one claim, turned so that right is as claimed, whatever the sign of its statistic. "
    "Shaded: ±1 margin, the difference that does not matter. Where nothing is shaded, the claim is that an effect is "
    "at most its margin: 0 is that margin, and right of it is less. An arrow: it goes on; a number: how far.",
    "* The 95% interval alone says more, but does not bear its family's correction. Not tested: what "
    "the claim presupposes does not hold here. Percent: weights pruned. n: initialisations × sets.")


def board(rows: Sequence[Row]) -> Figure:
    """Draws the headlines from top to bottom, each with its claims; those that were not run are grey."""
    height = HEAD + sum(row.height for row in rows) + FOOT
    with styled():
        figure = Figure(figsize=(WIDTH, height))
        ax = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(height, 0))
        ax.set_axis_off()
        _frame(ax, HEAD, height - FOOT)
        top = HEAD
        for row in rows:
            _headline(ax, row, top)
            top += row.height
    return figure


def encoded(figure: Figure, ending: str) -> bytes:
    """The board as a file, ".png" or ".pdf". With a palette of its few colours the PNG has a third of the size."""
    if ending == ".pdf":
        return pdf(figure)
    file = io.BytesIO()
    Image.open(io.BytesIO(png(figure))).convert("RGB").quantize(128).save(file, format="png", optimize=True)
    return file.getvalue()


def _text(ax: Axes, x: float, y: float, text: str, size: float = 7, **options: object) -> None:
    ax.text(x, y, text, **{"fontsize": size, "va": "center", **options})  # type: ignore[arg-type]


def _place(margins: float) -> float:
    return ZERO + UNIT * float(np.clip(margins, -BEYOND, BEYOND))


def _frame(ax: Axes, top: float, bottom: float) -> None:
    """What stands above and below the rows, and the axis behind them."""
    _text(ax, NAME, 0.16, "What the papers say, and what came here", 11, weight="bold")
    for x, name in ((SENTENCE, "the papers say"), (LABEL, "sparsity, detail"), (WORD, "verdict"), (REGIME, "training"),
                    (N, "n")):
        _text(ax, x, top - 0.16, name, weight="bold")
    _text(ax, ZERO, top - 0.36, "effect in units of its margin, the smallest that matters", weight="bold", ha="center")
    for side, text in ((-1, "← against"), (1, "as claimed →")):
        _text(ax, ZERO + side * 0.62, top - 0.21, text, ha="center", color=FAINT)
    for tick in (-8, -4, 0, 4, 8):
        ax.plot([_place(tick)] * 2, [top, bottom], color="black" if tick == 0 else SHADE, linewidth=0.7, zorder=1)
        for y in (top - 0.07, bottom + 0.08):
            _text(ax, _place(tick), y, f"{tick:+d}".replace("-", "−") if tick else "0", 6, ha="center", color=FAINT)
    lines = [line for note in NOTES for line in textwrap.wrap(note, 198)]
    _text(ax, NAME, bottom + 0.2, "\n".join(lines), 6.5, va="top", color="#444444", linespacing=1.35)


def _headline(ax: Axes, row: Row, top: float) -> None:
    ax.plot([0, WIDTH], [top, top], color="#c4c4c4", linewidth=0.5, zorder=0)
    hue, first = "black" if row.lines else FAINT, top + (GAP + LINE) / 2
    _text(ax, NAME, first, row.name, 8.5 if len(row.name) < 4 else 6.5, weight="bold", color=hue)
    for k, text in enumerate(row.texts):
        _text(ax, SENTENCE, first + k * MORE, text, 7.5, color=hue)
    if not row.lines:
        _text(ax, WORD, first, "not run", color=FAINT)
    spans, y = [], top + GAP / 2
    for line in row.lines:
        spans.append((line, y, y + line.height))
        y = spans[-1][2]
        _claim(ax, *spans[-1])
    trained, units = (lambda span: "\n".join(span[0].trained)), (lambda span: span[0].claim.units)
    for x, width, of in ((REGIME, 1.06, trained), (N, 0, units)):
        for text, group in groupby(spans, of):
            _chip(ax, x, [*group], text, width)


def _chip(ax: Axes, x: float, spans: Sequence[tuple[Line, float, float]], text: str, width: float) -> None:
    """What neighbouring claims share is said once, beside all of them."""
    low, high = spans[0][1], spans[-1][2]
    if width and text:
        _box(ax, x - 0.05, low, width, high - low, PALE)
    _text(ax, x, (low + high) / 2, text, 6.5 * min(1, 21 / max(1, *map(len, text.split("\n")))))


def _box(ax: Axes, x: float, y: float, width: float, height: float, hue: str) -> None:
    ax.add_patch(FancyBboxPatch((x, y + 0.015), width, height - 0.03, boxstyle="round,pad=0,rounding_size=0.04",
                                facecolor=hue, edgecolor="none", zorder=1))


def _claim(ax: Axes, line: Line, low: float, high: float) -> None:
    """One claim between two heights: its label, its dot and interval or its number, and its word."""
    claim, y = line.claim, (low + high) / 2
    hue, marker, chip, ink = WORDS[claim.word]
    _text(ax, LABEL, y, "\n".join(line.texts), color="#333333")
    if claim.claimed in ("below", "above") and claim.margin:
        ax.add_patch(Rectangle((_place(-1), low), 2 * UNIT, high - low, facecolor=SHADE, edgecolor="none", zorder=0))
    _effect(ax, claim, y, hue, marker)
    _box(ax, WORD - 0.05, y - LINE / 2, 1.29, LINE, chip)
    _text(ax, WORD, y, claim.word + " *" * (claim.word != line.alone), 6.5, color=ink,
          weight="bold" if claim.word == "contradicted" else "normal")


def _effect(ax: Axes, claim: Claim, y: float, hue: str, marker: str) -> None:
    if not claim.margin or not np.isfinite(claim.estimate):  # there is no scale to draw it on
        return _text(ax, ZERO + 0.08, y, f"{claim.estimate:.3g} {claim.unit}".rstrip(), 6.5)
    estimate, low, high = effect(claim)
    counted = claim.family == "count"
    if not counted and not np.isnan([low, high]).any():
        ax.plot([_place(low), _place(high)], [y, y], color=hue, linewidth=2, zorder=3, solid_capstyle="butt")
        _arrows(ax, (low, high), y, hue)
    if abs(estimate) <= BEYOND:
        ax.plot(_place(estimate), y, marker, color=hue, gid=claim.id, **_look(claim.word, hue))
    else:
        side = float(np.sign(estimate))
        _text(ax, _place(estimate) - side * 0.1, y, f"{estimate:.0f}", 6.5, ha="right" if side > 0 else "left")
    if counted:  # on the side where its dot is not
        side = -1 if estimate > 0 else 1
        _text(ax, _place(1.4 * side), y, times(claim), 6.5, ha="right" if side < 0 else "left")


def _look(word: str, hue: str) -> dict[str, Any]:
    """Of a marker. That of a size that is unclear is hollow; a cross has no face."""
    outlined = word in ("reproduced, size unclear", "not tested")
    size = 5 if outlined else 6.5 if word == "contradicted" else 5.5
    return {"markersize": size, "markeredgewidth": 1.2 if outlined else 0.6, "zorder": 4,
            "markerfacecolor": "white" if outlined else hue, "markeredgecolor": hue if outlined else "white"}


def _arrows(ax: Axes, ends: Iterable[float], y: float, hue: str) -> None:
    for end in ends:
        if abs(end) > BEYOND:
            ax.plot(_place(end), y, ">" if end > 0 else "<", color=hue, markersize=5, markeredgewidth=0, zorder=4)
