"""A full or read-only disk ends a run with the store's own words, costs nothing stored, and is gone on from.

The store lies on a small file system in memory, mounted for it. It is full at one of many sizes, or becomes read-only
at one of many file operations of the run; then it gets space, or can be written again, and the same command is run.
"""
from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

from lmcnb.lab import Store
from soak._children import (
    PLANS,
    REFUSED,
    STORED,
    Undisturbed,
    broken,
    compute,
    contents,
    end,
    left,
    start,
    undisturbed,
)

COUNT = 40
KINDS = ("training", "pruning", "distilling")
ENOUGH = "64m"
WORDS = ("cannot write to the store at {store}", "LMCNB_STORE", "what is stored stays valid")


def run(count: int, seed: int) -> dict:
    chance, found, failures, known = random.Random(f"disk/{seed}"), Counter(), [], {}
    with TemporaryDirectory(prefix="lmcnb-soak-") as folder:
        if reason := unable(Path(folder) / "probe"):
            return {"skipped": 1, "reason": reason}
        for number, (kind, way) in enumerate(islice(cycle((k, w) for k in KINDS for w in (full, read_only)), count)):
            if kind not in known:
                known[kind] = undisturbed(PLANS[kind], Path(folder) / kind)
            with mounted(Path(folder) / str(number)) as store:
                shutil.copytree(known[kind].begin, store, dirs_exist_ok=True)
                what, refused, problems = way(store, known[kind], chance)
                found["files left in aside"] += len(left(store, "aside"))
                found["files left in checkpoints"] += len(left(store, "checkpoints"))
            found.update({way.__name__.replace("_", "-"): 1, "runs ended by it": refused,
                          "ended in words, gone on from to the same bytes": refused and not problems})
            failures += [f"{kind}, {what}: {p}" for p in problems]
    return {**found, "failures": failures}


def unable(folder: Path) -> str:
    """Why nothing can be mounted here; "" if it can."""
    try:
        with mounted(folder):
            return ""
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no file system can be mounted here, which takes root: {getattr(error, 'stderr', '') or error}"


@contextmanager
def mounted(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    system("mount", "-t", "tmpfs", "-o", f"size={ENOUGH}", "lmcnb-soak", folder)
    try:
        yield folder
    finally:
        system("umount", folder)


def system(*words: object) -> None:
    subprocess.run([str(w) for w in words], check=True, capture_output=True, text=True)


def remount(store: Path, options: str) -> None:
    system("mount", "-o", f"remount,{options}", store)


def full(store: Path, known: Undisturbed, chance: random.Random) -> tuple[str, bool, list[str]]:
    """The first run finds some bytes free, fewer than it needs."""
    usage = os.statvfs(store)
    page, used = usage.f_frsize, (usage.f_blocks - usage.f_bfree)
    needed = sum(-(-len(data) // page) for data in known.contents.values())  # what it began with is among them
    free = chance.randint(0, max(1, needed - used))
    remount(store, f"size={(used + free) * page or page}")
    return f"{free * page} bytes free", *_gone_on(store, known, lambda: remount(store, f"size={ENOUGH}"))


def read_only(store: Path, known: Undisturbed, chance: random.Random) -> tuple[str, bool, list[str]]:
    """The first run can write nothing more from one of its file operations on."""
    at = chance.randint(1, known.operations)
    lock = partial(make_read_only, store)
    return f"read-only at operation {at}", *_gone_on(store, known, lambda: remount(store, "rw"), at, lock)


def make_read_only(store: Path) -> None:
    """Within the run: what is open for writing would keep the file system busy, so then it stays as it is."""
    subprocess.run(["mount", "-o", "remount,ro", str(store)], capture_output=True)


def _gone_on(store: Path, known: Undisturbed, mend, at: int = 0, act=None) -> tuple[bool, list[str]]:
    """Whether the disk ended the run; what is wrong with that, and with the same command once the disk is mended."""
    log, problems = store.with_suffix(".log"), []
    code, words = end(start(compute, store, known.plan, log, at, act)), log.read_text()
    refused = code != STORED
    if code not in (REFUSED, STORED):
        problems.append(f"it ended with {code}: {words.strip().splitlines()[-1]}")
    elif code == REFUSED:
        problems += [f"nothing says {w!r}: {words}" for w in WORDS if w.format(store=store) not in words]
    problems += [f"right after it, {p}" for p in broken(store)]
    before = _metas(store)
    mend()
    if (code := end(start(compute, store, known.plan, log))) != STORED:
        return refused, [*problems, f"the same command ended with {code}: {log.read_text()}"]
    now, after = contents(store), _metas(store)
    problems += ["its bytes are not those of an undisturbed run"] if now != known.contents else []
    problems += [f"{n} was lost or written again" for n in before if after.get(n) != before[n]]
    return refused, problems + [f"{n}/{f} is left" for n in ("leases", "damaged") for f in left(store, n)]


def _metas(store: Path) -> dict[str, bytes]:
    """The provenance of every entry, which holds the time of its computation."""
    shelf = Store(store)
    return {f"{s}/{k}": (shelf.folder(s, k) / "meta.json").read_bytes() for s in shelf.stages() for k in shelf.keys(s)}
