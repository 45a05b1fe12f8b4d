"""How each stage is computed: specs in, plain numbers and tensors out. Kernels do the work, the store the files."""
from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from .. import curvature as _curvature
from .. import landscape as _landscape
from .. import masks as _masks
from ..connectivity import CONVENTIONS, QUANTITIES, alpha_grid, paths, with_residuals
from ..data import Dataset, Images
from ..distill import Distilled
from ..models import initialise
from ..params import Params, select, size, stack, to
from ..pruning import prune_round
from ..spec import canonical, digest
from ..strategies import choose
from ..training import Recipe, State, evaluate, fit, seeded
from .stages import Assess, Connect, Curvature, Distil, Landscape, RandomMask, Ticket, Train

if TYPE_CHECKING:
    from .engine import Lab

CHECKPOINT_SECONDS = 60.0


@dataclass(frozen=True)
class Result:
    values: dict
    tensors: Params


@dataclass
class Job:
    """What a computation may use: the lab for upstream artifacts, a checkpoint, a progress callback (in cost units)."""

    lab: Lab
    key: str
    advance: Callable[[float], None]
    notes: dict[str, str] = field(default_factory=dict)

    def distilled(self, spec: Distil) -> Distilled:
        entry = self.lab.get(spec)
        kept = ("factor", "data_points", "classes")
        return Distilled(**to(entry.tensors, self.lab.device), **{n: entry.result[n] for n in kept})

    def decoded(self, spec: Distil) -> Images:
        """The set's images to train on: the same tensors in every round, so that a captured graph serves them all."""
        key = self.lab.key(spec)
        if key not in self.lab.decoded:
            self.lab.decoded[key] = self.distilled(spec).decoded()
        return self.lab.decoded[key]


def distil(job: Job, specs: Sequence[Distil]) -> list[Result]:
    (spec,) = specs
    data, last = job.lab.dataset(spec.dataset), [0.0]
    saved = job.lab.store.checkpoint(job.key)

    def checkpoint(tensors: Params) -> None:
        if time.monotonic() - last[0] > CHECKPOINT_SECONDS:
            job.lab.store.save_checkpoint(job.key, tensors, {})
            last[0] = time.monotonic()
    done = [0]

    def progress(now: int, total: int) -> None:
        job.advance(cost(job.lab, spec) * (now - done[0]) / total)
        done[0] = now
    found = spec.method.distill(data, spec.net, spec.seed, state=saved and to(saved[0], job.lab.device),
                                checkpoint=checkpoint, progress=progress)
    values = {"factor": found.factor, "data_points": found.data_points, "classes": found.classes, "ipc": found.ipc}
    return [Result(values, found.tensors())]


def assess(job: Job, specs: Sequence[Assess]) -> list[Result]:
    (spec,) = specs
    data, train = job.lab.dataset(spec.dataset), job.decoded(spec.source)
    params, buffers = _initialised(spec, range(1000, 1000 + spec.networks), job.lab.device)
    state = _fit(job, spec, params, buffers, train, spec.recipe, [f"assess/{i}" for i in range(spec.networks)], None)
    scores = evaluate(spec.net, state.params, state.buffers, data.test)
    return [Result({"accuracy": scores.accuracy.tolist(), "loss": scores.loss.tolist(), "images": len(train)}, {})]


def ticket(job: Job, specs: Sequence[Ticket]) -> list[Result]:
    spec = specs[0]
    init, step = _origin(job, specs)
    before = [ticket_mask(job, s.previous()) for s in specs]
    masks = stack([m for m, _ in before])
    # What a base kept of its training is no part of a ticket that rewinds everything.
    start = _start(init, masks, [own if spec.rewind == "weights" else None for _, own in before])
    data = job.decoded(spec.source) if spec.source else job.lab.dataset(spec.dataset).train
    options = _fit_options(job, spec, *start, data, spec.recipe, masks)
    done = prune_round(spec.net, init, start, masks, data, spec.recipe, [f"prune/{s.seed}/{s.init}/{s.round}"
                       for s in specs], rate=spec.rate, rewind=spec.rewind, from_step=step, **options)
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
    init, step = _origin(job, [s.mask if isinstance(s.mask, Ticket) else s for s in specs])
    found = [ticket_mask(job, s.mask) if s.mask else ticket_mask(job, _dense(s)) for s in specs]
    masks = stack([m for m, _ in found])
    start = _start(init, masks, [own for _, own in found])
    seeds = [f"train/{s.seed}/{s.init}" for s in specs]
    state = _fit(job, spec, *start, data.train, spec.recipe, seeds, masks, stop=spec.stop, step=step)
    scores = evaluate(spec.net, state.params, state.buffers, data.test)
    return [Result({"test_loss": float(scores.loss[k]), "test_accuracy": float(scores.accuracy[k]),
                    "train_loss_last_steps": float(state.losses[k, -20:].mean())},
                   {**{f"params/{n}": t[k] for n, t in state.params.items()},
                    **{f"buffers/{n}": t[k] for n, t in state.buffers.items()}}) for k in range(len(specs))]


def connect(job: Job, specs: Sequence[Connect]) -> list[Result]:
    (spec,) = specs
    data = job.lab.dataset(spec.dataset)
    ends = [_end(job, spec, s) for s in (spec.a, spec.b)]
    path = paths(spec.net, *ends, _first(data.train, spec.train_images), _first(data.test, spec.test_images),
                 alpha_grid(spec.points), bn=spec.bn)
    conventions = [c for c in CONVENTIONS if c != "midpoint" or spec.points % 2]
    values = {q: {c: float(path.barrier(q, c)) for c in conventions} for q in QUANTITIES}
    return [Result({"barrier": values}, path.tensors())]


def _end(job: Job, spec: Connect, trained: Train) -> tuple[Params, Params]:
    params, buffers = (stack([d]) for d in job.lab.model(trained))
    if spec.masks == "released" and trained.mask is not None:
        (init, _), step = _origin(job, [trained.mask if isinstance(trained.mask, Ticket) else trained])
        masks = stack([ticket_mask(job, trained.mask)[0]])
        images = len(job.lab.dataset(spec.dataset).train)
        params = with_residuals(params, init, masks, trained.recipe, images, step)
    return params, buffers


def landscape(job: Job, specs: Sequence[Landscape]) -> list[Result]:
    (spec,) = specs
    ends = [_end(job, spec, m) for m in spec.models]
    params, buffers = (stack([select(e[i], 0) for e in ends]) for i in (0, 1))
    plane, axes = _plane(job, spec, params, buffers)
    images = _first(job.lab.dataset(spec.dataset).train, spec.train_images)
    saved = job.lab.store.checkpoint(job.key)
    last = [time.monotonic(), 0]

    def on_tile(values: torch.Tensor, done: int) -> None:
        job.advance(cost(job.lab, spec) * (done - last[1]) / spec.points ** 2)
        last[1] = done
        if time.monotonic() - last[0] > CHECKPOINT_SECONDS:
            job.lab.store.save_checkpoint(job.key, {"values": values}, {})
            last[0] = time.monotonic()
    found = _landscape.loss_on_plane(spec.net, plane, images, *axes, done=saved and saved[0]["values"], on_tile=on_tile,
                                 recalibrate_on=images if spec.bn == "recalibrate" else None)
    places, away = plane.project(params)
    values = {"min": float(found[0].min()), "orthonormal": plane.orthonormal, "places": places.tolist(),
              "away": away.tolist()}
    return [Result(values, {"xs": axes[0], "ys": axes[1], "loss": found[0], "error": found[1]})]


def _plane(job: Job, spec: Landscape, params: Params, buffers: Params):
    if spec.kind == "through":
        plane = _landscape.plane_through(params, buffers)
        return plane, _landscape.grid(plane, spec.points, params)
    if spec.kind == "released":
        return _landscape.plane_as_released(params, buffers), _landscape.grid(None, spec.points, reach=2.0)
    mask = spec.models[0].mask and ticket_mask(job, spec.models[0].mask)[0]
    plane = _landscape.plane_random(select(params, 0), select(buffers, 0), spec.seed, mask)
    return plane, _landscape.grid(plane, spec.points)


def curvature(job: Job, specs: Sequence[Curvature]) -> list[Result]:
    (spec,) = specs
    params, buffers = job.lab.model(spec.model)
    masks = spec.model.mask and ticket_mask(job, spec.model.mask)[0]
    images = _first(job.lab.dataset(spec.dataset).train, spec.images)
    operator = _curvature.HessianOperator(spec.net, params, buffers, images, masks)
    values = {"kept": operator.shape[0], "weights": sum(params[n].numel() for n in spec.net.prunable)}
    tensors: Params = {}
    if spec.diagonal != "none":
        if spec.diagonal == "exact":
            found = _curvature.exact_diagonal(spec.net, params, buffers, images, masks)
            diagonal = _curvature.Diagonal(found, torch.zeros_like(found), float(found.sum()), 0.0)
        else:
            diagonal = _curvature.estimate_diagonal(operator, spec.products, spec.diagonal, spec.seed)
        tensors |= {"diagonal": diagonal.values, "errors": diagonal.errors}
        values |= {"trace": diagonal.trace, "trace_error": diagonal.trace_error,
                   "active": _curvature.summary(diagonal.values, None, diagonal.errors),
                   "all": _curvature.summary(diagonal.values, values["weights"], diagonal.errors)}
    if spec.steps:
        seen = _curvature.lanczos(operator, min(spec.steps, operator.shape[0]), spec.starts, spec.seed)
        tensors |= {"nodes": seen.nodes, "node_weights": seen.weights}
        values |= {"largest": seen.largest, "smallest": seen.smallest, "eigenvalue_errors": list(seen.errors)}
    return [Result(values, tensors)]


def _first(images: Images, count: int | None) -> Images:
    return images if count is None or count >= len(images) else images.subset(slice(0, count))


def _initialised(spec, seeds, device) -> tuple[Params, Params]:
    params, buffers = zip(*[initialise(spec.net, s, device) for s in seeds])
    return stack(params), stack(buffers)


def _dense(spec: Train) -> Ticket:
    return Ticket(dataset=spec.dataset, net=spec.net, init=spec.init, recipe=spec.recipe)


def _origin(job: Job, specs: Sequence) -> tuple[tuple[Params, Params], int]:
    """Stacked parameters and buffers that subnetworks are rewound to, and the step of the schedule they are from."""
    points = [getattr(s, "rewind_to", None) for s in specs]
    if points[0] is None:
        return _initialised(specs[0], [s.init for s in specs], job.lab.device), 0
    models = [job.lab.model(p) for p in points]
    return (stack([p for p, _ in models]), stack([b for _, b in models])), points[0].stop or 0


def ticket_mask(job: Job, spec: Ticket | RandomMask) -> tuple[_masks.Masks, tuple[Params, Params] | None]:
    """One mask, and the parameters and buffers it does not rewind (None when all are)."""
    params, _ = initialise(spec.net, spec.init, "cpu")
    like = {n: params[n][None] for n in spec.net.prunable}
    if spec.dense:
        return to(select(_masks.ones(like, spec.net.prunable), 0), job.lab.device), None
    tensors = job.lab.get(spec).tensors
    packed, own, buffers = (prefixed(tensors, p) for p in ("mask/", "params/", "buffers/"))
    masks = to(select(_masks.unpack({n: packed[n] for n in like}, like), 0), job.lab.device)
    return masks, (to(own, job.lab.device), to(buffers, job.lab.device)) if own else None


def _start(init, masks: _masks.Masks, own: list) -> tuple[Params, Params]:
    if own[0] is None:
        return _masks.masked(init[0], masks), init[1]
    params = {n: p if n in masks else torch.stack([o[0][n] for o in own]) for n, p in init[0].items()}
    return _masks.masked(params, masks), stack([o[1] for o in own])


def prefixed(tensors: Params, prefix: str) -> Params:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _fit(job: Job, spec, params, buffers, data: Images, recipe: Recipe, seeds, masks, stop=None, step: int = 0
         ) -> State:
    options = _fit_options(job, spec, params, buffers, data, recipe, masks)
    if options.get("state") is None:
        options["state"] = State.start(params, buffers, step)
    return fit(spec.net, params, buffers, data, recipe, seeds, masks, stop=stop, **options)


def _fit_options(job: Job, spec, params, buffers, data: Images, recipe: Recipe, masks) -> dict:
    """state, strategy and on_segment of a fit that keeps checkpoints and resumes from one, with the same strategy."""
    saved = job.lab.store.checkpoint(job.key)
    start = State.start(params, buffers)
    if saved:
        tensors, note = saved
        parts = (to(prefixed(tensors, p), job.lab.device) for p in ("params/", "buffers/", "momentum/"))
        state, strategy = State(*parts, int(note["step"]), tensors["losses"]), note["strategy"]
    else:
        state, strategy = None, _strategy(job, spec, recipe, data, start, masks or {})
    job.notes["strategy"] = strategy
    last, k = [time.monotonic(), state.step if state else 0], size(params)

    def on_segment(now: State, total: int) -> None:
        job.advance((now.step - last[1]) * recipe.batch * k)
        last[1] = now.step
        if time.monotonic() - last[0] > CHECKPOINT_SECONDS and now.step < total:
            job.lab.store.save_checkpoint(job.key, _state_tensors(now), {"step": str(now.step), "strategy": strategy})
            last[0] = time.monotonic()
    return {"state": state, "strategy": strategy, "on_segment": on_segment}


def _strategy(job: Job, spec, recipe: Recipe, data: Images, start: State, masks: Params) -> str:
    """Measured once for a store and then kept, so that the same run on the same machine gives the same bits again."""
    work = [spec.net.canonical(), recipe.but(lr=1, schedule="constant").canonical(), size(start.params), len(data),
            str(data.x.dtype), bool(masks), device_name(job.lab.device)]
    return job.lab.store.remember("strategies", digest(canonical(work)), lambda: choose(
        spec.net, recipe, data, start, masks, recipe.steps(len(data))))


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


def _state_tensors(state: State) -> Params:
    parts = {"params": state.params, "buffers": state.buffers, "momentum": state.momentum}
    return {f"{p}/{n}": t for p, d in parts.items() for n, t in d.items()} | {"losses": state.losses}


def cost(lab: Lab, spec) -> float:
    """Rough work of a stage in training images (forward and backward): the unit of progress bars and estimates."""
    data: Dataset = lab.dataset(spec.dataset)
    if isinstance(spec, Distil):
        method = spec.method
        return max(1.0, float(method.work(data)))
    if isinstance(spec, Connect):
        images = sum(len(_first(s, n)) for s, n in ((data.train, spec.train_images), (data.test, spec.test_images)))
        return spec.points * images / 3
    if isinstance(spec, Landscape):
        return spec.points ** 2 * len(_first(data.train, spec.train_images)) / 3
    if isinstance(spec, Curvature):  # an exact diagonal takes about as long as some hundred products on few images
        products = {"exact": 100, "none": 0}.get(spec.diagonal, spec.products)
        return 3.0 * spec.images * (products + spec.steps * spec.starts)
    if isinstance(spec, (Train, Ticket, Assess)):
        source = spec.source if not isinstance(spec, Train) else None
        images = len(data.train)
        if source is not None:
            images = source.method.ipc * data.classes * source.method.factor ** 2
        steps = spec.recipe.steps(images)
        if isinstance(spec, Train) and spec.stop is not None:
            steps = min(steps, spec.stop)
        return float(steps * spec.recipe.batch * getattr(spec, "networks", 1))
    return 1.0


COMPUTE = {Distil: distil, Assess: assess, Ticket: ticket, RandomMask: random_mask, Train: train, Connect: connect,
           Landscape: landscape, Curvature: curvature}
