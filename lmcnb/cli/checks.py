"""Entries that are computed again, and how they came out, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import click

from lmcnb.cli.text import duration


def say_checks(
    lab: Any, items: Sequence[Any], number: int, seed: int, recomputed: Callable[..., Iterator[Any]]
) -> tuple[int, int]:
    """Computes so many entries again, says how each came out; how many differ where they must not, and how many it did.

    `recomputed` is one of the two functions of :mod:`lmcnb.lab.verify`: from a store, or from what came with a project.
    """
    from lmcnb.lab.verify import drawn, obstacle

    reasons = {i.key: obstacle(lab, i) for i in items}
    for reason, times in Counter(filter(None, reasons.values())).most_common():
        click.echo(f"{count(times)} cannot be computed again here: {reason}")
    able = [i for i in items if not reasons[i.key]]
    few = drawn(able, seed)[:number]
    click.echo(f"computing {len(few)} of {count(len(able))} again, in about {duration(seconds(few))}")
    wrong = done = 0
    for check in recomputed(lab, able, number, seed):
        click.echo(f"  {check.item.key[:12]}  {check.item.stage}: {_outcome(check)}")
        wrong, done = wrong + check.wrong, done + (not check.why_not)
    return wrong, done


def _outcome(check: Any) -> str:
    if check.why_not:
        return f"cannot be computed again: {check.why_not}"
    if not check.differs:
        return "the same bytes"
    more = ", …" if len(check.differs) > 4 else ""
    why = (
        f"as it may: computed with {'; '.join(check.elsewhere)}"
        if check.elsewhere
        else "though device, processor and torch are the same"
    )
    return f"differs in {', '.join(check.differs[:4])}{more}, {why}"


def count(number: int) -> str:
    """Entries, as people count them."""
    return "1 entry" if number == 1 else f"{number} entries"


def seconds(found: Iterable[Any]) -> float:
    """That these entries took together, as far as it is known."""
    return sum(s for i in found if isinstance(s := i.meta.get("seconds"), int | float))
