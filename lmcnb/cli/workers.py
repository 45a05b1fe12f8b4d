"""`lmcnb compute` and `lmcnb run -j`: a plan divided over processes, notebooks side by side."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from lmcnb import __version__, places
from lmcnb.cli import execution, runner
from lmcnb.cli.clusters import executor
from lmcnb.cli.executors import Processes, end, together
from lmcnb.cli.live import Live, live
from lmcnb.cli.text import Failed, Interrupted, Refused, duration
from lmcnb.profiles import parse_setting

MOST_SHARDS = 10_000


@dataclass(frozen=True)
class Order:
    """What every worker is given: the plan by the names that make it, never the plan itself.

    Attributes:
        places: the environment variables of the project, the store, the data and what came with the project.
        shard: which part of how many, from 1. workers: how many share it. versions: what must be the same everywhere.
    """

    root: Path
    notebooks: tuple[str, ...]
    profile: str
    settings: tuple[str, ...]
    device: str
    shard: tuple[int, int] = (1, 1)
    workers: int = 1
    places: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


def order(root: Path, jobs: Sequence[runner.Job], profile: str, settings: Sequence[str], device: str,
          shard: tuple[int, int]) -> Order:
    """An order for these notebooks; called where the places are pinned."""
    known = {"LMCNB_PROJECT": root, "LMCNB_STORE": places.store_root(), "LMCNB_DATA": places.data_root(),
             "LMCNB_RESULTS": places.results_root()}
    if shown := os.environ.get("LMCNB_PROGRESS"):
        known["LMCNB_PROGRESS"] = Path(shown)
    names = tuple(str(job.notebook.path) for job in jobs)
    where = {name: str(path) for name, path in known.items()}
    # The other notebooks of a run may be those that a setting is for.
    mine = {name for job in jobs for name in job.notebook.parameters}
    given = tuple(text for text in settings if parse_setting(text)[0] in mine)
    return Order(root, names, profile, given, device, shard, places=where, versions=versions())


def device() -> str:
    """The kind of device that a lab takes here."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def versions() -> dict[str, str]:
    """What decides bits beside the settings."""
    import torch

    from lmcnb.lab.provenance import commit

    return {"lmcnb": f"{__version__} {commit()}", "torch": torch.__version__}


def _differ(here: str, ordered: str) -> bool:
    """Commits only where both are known: a compute node need not have git."""
    one, other = here.split(), ordered.split()
    known = "unknown" not in (one[-1], other[-1])
    return one != other if known else one[:1] != other[:1]


def work(given: Order) -> None:
    """Computes what is missing of an order's plan, beside other workers; runs in a process of any machine.

    Raises:
        Refused: this machine has another version, or not the kind of device that was ordered.
    """
    os.environ |= given.places
    here = versions()
    if wrong := [f"{n} {here[n]} instead of {v}" for n, v in given.versions.items() if _differ(here[n], v)]:
        raise Refused(f"a worker has {', '.join(wrong)}: install the same on every machine, as their results would mix")
    if given.device not in ("cpu", device()):
        raise Refused(f"a worker has no GPU that torch can use, and {given.device} was ordered: give each worker one, "
                      "or order --gpus 0")
    from lmcnb.lab import Lab

    jobs = runner.prepare(given.root, given.notebooks, given.profile, given.settings)
    lab = Lab(given.device, workers=given.workers)
    lab.map(part(stages(runner.plans(jobs)), given.shard, lab))


def stages(plans: Iterable[Iterable[Any]]) -> list[Any]:
    """What of the notebooks' plans a lab can compute, each once."""
    from lmcnb.lab import Stage

    return list(dict.fromkeys(spec for plan in plans for spec in plan if isinstance(spec, Stage)))


def outlook(now: Any, workers: int) -> str:
    """What is missing of plans that notebooks may share, and its cost, in words."""
    if not now.images:
        return "Nothing is left to compute."
    words = [f"Without what notebooks share: {now.images:.3g} training images, {now.flops / 1e15:.3g} PFLOP"]
    if now.seconds:
        words += [f"{duration(now.seconds)} of one worker, {duration(now.span)} with {workers}; its longest chain "
                  f"takes {duration(now.chain)}"]
    if now.unknown:
        words += [f"{now.unknown} results have no known pace and are not in these hours"]
    return "\n".join([*words, f"By {now.source}"])


def part(specs: list[Any], which: tuple[int, int], lab: Any) -> list[Any]:
    """A shard of a plan."""
    from lmcnb.lab.schedule import shard

    return specs if which == (1, 1) else shard(specs, *which, lab.cost)


def parse_shard(text: str) -> tuple[int, int]:
    """`2/8` as (2, 8).

    Raises:
        Refused: it is no such part.
    """
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of) <= MOST_SHARDS):
        raise Refused(f"--shard {text[:60]}: write K/N with 1 ≤ K ≤ N ≤ {MOST_SHARDS:,}, as 2/8")
    return int(number), int(of)


def chosen(name: str, options: Iterable[str], gpus: int) -> Any:
    """An executor by name.

    Raises:
        Refused: an option that is not `name=value`, or that the executor does not know; a package that is missing.
    """
    pairs = [text.partition("=") for text in options]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise Refused(f"--option {wrong[0]}: write NAME=VALUE")
    try:
        return executor(name, gpus, {name: value for name, _, value in pairs})
    except ValueError as error:
        raise Refused(str(error)) from error


@dataclass(frozen=True)
class Workers:
    """How many, where, and on what: `executor` by name with its options, and GPUs of each, None as this machine has."""

    number: int = 1
    executor: str = "processes"
    options: tuple[str, ...] = ()
    gpus: int | None = None

    @property
    def device(self) -> str:
        """The kind of device that they compute on."""
        return device() if self.gpus is None else "cuda" if self.gpus else "cpu"

    @property
    def folder(self) -> Path | None:
        """Where workers on other machines say what they do."""
        return None if self.here else places.store_root() / "progress"

    @property
    def here(self) -> bool:
        """Whether they are processes of this machine."""
        return self.executor == "processes"

    def most(self) -> int:
        """Their number, but of this machine's GPUs one each; a CPU may have any number."""
        import torch

        most = torch.cuda.device_count() if self.here and self.device == "cuda" else self.number
        if self.here and not most:
            raise Refused("--gpus 1: this machine has no GPU that torch can use; --gpus 0 computes on the processor")
        if self.number > most:
            click.echo(f"{most} of {self.number} workers: each takes one GPU")
        return min(self.number, most)


def divided(root: Path, jobs: Sequence[runner.Job], plans: Iterable[Iterable[Any]], profile: str,
            settings: Sequence[str], workers: Workers, shard: tuple[int, int] = (1, 1)) -> None:
    """Computes what is missing of the notebooks' plans, or of a part of it.

    Raises:
        Refused: a wrong executor or option, no GPU where one was asked for; see also :func:`work`.
        Failed: a worker failed, or was killed again and again; what they computed is not here.
    """
    specs, start, number = stages(plans), time.monotonic(), workers.most()
    before = _missing(specs, workers, shard)
    if before == 0:
        click.echo("everything is stored already")
        return
    where = chosen(workers.executor, workers.options, int(workers.device == "cuda"))
    try:
        with live(f"computing with {number} worker{'s' * (number > 1)}", workers.folder) as shown:
            given = replace(order(root, jobs, profile, settings, workers.device, shard), workers=number)
            if number > 1 or not workers.here:
                together(where, number, work, given, lost=partial(_say_lost, shown))
            else:
                work(given)
    except (click.ClickException, execution.Stop):
        raise
    except Exception as error:  # whatever a computation raises: its notebook tells the whole story
        raise Failed(f"a worker failed: {error or type(error).__name__}; {execution.KEPT}") from error
    finally:
        where.close()
    if after := _missing(specs, workers, shard):
        raise Failed(f"the workers have ended, and {after} results are not in {places.store_root()}: do all of them "
                     f"see this folder, and the same data?")
    words = "the plan is computed" if before is None else f"{before} results computed"
    click.echo(f"{words} in {duration(time.monotonic() - start)}")


def _missing(specs: list[Any], workers: Workers, shard: tuple[int, int]) -> int | None:
    """How many results are missing of a part of a plan; None where keys of the workers' device are not known here."""
    from lmcnb.lab import Lab

    if workers.device not in ("cpu", device()):
        return None
    lab = Lab(workers.device, progress=False)
    return len(lab.missing(part(specs, shard, lab)))


def _say_lost(shown: Live, number: int, why: Exception) -> None:
    shown.say(f"worker {number + 1} is lost ({why}): another takes its work over, and it is started again")


def executed(job: runner.Job, folder: Path) -> None:
    """One of several notebooks, in a process of its own."""
    from lmcnb.cli import kernels

    with kernels.waiting(), execution.stoppable():
        execution.execute(job, folder)


def side_by_side(jobs: Sequence[runner.Job], folder: Path, workers: int, named: Callable[[runner.Job], str]) -> None:
    """Executes notebooks, so many at once; where one fails, no other begins. ``named``: under which settings.

    Raises:
        Failed: what each says that failed. Interrupted: see :func:`lmcnb.cli.execution.execute`.
    """
    where, waiting, running = Processes(), list(enumerate(jobs, start=1)), {}
    failures: list[str] = []
    with live("starting") as shown:
        try:
            while running or (waiting and not failures):
                while waiting and not failures and len(running) < workers:
                    number, job = waiting.pop(0)
                    shown.say(f"[{number}/{len(jobs)}] {job.notebook.stem}, {named(job)}")
                    running[number] = job, where.submit(0, executed, job, folder), time.monotonic()
                shown.title = ", ".join(job.notebook.stem for job, *_ in running.values())
                time.sleep(0.1)
                for number in [n for n, (_, process, _) in running.items() if process.done()]:
                    job, process, begun = running.pop(number)
                    if error := process.error():
                        failures.append(str(error) if isinstance(error, Failed) else f"{job.notebook.stem}: {error}")
                    ended = f"{job.notebook.stem} failed" if error else f"{folder / job.notebook.path.name}"
                    shown.say(f"[{number}/{len(jobs)}] {ended} in {duration(time.monotonic() - begun)}")
        except execution.Stop as stop:
            raise Interrupted(f"interrupted in {shown.title}; {execution.KEPT}", stop.number) from stop
        finally:
            end([process for _, process, _ in running.values()])
    if failures:
        raise Failed("\n".join(failures))
