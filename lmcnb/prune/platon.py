"""PLATON (Zhang et al., 2022): weights are removed while a network trains, by how important they surely are.

Two pure functions inside the stacked step: one moves the scores on, one masks by them. The schedule, in steps and
kept counts, is known beforehand and goes in with each step's other numbers.
"""
from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ..kernel.augment import Draws
from ..models import Net
from ..params import Params, size
from ..spec import Spec


class Platon(Spec):
    """Settings of a gradual pruning.

    With s = ``|θ ⊙ ∇|`` after every update, I its mean over a window of ``window`` steps, Ī and U moving averages of
    I and ``|I − Ī|``, the weights with the largest Ī · U stay, over all layers (section 3.1). The others are set to
    zero once a window, and may grow again until the next time; in the last steps they are set to zero after every one.
    Kept counts are exact. The released code finds its weights by parts of names, so it masks their biases, too; here
    only weights are.

    Args:
        ratio: share of the weights that is left in the end. window: ΔT, steps between masks.
        begin, end: shares of the training: before ``begin`` nothing is masked, from 1 − ``end`` on the ratio is
            reached and every step masked; between them the kept ratio falls as a cubic (section 3.2).
        beta1, beta2: of the two averages; ``beta2`` of 1 leaves U out (an ablation of the paper).
        score: "platon", or "magnitude": ``|θ|`` on the same schedule.
    """

    ratio: float = Field(default=0.2, gt=0, le=1)
    window: int = Field(default=10, ge=1)
    begin: float = Field(default=0.1, ge=0, lt=1)
    end: float = Field(default=0.3, ge=0, lt=1)
    beta1: float = Field(default=0.85, ge=0, lt=1)
    beta2: float = Field(default=0.95, ge=0, le=1)
    score: Literal["platon", "magnitude"] = "platon"

    @model_validator(mode="after")
    def _has_a_middle(self):
        if self.begin + self.end >= 1:
            raise ValueError(f"begin and end are shares of the training and must leave some of it between them; got "
                             f"{self.begin:g} and {self.end:g}")
        return self

    def caption(self) -> str:
        """Its settings, as a sentence below a figure."""
        return (f"PLATON: ΔT {self.window} steps, masks from {100 * self.begin:g}% of the training, the ratio held in "
                f"its last {100 * self.end:g}%. ")

    def check(self, steps: int) -> None:
        """Raises ValueError when so short a training has no whole window between its first and last steps."""
        between = steps - round(self.begin * steps) - round(self.end * steps)
        if between < self.window:
            raise ValueError(f"window is {self.window} steps, and of {steps} only {between} lie between begin and end: "
                             f"lower window, begin or end, or raise epochs")

    def kept_ratio(self, step: int, steps: int) -> float:
        """Share of the weights that a mask after step 0 … steps − 1 leaves."""
        first, last = round(self.begin * steps), round(self.end * steps)
        if step <= first:
            return 1.0
        if step >= steps - max(1, last):  # the last mask, too, where none is held
            return self.ratio
        left = 1 - (step - first) / (steps - first - last)
        return self.ratio + (1 - self.ratio) * left ** 3

    def masks_at(self, step: int, steps: int) -> bool:
        """Whether weights are set to zero after that step; after the last one they always are."""
        last = round(self.end * steps)
        within = step > round(self.begin * steps) and step % self.window == 0
        return within or step > steps - last or step == steps - 1


class PlatonPruner(Spec):
    """A :class:`Platon` at work on weights of so many numbers each: a :class:`lmcnb.kernel.step.Pruner`.

    Its memory: the scores; ``left``, which weights the last mask left; and of every mask, in turn, how many weights it
    changed its mind about (``flips``) and the norm of what it removed (``removed``): of what had grown again.
    """

    of: Platon
    names: tuple[str, ...]
    count: int

    @classmethod
    def on(cls, of: Platon, net: Net) -> PlatonPruner:
        """On a network's prunable weights."""
        return cls(of=of, names=net.prunable, count=net.count())

    def begin(self, params: Params, total: int) -> Params:
        kinds = ("window", "importance", "uncertainty") if self.of.score == "platon" else ()
        memory = {f"{kind}/{n}": torch.zeros_like(params[n]) for kind in kinds for n in self.names}
        flags = {f"left/{n}": torch.ones_like(params[n], dtype=torch.bool) for n in self.names}
        masks = sum(self.of.masks_at(t, total) for t in range(total))
        course = torch.zeros(size(params), masks, device=params[self.names[0]].device)
        return memory | flags | {"flips": course, "removed": course.clone()}

    def schedule(self, start: int, stop: int, total: int) -> Draws:
        """Of each step, int64 [steps]: phase in its window; keep, how many weights (−1: all); number of its mask."""
        at = [self.of.masks_at(t, total) for t in range(stop)]
        keep = [round(self.count * self.of.kept_ratio(t, total)) if at[t] else -1 for t in range(start, stop)]
        number = torch.tensor(at).cumsum(0)[start:] - 1
        return {"phase": torch.arange(start, stop) % self.of.window, "keep": torch.tensor(keep), "number": number}

    def __call__(self, params: Params, grads: Params, memory: Params, now: Draws, alone: bool) -> tuple[Params, Params]:
        own = {n: params[n] for n in self.names}
        found = {n: p.abs() for n, p in own.items()}
        if self.of.score == "platon":
            memory = memory | scored(self.of, own, grads, memory, now["phase"])
            found = {n: memory[f"importance/{n}"] for n in self.names}
        if self.of.score == "platon" and self.of.beta2 < 1:
            found = {n: i * memory[f"uncertainty/{n}"] for n, i in found.items()}
        if alone and int(now["keep"]) < 0:
            return params, memory
        left = largest(found, int(now["keep"])) if alone else ranked(found, now["keep"])
        masked, before = now["keep"] >= 0, {n: memory[f"left/{n}"] for n in self.names}
        here = masked & (torch.arange(memory["flips"].shape[-1], device=masked.device) == now["number"])
        flips = torch.stack([(m != before[n]).sum() for n, m in left.items()]).sum()
        removed = torch.stack([torch.where(left[n], 0, p).square().sum() for n, p in own.items()]).sum().sqrt()
        new = {f"left/{n}": torch.where(masked, m, before[n]) for n, m in left.items()}
        new |= {name: torch.where(here, value.float(), memory[name])
                for name, value in (("flips", flips), ("removed", removed))}
        return params | {n: torch.where(left[n] | ~masked, p, 0) for n, p in own.items()}, memory | new


def scored(settings: Platon, params: Params, grads: Params, memory: Params, phase: Tensor) -> Params:
    """The memory after a step: window, importance Ī and uncertainty U of each weight (PLATON, equations 5 to 7).

    At the first step of a window (``phase`` 0) the one before it enters the averages, and a new mean begins.
    """
    new: Params = {}
    ends = phase == 0
    for n, p in params.items():
        one, window = (p * grads[n]).abs(), memory[f"window/{n}"]
        mean, spread = memory[f"importance/{n}"], memory[f"uncertainty/{n}"]
        moved = settings.beta1 * mean + (1 - settings.beta1) * window
        wider = settings.beta2 * spread + (1 - settings.beta2) * (window - moved).abs()
        new[f"importance/{n}"] = torch.where(ends, moved, mean)
        new[f"uncertainty/{n}"] = torch.where(ends, wider, spread)
        new[f"window/{n}"] = (window * phase + one) / (phase + 1)  # at phase 0: the new one alone
    return new


def largest(scores: Params, keep: int) -> Params:
    """bool, by name: the ``keep`` largest scores over all tensors, exactly that many; of equal ones the first."""
    flat = torch.cat([s.flatten() for s in scores.values()])
    if keep < len(flat):
        least = flat.kthvalue(len(flat) - keep).values  # the largest score that is dropped
        chosen = flat > least
        equal = (flat == least).nonzero().squeeze(1)
        chosen[equal[:keep - int(chosen.sum())]] = True
    else:
        chosen = torch.ones_like(flat, dtype=torch.bool)
    return _parted(chosen, scores)


def ranked(scores: Params, keep: Tensor) -> Params:
    """:func:`largest` for a stack, whose counts are tensors; slower. All True for a negative ``keep``."""
    flat = torch.cat([s.flatten() for s in scores.values()])
    last = flat.sort(descending=True).values.index_select(0, (keep.clamp(min=1) - 1).view(1))  # that is kept
    above, equal = flat > last, flat == last
    chosen = above | equal & (equal.cumsum(0) <= keep - above.sum())
    return _parted(chosen | (keep < 0), scores)


def _parted(flat: Tensor, like: Params) -> Params:
    parts = flat.split([t.numel() for t in like.values()])
    return {n: part.view_as(t) for (n, t), part in zip(like.items(), parts)}
