"""Networks trained on the real data."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field, model_validator

from ..kernel.recipe import Recipe
from ..kernel.training import evaluate
from ..lab.engine import Lab
from ..lab.job import Job
from ..lab.resume import fitted
from ..lab.stage import Data, Result, Stage
from ..models import Net, per_network
from ..networks import Networks, noise
from ..params import Params, prefixed, to
from ..spec import Seed, late

if TYPE_CHECKING:  # a mask's network may be rewound to a training: those files import this one, and complete Train
    from .controls import BorrowedMask, RandomMask
    from .gradual import GradualTicket
    from .tickets import Ticket
    from .transfer import TransferredTicket

    AnyMask = Ticket | GradualTicket | RandomMask | BorrowedMask | TransferredTicket


class Train(Stage):
    """A network trained on the real data: from initialisation ``init``, under ``mask``, with SGD noise ``seed``.

    Args:
        stop: ends it after that many steps of the recipe (a rewinding point).
        start: a training of the same network that was stopped; this one goes on from there, with other SGD noise and
            without momentum. Two of them from one start are the instability analysis from step ``start.stop`` of
            Frankle et al. (2020).
        pretrained: a training, stopped or not, on other data: the weights of the same shape are taken from it, and
            what is left, the head for other classes, is ``init``'s.
        nudge: added to a single weight, the first that is kept, before the first step: the smallest noise there is.
        course: keeps the loss of every step, too: ``train_losses`` of the result, in nats.
    """

    stacked: ClassVar[tuple[str, ...]] = ("mask", "init", "seed", "start", "pretrained", "nudge", "course")

    recipe: Recipe
    init: Seed = 0
    seed: Seed | str = 0
    mask: Ticket | GradualTicket | RandomMask | BorrowedMask | TransferredTicket | None = None
    stop: int | None = Field(default=None, ge=0)
    start: Train | None = late(None)
    pretrained: Train | None = late(None)
    nudge: float = late(0.0)
    course: bool = late(False)

    @classmethod
    def stays(cls, settings: Mapping[str, Any]) -> bool:
        return True

    def upstream(self) -> list[Stage]:
        before: list[Stage] = [self.mask] if self.mask is not None and not self.mask.dense else []
        return before + [other for other in (self.start, self.pretrained) if other]

    def group(self) -> str:
        return f"{super().group()}{way_back(self.mask)}/{self.first_step}"

    def check(self, data: Data) -> None:
        super().check(data)
        steps, begin = self.recipe.steps(len(data(self.dataset).train)), self.first_step
        last = steps if self.stop is None else self.stop
        if not begin <= last <= steps:
            raise ValueError(f"a training from step {begin} to step {last} does not fit a recipe of {steps} steps on "
                             f"{self.dataset}: change stop, start, rewind_to or epochs")
        if self.pretrained and not shared_weights(self.net, self.pretrained.net):
            raise ValueError(f"no weight of {self.net.canonical()} has the shape of one of the pretrained network "
                             f"{self.pretrained.net.canonical()}: give both the same width and depth")

    @model_validator(mode="after")
    def _same_network(self):
        if self.mask is not None and (self.mask.net, self.mask.dataset) != (self.net, self.dataset):
            raise ValueError(f"the mask is of another network or data set ({self.mask.net.canonical()} on "
                             f"{self.mask.dataset}) than the training ({self.net.canonical()} on {self.dataset})")
        if self.mask is not None and self.mask.init != self.init:
            raise ValueError(f"the mask was found from init {self.mask.init}, the network starts from {self.init}; "
                             f"a ticket is a mask and its own initialisation")
        return self

    @model_validator(mode="after")
    def _goes_on_from_its_own(self):
        if self.start is None:
            return self
        if self.start.stop is None:
            raise ValueError("start must be a training that was stopped: give it stop, with .at(step)")
        for name in ("dataset", "net", "init", "mask", "pretrained"):
            if getattr(self.start, name) != getattr(self, name):
                raise ValueError(f"start must have the same {name} as the training that goes on from it")
        return self

    @model_validator(mode="after")
    def _not_masked_and_pretrained(self):
        if self.mask is not None and self.pretrained is not None:
            raise ValueError("a ticket's mask is of its own initialisation, not of a pretrained network: leave out "
                             "mask or pretrained")
        return self

    def described(self, sets: Mapping[str, Any]) -> dict[str, Any]:
        dense = {"method": "dense", "round": 0, "sparsity": 0.0, "init": self.init, "step": 0}
        found = self.mask.described(sets) if self.mask else dense
        return found | {"seeds": str(self.seed)} | ({"step": self.start.stop} if self.start else {})

    def at(self, step: int) -> Train:
        """The same training stopped at a step of its schedule."""
        return self.but(stop=step)

    def cost(self, data: Data) -> float:
        steps = self.recipe.steps(len(data(self.dataset).train))
        last = steps if self.stop is None else min(steps, self.stop)
        return float((last - self.first_step) * self.recipe.batch)

    @property
    def first_step(self) -> int:
        """The step of the schedule that it goes on from."""
        return self.start.stop or 0 if self.start else first_step(self.mask)

    def begun(self, lab: Lab) -> Networks:
        """The network before its first step."""
        if self.start:
            return nudged(self.start.load(lab), self.nudge)
        found = self.mask.load(lab) if self.mask else Networks.initialise(self.net, [self.init], lab.device)
        return nudged(transferred(found, self.pretrained.load(lab)) if self.pretrained else found, self.nudge)

    def load(self, lab: Lab) -> Networks:
        """The trained network, on the lab's device."""
        tensors = lab.get(self).tensors
        params, buffers = ({n: t[None] for n, t in to(prefixed(tensors, p), lab.device).items()}
                           for p in ("params/", "buffers/"))
        masks = self.mask.mask(lab) if self.mask else {}
        steps = self.recipe.steps(len(lab.dataset(self.dataset).train))
        return Networks(self.net, params, buffers, masks, (self.init,), steps if self.stop is None else self.stop)

    @classmethod
    def compute(cls, job: Job, specs: Sequence[Train]) -> list[Result]:
        spec, data = specs[0], job.lab.dataset(specs[0].dataset)
        start = Networks.join([s.begun(job.lab) for s in specs])
        seeds = [noise(s.seed, [s.init])[0] for s in specs]
        state = fitted(job, start, data.train, spec.recipe, seeds, stop=spec.stop)
        scores = evaluate(spec.net, state.params, state.buffers, data.test)
        last = [float(row[-20:].mean()) if row.numel() else None for row in state.losses]  # None: no step was made
        course = [{"train_losses": row.tolist()} if s.course else {} for s, row in zip(specs, state.losses)]
        return [Result({"test_loss": float(scores.loss[k]), "test_accuracy": float(scores.accuracy[k]),
                        "train_loss_last_steps": last[k], **course[k]},
                       {**{f"params/{n}": t[k] for n, t in state.params.items()},
                        **{f"buffers/{n}": t[k] for n, t in state.buffers.items()}}) for k in range(len(specs))]


def transferred(to: Networks, of: Networks) -> Networks:
    """Networks with the weights and buffers of others, wherever there is one of the same name and shape."""
    def taken(own: Params, theirs: Params) -> Params:
        return {n: theirs[n].clone() if n in theirs and theirs[n].shape == t.shape else t for n, t in own.items()}
    return replace(to, params=taken(to.params, of.params), buffers=taken(to.buffers, of.buffers))


@per_network(64)
def shared_weights(net: Net, other: Net) -> tuple[str, ...]:
    """Names of the weights that :func:`transferred` would take from another network."""
    theirs = {n: p.shape for n, p in other.build().named_parameters()}
    return tuple(n for n, p in net.build().named_parameters() if theirs.get(n) == p.shape)


def nudged(networks: Networks, by: float) -> Networks:
    """Networks whose first kept weight is larger by so much."""
    if not by:
        return networks
    name, rows = networks.net.prunable[0], torch.arange(len(networks))
    weights = networks.params[name].clone()
    first = networks.masks[name].flatten(1).int().argmax(1)
    weights.view(len(networks), -1)[rows.to(first.device), first] += by
    return replace(networks, params=networks.params | {name: weights})


def check_same(stage: Stage, *models: Train) -> None:
    """Raises ValueError where a stage is of another network or data set than the models that it measures."""
    for model in models:
        if (model.net, model.dataset) != (stage.net, stage.dataset):
            raise ValueError(f"the model is {model.net.canonical()} on {model.dataset}, the stage says "
                             f"{stage.net.canonical()} on {stage.dataset}: give both the same net and dataset")


def way_back(mask: AnyMask | None) -> str:
    """From what a mask's subnetwork starts: a stack has one answer for all of its models."""
    rewind = "full" if mask is None or mask.ticket.dense else mask.ticket.rewind
    return f"/{rewind}/{first_step(mask)}"


def first_step(mask: AnyMask | None) -> int:
    """The step of the schedule that a mask's subnetwork starts from."""
    point = getattr(mask, "rewind_to", None)
    return point.stop if point else 0
