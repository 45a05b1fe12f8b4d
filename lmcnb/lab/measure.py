"""How the measurements of trained networks are computed: paths, planes, curvature."""
from __future__ import annotations

from collections.abc import Sequence

import torch

from .. import curvature as _curvature
from .. import landscape as _landscape
from ..connectivity import CONVENTIONS, QUANTITIES, alpha_grid, paths, with_residuals
from ..params import Params, select, stack
from .costs import cost
from .job import Job, Result, first
from .stages import Connect, Curvature, Landscape, Train
from .subnetworks import origin, ticket_mask


def connect(job: Job, specs: Sequence[Connect]) -> list[Result]:
    (spec,) = specs
    data = job.lab.dataset(spec.dataset)
    ends = [_end(job, spec, s) for s in (spec.a, spec.b)]
    path = paths(spec.net, *ends, first(data.train, spec.train_images), first(data.test, spec.test_images),
                 alpha_grid(spec.points), bn=spec.bn)
    conventions = [c for c in CONVENTIONS if c != "midpoint" or spec.points % 2]
    values = {q: {c: float(path.barrier(q, c)) for c in conventions} for q in QUANTITIES}
    return [Result({"barrier": values}, path.tensors())]


def _end(job: Job, spec: Connect, trained: Train) -> tuple[Params, Params]:
    params, buffers = (stack([d]) for d in job.lab.model(trained))
    if spec.masks == "released" and trained.mask is not None:
        (init, _), step = origin(job, [trained.mask])
        masks = stack([ticket_mask(job, trained.mask)[0]])
        images = len(job.lab.dataset(spec.dataset).train)
        params = with_residuals(params, init, masks, trained.recipe, images, step)
    return params, buffers


def landscape(job: Job, specs: Sequence[Landscape]) -> list[Result]:
    (spec,) = specs
    ends = [_end(job, spec, m) for m in spec.models]
    params, buffers = (stack([select(e[i], 0) for e in ends]) for i in (0, 1))
    plane, axes = _plane(job, spec, params, buffers)
    images = first(job.lab.dataset(spec.dataset).train, spec.train_images)
    saved, last = job.saved(), [0]

    def on_tile(values: torch.Tensor, done: int) -> None:
        job.advance(cost(job.lab, spec) * (done - last[0]) / spec.points ** 2)
        last[0] = done
        job.checkpoint(lambda: [{"values": values}])
    before = saved and saved[0][0]["values"].cpu()
    found = _landscape.loss_on_plane(spec.net, plane, images, *axes, done=before, on_tile=on_tile,
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
    images = first(job.lab.dataset(spec.dataset).train, spec.images)
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
