"""The common look of every figure."""
from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ..prune.magnitude import sparsity_after

# Inches of a figure. With the room that saving leaves around it, it fills the 850 pixels that a page has for it at 96
# an inch, so that its eight points are eight points.
WIDTH = 8.65

# Okabe and Ito's, and others between them: any two of a figure differ by 15 or more (CIE 1976) for normal sight and for
# sight without red or green, which a test holds.
COLOURS = {"dense": "#111111", "imp": "#d55e00", "idc": "#0072b2", "idc-early": "#56b4e9", "dm": "#1a8f5b",
           "dsa": "#ea9c00", "dc": "#dddd5b", "mtt": "#8f275b", "herding": "#d09c4e", "k-center": "#274127",
           "random images": "#ea9cc3", "random mosaics": "#822782", "random mask": "#8a8a8a", "rded": "#006827",
           "platon": "#4b3fe1", "platon, retrained": "#56b4e9", "platon, another init": "#1a8f5b",
           "magnitude mask": "#ea9c00", "gradual magnitude": "#ea9cc3", "platon, importance alone": "#822782",
           "imp, weights only": "#ea9c00", "idc, weights only": "#56b4e9"}
LABELS = {"dense": "dense", "imp": "IMP (real data)", "idc": "distilled, IDC", "idc-early": "distilled, early IDC",
          "dm": "distilled, DM", "dsa": "distilled, DSA", "dc": "distilled, DC", "mtt": "distilled, MTT",
          "herding": "real, herding", "k-center": "real, k-center", "random images": "random real subset",
          "random mosaics": "random real mosaics", "random mask": "random mask, same layers",
          "rded": "chosen patches, RDED", "platon": "PLATON", "magnitude mask": "magnitude mask, same layers",
          "imp, weights only": "IMP, weights-only rewinding", "idc, weights only": "IDC, weights-only rewinding"}
# What a mask was found on, and a marker for each: nobody needs the colours to tell these apart.
MARKERS = {"dense": "s", "real data": "D", "distilled": "o", "unmatched real images": "X", "random": "v"}
FAMILIES = {"dense": "dense", "imp": "real data", "platon": "real data", "magnitude mask": "real data",
            "gradual magnitude": "real data", "random mask": "random",
            **dict.fromkeys(("idc", "idc-early", "dm", "dsa", "dc", "mtt"), "distilled"),
            **dict.fromkeys(("herding", "k-center", "random images", "random mosaics", "rded"),
                            "unmatched real images")}


def style() -> None:
    """The package's look, for the whole session."""
    plt.style.use(Path(__file__).with_name("lmcnb.mplstyle"))


@contextmanager
def styled() -> Iterator[None]:
    """The package's look and nothing else, whatever the session has set, within a block."""
    with plt.rc_context():
        plt.rcdefaults()
        style()
        yield


def colour(method: str) -> str:
    return COLOURS.get(kind(method), "#7f4f24")


def family(method: str) -> str:
    """What a method finds its masks on; one of somebody's own distils.

    >>> family("random images 40"), family("platon, retrained"), family("mtt, published"), family("mine")
    ('unmatched real images', 'real data', 'distilled', 'distilled')
    """
    return FAMILIES.get(kind(method), FAMILIES.get(method.partition(",")[0], "distilled"))


def marker(method: str) -> str:
    return MARKERS[family(method)]


def kind(method: str) -> str:
    """A method without the size, or the origin, of its set.

    >>> kind("random images 40"), kind("mtt, published"), kind("platon, retrained")
    ('random images', 'mtt', 'platon, retrained')
    """
    return re.sub(r" \d+$|, published$", "", method)


def label(method: str) -> str:
    return LABELS.get(method, method)


def percent_sparse(round: int) -> str:
    """The sparsity after that many rounds, each of which removes a fifth of what is left, as every figure says it."""
    return f"{100 * sparsity_after(round):.0f}%"


def caption(figure: Figure, text: str, *, kept: bool = False, bars: bool = True) -> None:
    """A line below the finished figure that says what it was run on. Its panels stay where they are from here on.

    A saved figure has a badge in its place. ``kept``: it stays, as a panel departs from what the badge would say.
    ``bars``: whether the figure has intervals.
    """
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()  # a second drawing moves panels, so a shown figure would be saved otherwise
        figure.set_layout_engine("none")
    for part in [figure, *figure.subfigs]:
        for legend in part.legends:  # cropping moves a figure's bbox, and would move the legend below onto the caption
            if legend.get_bbox_to_anchor() is part.bbox:
                legend.set_bbox_to_anchor((0, 0, 1, 1), part.transSubfigure)
    figure.text(0.5, -0.01, "\n".join(textwrap.wrap(text, 135)), ha="center", va="top", color="#444444",
                gid="kept" if kept else "caption" if bars else "caption, no bars")


def images_grid(sets: Mapping[str, np.ndarray], columns: int = 10) -> Figure:
    """Rows of images by name: each array [n, C, H, W] in 0…1; the first ``columns`` of them are shown."""
    figure, axes = plt.subplots(len(sets), columns, figsize=(columns * 0.8, len(sets) * 0.9), squeeze=False)
    for row, (name, images) in zip(axes, sets.items()):
        for ax, image in zip(row, np.asarray(images)[:columns]):
            picture = np.moveaxis(np.clip(image, 0, 1), 0, -1)
            ax.imshow(picture.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        for ax in row:
            ax.set_axis_off()
        row[0].set_title(name, loc="left")
    return figure


def pictures(images: np.ndarray) -> np.ndarray:
    """What a figure keeps of images [n, C, H, W] in 0…1: uint8 [n, H, W], or [n, H, W, 3] of three channels."""
    found = np.moveaxis(np.rint(255 * np.clip(images, 0, 1)).astype(np.uint8), 1, -1)
    return found[..., 0] if found.shape[-1] == 1 else found
