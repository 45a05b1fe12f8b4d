"""A training step of `fit` against a plain loop under the papers' recipe.

Batch 64, CIFAR's augmentation, CutMix ½, momentum and weight decay, on 32 × 32 colour noise. "plain" is what one would
write: an `nn.Module`, `torch.optim.SGD`, `loss.backward()`, with the very same augmentation and the images as one
tensor (no DataLoader, which would be slower); it ends at the same losses. A process keeps the memory that a step frees
once `fit` has run in it, which helps every loop after it, so "plain" runs with the C library's own settings and "plain,
memory kept" with ours. All variants take turns in one process, on one thread; "spread" is the range of "times plain"
over the turns.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import lmcnb
from benchmarks._shared import DEVICE, Case, about, one_thread, peak_memory, plain_module, random_data, side_by_side
from lmcnb.data import normalise
from lmcnb.kernel import memory
from lmcnb.kernel.augment import apply
from lmcnb.kernel.recipe import draws, has_bf16
from lmcnb.kernel.strategies import settled
from lmcnb.kernel.training import fit
from lmcnb.models import initialise
from lmcnb.params import stack

GOALS = {"float32": 2.0, "bf16": 5.0}
TRAIN = random_data(512, 10, 3, 32).train


@dataclass(frozen=True)
class Setting:
    """One network to train for a few steps."""

    net: lmcnb.Net
    train: lmcnb.Images
    steps: int

    @property
    def name(self) -> str:
        return f"{self.net.name}, width {self.net.width}"

    def recipe(self, precision: str = "float32") -> lmcnb.Recipe:
        epochs = self.steps * 64 / len(self.train)
        return lmcnb.Recipe(epochs=epochs, schedule="constant", precision=precision)


def settings(quick: bool) -> list[Setting]:
    sizes = [("convnet3", 4, 2)] if quick else [("convnet3", 32, 12), ("convnet3", 128, 2)]
    return [Setting(lmcnb.Net.of(TRAIN, name, width), TRAIN, steps) for name, width, steps in sizes]


def plain(s: Setting) -> Tensor:
    """Losses [steps] of the loop that one would write."""
    recipe, losses = s.recipe(), []
    params, buffers = initialise(s.net, 0)
    module = plain_module(s.net, params | buffers).to(DEVICE)
    optimiser = torch.optim.SGD(module.parameters(), recipe.lr, momentum=recipe.momentum,
                                weight_decay=recipe.weight_decay)
    drawn = draws(recipe, 0, 0, s.steps, s.train)
    for step in range(s.steps):
        each = {name: tensor[step].to(DEVICE) for name, tensor in drawn.items()}
        x = apply(recipe.augmentation, normalise(s.train.x[each["index"]], s.train.mean, s.train.std), each)
        y, logits, kept = s.train.y[each["index"]], module(x), each["kept"]
        loss = kept * F.cross_entropy(logits, y) + (1 - kept) * F.cross_entropy(logits, y[each["partner"]])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def with_memory(s: Setting, kept: bool, case: Case) -> Any:
    """The case with our settings of the C library's memory, or with those that glibc works up to by itself.

    By itself it gives back to the system what is larger than the largest block, up to 32 MiB, that was freed before,
    and the heap's free end above twice that.
    """
    if memory.keep_memory() and not kept:
        mallopt, largest = ctypes.CDLL(None).mallopt, min(2**25, 4 * 64 * (s.net.width or 0) * s.net.size**2)
        mallopt(memory.MMAP_THRESHOLD, largest)
        mallopt(memory.TRIM_THRESHOLD, 2 * largest)
        mallopt(memory.TOP_PAD, 2**17)
    memory.keep_memory.cache_clear()
    if kept:
        memory.keep_memory()
    return case()


def ours(s: Setting, precision: str, strategy: str = "auto") -> Tensor:
    params, buffers = (stack([part]) for part in initialise(s.net, 0, DEVICE))
    return fit(s.net, params, buffers, s.train, s.recipe(precision), [0], strategy=strategy).losses[0]


def cases(quick: bool) -> dict[str, Case]:
    """What :func:`run` times, named "setting / variant"; the memory benchmark calls them one by one."""
    return {name: case for s in settings(quick) for name, case in variants(s).items()}


def variants(s: Setting) -> dict[str, Case]:
    found = {f"{s.name} / plain": partial(with_memory, s, False, partial(plain, s)),
             f"{s.name} / plain, memory kept": partial(with_memory, s, True, partial(plain, s))}
    for precision in ["float32"] + ["bf16"] * has_bf16(DEVICE):
        found[f"{s.name} / {precision}"] = partial(with_memory, s, True, partial(ours, s, precision))
    return found


@one_thread
def run(quick: bool) -> dict[str, Any]:
    rows = [row for s in settings(quick) for row in compared(s, variants(s), quick)]
    for row in [] if quick else rows:
        row["peak MiB"] = peak_memory("training", f"{row['setting']} / {row['variant']}", quick)
    return {"title": "A training step against a plain loop, one thread", "rows": rows, **about(),
            "goals": goals(rows, GOALS)}


def run_resnet(quick: bool, name: str, width: int, steps: int) -> dict[str, Any]:
    """A ResNet in the precision that is fastest here, compiled where that repays in a long training."""
    s = Setting(lmcnb.Net.of(TRAIN, name, 4 if quick else width), TRAIN, 2 if quick else steps)
    precision = "bf16" if has_bf16(DEVICE) else "float32"
    strategy = "loop" if quick else settled(s.net, DEVICE, 100_000)
    mine = {f"{s.name} / plain": partial(with_memory, s, False, partial(plain, s)),
            f"{s.name} / {precision}": partial(with_memory, s, True, partial(ours, s, precision, strategy))}
    rows = compared(s, mine, quick)
    return {"title": f"A training step of {s.name}, against a plain loop, one thread", "rows": rows, **about(),
            "goals": goals(rows, {precision: 3.0})}


def goals(rows: list[dict[str, Any]], wanted: dict[str, float]) -> list[dict[str, Any]]:
    return [{"goal": f"{row['setting']}, {row['variant']}: {wanted[row['variant']]} times plain",
             "found": row["times plain"], "met": row["times plain"] >= wanted[row["variant"]]}
            for row in rows if row["variant"] in wanted]


def compared(s: Setting, mine: dict[str, Case], quick: bool) -> list[dict[str, Any]]:
    timings = side_by_side(mine, repeats=1 if quick else 3)
    reference = timings[f"{s.name} / plain"]
    rows = []
    for name, timing in timings.items():
        ratios = [plain / this for plain, this in zip(reference.seconds, timing.seconds)]
        rows.append({
            "setting": s.name,
            "variant": name.partition(" / ")[2],
            "images/s": 64 * s.steps / timing.median,
            "times plain": median(ratios),
            "spread": f"{min(ratios):.2f}–{max(ratios):.2f}",
            "n": len(ratios),
            "loss off by": float((timing.result - reference.result).abs().max()),
        })
    return rows
