"""`lmcnb compute` and `lmcnb run -j`: a plan divided over processes, notebooks side by side."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click

from lmcnb import places
from lmcnb.cli import execution, runner
from lmcnb.cli.live import Live, live
from lmcnb.cli.text import Failed, Interrupted, Refused, duration


@dataclass(frozen=True)
class Order:
    """What every worker is given: the plan by the names that make it, never the plan itself.

    Attributes:
        places: the environment variables of the project, the store, the data and the figures.
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
    known = {name: os.environ[name] for name in (*places.VARIABLES, "LMCNB_PROGRESS") if name in os.environ}
    names = tuple(job.notebook.stem for job in jobs)
    return Order(root, names, profile, tuple(settings), device, shard, places=known, versions=versions())


def device() -> str:
    """The kind of device that a lab takes here."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def versions() -> dict[str, str]:
    """What decides bits beside the settings."""
    import torch

    from lmcnb.lab.provenance import commit

    return {"lmcnb": commit(), "torch": torch.__version__}


def work(given: Order) -> None:
    """Computes what is missing of an order's plan, beside other workers; runs in a process of any machine.

    Raises:
        Refused: this machine has another version, or not the kind of device that was ordered.
    """
    os.environ |= given.places
    here = versions()
    if wrong := [f"{n} {here[n][:12]} instead of {v[:12]}" for n, v in given.versions.items() if here[n] != v]:
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


def outlook(specs: Sequence[Any], workers: int) -> str:
    """What is missing of specs that notebooks may share, and its cost, in words."""
    from lmcnb.lab import outlook as found

    now = found(specs, workers)
    if not now.images:
        return "Nothing is left to compute."
    words = [f"Without what notebooks share: {now.images:.3g} training images, {now.flops / 1e15:.3g} PFLOP"]
    if now.seconds:
        words += [f"{duration(now.seconds)} of one worker, {duration(now.span)} with {workers}; its longest chain "
                  f"takes {duration(now.chain)}"]
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
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise Refused(f"--shard {text}: write K/N with 1 ≤ K ≤ N, as 2/8 for the second of eight parts")
    return int(number), int(of)


def chosen(name: str, options: Iterable[str], gpus: int) -> Any:
    """An executor by name.

    Raises:
        Refused: an option that is not `name=value`, or that the executor does not know; a package that is missing.
    """
    from lmcnb.lab.executors import executor

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
        Refused: a wrong executor or option, or no GPU where one was asked for. Failed: see :func:`shared`.
    """
    specs, start, number = stages(plans), time.monotonic(), workers.most()
    where = chosen(workers.executor, workers.options, int(workers.device == "cuda"))
    words = "the plan is computed"
    if workers.device in ("cpu", device()):  # else the keys are not known here
        from lmcnb.lab import Lab

        lab = Lab(workers.device, progress=False)
        missing = len(lab.missing(part(specs, shard, lab)))
        words = f"{missing} results computed"
        if not missing:
            click.echo("everything is stored already")
            return
    far = None if workers.here else places.store_root() / "progress"
    with live(f"computing with {number} worker{'s' * (number > 1)}", far) as shown:
        given = order(root, jobs, profile, settings, workers.device, shard)
        if number > 1 or far:
            shared(given, where, number, shown)
        else:
            work(given)
    click.echo(f"{words} in {duration(time.monotonic() - start)}")


def shared(given: Order, where: Any, workers: int, shown: Live) -> None:
    """Computes an order by so many workers, and waits; one that is killed is started again.

    Raises:
        Failed: a worker failed, or was killed again and again. Refused: see :func:`work`.
    """
    from lmcnb.lab.executors import Killed, together

    def lost(number: int, why: Killed) -> None:
        shown.say(f"worker {number + 1} is lost ({why}): another takes its work over, and it is started again")

    try:
        together(where, workers, work, replace(given, workers=workers), lost=lost)
    except (click.ClickException, execution.Stop):
        raise
    except Exception as error:  # whatever a computation raises: its notebook tells the whole story
        raise Failed(f"a worker failed: {type(error).__name__}: {error}; {execution.KEPT}") from error
    finally:
        where.close()


def executed(job: runner.Job, folder: Path) -> None:
    """One of several notebooks, in a process of its own."""
    with execution.stoppable():
        execution.execute(job, folder)


def side_by_side(jobs: Sequence[runner.Job], folder: Path, workers: int, named: Callable[[runner.Job], str]) -> None:
    """Executes notebooks, so many at once; where one fails, no other begins. ``named``: under which settings.

    Raises:
        Failed, Interrupted: see :func:`lmcnb.cli.execution.execute`.
    """
    from lmcnb.lab.executors import Processes

    where, waiting, running = Processes(), list(enumerate(jobs, start=1)), {}
    failures: list[BaseException] = []
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
                    error = process.error()
                    failures += [error] if error else []
                    ended = "failed" if error else f"{folder / job.notebook.path.name}"
                    shown.say(f"[{number}/{len(jobs)}] {ended} in {duration(time.monotonic() - begun)}")
        except execution.Stop as stop:
            raise Interrupted(f"interrupted in {shown.title}; {execution.KEPT}", stop.number) from stop
        finally:
            for _, process, _ in running.values():
                process.cancel()
    if failures:
        first = failures[0]
        raise first if isinstance(first, click.ClickException) else Failed(f"a notebook failed: {first}")
