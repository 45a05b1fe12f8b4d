"""How each stage is computed: specs in, plain numbers and tensors out. Kernels do the work, the store the files."""
from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch

from .. import masks as _masks
from ..data import Images
from ..distill import course
from ..params import Params, select, size, stack
from ..pruning import prune_round, round_seed
from ..training import Recipe, State, evaluate, fit, seeded
from .costs import cost
from .generalise import probe, robustness
from .job import Job, Result, prefixed
from .measure import connect, curvature, landscape
from .stages import (
    Assess,
    Connect,
    Curvature,
    Distil,
    Expert,
    Landscape,
    Probe,
    RandomMask,
    Robustness,
    Ticket,
    Train,
)
from .subnetworks import initialised, origin, rewound_start, ticket_mask, unpruned


def distil(job: Job, specs: Sequence[Distil]) -> list[Result]:
    (spec,) = specs
    data, saved, done = job.lab.dataset(spec.dataset), job.saved(), [0]

    def progress(now: int, total: int) -> None:
        job.advance(cost(job.lab, spec) * (now - done[0]) / total)
        done[0] = now
    options = _followed(job, spec) if spec.upstream() else {}
    found = spec.method.distill(data, spec.net, spec.seed, state=saved and saved[0][0],
                                checkpoint=lambda tensors: job.checkpoint(lambda: [tensors]), progress=progress,
                                **options)
    values = {"factor": found.factor, "data_points": found.data_points, "classes": found.classes, "ipc": found.ipc,
              "lr": found.lr, "zca": found.zca}
    return [Result(values, found.tensors())]


def _followed(job: Job, spec: Distil) -> dict:
    """Experts by number, read when they are asked for (a buffer may be larger than memory), and their whitening."""
    needed, upstream = spec.method.experts, spec.upstream()
    space = job.lab.whitening(spec.dataset, needed.zca) if needed.zca else None
    return {"trajectories": lru_cache(maxsize=16)(lambda k: job.lab.get(upstream[k]).tensors), "space": space}


def expert(job: Job, specs: Sequence[Expert]) -> list[Result]:
    spec = specs[0]
    data, recipe, saved = job.lab.seen(spec.dataset, spec.zca), spec.recipe, job.saved()
    before = saved and (_state(saved), {n: torch.stack([prefixed(t, "course/")[n] for t, _ in saved])
                                        for n in prefixed(saved[0][0], "course/")})
    last = [before[0].step if before else 0]

    def on_segment(now: State, total: int) -> None:
        job.advance((now.step - last[0]) * recipe.batch * len(specs))
        last[0] = now.step

    def on_epoch(now: State, kept: Params) -> None:
        job.checkpoint(lambda: [_state_tensors(now, k) | {f"course/{n}": t[k] for n, t in kept.items()}
                                for k in range(len(specs))], step=now.step)
    kept = course(spec.net, data, recipe, [s.init for s in specs], resume=before, on_segment=on_segment,
                  on_epoch=on_epoch)
    return [Result({"epochs": len(next(iter(kept.values()))[k]) - 1}, select(kept, k)) for k in range(len(specs))]


def assess(job: Job, specs: Sequence[Assess]) -> list[Result]:
    (spec,) = specs
    found, test = job.distilled(spec.source), job.lab.dataset(spec.dataset).test
    space = job.lab.whitening(spec.dataset, found.zca) if spec.protocol.zca and found.zca else None
    train, test, recipe = spec.protocol.prepare(found, test, space)
    inits = range(1000, 1000 + spec.networks)
    params, buffers = initialised(spec, inits, job.lab.device)
    state = _fit(job, spec, params, buffers, train, recipe, [f"assess/{i}" for i in inits], None)
    scores = evaluate(spec.net, state.params, state.buffers, test)
    return [Result({"accuracy": scores.accuracy.tolist(), "loss": scores.loss.tolist(), "images": len(train),
                    "lr": recipe.lr}, {})]


def ticket(job: Job, specs: Sequence[Ticket]) -> list[Result]:
    spec = specs[0]
    init, step = origin(job, specs)
    before = [ticket_mask(job, s.previous()) for s in specs]
    masks = stack([m for m, _ in before])
    # What a base kept of its training is no part of a ticket that rewinds everything.
    start = rewound_start(init, masks, [own if spec.rewind == "weights" else None for _, own in before])
    data = job.decoded(spec.source) if spec.source else job.lab.dataset(spec.dataset).train
    done = prune_round(spec.net, init, start, masks, data, spec.recipe, [round_seed(s.noise, s.round) for s in specs],
                       rate=spec.rate, rewind=spec.rewind, from_step=step, **_resumable(job, spec.recipe))
    scores = evaluate(spec.net, done.trained.params, done.trained.buffers, job.lab.dataset(spec.dataset).test)
    return [_ticket_result(job, s, done, scores, k) for k, s in enumerate(specs)]


def _ticket_result(job: Job, spec: Ticket, done, scores, k: int) -> Result:
    masks = {n: m[k:k + 1] for n, m in done.masks.items()}
    points = done.data_points
    if spec.round > 1:
        points += job.lab.get(spec.previous()).result["data_points"]
    values = {"sparsity": float(_masks.sparsity(masks)), "data_points": points,
              "density": {n: float(d) for n, d in _masks.layer_density(masks).items()},
              "loss": float(done.trained.losses[k, -20:].mean()),
              # Of the network whose magnitudes decided: the subnetwork of the round before, after its training.
              "test_accuracy": float(scores.accuracy[k]), "test_loss": float(scores.loss[k])}
    tensors = {f"mask/{n}": m for n, m in _masks.pack(masks).items()}
    if spec.rewind == "weights":  # what is not rewound belongs to the ticket
        own = {n: p[k] for n, p in done.start[0].items() if n not in masks}
        tensors |= {f"params/{n}": p for n, p in own.items()}
        tensors |= {f"buffers/{n}": b[k] for n, b in done.start[1].items()}
    return Result(values, tensors)


def random_mask(job: Job, specs: Sequence[RandomMask]) -> list[Result]:
    (spec,) = specs
    like = {n: m[None] for n, m in ticket_mask(job, spec.like)[0].items()}
    shuffle = _masks.random_layerwise if spec.kind == "layerwise" else _masks.random_global
    masks = shuffle(like, [seeded("mask", spec.seed, spec.like.init, spec.kind)])
    values = {"sparsity": float(_masks.sparsity(masks)),
              "density": {n: float(d) for n, d in _masks.layer_density(masks).items()}}
    return [Result(values, {f"mask/{n}": m for n, m in _masks.pack(masks).items()})]


def train(job: Job, specs: Sequence[Train]) -> list[Result]:
    spec, data = specs[0], job.lab.dataset(specs[0].dataset)
    init, step = origin(job, [s.mask or s for s in specs])
    found = [ticket_mask(job, s.mask) if s.mask else ticket_mask(job, unpruned(s)) for s in specs]
    masks = stack([m for m, _ in found])
    start = rewound_start(init, masks, [own for _, own in found])
    seeds = [f"train/{s.seed}/{s.init}" for s in specs]
    state = _fit(job, spec, *start, data.train, spec.recipe, seeds, masks, stop=spec.stop, step=step)
    scores = evaluate(spec.net, state.params, state.buffers, data.test)
    last = [float(row[-20:].mean()) if row.numel() else None for row in state.losses]  # None: no step was made
    return [Result({"test_loss": float(scores.loss[k]), "test_accuracy": float(scores.accuracy[k]),
                    "train_loss_last_steps": last[k]},
                   {**{f"params/{n}": t[k] for n, t in state.params.items()},
                    **{f"buffers/{n}": t[k] for n, t in state.buffers.items()}}) for k in range(len(specs))]


def _fit(job: Job, spec, params, buffers, data: Images, recipe: Recipe, seeds, masks, stop=None, step: int = 0
         ) -> State:
    options = _resumable(job, recipe, whole=size(params) != len(job.keys))
    state = options.pop("state") or State.start(params, buffers, step)
    return fit(spec.net, params, buffers, data, recipe, seeds, masks, stop=stop, state=state, **options)


def _resumable(job: Job, recipe: Recipe, whole: bool = False) -> dict:
    """state and on_segment of a fit that keeps checkpoints and resumes from them.

    Each spec keeps the state of its own model; ``whole``: the one spec that there is keeps the stack.
    """
    saved = job.saved()
    state = saved and _state(saved, whole)
    last, models = [state.step if state else 0], [slice(None)] if whole else range(len(job.keys))

    def on_segment(now: State, total: int) -> None:
        job.advance((now.step - last[0]) * recipe.batch * len(now.losses))
        last[0] = now.step
        if now.step < total:
            job.checkpoint(lambda: [_state_tensors(now, k) for k in models], step=now.step)
    return {"state": state, "on_segment": on_segment}


def _state(saved: list[tuple[Params, dict[str, str]]], whole: bool = False) -> State:
    """The state that checkpoints hold: a model each, or with ``whole`` a stack in the one that there is."""
    join = (lambda parts: parts[0]) if whole else torch.stack
    parts = ({n: join([prefixed(t, p)[n] for t, _ in saved]) for n in prefixed(saved[0][0], p)}
             for p in ("params/", "buffers/", "momentum/"))
    return State(*parts, int(saved[0][1]["step"]), join([t["losses"].cpu() for t, _ in saved]))


def _state_tensors(state: State, k: int | slice) -> Params:
    parts = {"params": state.params, "buffers": state.buffers, "momentum": state.momentum}
    return {f"{p}/{n}": t[k] for p, d in parts.items() for n, t in d.items()} | {"losses": state.losses[k]}


COMPUTE = {Expert: expert, Distil: distil, Assess: assess, Ticket: ticket, RandomMask: random_mask, Train: train,
           Connect: connect, Landscape: landscape, Curvature: curvature, Robustness: robustness,
           Probe: probe}
