"""Words for the terminal: tables and durations."""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import click

ASCII = {
    **{"─": "-", "–": "-", "−": "-", "→": "->", "←": "<-", "×": "x", "½": "1/2", "…": "...", "≤": "<=", "≥": ">="},
    **{"α": "alpha", "ε": "epsilon", "λ": "lambda", "σ": "sigma"},
}

class Refused(click.ClickException):
    """What was asked for cannot be done as it stands. Nothing has been executed."""

    exit_code = 2


class Failed(click.ClickException):
    """Something that was started did not finish."""

    exit_code = 1


class Interrupted(click.ClickException):
    """A signal ended what was running. The exit status is that of a shell: 128 and the signal's number."""

    exit_code: int

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_code = 128 + signal_number

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.message, file=file, err=True)


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    wanted = error.object[error.start : error.end]
    return "".join(ASCII.get(character, "?") for character in wanted), error.end


@contextmanager
def printable() -> Iterator[None]:
    """What the terminal's encoding lacks is printed in its place: - for a rule, alpha for α."""
    codecs.register_error("lmcnb.ascii", _in_ascii)
    streams = [s for s in (sys.stdout, sys.stderr) if isinstance(s, io.TextIOWrapper)]
    before = [stream.errors for stream in streams]
    for stream in streams:
        stream.reconfigure(errors="lmcnb.ascii")
    try:
        yield
    finally:
        for stream, errors in zip(streams, before, strict=True):
            stream.reconfigure(errors=errors)


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


def human(number: int) -> str:
    """Bytes as people say it.

    >>> human(812), human(3_500_000), human(12 * 2**30)
    ('812 B', '3.3 MiB', '12.0 GiB')
    """
    value = float(number)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"
