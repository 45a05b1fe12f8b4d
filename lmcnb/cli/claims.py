"""README's tables, from the notebooks and the figures' JSON files: claims with their verdicts, and the gallery."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lmcnb import __version__
from lmcnb.cli.text import Refused
from lmcnb.notebooks import find_notebooks, unknown
from lmcnb.profiles import profile_files

UNJUDGED = "smoke"
HEADER = "| claim | statement | verdict | estimate [95% interval] | n | figure, profile |\n|---|---|---|---|---|---|"


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


def read_claims(figures: Path) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Every claim with the record of its figure, in the figures' order.

    Args:
        figures: the folder of a profile, of its name.

    Raises:
        Refused: no figure of the profile has claims yet.
    """
    records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(figures.glob("*.json"))]
    mine = [record for record in records if record["profile"] == figures.name]
    found = [(claim, record) for record in mine for claim in record.get("claims", [])]
    if not found:
        raise Refused(f"no figure in {figures} has claims: make one with lmcnb run 03 --profile {figures.name}")
    return found


def markdown(claims: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> str:
    """The claims as a Markdown table."""
    return "\n".join([HEADER, *(_row(claim, record) for claim, record in claims)])


def _row(claim: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    low, high = ("?" if bound is None else f"{bound:.3f}" for bound in claim["interval"])
    number = f"{claim['estimate']:.3f} [{low}, {high}]"
    where = f"{record['figure']}, {record['profile']}{', older code' if is_older(record) else ''}"
    return f"| {claim['id']} | {claim['statement']} | **{claim['verdict']}** | {number} | {claim['n']} | {where} |"


def is_older(record: Mapping[str, Any]) -> bool:
    """Whether a figure was made by another minor version of the package, or by one that did not note its own."""
    made_by = record.get("record", {}).get("versions", {}).get("lmcnb", "")
    return made_by.split(".")[:2] != __version__.split(".")[:2]


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
