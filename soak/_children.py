"""What the campaigns share: small plans on the digits, processes that compute them, and what a store holds."""
from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

from lmcnb import DM, IDC, Net, Recipe
from lmcnb.kernel import recipe
from lmcnb.lab import Lab, Stage, Store, StoreError, job
from lmcnb.lab.stage import closure
from lmcnb.lab.store import ELSEWHERE
from lmcnb.stages import Connect, Curvature, Distill, Landscape, Probe, RandomMask, Robustness, Ticket, Train

ROOT = Path(__file__).resolve().parents[1]
HANGS = 300.0  # seconds after which a process that has not ended counts as one that hangs
STORED, REFUSED, STOPPED = 0, 3, 130  # how a process that computes ends of itself; anything else is a failure

NET = Net(name="convnet3", channels=1, size=8, width=4)
RECIPE = Recipe(epochs=1, batch=64, lr=0.05, augment="flip_crop")
TRAINED = [Train(net=NET, recipe=RECIPE, seed=s) for s in range(4)]
TICKET = Ticket(net=NET, recipe=RECIPE, round=2)
IDC_SET = IDC(ipc=2, outer=3, inner=2, net_steps=2, real_batch=8, synthetic_batch=8)
PLANS: dict[str, list[Stage]] = {
    "training": TRAINED,
    "pruning": [RandomMask(net=NET, like=TICKET), TICKET.but(init=1)],
    "distilling": [Distill(net=NET, method=m) for m in (IDC_SET, DM(ipc=2, iterations=6, real_batch=4,
                                                                   checkpoint_every=2))],
    "measuring": [Connect(net=NET, a=TRAINED[0], b=TRAINED[1], points=5, train_images=200, test_images=100),
                  Curvature(net=NET, model=TRAINED[0], images=16, diagonal="hutchinson", products=4, steps=3),
                  Landscape(net=NET, models=tuple(TRAINED[:3]), points=3, train_images=50),
                  *(Robustness(net=NET, model=t, corruptions=("contrast",), severities=(3,), images=50)
                    for t in TRAINED[:2]),
                  Probe(net=NET, model=TRAINED[0], target="digits", train_images=100, test_images=50)],
}


def frequent_checkpoints() -> None:
    """After every five steps, so that a run of a second has some to go on from."""
    recipe.SEGMENT, job.CHECKPOINT_SECONDS = 5, 0


def compute(store: Path, plan: Sequence[Stage], log: Path, at: int = 0, act: Callable[[], None] | None = None) -> None:
    """The command that is disturbed: ``Lab.map``. ``log`` says when it began and ended, or what went wrong.

    ``act`` is called at its ``at``-th operation on a file of the store.
    """
    sys.stderr = open(log, "w", buffering=1)  # noqa: SIM115 (as long as the process)
    try:
        frequent_checkpoints()
        count = count_operations(store, at, act)
        begun = time.monotonic()
        print("begun", file=sys.stderr)
        Lab("cpu", store, progress=False).map(plan)
        print("ended", time.monotonic() - begun, count[0], file=sys.stderr)
    except KeyboardInterrupt:
        sys.exit(STOPPED)
    except StoreError as error:
        print(error, file=sys.stderr)
        sys.exit(REFUSED)


def count_operations(root: Path, at: int, act: Callable[[], None] | None) -> list[int]:
    """Counts this process's operations that change files below ``root``; a write counts before and half-way."""
    count, inside = [0], f"{root}{os.sep}"

    def one() -> None:
        count[0] += 1
        if count[0] == at:
            act()

    def heard(event: str, values: tuple) -> None:
        written = event == "open" and values[2] & (os.O_WRONLY | os.O_RDWR)
        if (written or event in ("os.rename", "os.remove", "os.mkdir")) and str(values[0]).startswith(inside):
            one()

    def in_halves(path: Path, data: bytes) -> int:
        with open(path, "wb") as file:
            half = file.write(data[:len(data) // 2])
            file.flush()
            one()
            return half + file.write(data[half:])
    Path.write_bytes = in_halves
    sys.addaudithook(heard)
    return count


def strike(by: signal.Signals) -> None:
    """What a process does to itself."""
    os.kill(os.getpid(), by)


@cache
def _context() -> multiprocessing.context.BaseContext:
    """Processes are forked from a server that has imported everything and computed nothing: a start is quick."""
    context, before = multiprocessing.get_context("forkserver"), dict(os.environ)
    context.set_forkserver_preload(["torch._dynamo", "sklearn.datasets", "curvlinops", __name__])
    try:
        # Without warnings: a killed process never closes its semaphores, which is said of each at the end.
        os.environ.update(PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore")
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return context


def start(task: Callable[..., None], *arguments: object) -> BaseProcess:
    """A process of its own in which ``task`` runs."""
    process = _context().Process(target=task, args=arguments)
    process.start()
    return process


def end(process: BaseProcess) -> int:
    """How it ended: its exit code, or minus the signal. One that hangs is killed.

    Raises:
        TimeoutError: it hung.
    """
    process.join(HANGS)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise TimeoutError(f"a process did not end within {HANGS:g} s")
    return process.exitcode


@dataclass(frozen=True)
class Undisturbed:
    """A run that nothing disturbed: the store it began with, what it stored, its seconds and file operations."""

    plan: Sequence[Stage]
    begin: Path
    contents: dict[str, bytes]
    seconds: float
    operations: int


def undisturbed(plan: Sequence[Stage], folder: Path) -> Undisturbed:
    """Computes what ``plan`` is made from into one store, and the plan itself into a copy of it."""
    begin, store, log = folder / "begin", folder / "whole", folder / "log"
    begin.mkdir(parents=True)
    run_to_the_end(begin, [s for s in closure(plan) if s not in plan], log)
    shutil.copytree(begin, store)
    run_to_the_end(store, plan, log)
    seconds, operations = log.read_text().split()[-2:]
    return Undisturbed(plan, begin, contents(store), float(seconds), int(operations))


def run_to_the_end(store: Path, plan: Sequence[Stage], log: Path) -> None:
    """Raises RuntimeError if it fails."""
    if (code := end(start(compute, store, plan, log))) != STORED:
        raise RuntimeError(f"a run that nothing disturbed ended with {code}: {log.read_text()}")


def contents(store: Path) -> dict[str, bytes]:
    """Every file of every entry but its provenance, which holds times."""
    return {str(p.relative_to(store)): p.read_bytes() for p in store.rglob("*")
            if p.is_file() and p.name != "meta.json" and p.relative_to(store).parts[0] not in ELSEWHERE}


def left(store: Path, name: str) -> list[str]:
    """What lies in one of the store's folders that hold no entries."""
    return sorted(p.name for p in store.glob(f"{name}/*"))


def broken(store: Path) -> list[str]:
    """Entries that are not what was stored."""
    shelf, found = Store(store), []
    for stage, key in ((s, k) for s in shelf.stages() for k in shelf.keys(s)):
        try:
            _ = shelf.read(stage, key).tensors
        except (OSError, ValueError) as error:
            found.append(f"{stage}/{key}: {error}")
    return found
