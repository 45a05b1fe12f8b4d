"""Pages' tables, from the notebooks and the figures' JSON files: the board, its details, and the gallery.

And the board as a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmcnb.cli import board
from lmcnb.cli.text import Refused
from lmcnb.notebooks import find_notebooks, unknown
from lmcnb.places import figures_dir, put
from lmcnb.profiles import UNJUDGED, profile_files

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES = (".png", ".pdf")


def folders(root: Path, profiles: Sequence[str] = ()) -> list[Path]:
    """The folders of these profiles' figures, of all that have figures where none is named; laptop's comes first.

    Raises:
        Refused: there is no such profile, or it is smoke, which judges no claim.
    """
    judging = sorted(profile_files(root).keys() - {UNJUDGED}, key=lambda name: (name != "laptop", name))
    if UNJUDGED in profiles:
        raise Refused("the smoke profile shows that everything works, not what is true: it judges no claim")
    if strangers := [name for name in profiles if name not in judging]:
        raise Refused(unknown("profile", strangers[0], judging))
    if not judging:
        raise Refused(f"{root} has no profile but smoke, which judges no claim")
    places = {name: figures_dir(name) for name in profiles or judging}
    found = [path for name, path in places.items() if profiles or name == "laptop" or any(path.glob("*.json"))]
    return found or [*places.values()][:1]


def rejudged(*figures: Path) -> list[str]:
    """Judges the claims of profiles' figures again, each from its own table; what became of each, in words."""
    from lmcnb.figures.saved import rejudge

    told = []
    for path in (path for folder in figures for path in sorted(folder.glob("*.json"))):
        board.recorded(path)
        try:
            told.append(f"{path.stem}: {len(rejudge(path))} claims")
        except Exception as error:  # whatever the notebook's own code raises
            told.append(f"{path.stem}: left as it is, {error}")
    return told


def gallery(root: Path, figures: Sequence[Path]) -> str:
    """A row a notebook: its title, its figures in these profiles' folders, which claims they judge, what they cost."""
    rows = ["| notebook | figures | claims | command | recorded compute |", "|---|---|---|---|---|"]
    for notebook in find_notebooks(root):
        files = [path for folder in figures for path in sorted(folder.glob(f"fig{notebook.stem[:2]}*.json"))]
        records = [board.recorded(path) for path in files]
        title = notebook.title
        drawn = " ".join(f"[{r['figure']}](figures/{r['profile']}/{r['figure']}.png)" for r in records) or "–"
        ids = dict.fromkeys(c["id"].split("-")[0] for r in records for c in r.get("claims", []))
        profiles = dict.fromkeys(f" --profile {r['profile']}" for r in records) or [""]
        commands = ", ".join(f"`lmcnb run {notebook.stem[:2]}{profile}`" for profile in profiles)
        costs = (compute(r["run"]["seconds"], "GPU" if _on_gpu(r) else "core") for r in records if r.get("run"))
        rows.append(f"| [{title}](notebooks/{notebook.path.name}) | {drawn} | {', '.join(ids) or '–'} | {commands} | "
                    f"{', '.join(costs) or '–'} |")
    return "\n".join(rows)


def _on_gpu(record: Mapping[str, Any]) -> bool:
    return not all(name.startswith("CPU") for name in record["run"].get("device", ["CPU"]))


def compute(seconds: float, of: str = "core") -> str:
    """Time of one core, or of one GPU, in two digits.

    >>> compute(12600), compute(1500), compute(150, "GPU")
    ('3.5 core-h', '25 core-min', '2.5 GPU-min')
    """
    return f"{seconds / 3600:.2g} {of}-h" if seconds >= 5400 else f"{seconds / 60:.2g} {of}-min"


def writable(_context: object, _option: object, paths: Sequence[Path]) -> Sequence[Path]:
    """Paths to write to, asked before anything is done.

    Raises:
        Refused: one is neither a page that is there nor a picture.
    """
    for path in paths:
        if path.suffix not in (".md", *PICTURES):
            raise Refused(f"{path} is no page and no picture: a page ends in .md and gets the tables, a picture of the "
                          f"board ends in {' or '.join(PICTURES)}")
        if path.suffix == ".md" and not path.is_file():
            raise Refused(f"there is no page {path}: make one with the lines <!-- claims --> and <!-- /claims -->; the "
                          "table goes between them")
    return paths


def write(path: Path, tables: Mapping[str, str], picture: Callable[[], Figure]) -> None:
    """Puts the tables into a page, or the board into a picture."""
    if path.suffix not in PICTURES:
        put(path, updated(path.read_text(encoding="utf-8"), tables))
        return
    from lmcnb.figures.board import encoded

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(picture(), path.suffix))


def updated(page: str, tables: Mapping[str, str]) -> str:
    """The page with each table that it has markers for.

    Raises:
        Refused: it has none.
    """
    wanted = [name for name in tables if f"<!-- {name} -->" in page]
    for name in wanted or list(tables)[:1]:
        page = inserted(page, tables[name], name)
    return page


def inserted(page: str, table: str, name: str = "claims") -> str:
    """The page with the table between the two markers of that name.

    Raises:
        Refused: the page lacks them.
    """
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if begin not in page or end not in page:
        raise Refused(f"the page needs the lines {begin} and {end}; the table goes between them")
    before, after = page.split(begin, 1)[0], page.split(end, 1)[1]
    return f"{before}{begin}\n{table}\n{end}{after}"
