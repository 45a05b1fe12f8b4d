"""What the computation of a stage is given, and what it returns."""
from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING

import torch

from ..data import Images
from ..distill import Distilled
from ..params import Params, to
from .stages import Distil

if TYPE_CHECKING:
    from .engine import Lab

CHECKPOINT_SECONDS = 60.0


@dataclass(frozen=True)
class Result:
    values: dict
    tensors: Params


@dataclass
class Job:
    """What a computation may use: the lab for upstream artifacts, checkpoints, a progress callback (in cost units).

    Every spec of a stack has a checkpoint of its own, so that an interrupted stack may go on in any other grouping.
    """

    lab: Lab
    keys: Sequence[str] = ()
    advance: Callable[[float], None] = lambda _: None
    resumable: bool = True
    earlier: float = 0.0  # seconds of each spec before it was interrupted
    begun: float = field(default_factory=time.perf_counter)
    last: float = field(default_factory=time.perf_counter)

    def saved(self) -> list[tuple[Params, dict[str, str]]] | None:
        """For each spec the tensors of its checkpoint, on the lab's device, and its note; None where there is none."""
        found = [self.lab.store.checkpoint(key) for key in self.keys] if self.resumable else [None]
        if any(f is None for f in found):
            return None
        self.earlier = fmean(float(note["seconds"]) for _, note in found)
        return [(to(tensors, self.lab.device), note) for tensors, note in found]

    def checkpoint(self, state: Callable[[], Sequence[Params]], **note: object) -> None:
        """Keeps ``state()``, tensors for each spec, if the last checkpoint is old enough to repay it."""
        if self.resumable and time.perf_counter() - self.last > CHECKPOINT_SECONDS:
            texts = {n: str(v) for n, v in note.items()} | {"seconds": str(self.seconds())}
            for key, tensors in zip(self.keys, state()):
                self.lab.store.save_checkpoint(key, tensors, texts)
            self.last = time.perf_counter()

    def seconds(self) -> float:
        """That each spec has taken so far, interrupted runs included."""
        return self.earlier + (time.perf_counter() - self.begun) / max(1, len(self.keys))

    def distilled(self, spec: Distil) -> Distilled:
        entry = self.lab.get(spec)
        kept = ("factor", "data_points", "classes", "lr", "zca")
        return Distilled(**to(entry.tensors, self.lab.device), **{n: entry.result.get(n) for n in kept})

    def decoded(self, spec: Distil) -> Images:
        """The set's images to train on: the same tensors in every round, so that a captured graph serves them all."""
        return self.lab.decoded(self.lab.key(spec), lambda: self.distilled(spec).decoded())


def prefixed(tensors: Params, prefix: str) -> Params:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def device_name(device: torch.device) -> str:
    """What the computations run on: the processor's instruction set decides last bits, and its name speed."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, one thread, {torch.backends.cpu.get_cpu_capability()}"


def first(images: Images, count: int | None) -> Images:
    return images if count is None or count >= len(images) else images.subset(slice(0, count))
