"""Results of any stages as one tidy table."""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..tables import COLUMNS, Table
from .entry import Entry
from .stage import Stage


def tabulated(found: Iterable[tuple[Stage, Entry]], sets: Mapping[str, Any],
              columns: Mapping[Stage, Mapping[str, Any]]) -> Table:
    """Rows of every result; of settings only those in which rows of one table differ, and the ``columns`` asked for."""
    rows = [{**spec.described(sets), **row, **columns.get(spec, {})} for spec, entry in found
            for row in spec.rows(entry)]
    names = dict.fromkeys(name for row in rows for name in row)
    asked = {*COLUMNS, *(n for more in columns.values() for n in more)}
    same = [n for n in names if n not in asked and len({row[n] for row in rows if n in row}) == 1]
    return Table.of({n: v for n, v in row.items() if n not in same} for row in rows)
