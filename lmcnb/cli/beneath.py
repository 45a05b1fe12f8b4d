"""What stands under a figure of the site: links to its page, its numbers and its print, and how it came about."""

from __future__ import annotations

import html
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Drawn on 16 × 16: an open book, braces, a sheet, and a clock.
ICONS = {
    "notebook": "M8 4C6 2.5 4 2.5 1.5 3v9.5C4 12 6 12 8 13.5c2-1.5 4-1.5 6.5-1V3C12 2.5 10 2.5 8 4zv9.5",
    "numbers": "M6 2C3 2 5 7.5 2.5 8 5 8.5 3 14 6 14M10 2c3 0 1 5.5 3.5 6-2.5.5-.5 6-3.5 6",
    "print": "M3.5 1.5h6l3 3v10h-9zM9.5 1.5v3h3",
    "record": "M8 1.5a6.5 6.5 0 1 0 .01 0zM8 4v4l3 2",
}


def icon(name: str) -> str:
    return (f'<svg class="icon" viewBox="0 0 16 16" width="14" height="14" aria-hidden="true"><path fill="none" '
            f'stroke="currentColor" stroke-width="1.2" d="{ICONS[name]}"/></svg>')


@dataclass
class Files:
    """The files of figures, copied beside the pages of a site.

    Attributes:
        out: the site. copied: by name in it, whence.
    """

    out: Path
    copied: dict[str, Path] = field(default_factory=dict)

    def copy(self, source: Path) -> str:
        """The file's name in the site; a second file of one name gets that of its folder, too."""
        source = source.resolve()
        name = source.name
        if self.copied.setdefault(name, source) != source:
            name = f"{source.parent.name}-{name}"
            self.copied[name] = source
        shutil.copyfile(source, self.out / name)
        return name

    def beneath(self, picture: Path, page: str = "") -> str:
        """Links to a figure's notebook ``page``, its JSON and PDF, and its record; nothing of what is not a figure."""
        numbers, sheet = picture.with_suffix(".json"), picture.with_suffix(".pdf")
        links = [f'<a href="{html.escape(page)}">{icon("notebook")} notebook</a>'] if page else []
        if numbers.is_file():
            links.append(f'<a href="{html.escape(self.copy(numbers))}">{icon("numbers")} numbers (JSON)</a>')
        if sheet.is_file():
            links.append(f'<a href="{html.escape(self.copy(sheet))}">{icon("print")} PDF</a>')
        told = record(numbers)
        if told:
            rows = "".join(f"<tr><th>{html.escape(n)}</th><td>{html.escape(v)}</td></tr>" for n, v in told.items())
            links.append(f"<details><summary>{icon('record')} record</summary><table>{rows}</table></details>")
        return f'<div class="beneath">{"".join(links)}</div>' if links else ""


def record(numbers: Path) -> dict[str, str]:
    """What a figure's JSON says of how it came about, in words; nothing where it is none."""
    try:
        found = json.loads(numbers.read_text(encoding="utf-8"))
        origin, run = found["record"], found.get("run") or {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    commits = [str(c)[:10] + "-dirty" * str(c).endswith("-dirty") for c in _listed(origin.get("commit"))]
    told = {
        "notebook": str(origin.get("notebook") or ""),
        "profile": str(origin.get("profile") or ""),
        "newest result": str(origin.get("date") or "")[:10],
        "computed at commit": ", ".join(commits),
        "drawn with": ", ".join(f"{n} {v}" for n, v in (origin.get("versions") or {}).items()),
        "computed on": ", ".join(map(str, _listed(run.get("device")))),
        "results": _amount(run),
    }
    return {name: text for name, text in told.items() if text}


def _listed(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _amount(run: Mapping[str, Any]) -> str:
    if not run.get("entries"):
        return ""
    return f"{run['entries']}" + (f", {run['seconds'] / 60:.0f} minutes of computing" if run.get("seconds") else "")
