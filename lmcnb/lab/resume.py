"""Trainings that keep checkpoints: every spec of a stack has a file of its own, so that any grouping may go on."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..data import Images
from ..kernel.recipe import Recipe
from ..kernel.step import Pruner, State
from ..kernel.training import fit
from ..networks import Networks
from ..params import Params, prefixed
from .job import Job

Saved = list[tuple[Params, dict[str, str]]]


def fitted(job: Job, start: Networks, data: Images, recipe: Recipe, seeds: Sequence[int | str], *,
           stop: int | None = None, dense: bool = False, pruner: Pruner | None = None) -> State:
    """:func:`lmcnb.kernel.training.fit` from ``start``, or from what an interrupted run of the same specs kept."""
    options = resumable(job, recipe, start.step, whole=len(start) != len(job.keys))
    state = options.pop("state") or State.start(start.params, start.buffers, start.step)
    return fit(start.net, start.params, start.buffers, data, recipe, seeds, None if dense else start.masks, stop=stop,
               state=state, pruner=pruner, **options)


def resumable(job: Job, recipe: Recipe, begin: int = 0, whole: bool = False) -> dict[str, Any]:
    """state and on_segment of a fit that keeps checkpoints and resumes from them.

    Each spec keeps the state of its own model; ``whole``: the one spec that there is keeps the stack. ``begin``: the
    step of the schedule that a fit from the start goes on from.
    """
    saved = job.saved()
    state = joined(saved, whole) if saved else None
    last, models = [state.step if state else begin], [slice(None)] if whole else range(len(job.keys))

    def on_segment(now: State, total: int) -> None:
        job.advance((now.step - last[0]) * recipe.batch * len(now.losses))
        last[0] = now.step
        if now.step < total:
            job.checkpoint(lambda: [parted(now, k) for k in models], step=now.step)
    return {"state": state, "on_segment": on_segment}


def joined(saved: Saved, whole: bool = False) -> State:
    """The state that checkpoints hold: a model each, or with ``whole`` a stack in the one that there is."""
    join: Callable[[list[Tensor]], Tensor] = (lambda parts: parts[0]) if whole else torch.stack
    params, buffers, momentum = (
        {n: join([prefixed(t, p)[n] for t, _ in saved]) for n in prefixed(saved[0][0], p)}
        for p in ("params/", "buffers/", "momentum/"))
    return State(params, buffers, momentum, int(saved[0][1]["step"]), join([t["losses"].cpu() for t, _ in saved]))


def parted(state: State, k: int | slice) -> Params:
    """What a checkpoint holds of model k, or of the whole stack."""
    parts = {"params": state.params, "buffers": state.buffers, "momentum": state.momentum}
    return {f"{p}/{n}": t[k] for p, d in parts.items() for n, t in d.items()} | {"losses": state.losses[k]}
