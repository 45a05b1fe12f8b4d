"""`lmcnb store`: what is stored, whether it still is what was computed, and what of it nothing needs."""
from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import click

from lmcnb import places
from lmcnb.cli import runner
from lmcnb.cli.checks import count, say_checks, seconds
from lmcnb.cli.text import Failed, Refused, duration, human, table
from lmcnb.notebooks import unknown

WIDEST = 78  # characters of what an entry is, in a list
SEALS = ("key", "self", "sha256", "stage")  # what of meta.json tells nothing more than the entry's place and state


class _Commands(click.Group):
    """Commands that say in words what is wrong with a store."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except BrokenPipeError:  # the reader has seen enough
            raise
        except (ValueError, OSError) as error:
            raise Refused(str(error)) from error


@click.group(cls=_Commands)
def store() -> None:
    """Look after what has been computed: the folder LMCNB_STORE, by default in the user's cache."""


@store.command()
@click.argument("stage", required=False)
def ls(stage: str | None) -> None:
    """List entries, every checksum compared."""
    found = _items(stage)
    from lmcnb.lab.inventory import described

    rows = [
        (i.key[:12], i.stage, _short(words), human(i.size), _time(i.meta), str(i.meta.get("date", ""))[:10], i.state)
        for i, words in zip(found, described(found), strict=True)
    ]
    click.echo(table(("key", "stage", "what it is", "size", "time", "date", "state"), rows))
    click.echo(f"{count(len(found))}, {human(sum(i.size for i in found))}: {_states(found)}")


@store.command()
@click.argument("key")
def show(key: str) -> None:
    """Show one entry and what it is made from.

    KEY is how its key begins.
    """
    everything = _items()
    item = _chosen(everything, key)
    from lmcnb.lab.inventory import leaves

    click.echo(f"{item.stage} {item.key}\n{': '.join(filter(None, (item.state, item.reason)))}")
    _section("settings", item.brief)
    _section("results", {name: _short(json.dumps(value)) for name, value in leaves(item.result)})
    _section("provenance", {n: v for n, v in leaves(item.meta) if n.partition(".")[0] not in SEALS})
    with places.offline():
        click.echo(f"\nmade from\n{_upstream(everything, item)}")
    _section("files", {name: human(size) for name, size in item.files.items()})


@store.command()
def du() -> None:
    """Show the size and computing time of each stage."""
    found = _items()
    from lmcnb.lab.inventory import OLDER
    from lmcnb.lab.store import ELSEWHERE
    from lmcnb.lab.upkeep import size

    root = places.store_root()
    groups = defaultdict(list)
    for i in found:
        groups[f"{i.stage}, {OLDER}" if i.store.of_older_version(i.stage, i.key) else i.stage].append(i)
    rows = [(n, len(g), human(sum(i.size for i in g)), duration(seconds(g))) for n, g in groups.items()]
    rows += [(name, len(list((root / name).glob("*"))), human(size(root / name)), "") for name in ELSEWHERE]
    rows += [("all", len(found), human(size(root)), duration(seconds(found)))]
    click.echo(f"{table(('stage', 'number', 'size', 'computed in'), rows)}\n{root}")


@store.command()
@click.option("--sample", metavar="N", type=click.IntRange(0), default=3, show_default=True,
              help="How many entries to compute again.")
@click.option("--seed", default=0, show_default=True, help="Of the choice.")
@click.option("--stage", help="Only entries of this stage.")
@click.option("--all", "everything", is_flag=True, help="Compute all entries again, not a sample.")
@click.option("--set-aside", is_flag=True, help="Move damaged entries to damaged/; they are computed again then.")
def verify(sample: int, seed: int, stage: str | None, everything: bool, set_aside: bool) -> None:
    """Compare checksums; compute a sample again.

    The sample is random, and compared byte for byte.

    Exits with 1 if an entry is damaged, or differs on the kind of machine and with the torch that computed it.
    """
    found = _items(stage)
    from lmcnb.lab.inventory import DAMAGED, WHOLE

    click.echo(f"{count(len(found))}, every checksum compared: {_states(found)}")
    for item in (damaged := [i for i in found if i.state == DAMAGED]):
        click.echo(f"damaged: {item.stage} {item.key[:12]}: {item.reason}")
        if set_aside:
            item.store.set_aside(item.folder, ValueError(item.reason))
    whole = [i for i in found if i.state == WHOLE]
    from lmcnb.lab.verify import Reader, recomputed

    reader = Reader(store=places.store_root())
    wrong, _ = say_checks(reader, whole, len(whole) if everything else sample, seed, recomputed)
    problems = [f"{count(len(damaged))} damaged"] if damaged else []
    problems += [f"{count(wrong)} not what is computed now on the same kind of machine"] if wrong else []
    if problems:
        raise Failed(", ".join(problems) + ("" if set_aside or not damaged else "; --set-aside moves what is damaged"))


@store.command()
@click.option("--profile", "profiles", multiple=True, metavar="NAME", help="Keep what its plans ask for; repeatable.")
@click.option("--yes", is_flag=True, help="Remove; without it nothing is.")
@click.option("--damaged", is_flag=True, help="Also what is damaged.")
@click.option("--older", is_flag=True, help="Also entries of older versions, which nothing asks for.")
def gc(profiles: Sequence[str], yes: bool, damaged: bool, older: bool) -> None:
    """Say what no figure needs; with --yes remove it.

    Kept are the entries that the figures' JSON files list, what those are made from, and with --profile what the
    notebooks' plans ask for.
    """
    figures = places.figures_dir("smoke").parent
    found = _items()
    from lmcnb.lab import Lab
    from lmcnb.lab.inventory import DAMAGED, OLDER
    from lmcnb.lab.upkeep import figure_keys, held, needed, remove, waste

    keys, plan = figure_keys(figures), _plan(profiles)
    if not keys and not profiles:
        raise Refused(f"no figure in {figures} lists its entries, and no profile is named: all would go. Name what to "
                      f"keep, as in lmcnb store gc --profile laptop")
    shelf = found[0].store
    with places.offline():
        kept = needed(Lab(progress=False), found, keys, plan)
    if not any(i.key in kept for i in found):
        raise Refused(f"nothing in {shelf.root} is what the figures in {figures} or a named profile need, and all "
                      f"would go. Name a profile to keep, or remove the folder yourself")
    _say_kept([i for i in found if i.key in kept], keys)
    flags = {DAMAGED: damaged, OLDER: older}
    wanted = [(w, flags.get(w.state, True)) for w in waste(shelf, found, kept)]
    click.echo(_waste_table(wanted))
    if busy := held(shelf):
        click.echo(f"being computed, as far as can be seen from here: {len(busy)}. That stays, but what it is made of "
                   f"may be listed here: better wait")
    sizes = {w: w.size for w, go in wanted if go}
    if yes:
        gone = remove(shelf, sizes)
        click.echo(f"removed: {len(gone)} of {len(sizes)}, {human(sum(sizes[w] for w in gone))}")
    elif sizes:
        click.echo(f"Nothing is removed yet: --yes removes {len(sizes)}, {human(sum(sizes.values()))}")


def _plan(profiles: Sequence[str]) -> list[Any]:
    """What the notebooks ask the lab for under these profiles."""
    if not profiles:
        return []
    root = places.project_root()
    jobs = [job for profile in profiles for job in runner.prepare(root, (), profile)]
    with places.pinned(root):
        return [spec for plan in runner.plans(jobs) for spec in plan]


def _items(stage: str | None = None) -> list[Any]:
    """Everything in the store.

    Raises:
        Refused: there is no store, nothing in it, or no such stage.
    """
    root = places.store_root()
    if not root.is_dir():
        raise Refused(f"there is no store at {root}: `lmcnb run` makes it; LMCNB_STORE names another folder")
    import lmcnb.stages  # noqa: F401  # which registers them; imports torch
    from lmcnb.lab.inventory import STAGES, Store, items

    shelf = Store(root)
    stage = next((name for name, its in STAGES.items() if its.__name__ == stage), stage)  # a class's name is right too
    if stage is not None and stage not in (known := {*STAGES, *shelf.stages()}):
        raise Refused(unknown("stage", stage, known))
    found = items(shelf, stage)
    if not found:
        raise Refused(f"the store at {root} holds no entry{f' of {stage}' if stage else ''}: `lmcnb run` makes them; "
                      f"LMCNB_STORE names another folder")
    return found


def _chosen(found: Iterable[Any], key: str) -> Any:
    fitting = [i for i in found if i.key.startswith(key.lower())]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise Refused(f"no entry's key begins with {key}: `lmcnb store ls` lists them")
    names = ", ".join(f"{i.key[:max(12, len(key) + 4)]} ({i.stage})" for i in fitting)
    raise Refused(f"{len(fitting)} entries' keys begin with {key}; give more of it: {names}")


def _upstream(found: Sequence[Any], item: Any) -> str:
    from lmcnb.lab import Lab
    from lmcnb.lab.upkeep import upstream
    from lmcnb.lab.verify import obstacle

    lab = Lab(progress=False)
    made_from, why = upstream(lab, found, item), obstacle(lab, item)
    if made_from is None:
        return f"  cannot be told here: {why}"
    if not item.spec.upstream():
        return "  its data alone"
    rows = [f"  {i.key[:12]}  {i.stage}, {i.state}" for i in made_from] or ["  nothing that is stored"]
    return "\n".join([*rows, *([f"  by its settings: {why}"] if why else [])])


def _say_kept(kept: Sequence[Any], keys: set[str]) -> None:
    click.echo(f"kept: {count(len(kept))}, {human(sum(i.size for i in kept))} (figures list {len(keys)})")
    if strange := [i for i in kept if i.spec is None]:
        click.echo(f"{count(len(strange))} of these have settings that mean nothing here; what they are made from is "
                   f"kept only where a figure lists it")


def _waste_table(wanted: Sequence[tuple[Any, bool]]) -> str:
    groups = defaultdict(list)
    for each, go in wanted:
        groups[each.what, each.state, "" if go else f"stays without --{each.state.split()[0]}"].append(each)
    rows = [(what, state, len(g), human(sum(w.size for w in g)), note) for (what, state, note), g in groups.items()]
    return table(("not needed", "state", "number", "size", ""), rows) if rows else "nothing else is there"


def _section(title: str, values: dict[str, Any]) -> None:
    width = max(map(len, values), default=0)
    lines = [f"  {name.ljust(width)}  {value}" for name, value in values.items()]
    click.echo("\n".join(["", title, *(lines or ["  none"])]))


def _short(text: str) -> str:
    return text if len(text) <= WIDEST else f"{text[:WIDEST - 1]}…"


def _states(found: Iterable[Any]) -> str:
    return ", ".join(f"{number} {state}" for state, number in Counter(i.state for i in found).most_common())


def _time(meta: dict[str, Any]) -> str:
    seconds = meta.get("seconds")
    return re.sub(r"^0 s$", "< 1 s", duration(seconds)) if isinstance(seconds, int | float) else ""
