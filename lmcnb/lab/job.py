"""What the computation of a stage is given."""
from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING

import torch

from ..params import Params, to

if TYPE_CHECKING:
    from .engine import Lab

CHECKPOINT_SECONDS = 60.0


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
        whole = [f for f in found if f is not None]
        if len(whole) < len(found):
            return None
        self.earlier = fmean(float(note["seconds"]) for _, note in whole)
        return [(to(tensors, self.lab.device), note) for tensors, note in whole]

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


def device_name(device: torch.device) -> str:
    """What the computations run on: the processor's instruction set decides last bits, and its name speed."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, one thread, {torch.backends.cpu.get_cpu_capability()}"
