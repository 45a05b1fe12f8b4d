"""Results that travel with the project: shipped, computed again and compared, and figures drawn from what is there."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Container, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from lmcnb import places
from lmcnb.cli import board, project, runner
from lmcnb.cli.checks import say_checks
from lmcnb.cli.executors import context
from lmcnb.cli.text import Failed, Refused, duration, human
from lmcnb.notebooks import unknown

MOST = 15 * 2**20  # bytes of all archives: what a clone should not grow by more than


@dataclass(frozen=True)
class Redraw:
    """A notebook's committed figures, drawn again without its results, and why so."""

    job: runner.Job
    figures: tuple[str, ...]
    why: str


def redraws(jobs: Sequence[runner.Job], profile: str) -> list[Redraw]:
    """Of these jobs those that are drawn again from their figures' JSON.

    That is where a committed figure has exactly the values that the job has, and the results behind it are neither
    stored nor shipped, or its data are not at hand. The smoke profile is always computed, and so is what a user sets.
    """
    found = []
    for job in jobs if profile != "smoke" else ():
        names = () if job.overrides else saved(profile, job)
        if names and (why := _lacking(job)):
            found.append(Redraw(job, names, why))
    return found


def soonest(jobs: Sequence[runner.Job], plans: Sequence[list[Any]], profile: str
            ) -> list[tuple[list[runner.Job], list[list[Any]]]]:
    """Jobs and plans whose results are all at hand, then the others, which may take hours; of the smoke profile all."""
    from lmcnb.cli.workers import stages
    from lmcnb.lab import Lab

    ready, later = [], list(zip(jobs, plans))
    if profile != "smoke" and len(jobs) > 1:
        lab = Lab(progress=False)
        ready = [pair for pair in later if not lab.missing(stages([pair[1]]))]
        later = [pair for pair in later if pair not in ready]
    return [([job for job, _ in part], [plan for _, plan in part]) for part in (ready, later) if part]


def at_hand(jobs: Sequence[runner.Job]) -> list[runner.Job]:
    """Jobs whose results are all there; the others are named. One without a plan computes in its cells."""
    from lmcnb.cli.workers import stages
    from lmcnb.lab import Lab

    lab, kept = Lab(progress=False), []
    for job in jobs:
        try:
            with places.offline():
                specs = stages(runner.plans([job]))
                missing = lab.missing(specs)
        except (Refused, ValueError, OSError) as error:
            click.echo(f"{job.notebook.stem}: left out ({str(error).removeprefix(f'{job.notebook.stem}: ')})")
            continue
        if missing or not specs:
            many = f"{len(missing)} results are neither stored nor shipped" if missing else "it computes as it goes"
            click.echo(f"{job.notebook.stem}: left out, as {many}")
        else:
            kept.append(job)
    return kept


def saved(profile: str, job: runner.Job) -> tuple[str, ...]:
    """The committed figures of a job that were made with the same values."""
    number = job.notebook.stem.partition("_")[0]
    names = []
    for path in sorted(places.figures_dir(profile).glob(f"fig{number}_*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))["record"]
        except (OSError, ValueError, KeyError):
            continue
        # What a notebook no longer has says nothing of what it would draw; what it has had since is as it stands there.
        values = {n: v for n, v in (record.get("parameters") or {}).items() if n in job.namespace}
        if values and {**job.notebook.defaults, **values} == {**job.notebook.defaults, **job.namespace}:
            names.append(path.stem)
    return tuple(names)


def _lacking(job: runner.Job) -> str:
    """Why a notebook cannot be executed from what is there; nothing where it can."""
    from lmcnb.cli.workers import stages
    from lmcnb.lab import Lab

    try:
        specs = stages(runner.plans([job]))
        lab = Lab(progress=False)
        missing = lab.missing(specs)
    except (Refused, ValueError, OSError) as error:
        return str(error).removeprefix(f"{job.notebook.stem}: ")
    if not missing:
        return ""
    seconds = [row.seconds for row in lab.status(specs)]
    known = sum(s for s in seconds if s is not None)
    return f"{len(missing)} results are neither stored nor shipped" + (f", {duration(known)} of work" if known else "")


def redrawn(names: Sequence[str], folder: Path) -> float:
    """Draws a notebook's figures from their JSON files, writes PNG and PDF beside them, and says how long it took."""
    from lmcnb.figures.saved import redraw

    start = time.monotonic()
    for name in names:
        try:
            redraw(folder / f"{name}.json")
        except Exception as error:  # of the notebook's own code
            raise Failed(f"{name} cannot be drawn again from its table ({type(error).__name__}: {error}): its notebook "
                         f"was changed; --recompute runs it") from error
    return time.monotonic() - start


def _inherit(environment: dict[str, str]) -> None:
    """In a process of a server that keeps the environment it began with."""
    os.environ.update(environment)


def draw(again: Sequence[Redraw], profile: str, workers: int = 1) -> None:
    """Draws these, so many at once, and says why from their JSON files."""
    folder, figures = places.figures_dir(profile), [each.figures for each in again]
    with ExitStack() as stack:
        side_by_side = map
        if min(workers, len(again)) > 1:
            pool = context().Pool(workers, _inherit, (dict(os.environ),))
            side_by_side = stack.enter_context(pool).imap
        seconds = side_by_side(partial(redrawn, folder=folder), figures)
        for number, (each, passed) in enumerate(zip(again, seconds), start=1):
            where = ", ".join(str(folder / f"{name}.png") for name in each.figures)
            click.echo(f"[{number}/{len(again)}] {where} in {duration(passed)}, from its own table: {each.why}; "
                       "--recompute computes them")


@click.command()
@click.argument("notebooks", nargs=-1)
@click.option("--profile", default="laptop", show_default=True, metavar="NAME", help="Whose figures' results.")
@click.option("--without", "heavy", multiple=True, metavar="NN", help="A figure whose results stay; repeatable.")
def publish(notebooks: Sequence[str], profile: str, heavy: Sequence[str]) -> None:
    """Ship the results behind the committed figures: figures/results/PROFILE/.

    Everything but the weights of trained networks, sets of real images and random masks goes there, from the store
    or from what was shipped before. A figure whose results are not all there keeps what it had; one that is left out
    is drawn again from its own table. NOTEBOOKS are those that have no figure yet: what is stored of them is shipped,
    too, until they have one.
    """
    import lmcnb.stages  # noqa: F401  # which registers them
    from lmcnb.lab import Lab

    lab, folder = Lab(progress=False), places.results_root() / profile
    figures = sorted(places.figures_dir(profile).glob("*.json"))
    if not figures and not notebooks:
        raise Refused(f"{places.figures_dir(profile)} holds no figures: `lmcnb run --profile {profile}` makes them")
    drawn = {path.stem: board.recorded(path) for path in figures}
    left = tuple(f"fig{number}_" for number in heavy)
    if strange := [n for n, start in zip(heavy, left) if not any(name.startswith(start) for name in drawn)]:
        raise Refused(f"--without {strange[0]}: there is no such figure in {places.figures_dir(profile)}")
    wanted = {name: list(figure.get("record", {}).get("keys") or ()) for name, figure in drawn.items()
              if not name.startswith(left)}
    wanted |= _so_far(notebooks, profile, lab)
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".new-") as aside:
        _replace(folder, Path(aside), wanted, _packed(Path(aside), wanted, drawn, lab), lab)
    click.echo(f"{human(_carried(folder))} in {folder.parent}")


def _packed(aside: Path, wanted: Mapping[str, Sequence[str]], drawn: Mapping[str, Any], lab: Any) -> set[str]:
    """An archive of each name's results, each in the first that wants it; the keys of all that are in one."""
    from lmcnb.lab.shipped import ship

    known = {key: (stage, key) for stage in lab.store.stages() for key in lab.store.keys(stage)}
    known |= {key: (stage, key) for stage, key in lab.shipped.places}
    weights = {key for figure in drawn.values() for key in figure.get("run", {}).get("weights", ())}
    taken: set[str] = set()
    for name, every in wanted.items():
        keys, archive = [key for key in every if key not in taken], aside / f"{name}.zip"
        absent = len([key for key in keys if key not in known])
        if not absent:
            commits = drawn.get(name, {}).get("record", {}).get("commit") or ()
            absent = len(ship(archive, [known[key] for key in keys], lab.store, lab.shipped, weights, commits))
        if absent:
            click.echo(f"{name}: {absent} of {len(keys)} results are not in the store: left as it was")
            # Whichever archive had them; one that is damaged is lost, and takes no other with it.
            keys = [key for key in keys if known.get(key) in lab.shipped.places and lab.shipped.get(*known[key])]
            whole = [key for key in keys if lab.shipped.has(*known[key], whole=True)]
            ship(archive, [known[key] for key in keys], lab.store, lab.shipped, whole)
        else:
            size = human(archive.stat().st_size) if archive.exists() else "nothing to ship"
            click.echo(f"{name}: {len(keys)} results, {size}")
        taken |= set(keys)
    return taken


def _replace(folder: Path, aside: Path, wanted: Container[str], taken: set[str], lab: Any) -> None:
    """The new archives in the place of the old ones, and of those of notebooks whose figures have it all by now.

    Raises Failed, and leaves all as they were, where they would be too large together.
    """
    def superseded(path: Path) -> bool:
        early = not path.stem.startswith("fig")
        carried = {key for (_, key), where in lab.shipped.places.items() if where == path}
        return (early or path.stem in wanted) and carried <= taken
    from lmcnb.lab.shipped import same

    for path in aside.glob("*.zip"):
        if same(path, folder / path.name):  # else every publication would add its megabytes to a repository
            shutil.copyfile(folder / path.name, path)
    new = sorted(aside.glob("*.zip"))
    again = {path.name for path in new}
    old = [path for path in folder.glob("*.zip") if path.name in again or superseded(path)]
    size = _carried(folder) + sum(p.stat().st_size for p in new) - sum(p.stat().st_size for p in old)
    if size > MOST:
        raise Failed(f"all archives together would have {human(size)}, and a clone should carry {human(MOST)}: they "
                     "are left as they were; --without NN leaves a figure's results out")
    for path in new:  # all are there before an old one goes: of what stops this the next publication takes them
        os.replace(path, folder / f"new-{path.name}")
    for path in new:
        os.replace(folder / f"new-{path.name}", folder / path.name)
    for path in old:
        if path.name not in again:
            path.unlink(missing_ok=True)  # what an interrupted publication left has become one of the new


def _so_far(notebooks: Sequence[str], profile: str, lab: Any) -> dict[str, list[str]]:
    """Of each notebook's plan the results that there are, under the notebook's name."""
    from lmcnb.cli.workers import stages
    from lmcnb.lab.stage import closure

    found = {}
    for job in runner.prepare(project.root(), notebooks, profile) if notebooks else ():
        specs = closure(stages(runner.plans([job])))
        found[job.notebook.stem] = [lab.key(spec) for spec in specs if lab.has(spec)]
    return found


def _carried(folder: Path) -> int:
    """Bytes of all archives of all profiles."""
    return sum(path.stat().st_size for path in folder.parent.glob("*/*.zip"))


@click.command()
@click.option("--sample", metavar="N", type=click.IntRange(0), default=5, show_default=True, help="How many.")
@click.option("--seed", default=0, show_default=True, help="Of the choice.")
@click.option("--stage", help="Only results of this stage.")
def verify(sample: int, seed: int, stage: str | None) -> None:
    """Compute a random sample of the shipped results again, and compare.

    What they are made from is computed too, into the store. The bytes must be the same on the kind of machine that
    computed them; the weights that were not shipped are compared by their checksum. Exits with 1 if one differs
    where it must not. `lmcnb store verify` does the same for the store.
    """
    import lmcnb.stages  # noqa: F401  # which registers them
    from lmcnb.lab import Lab
    from lmcnb.lab.shipped import Archive
    from lmcnb.lab.stage import STAGES
    from lmcnb.lab.verify import computed_anew, travelled

    archive = Archive(places.results_root())
    whole = travelled(archive)
    stage = {kind.__name__: name for name, kind in STAGES.items()}.get(stage or "", stage)
    if stage and stage not in STAGES:
        raise Refused(unknown("stage", stage, [kind.__name__ for kind in STAGES.values()]))
    items, absent = [i for i in whole if stage in (None, i.stage)], len(archive.places) - len(whole)
    if absent:
        raise Failed(f"{absent} of {len(archive.places)} results in {archive.root} are damaged: restore them "
                     f"(git checkout), or put them there again with lmcnb publish")
    if not items:
        raise Refused(f"no results{f' of {stage}' if stage else ''} travel with this project: {archive.root}")
    click.echo(f"{len(items)} results in {archive.root}, every checksum compared")
    lab = Lab("cpu" if all(i.device == "cpu" for i in items) else None, shipped=False)
    click.echo("what they are made from is computed too, and may take longer")
    wrong, done = say_checks(lab, items, sample, seed, computed_anew)
    if wrong:
        raise Failed(f"{wrong} not what is computed now on the same kind of machine")
    if sample and not done:
        raise Failed("none could be computed again here")
