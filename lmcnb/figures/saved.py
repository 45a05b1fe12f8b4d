"""Figures on disk: PNG, PDF, and a JSON with the table, the claims and the record, from which they are drawn again."""
from __future__ import annotations

import base64
import importlib
import io
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from ..notebooks import find_notebooks
from ..places import figures_dir, project_root, put
from ..profiles import CUSTOM, UNJUDGED
from ..statistics import Claim
from ..tables import Table, verdicts
from .base import styled
from .head import head
from .origin import RESULTS, Origin, number

log = logging.getLogger(__name__)

Pictures = Mapping[str, Sequence[np.ndarray]]


@dataclass(frozen=True)
class Saved:
    """A figure as it was saved.

    Attributes:
        table: every number that it draws. claims: what was judged, each alone. note: its caption.
        parameters: its notebook's, by name. record: how it came about. images: by name uint8 [n, H, W] or [n, H, W, 3].
    """

    name: str
    profile: str
    note: str
    table: Table
    claims: list[Claim]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)
    images: Mapping[str, np.ndarray] = field(default_factory=dict)

    def draw(self) -> Figure:
        """Draws it again: the cell tagged ``figure`` of its notebook, on this table; above it the claims' words.

        Raises:
            ValueError: the notebook has no such cell.
        """
        with styled():
            figure = self._run("figure", "cannot be drawn again")["figure"]
            head(figure, _question(self.name), self.note, self.parameters, self.claims)
            return figure

    def judge(self) -> list[Claim]:
        """Its claims, judged again: the cell tagged ``claims`` of its notebook, on this table.

        Raises:
            ValueError: the notebook has no such cell.
        """
        return list(self._run("claims", "cannot be judged again")["claims"])

    def _run(self, tag: str, cannot: str) -> dict[str, Any]:
        """What a tagged cell of its notebook leaves behind, given the parameters and what was saved."""
        [notebook] = find_notebooks(project_root(), [number(self.name)])
        cells = notebook.tagged(tag)
        if not cells:
            raise ValueError(f"{notebook.stem} has no cell tagged `{tag}`, so {self.name} {cannot}")
        package = importlib.import_module(__name__.partition(".")[0])
        names = {"lmcnb": package, "np": np, "plt": plt, "verdicts": verdicts, "images": self.images,
                 **self.parameters, "table": self.table, "claims": self.claims, "note": self.note}
        for cell in cells:
            source = notebook.node.cells[cell].source.replace("plt.show()", "")
            exec(compile(source, f"<{notebook.stem}, cell {cell + 1}>", "exec"), names)
        return names


def save(figure: Figure, name: str, profile: str, table: Table, claims: Sequence[Claim] = (), *, note: str = "",
         run: Mapping[str, Any] | None = None, images: Pictures | None = None,
         parameters: Mapping[str, object] | None = None) -> Path:
    """Writes <name>.png, .pdf and .json into figures/<profile>/; the same inputs give the same bytes.

    Above the figure it writes what became of the claims, and a badge in place of the caption.

    Only a figure whose notebook ran with exactly the profile's values goes there, any other to figures/custom/.
    The values are those in the running kernel, of the parameters of the notebook with the number in ``name``:
    ``fig03…`` is of ``03_….ipynb``.

    Args:
        table: every number that is drawn. claims: which a smoke run does not keep: it judges nothing.
        note: the caption. run: what :meth:`Lab.record` returns.
        images: pictures that are drawn, by name, uint8 [n, H, W] or [n, H, W, 3].
        parameters: values of the parameters that no kernel has, as for a script.

    Returns:
        The PNG's path.
    """
    origin = Origin.of(name, profile, parameters or {})
    if origin.why:
        log.warning("%s goes to figures/%s/: %s", name, CUSTOM, origin.why)
    folder = figures_dir(origin.folder)
    folder.mkdir(parents=True, exist_ok=True)
    claims = [] if profile == UNJUDGED else claims
    with styled():
        head(figure, _question(name) if origin.notebook else "", note, origin.parameters, claims)
    (folder / f"{name}.png").write_bytes(png(figure))
    (folder / f"{name}.pdf").write_bytes(pdf(figure))
    run = dict(run or {})
    write(folder / f"{name}.json", {
        "figure": name, "profile": origin.folder, "note": note,
        "claims": as_json(claims),
        "record": origin.record(run), "run": plain({n: v for n, v in run.items() if n not in RESULTS}),
        "table": table.to_columns(), "images": {n: [_packed(p) for p in ps] for n, ps in (images or {}).items()}})
    return folder / f"{name}.png"


def _question(name: str) -> str:
    """The title of a figure's notebook."""
    [notebook] = find_notebooks(project_root(), [number(name)])
    return notebook.title


def png(figure: Figure) -> bytes:
    """The bytes that a figure is saved as."""
    return _bytes(figure, "png", Software=None)


def pdf(figure: Figure) -> bytes:
    """As :func:`png`."""
    return _bytes(figure, "pdf", CreationDate=None, Producer=None, Creator=None)


def _bytes(figure: Figure, kind: str, **metadata: None) -> bytes:
    file = io.BytesIO()
    with styled():
        figure.savefig(file, format=kind, metadata=metadata, bbox_inches="tight")
    return file.getvalue()


def as_json(claims: Iterable[Claim]) -> list[dict[str, Any]]:
    """Claims as a figure's JSON has them."""
    return [plain(c.as_dict(), digits=None) for c in claims]


def rejudge(path: Path) -> list[Claim]:
    """Judges the claims of a saved figure again, from its own table, and writes them, and nothing else, into its JSON.

    Where they changed, the figure is drawn again, as they stand above it; one that cannot be drawn keeps its JSON.

    Raises:
        ValueError: its notebook has no cell tagged ``claims``.
    """
    found, before = read(path.stem, path.parent.name), json.loads(path.read_text(encoding="utf-8"))
    claims = found.judge()
    if before["claims"] != as_json(claims):
        redraw(path, replace(found, claims=claims))
    write(path, {**before, "claims": as_json(claims)})
    return claims


def redraw(path: Path, found: Saved | None = None) -> None:
    """Draws a saved figure again, from its JSON or as it was ``found``, and writes PNG and PDF beside it."""
    figure = (found or read(path.stem, path.parent.name)).draw()
    path.with_suffix(".png").write_bytes(png(figure))
    path.with_suffix(".pdf").write_bytes(pdf(figure))
    plt.close(figure)


def write(path: Path, values: Mapping[str, Any]) -> None:
    """JSON in which a column of the table, a picture, or the cells of a claim are one line."""
    lines: list[str] = []

    def held(value: Any) -> Any:
        lines.append(json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(", ", ": ")))
        return f"@{len(lines) - 1}@"
    tall = {**values, **{part: {n: held(v) for n, v in values[part].items()} for part in ("table", "images")},
            "claims": [{n: held(v) if isinstance(v, Mapping | list) else v for n, v in claim.items()}
                       for claim in values["claims"]]}
    text = json.dumps(tall, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    for k, line in enumerate(lines):
        text = text.replace(f'"@{k}@"', line, 1)
    put(path, text)


def read(name: str, profile: str = "laptop") -> Saved:
    """A figure of a profile: ``read("fig03_stability_cifar10").table``.

    Raises:
        FileNotFoundError: there is none; the message names those that there are.
    """
    folder = figures_dir(profile)
    path = folder / f"{name}.json"
    if not path.is_file():
        there = ", ".join(sorted(p.stem for p in folder.glob("*.json"))) or "none"
        raise FileNotFoundError(f"{folder} has no figure {name}; it has: {there}")
    found = json.loads(path.read_text(encoding="utf-8"))
    known = {f.name for f in fields(Claim)}
    claims = [Claim.of(c) for c in found["claims"] if c.keys() == known]  # of an older form: judge them again
    images = {n: np.stack([_unpacked(p) for p in ps]) for n, ps in found.get("images", {}).items()}
    return Saved(name, profile, found["note"], Table.from_columns(found["table"]), claims,
                 found["record"].get("parameters", {}), found["record"], images)


def committed(name: str, profile: str = "laptop") -> pd.DataFrame | str:
    """What became of the claims of a figure that comes with the project, each alone; where there is none, that.

    >>> committed("fig99_nothing")
    'fig99_nothing of profile laptop is not here'
    """
    try:
        found = read(name, profile)
    except FileNotFoundError:
        return f"{name} of profile {profile} is not here"
    return verdicts(found.claims, profile) if found.claims else "it judges no claim"


def plain(value: Any, digits: int | None = 6) -> Any:
    """Lists, texts and numbers rounded to that many significant digits, for JSON; NaN and infinity become None."""
    if isinstance(value, Mapping):
        return {str(k): plain(v, digits) for k, v in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist(), digits)
    if isinstance(value, (list, tuple)):
        return [plain(v, digits) for v in value]
    if isinstance(value, float):
        return None if not np.isfinite(value) else value if digits is None else float(f"{value:.{digits}g}")
    return value


def _packed(picture: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(np.asarray(picture)).save(file, format="png")
    return base64.b64encode(file.getvalue()).decode()


def _unpacked(text: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))
