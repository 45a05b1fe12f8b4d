"""Words for the terminal: tables, durations and hints."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import click


class Refused(click.ClickException):
    """What was asked for cannot be done as it stands. Nothing has been executed."""

    exit_code = 2


class Failed(click.ClickException):
    """Something that was started did not finish."""

    exit_code = 1


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """A sentence that says what is not known, what it was probably meant to be, and what is known."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f", did you mean `{close[0]}`?" if close else ""
    return f"unknown {kind} `{name}`{hint} Known: {', '.join(known) or 'none'}"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Left-aligned columns under a rule."""
    cells = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    cells.insert(1, ["─" * width for width in widths])
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> duration(3.2), duration(200), duration(7500)
    ('3 s', '3 min 20 s', '2 h 05 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
