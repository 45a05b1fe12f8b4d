"""The table of claims and verdicts, from the figures' JSON files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lmcnb import __version__
from lmcnb.cli.text import Refused
from lmcnb.notebooks import unknown
from lmcnb.profiles import profile_files

UNJUDGED = "smoke"
BEGIN, END = "<!-- claims -->", "<!-- /claims -->"
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


def inserted(page: str, table: str) -> str:
    """The page with the table between its two markers.

    Raises:
        Refused: the page lacks them.
    """
    if BEGIN not in page or END not in page:
        raise Refused(f"the page needs the lines {BEGIN} and {END}; the table goes between them")
    before, after = page.split(BEGIN, 1)[0], page.split(END, 1)[1]
    return f"{before}{BEGIN}\n{table}\n{END}{after}"
