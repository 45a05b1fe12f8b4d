"""Eight processes share one store: a key is computed once while its lease lives, and a lost process's keys again.

Twice: processes of one machine, of which three are killed, and then one of another host that is killed and two that
are stopped for longer than a lease lives without a sign of life, and go on. At random file operations, each.
"""
from __future__ import annotations

import os
import random
import signal
import time
import types
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import torch

from lmcnb.lab import Store, lease
from soak._children import count_operations, end, left, start, strike

COUNT = 2000
PROCESSES = 8
TOGETHER = 4  # keys that one process takes at once, as a stack of models


@dataclass(frozen=True)
class Setting:
    """How leases are kept, and what happens to the first processes: a signal and a host's name.

    ``late``: seconds after which a lost process's key is taken over too late, where the others have nothing else to do.
    """

    heartbeat: float
    patience: float
    late: float
    lost: tuple[tuple[signal.Signals, str], ...]


SETTINGS = {
    "on one machine": Setting(lease.HEARTBEAT, lease.PATIENCE, 5.0, ((signal.SIGKILL, ""),) * 3),
    "by signs of life": Setting(0.25, 4.0, 6.0, ((signal.SIGKILL, "elsewhere"), (signal.SIGSTOP, "elsewhere"),
                                                 (signal.SIGSTOP, ""))),
}


def run(count: int, seed: int) -> dict:
    chance, found, failures = random.Random(f"processes/{seed}"), Counter(), []
    for name, setting in SETTINGS.items():
        with TemporaryDirectory(prefix="lmcnb-soak-") as folder:
            store, log = Path(folder) / "store", Path(folder) / "log"
            log.touch()
            lost = _together(store, log, count, setting, chance)
            failures += [f"{name}: {p}" for p in _judged(store, log.read_text(), count, lost, setting, found)]
    return {**found, "failures": failures}


def _together(store: Path, log: Path, count: int, setting: Setting, chance: random.Random) -> dict[int, float]:
    """Runs the processes; returns those that were lost, and when."""
    most = max(2, 5 * count // PROCESSES)  # a key is about a dozen file operations
    lost = [*setting.lost, *[(None, "")] * (PROCESSES - len(setting.lost))]
    processes = [start(work, store, log, count, chance.random(), setting, host, chance.randint(1, most) if by else 0,
                       partial(strike, by)) for by, host in lost]
    doomed, gone = {p: by for p, (by, _) in zip(processes, lost) if by}, {}
    (store.parent / "go").touch()
    try:
        while any(p.exitcode is None for p in processes):
            for p, by in doomed.items():
                if p.pid not in gone and _struck(p, by):
                    gone[p.pid] = time.monotonic()
                elif p.exitcode is None and p.pid in gone and time.monotonic() - gone[p.pid] > 3 * setting.patience:
                    os.kill(p.pid, signal.SIGCONT)
            time.sleep(0.01)
        return gone
    finally:
        for p in processes:
            if p.exitcode is None:
                p.kill()
            end(p)


def _struck(process: BaseProcess, by: signal.Signals) -> bool:
    if by != signal.SIGSTOP:
        return process.exitcode == -by
    return process.exitcode is None and psutil.Process(process.pid).status() == psutil.STATUS_STOPPED


def work(root: Path, log: Path, count: int, seed: float, setting: Setting, host: str, at: int, act) -> None:
    """Computes what is missing, under leases, and reads it, until all is there."""
    lease.HEARTBEAT, lease.PATIENCE = setting.heartbeat, setting.patience
    if host:
        lease.socket = types.SimpleNamespace(gethostname=lambda: host)
    if at:
        count_operations(root, at, act)
    chance, shelf, out = random.Random(seed), Store(root), os.open(log, os.O_WRONLY | os.O_APPEND)

    def note(*words: object) -> None:
        os.write(out, f"{' '.join(map(str, words))} {os.getpid()} {time.monotonic()}\n".encode())

    def share(keys: list[int]) -> None:
        mine = shelf.leases.acquire([name(k) for k in keys])
        try:
            for k in keys:
                if name(k) in mine and shelf.get("Train", name(k)) is None:
                    note("begun", k)
                    time.sleep(chance.uniform(0, 0.005))
                    shelf.put("Train", name(k), "{}", {"x": k}, tensors(k), {})
                    note("put", k)
        finally:
            shelf.leases.release(mine)
    while not (root.parent / "go").exists():
        time.sleep(0.001)
    try:
        missing = chance.sample(range(count), count)
        while missing:
            for first in range(0, len(missing), TOGETHER):
                share(missing[first:first + TOGETHER])
            missing = [k for k in missing if not is_whole(shelf, k)]
            time.sleep(0.01)
    except Exception as error:
        note("failed", repr(error).replace("\n", " "))


def name(k: int) -> str:
    return f"key{k:05d}"


def tensors(k: int) -> dict[str, torch.Tensor]:
    return {"params/w": torch.full((40, 10), float(k)), "mask/w": torch.arange(k % 7, dtype=torch.uint8)}


def is_whole(shelf: Store, k: int) -> bool:
    """Whether it is there. Raises ValueError if it is not what was put."""
    if (entry := shelf.get("Train", name(k))) is None:
        return False
    read, known = entry.tensors, tensors(k)
    if entry.result != {"x": k} or read.keys() != known.keys() or any(not torch.equal(read[n], known[n]) for n in read):
        raise ValueError(f"key {k} holds something else")
    return True


def _judged(store: Path, log: str, count: int, lost: dict[int, float], setting: Setting, found: Counter) -> list[str]:
    """What is wrong; counts go to ``found``."""
    begun, put, problems = defaultdict(list), set(), []
    for line in log.splitlines():
        word, *what, pid, at = line.split(" ")
        if word == "failed":
            problems.append(f"a process failed: {' '.join(what)}")
        elif word == "put":
            put.add((what[0], int(pid)))
        else:
            begun[what[0]].append((int(pid), float(at)))
    busy = max(times[0][1] for times in begun.values())
    for key, times in begun.items():
        for (pid, _), (_, again) in zip(times, times[1:]):
            held = pid in lost and ((key, pid) not in put or lost[pid] < again)
            found["computed again after a loss"] += held
            if not held:
                problems.append(f"key {key} was computed twice while its lease lived")
            elif (waited := again - max(lost[pid], busy)) > setting.late:
                problems.append(f"key {key} was taken over only after {waited:.1f} s")
    shelf = Store(store)
    whole = sum(is_whole(shelf, k) for k in range(count))
    found.update({"keys": count, "whole": whole, "processes": PROCESSES, "lost": len(lost),
                  "computed": sum(map(len, begun.values())), "leases left": len(left(store, "leases")),
                  "folders left in aside": len(left(store, "aside"))})
    if len(lost) != len(setting.lost):
        problems.append(f"{len(lost)} processes were lost, not {len(setting.lost)}")
    if left(store, "damaged"):
        problems.append(f"{len(left(store, 'damaged'))} entries were damaged")
    return problems + [f"{count - whole} keys are missing"] * (whole < count)
