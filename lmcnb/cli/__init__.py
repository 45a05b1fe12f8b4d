"""The command line: run | compute | params | status | report | claims | film | bench | tidy | publish | verify |
store | init.

Nothing heavy is imported before a command needs it: `lmcnb --help` answers at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from lmcnb import __version__, places
from lmcnb.cli import bench as benchmarks
from lmcnb.cli import board, execution, film, live, project, results, runner
from lmcnb.cli import claims as verdicts
from lmcnb.cli import report as site
from lmcnb.cli import store as stored
from lmcnb.cli import workers as many
from lmcnb.cli.predictions import read_predictions
from lmcnb.cli.text import Failed, Refused, duration, printable, table
from lmcnb.cli.tidy import tidied
from lmcnb.notebooks import ProjectError, find_notebooks
from lmcnb.profiles import CUSTOM

notebooks_argument = click.argument("notebooks", nargs=-1, metavar="[NOTEBOOK]...")
profile_option = click.option(
    "--profile", default="smoke", show_default=True, metavar="NAME", help="smoke, laptop, gpu, … of notebooks/profiles."
)
settings_option = click.option(
    "-s", "--set", "settings", multiple=True, metavar="K=V", help="A parameter's value, as YAML; repeatable."
)


def selected(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which notebooks, under which profile, with which settings."""
    return notebooks_argument(profile_option(settings_option(command)))


class _Commands(click.Group):
    """Commands whose output can be written in any encoding, and which report what a project cannot be in words."""

    def main(self, *args: Any, **options: Any) -> Any:
        with printable():
            return super().main(*args, **options)

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except ProjectError as error:
            raise Refused(str(error)) from error
        except BrokenPipeError:  # the reader has seen enough
            raise
        except OSError as error:  # a disk that is full or read-only: the store says in words what to do
            raise Failed(str(error)) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Linear mode connectivity in sparse networks, a notebook a figure.

    A NOTEBOOK is a path, a name such as 03_stability_cifar10, or the beginning of one, such as 03. Without
    any, a command takes all of them in reading order (publish: those whose figures stand).
    """


workers_option = click.option(
    "-j", "--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes, each of one thread."
)


@main.command()
@selected
@site.executed_option
@workers_option
@click.option("--recompute", is_flag=True, help="Compute what the store lacks, whatever came with the project.")
@click.option("--no-compute", is_flag=True, help="Compute nothing: what would have to be is named, and left out.")
def run(notebooks: Sequence[str], profile: str, settings: Sequence[str], executed: Path | None, workers: int,
        recompute: bool, no_compute: bool) -> None:
    """Execute notebooks; stop at the first that fails.

    All settings and plans are checked before the first cell runs. Exits with 2 if that refuses, with 1 if a
    cell fails, with 130 or 143 after Ctrl-C or SIGTERM. Results go to the store: a second run is short, an
    interrupted one goes on. Figures go to figures/PROFILE/, and with --set to figures/custom/; executed
    notebooks to executed/, where only a complete run replaces the last one.

    With -j the processes first divide what is missing among them, then execute notebooks side by side.

    Results and figures that came with the project are used: where the results of a committed figure are not at
    hand, it is drawn again from its JSON file. --recompute computes them. What needs no computing comes first, and
    with --no-compute nothing comes after it.
    """
    root = project.root()
    if recompute and no_compute:
        raise Refused("--recompute asks for what --no-compute refuses: leave one of them out")
    folder = (executed or root / "executed").absolute()
    jobs = runner.prepare(root, notebooks, profile, settings)
    if any(job.notebook.path.resolve().parent == folder.resolve() for job in jobs):
        raise Refused(f"--executed {folder} holds the notebooks themselves, which would be overwritten: name another")
    with places.pinned(root, shipped=not recompute), execution.stoppable():
        again = [] if recompute else results.redraws(jobs, profile)
        left = [job for job in jobs if job not in [each.job for each in again]]
        if no_compute:
            left = results.at_hand(left)
        plans = runner.plans(left)  # all are checked before the first cell runs
        results.draw(again, profile, workers)
        for part, mine in results.soonest(left, plans, profile):
            if workers > 1:
                many.divided(root, part, mine, profile, settings, many.Workers(workers))
                many.side_by_side(part, folder, workers, lambda job: _named(profile, job))
            else:
                _one_by_one(part, folder, profile)


def _one_by_one(jobs: Sequence[runner.Job], folder: Path, profile: str) -> None:
    for number, job in enumerate(jobs, start=1):
        click.echo(f"[{number}/{len(jobs)}] {job.notebook.stem}, {_named(profile, job)}")
        start = time.monotonic()
        with live.live(job.notebook.stem):
            target = execution.execute(job, folder)
        click.echo(f"[{number}/{len(jobs)}] {target} in {duration(time.monotonic() - start)}")


@main.command()
@selected
@workers_option
@click.option("--executor", "name", default="processes", show_default=True, metavar="NAME",
              help="processes, ray or slurm: where the workers run.")
@click.option("-o", "--option", "options", multiple=True, metavar="K=V",
              help="For ray (address, cpus) or slurm (submitit's, as slurm_partition); repeatable.")
@click.option("--gpus", type=click.IntRange(0, 1), help="GPUs of each worker.  [default: 1 where this machine has one]")
@click.option("--shard", metavar="K/N", default="1/1", help="Only part K of N of the plan, of about equal cost.")
def compute(notebooks: Sequence[str], profile: str, settings: Sequence[str], workers: int, name: str,
            options: Sequence[str], gpus: int | None, shard: str) -> None:
    """Compute what notebooks need, and execute none.

    Any number of these may work on one store, started here or on other machines: they divide what is missing.
    A worker that is killed is started again, and another takes its work over.
    """
    root, which = project.root(), many.parse_shard(shard)
    how = many.Workers(workers, name, tuple(options), gpus)
    jobs = runner.prepare(root, notebooks, profile, settings)
    with places.pinned(root), execution.stoppable():
        many.divided(root, jobs, runner.plans(jobs), profile, settings, how, which)


def _named(profile: str, job: runner.Job) -> str:
    changed = ", ".join(f"{name}={value['here']!r}" for name, value in job.overrides.items())
    where = places.figures_dir(CUSTOM)
    return f"profile {profile} but {changed}: figures go to {where}" if changed else f"profile {profile}"


@main.command()
@selected
@click.option("--yaml", "as_yaml", is_flag=True, help="Values alone, for papermill -f. One notebook.")
def params(notebooks: Sequence[str], profile: str, settings: Sequence[str], as_yaml: bool) -> None:
    """List the notebooks' parameters and their values under a profile."""
    if as_yaml:
        jobs = runner.prepare(project.root(), notebooks, profile, settings)
        if len(jobs) != 1:
            raise Refused(f"--yaml writes one notebook's parameters, and {len(jobs)} are selected: name one")
        import yaml

        click.echo(yaml.safe_dump(jobs[0].namespace, sort_keys=False), nl=False)
        return
    for job in runner.prepare(project.root(), notebooks, profile, settings):
        known, values = job.notebook.parameters, job.namespace
        rows = [(name, p.kind, repr(values[name]), p.help) for name, p in known.items()]
        click.echo(f"{job.notebook.stem}, {_named(profile, job)}")
        click.echo(table(("name", "type", "value", "help"), rows) + "\n" if rows else "no parameters\n")


@main.command()
@selected
@workers_option
def status(notebooks: Sequence[str], profile: str, settings: Sequence[str], workers: int) -> None:
    """Show what is computed, what remains, and how long that is going to take.

    The time is of so many workers of this machine's kind, here or elsewhere.
    """
    root = project.root()
    jobs = runner.prepare(root, notebooks, profile, settings)
    with places.pinned(root):
        plans = runner.plans(jobs)
        from lmcnb.lab import status as asked  # imports torch

        found, together = asked(plans, workers)
    rows = [
        (job.notebook.stem, row.stage, row.done, row.remaining, _cost(row))
        for job, its_rows in zip(jobs, found, strict=True)
        for row in its_rows
    ]
    click.echo(table(("notebook", "stage", "done", "remaining", "estimated"), rows))
    click.echo(_total([row for its_rows in found for row in its_rows]))
    if many.stages(plans):
        click.echo(many.outlook(together, workers))


def _cost(row: Any) -> str:
    if not row.remaining:
        return "–"
    return "not measured yet" if row.seconds is None else duration(row.seconds)


def _total(rows: Sequence[Any]) -> str:
    open_rows = [row for row in rows if row.remaining]
    known = [row.seconds for row in open_rows if row.seconds is not None]
    unmeasured = sum(row.remaining for row in open_rows if row.seconds is None)
    if not open_rows:
        return "Everything is computed." if rows else "Nothing of it goes through the store: a run computes all."
    parts = [duration(sum(known))] if known else []
    parts += [f"{unmeasured} entries of stages not measured yet"] if unmeasured else []
    return f"Remaining: {', and '.join(parts)}"


@main.command()
@click.option("--profile", "profiles", multiple=True, metavar="NAME",
              help="laptop, gpu, …; repeatable. By default all that have figures.")
@click.option("--write", "pages", multiple=True, type=click.Path(dir_okay=False, path_type=Path),
              callback=verdicts.writable, help="Page to update, or picture to draw (.png, .pdf); repeatable.")
@click.option("--rejudge", is_flag=True, help="First judge every figure again, from its own table.")
def claims(profiles: Sequence[str], pages: Sequence[Path], rejudge: bool) -> None:
    """Print every headline with its verdict, and the claims behind it, from the figures of all profiles.

    Evidence of several figures for one claim is made one, and words hold after their family's correction. Beside a
    claim stands what figures/predictions.yaml said of it. --write README.md puts the table of headlines there, and
    the gallery of notebooks; --write docs/claims.md the details; --write figures/board.png draws the headlines, with
    effects in units of their margins.

    Figures that were saved for another profile than their folder's are left out. Those of an older version are
    marked. --rejudge rewrites the claims in the figures' JSON files, and draws again those whose claims changed.
    """
    folders = verdicts.folders(project.root(), profiles)
    if rejudge:
        for line in verdicts.rejudged(*folders):
            click.echo(line)
    found = board.judged(*folders)
    said = read_predictions(folders[0].parent / "predictions.yaml", board.PARTS)
    tables = board.tables(found, said)
    if not pages and not rejudge:
        click.echo(f"{tables['claims']}\n\n{tables['details']}")
    if any(page.suffix == ".md" for page in pages):
        tables |= {"gallery": verdicts.gallery(project.root(), folders)}
    for page in pages:
        verdicts.write(page, tables, lambda: board.picture(found))
        click.echo(f"{page}: up to date")


@main.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--quick", is_flag=True, help="Small sizes: whether it works, not how fast it is.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="JSON file to write.")
@click.option("--write", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Page to write the tables into: those of the benchmarks that are run.")
def bench(names: Sequence[str], quick: bool, out: Path | None, write: Path | None) -> None:
    """Measure the kernels against textbook loops, side by side in one process."""
    results: dict[str, Any] = {}
    found = benchmarks.find_benchmarks(project.root(), names)
    page = write.read_text(encoding="utf-8") if write else ""
    for name in found if write else ():  # asked before anything is measured
        verdicts.inserted(page, "", f"bench {name}")
    for name, path in found.items():
        results[name] = benchmarks.load(name, path)(quick)
        click.echo(benchmarks.show(name, results[name]) + "\n")
        if out:  # after each: the next may be killed
            benchmarks.save(out, quick, results)
        if write:
            page = verdicts.inserted(page, benchmarks.markdown(results[name]), f"bench {name}")
            places.put(write, page)


@main.command()
@notebooks_argument
def tidy(notebooks: Sequence[str]) -> None:
    """Strip run times, progress, papermill's notes and widget state from notebooks; use it before committing."""
    for notebook in find_notebooks(project.root(), notebooks):
        _ = notebook.node  # refuses, in words, what is no notebook
        text = notebook.path.read_text(encoding="utf-8")
        clean = tidied(text)
        if clean != text:
            places.put(notebook.path, clean)
        click.echo(f"{notebook.stem}: {'tidied' if clean != text else 'was tidy'}")


main.add_command(site.report)
main.add_command(film.film)
main.add_command(results.publish)
main.add_command(results.verify)
main.add_command(stored.store)
main.add_command(project.init)
