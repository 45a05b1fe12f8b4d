"""The common look of every figure, and one way to save them: PNG, PDF and a JSON with everything that was drawn."""
from __future__ import annotations

import json
import logging
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ..places import figures_dir
from ..profiles import CUSTOM
from ..prune.magnitude import sparsity_after
from ..statistics import Claim
from .origin import RESULTS, Origin

log = logging.getLogger(__name__)

COLOURS = {"dense": "#222222", "imp": "#c44e52", "idc": "#1f77b4", "idc-early": "#7fb3d9", "dm": "#2a9d8f",
           "dsa": "#e07b39", "dc": "#e9b08a", "mtt": "#d6336c", "herding": "#b8860b", "k-center": "#606c38",
           "random images": "#8c6bb1", "random mosaics": "#b39ddb", "random mask": "#8a8a8a"}
LABELS = {"dense": "dense", "imp": "IMP (real data)", "idc": "distilled, IDC", "idc-early": "distilled, early IDC",
          "dm": "distilled, DM", "dsa": "distilled, DSA", "dc": "distilled, DC", "mtt": "distilled, MTT",
          "herding": "real, herding", "k-center": "real, k-center", "random images": "random real subset",
          "random mosaics": "random real mosaics", "random mask": "random mask, same layers"}


def style() -> None:
    """The package's look, for the whole session."""
    sns.set_theme(context="paper", style="ticks", font_scale=1.05, rc={
        "axes.spines.right": False, "axes.spines.top": False, "figure.dpi": 110, "savefig.dpi": 200,
        "axes.titlesize": "medium", "axes.titleweight": "bold", "legend.frameon": False, "pdf.fonttype": 42,
        "axes.formatter.useoffset": False, "svg.hashsalt": "lmcnb"})


def colour(way: str) -> str:
    return COLOURS.get(way, "#7f4f24")


def label(way: str) -> str:
    return LABELS.get(way, way)


def save(figure: Figure, name: str, profile: str, payload: Mapping, claims: Sequence[Claim] = (),
         parameters: Mapping[str, object] | None = None) -> Path:
    """Writes <name>.png, .pdf and .json into figures/<profile>/; the same inputs give the same bytes.

    Only a figure whose notebook ran with exactly the profile's values goes there, any other to figures/custom/.
    The values are those in the running kernel, of the parameters of the notebook with the number in ``name``:
    fig03… is of 03_….ipynb.

    Args:
        payload: what was drawn and how it came about (plain numbers, lists, texts); NaN becomes null. Its ``run`` is
            what :meth:`Lab.record` returns.
        parameters: values of the parameters that no kernel has, as for a script.

    Returns:
        The PNG's path.
    """
    origin = Origin.of(name, profile, parameters or {})
    if origin.why:
        log.warning("%s goes to figures/%s/: %s", name, CUSTOM, origin.why)
    folder = figures_dir(origin.folder)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", metadata={"Software": None}, bbox_inches="tight")
    figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None, "Producer": None, "Creator": None},
                   bbox_inches="tight")
    run = payload.get("run", {})
    drawn = {**payload, "run": {n: v for n, v in run.items() if n not in RESULTS}} if run else payload
    written = {"figure": name, "profile": origin.folder, "record": origin.record(run),
               **plain({**drawn, "claims": [c.as_dict() for c in claims]})}
    text = json.dumps(written, indent=1, allow_nan=False) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return folder / f"{name}.png"


def plain(value):
    """Lists, texts and numbers rounded to 6 significant digits, for JSON; NaN and infinity become None."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value


def caption(figure: Figure, text: str) -> None:
    """A line below the figure that says what it was run on."""
    figure.text(0.5, -0.01, "\n".join(textwrap.wrap(text, 150)), ha="center", va="top", fontsize="small",
                color="#444444")


def percent_sparse(round: int, rate: float = 0.2) -> str:
    """The sparsity after that many rounds, each of which removes the share ``rate`` of what is left."""
    return f"{100 * sparsity_after(round, rate):.0f}%"


def images_grid(sets: Mapping[str, np.ndarray], columns: int = 10) -> Figure:
    """Rows of images by name: each array [n, C, H, W] in 0…1; the first ``columns`` of them are shown."""
    figure, axes = plt.subplots(len(sets), columns, figsize=(columns * 0.8, len(sets) * 0.9), squeeze=False)
    for row, (name, images) in zip(axes, sets.items()):
        for ax, image in zip(row, np.asarray(images)[:columns]):
            picture = np.moveaxis(np.clip(image, 0, 1), 0, -1)
            ax.imshow(picture.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        for ax in row:
            ax.set_axis_off()
        row[0].set_title(name, loc="left", fontsize="small")
    return figure
