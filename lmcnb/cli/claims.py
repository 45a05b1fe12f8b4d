"""Pages' tables, from the notebooks and the figures' JSON files: the board, its details, and the gallery."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from lmcnb.cli.text import Refused
from lmcnb.notebooks import find_notebooks, unknown
from lmcnb.profiles import UNJUDGED, profile_files


def refuse_unjudged(root: Path, profile: str) -> None:
    """Pass a profile whose figures judge claims.

    Raises:
        Refused: there is no such profile, or it is smoke.
    """
    judged = profile_files(root).keys() - {UNJUDGED}
    if profile == UNJUDGED:
        raise Refused("the smoke profile shows that everything works, not what is true: it judges no claim")
    if profile not in judged:
        raise Refused(unknown("profile", profile, judged))


def rejudged(figures: Path) -> list[str]:
    """Judges the claims of a profile's figures again, each from its own table; what became of each, in words."""
    from lmcnb.figures.saved import rejudge

    told = []
    for path in sorted(figures.glob("*.json")):
        try:
            told.append(f"{path.stem}: {len(rejudge(path))} claims")
        except ValueError as error:
            told.append(f"{path.stem}: left as it is, {error}")
    return told


def gallery(root: Path, profile: str) -> str:
    """A row a notebook: its title, its figures under a profile, which claims they judge, and what they cost."""
    figures = root / "figures" / profile
    rows = ["| notebook | figures | claims | command | recorded compute |", "|---|---|---|---|---|"]
    for notebook in find_notebooks(root):
        files = sorted(figures.glob(f"fig{notebook.stem[:2]}*.json"))
        records = [json.loads(path.read_text(encoding="utf-8")) for path in files]
        title = notebook.node.cells[0].source.splitlines()[0].lstrip("# ")
        drawn = " ".join(f"[{r['figure']}](figures/{profile}/{r['figure']}.png)" for r in records) or "–"
        ids = dict.fromkeys(c["id"].split("-")[0] for r in records for c in r.get("claims", []))
        command = f"lmcnb run {notebook.stem[:2]}" + (f" --profile {profile}" if records else "")
        seconds = sum(r.get("run", {}).get("seconds", 0) for r in records)
        rows.append(f"| [{title}](notebooks/{notebook.path.name}) | {drawn} | {', '.join(ids) or '–'} | `{command}` | "
                    f"{compute(seconds) if seconds else '–'} |")
    return "\n".join(rows)


def compute(seconds: float) -> str:
    """Time of one core, in two digits.

    >>> compute(12600), compute(1500)
    ('3.5 core-h', '25 core-min')
    """
    return f"{seconds / 3600:.2g} core-h" if seconds >= 5400 else f"{seconds / 60:.2g} core-min"


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
