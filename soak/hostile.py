"""Files that lie, crash or run code, given to load and import_set: each is refused in a sentence.

A file is refused when the error is of the documented kind, its text is ours, nothing in the file has run, nothing was
written, and less than half a gigabyte was taken on the way. Some variations are harmless (a name in another alphabet, a
cut that removes padding): they are counted apart, and what is read from them must be finite.
"""
from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import numpy as np
import torch

import lmcnb
from lmcnb.data import Dataset

from .crafted import CANARY, Maker
from .crafted.arrays import ARRAYS
from .crafted.pictures import PICTURES, pictures
from .crafted.sets import SETS

COUNT = 3000
MOST = 1 << 29  # bytes of memory
THEIRS = ("Traceback", "pydantic", "MemoryError", "allocate memory", "RecursionError:", "Errno")


def data() -> lmcnb.Dataset:
    """Made-up grey images of three classes, for the sets."""
    x = np.random.default_rng(0).integers(0, 256, (30, 8, 8), np.uint8)
    return Dataset.from_arrays("made", x_train=x, y_train=np.arange(30) % 3, x_test=x[:9], y_test=np.arange(9) % 3)


def import_it(folder: Path) -> torch.Tensor:
    path = next(p for p in (folder / "set.pt", folder / "set.safetensors", folder / "set") if p.exists())
    lmcnb.Imported(path=path)
    return lmcnb.import_set(path, data()).images


def load_arrays(folder: Path) -> torch.Tensor:
    return lmcnb.load("cifar10").train.normalised()


def load_pictures(folder: Path) -> torch.Tensor:
    return lmcnb.load(f"folder:{folder / 'pictures'}").train.normalised()


KINDS: dict[str, tuple[Maker, Callable[[Path], torch.Tensor]]] = {
    **{name: (make, import_it) for name, make in SETS.items()},
    **{name: (make, load_arrays) for name, make in ARRAYS.items()},
    **{name: (make, load_pictures) for name, make in PICTURES.items()},
}


def attempt(name: str, seed: int) -> str:
    """"refused", "harmless", or what went wrong, for one variation of a kind."""
    make, read = KINDS[name]
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top) / "a" / "b" / "c"
        folder.mkdir(parents=True)
        pictures(folder)
        make(Random(f"{name} {seed}"), folder)
        before = _names(top)
        with _data_root(folder), _memory() as taken:
            outcome = _outcome(read, folder)
        if (folder / CANARY).exists() or _names(top) != before:
            return "wrote a file, or ran code"
        return outcome if taken() < MOST else f"took {taken() >> 20} MiB"


def _outcome(read: Callable[[Path], torch.Tensor], folder: Path) -> str:
    try:
        found = read(folder)
    except (ValueError, FileNotFoundError) as error:
        text = str(error)
        wrong = [word for word in THEIRS if word in text] or [c for c in text if not c.isprintable()]
        return "refused" if text and not wrong and len(text) < 1000 else f"badly worded: {ascii(text)[:300]}"
    except Exception as error:
        return f"raised {type(error).__name__}: {ascii(str(error))[:300]}"
    return "harmless" if bool(torch.isfinite(found).all()) else "accepted numbers that are not finite"


def _names(top: str) -> list[str]:
    return sorted(os.path.join(place, name) for place, folders, files in os.walk(top) for name in folders + files)


@contextmanager
def _data_root(folder: Path) -> Iterator[None]:
    before = os.environ.get("LMCNB_DATA")
    os.environ["LMCNB_DATA"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("LMCNB_DATA")
        if before is not None:
            os.environ["LMCNB_DATA"] = before


@contextmanager
def _memory() -> Iterator[Callable[[], int]]:
    """Bytes by which resident memory rose at most, where that is known; elsewhere 0."""
    if not peak_is_known():
        yield lambda: 0
        return
    begun = _status("VmRSS")
    yield lambda: _status("VmHWM") - begun


def peak_is_known() -> bool:
    """Begins the peak of resident memory anew. False where the system (not Linux) has none to begin."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _status(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) << 10


def run(count: int, seed: int) -> dict:
    """Counts of what became of ``count`` files, the kinds in turn, and each failure."""
    names, outcomes, failures = sorted(KINDS), Counter(), []
    for k in range(count):
        name = names[k % len(names)]
        outcome = attempt(name, seed * 1_000_003 + k)
        outcomes[outcome if outcome in ("refused", "harmless") else "failed"] += 1
        if outcome not in ("refused", "harmless"):
            failures.append(f"{name} {k}: {outcome}")
    return {"tried": count, "kinds": len(names), "refused": outcomes["refused"], "harmless": outcomes["harmless"],
            "failures": failures}
