"""A run that is killed at any moment is finished by the same command, with the bytes of an undisturbed one.

Signals in turn, to the process that computes: at random times, and at random operations on files of the store (before
each, and half-way through a write). Of a notebook's run, the runner or the kernel is killed.
"""
from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import psutil
from nbformat.v4 import new_code_cell, new_notebook

from soak._children import (
    HANGS,
    PLANS,
    ROOT,
    STOPPED,
    STORED,
    Undisturbed,
    broken,
    compute,
    contents,
    end,
    left,
    start,
    strike,
    undisturbed,
)

COUNT = 100
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
MOST = 3  # kills of one run, one after another
KINDS = PLANS | {"running a notebook": PLANS["pruning"] + PLANS["distilling"]}
CELL = """
from lmcnb.lab import Lab
from soak._children import frequent_checkpoints
from soak.kills import KINDS
frequent_checkpoints()
Lab("cpu", progress=False).map(KINDS["running a notebook"])
"""


def run(count: int, seed: int) -> dict:
    chance, signals, found, failures = random.Random(f"kills/{seed}"), cycle(SIGNALS), Counter(), []
    known: dict[str, Undisturbed] = {}
    with TemporaryDirectory(prefix="lmcnb-soak-") as folder:
        for number, kind in enumerate(cycle(KINDS)):
            if found["kills"] == count:
                return {**found, "failures": failures}
            if kind not in known:
                known[kind] = undisturbed(KINDS[kind], Path(folder) / kind)
            command = (Map if kind in PLANS else Run)(Path(folder) / str(number), known[kind], chance)
            kills, wrong = finished(command, min(chance.randint(1, MOST), count - found["kills"]), signals)
            traces = [f"{n}/{f} is left" for n in ("leases", "damaged") for f in left(command.store, n)]
            found.update({"kills": len(kills), f"while {kind}": len(kills), "runs killed": bool(kills),
                          "finished with the same bytes": bool(kills) and not wrong,
                          "with no trace in leases and damaged": bool(kills) and not traces,
                          "files left in aside": len(left(command.store, "aside")),
                          "files left in checkpoints": len(left(command.store, "checkpoints"))})
            failures += [f"{kind}, killed by {', then '.join(kills)}: {p}" for p in wrong + traces]
            shutil.rmtree(command.store)


def finished(command: Map | Run, kills: int, signals: cycle) -> tuple[list[str], list[str]]:
    """Kills a command a number of times, lets it end, and says how it was killed and what is wrong afterwards."""
    done: list[str] = []
    try:
        for _ in range(kills):
            if killed := command.killed(next(signals)):
                done.append(killed)
        command.finish()
    except (RuntimeError, TimeoutError) as error:
        return done, [str(error)]
    return done, command.problems()


class Map:
    """``Lab.map`` in a process of its own."""

    def __init__(self, store: Path, known: Undisturbed, chance: random.Random):
        self.store, self.known, self.chance, self.log = store, known, chance, store.with_suffix(".log")
        shutil.copytree(known.begin, store)

    def killed(self, by: signal.Signals) -> str:
        """When it was killed; "" if it was done before."""
        at = self.chance.randint(1, self.known.operations) if self.chance.random() < 0.5 else 0
        self.log.unlink(missing_ok=True)
        process = start(compute, self.store, self.known.plan, self.log, at, partial(strike, by))
        if not at:
            wait(lambda: process.exitcode is not None or self.log.exists() and "begun" in self.log.read_text())
            time.sleep(moment := self.chance.uniform(0, self.known.seconds))
            send(process.pid, by)
        code = end(process)
        if code not in (STORED, -by) and (code, by) != (STOPPED, signal.SIGINT):
            raise RuntimeError(f"{by.name} made it end with {code}: {self.log.read_text()}")
        return f"{by.name} {f'at file operation {at}' if at else f'after {moment:.2f} s'}" if code != STORED else ""

    def finish(self) -> None:
        if (code := end(start(compute, self.store, self.known.plan, self.log))) != STORED:
            raise RuntimeError(f"the same command ended with {code}: {self.log.read_text()}")

    def problems(self) -> list[str]:
        now, then = contents(self.store), self.known.contents
        return [*(f"{n} is missing" for n in then.keys() - now.keys()),
                *(f"{n} is not of the undisturbed run" for n in now.keys() - then.keys()),
                *(f"{n} has other bytes" for n in now.keys() & then.keys() if now[n] != then[n]),
                *broken(self.store)]


class Run(Map):
    """``lmcnb run`` of a project with one small notebook."""

    def __init__(self, store: Path, known: Undisturbed, chance: random.Random):
        super().__init__(store, known, chance)
        self.project, self.kernels = store.with_suffix(".project"), []
        profiles = self.project / "notebooks" / "profiles"
        profiles.mkdir(parents=True)
        (profiles / "smoke.yaml").write_text("00_small: {}\n")
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        nbformat.write(new_notebook(cells=[new_code_cell(CELL)], metadata=kernel), profiles.parent / "00_small.ipynb")

    def _begun(self) -> subprocess.Popen:
        places = {"LMCNB_PROJECT": self.project, "LMCNB_STORE": self.store, "PYTHONPATH": ROOT, "OMP_NUM_THREADS": 1}
        with open(self.log, "w") as log:
            return subprocess.Popen([sys.executable, "-m", "lmcnb", "run"], stdout=log, stderr=log,
                                    env=os.environ | {n: str(v) for n, v in places.items()})

    def killed(self, by: signal.Signals) -> str:
        leases = self.store / "leases"
        before = leases.stat().st_mtime_ns
        with self._begun() as runner:
            wait(lambda: runner.poll() is not None or leases.stat().st_mtime_ns != before)
            kernels = [] if runner.poll() is not None else psutil.Process(runner.pid).children()
            self.kernels += kernels
            time.sleep(moment := self.chance.uniform(0, self.known.seconds))
            victim = self.chance.choice(["runner", "kernel"])
            for pid in [runner.pid] if victim == "runner" else [k.pid for k in kernels]:
                send(pid, by)
            try:
                code = runner.wait(HANGS)
            except subprocess.TimeoutExpired:
                runner.kill()
                raise TimeoutError(f"the runner did not end after {by.name} to the {victim}") from None
        return f"{by.name} to the {victim} after {moment:.2f} s" if code else ""

    def finish(self) -> None:
        with self._begun() as runner:
            if code := runner.wait(HANGS):
                raise RuntimeError(f"the same command ended with {code}: {self.log.read_text()}")

    def problems(self) -> list[str]:
        _, alive = psutil.wait_procs(self.kernels, timeout=10)
        for kernel in alive:
            kernel.kill()
        return [*super().problems(), *(f"kernel {k.pid} is still running" for k in alive)]


def send(pid: int, by: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it was done
        os.kill(pid, by)


def wait(until) -> None:
    limit = time.monotonic() + HANGS
    while not until():
        if time.monotonic() > limit:
            raise TimeoutError(f"nothing happened within {HANGS:g} s")
        time.sleep(0.005)
