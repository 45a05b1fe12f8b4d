"""What a subnetwork is made of: the weights it is rewound to, and its mask."""
from __future__ import annotations

from collections.abc import Sequence

import torch

from .. import masks as _masks
from ..models import initialise
from ..params import Params, select, stack, to
from .job import Job, prefixed
from .stages import RandomMask, Ticket, Train


def initialised(spec, seeds, device) -> tuple[Params, Params]:
    params, buffers = zip(*[initialise(spec.net, s, device) for s in seeds])
    return stack(params), stack(buffers)


def unpruned(spec: Train) -> Ticket:
    return Ticket(dataset=spec.dataset, net=spec.net, init=spec.init, recipe=spec.recipe)


def origin(job: Job, specs: Sequence) -> tuple[tuple[Params, Params], int]:
    """Stacked parameters and buffers that subnetworks are rewound to, and the step of the schedule they are from."""
    points = [getattr(s, "rewind_to", None) for s in specs]
    if points[0] is None:
        return initialised(specs[0], [s.init for s in specs], job.lab.device), 0
    models = [job.lab.model(p) for p in points]
    return (stack([p for p, _ in models]), stack([b for _, b in models])), points[0].stop


def ticket_mask(job: Job, spec: Ticket | RandomMask) -> tuple[_masks.Masks, tuple[Params, Params] | None]:
    """One mask, and the parameters and buffers it does not rewind (None when all are)."""
    params, _ = initialise(spec.net, spec.init, "cpu")
    like = {n: params[n][None] for n in spec.net.prunable}
    if spec.dense:
        return to(select(_masks.ones(like, spec.net.prunable), 0), job.lab.device), None
    tensors = job.lab.get(spec).tensors
    packed, own, buffers = (prefixed(tensors, p) for p in ("mask/", "params/", "buffers/"))
    masks = to(select(_masks.unpack({n: packed[n] for n in like}, like), 0), job.lab.device)
    if isinstance(spec, RandomMask):
        return masks, ticket_mask(job, spec.like)[1]
    return masks, (to(own, job.lab.device), to(buffers, job.lab.device)) if own else None


def rewound_start(init, masks: _masks.Masks, own: list) -> tuple[Params, Params]:
    if own[0] is None:
        return _masks.masked(init[0], masks), init[1]
    params = {n: p if n in masks else torch.stack([o[0][n] for o in own]) for n, p in init[0].items()}
    return _masks.masked(params, masks), stack([o[1] for o in own])
