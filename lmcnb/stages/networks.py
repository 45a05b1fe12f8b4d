"""Networks: subnetworks that pruning finds, random ones to compare them with, and their trainings."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator

from ..kernel import masks
from ..kernel.masks import Masks
from ..kernel.recipe import Recipe, seeded
from ..kernel.training import Scores, evaluate
from ..lab.engine import Lab
from ..lab.job import Job
from ..lab.resume import fitted, resumable
from ..lab.stage import Data, Result, Stage
from ..networks import Networks, noise
from ..params import Params, prefixed, to
from ..prune.magnitude import Round, prune_round, round_seed
from ..spec import Seed, late
from .sets import Distil


class Train(Stage):
    """A network trained on the real data: from initialisation ``init``, under ``mask``, with SGD noise ``seed``.

    Args:
        stop: ends it after that many steps of the recipe (a rewinding point).
        start: a training of the same network that was stopped; this one goes on from there, with other SGD noise and
            without momentum. Two of them from one start are the instability analysis from step ``start.stop`` of
            Frankle et al. (2020).
    """

    stacked: ClassVar[tuple[str, ...]] = ("mask", "init", "seed")

    recipe: Recipe
    init: Seed = 0
    seed: Seed | str = 0
    mask: Ticket | RandomMask | None = None
    stop: int | None = Field(None, ge=0)
    start: Train | None = late(None)

    def upstream(self) -> list[Stage]:
        before = [self.mask] if self.mask is not None and not self.mask.dense else []
        return before + ([self.start] if self.start else [])

    def blank(self) -> dict[str, Any]:
        return {"mask": None, "init": 0, "seed": 0, "start": None}

    def group(self) -> str:
        return f"{super().group()}{_way_back(self.mask)}/{self.first_step}"

    def check(self, data: Data) -> None:
        super().check(data)
        steps, begin = self.recipe.steps(len(data(self.dataset).train)), self.first_step
        last = steps if self.stop is None else self.stop
        if not begin <= last <= steps:
            raise ValueError(f"a training from step {begin} to step {last} does not fit a recipe of {steps} steps on "
                             f"{self.dataset}: change stop, start, rewind_to or epochs")

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
        for name in ("dataset", "net", "init", "mask"):
            if getattr(self.start, name) != getattr(self, name):
                raise ValueError(f"start must have the same {name} as the training that goes on from it")
        return self

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
        return self.start.stop if self.start else _first_step(self.mask)

    def begun(self, lab: Lab) -> Networks:
        """The network before its first step."""
        if self.start:
            return self.start.load(lab)
        return self.mask.load(lab) if self.mask else Networks.initialise(self.net, [self.init], lab.device)

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
        return [Result({"test_loss": float(scores.loss[k]), "test_accuracy": float(scores.accuracy[k]),
                        "train_loss_last_steps": last[k]},
                       {**{f"params/{n}": t[k] for n, t in state.params.items()},
                        **{f"buffers/{n}": t[k] for n, t in state.buffers.items()}}) for k in range(len(specs))]


class Ticket(Stage):
    """A mask after ``round`` rounds of iterative pruning, 20% of what is left each.

    Args:
        init: seed of the initialisation. seed: of the SGD noise while pruning.
        source: the distilled set to train on; None is the real data (IMP).
        recipe: of the training in each round.
        rewind: "full" or "weights" (see :func:`lmcnb.prune.magnitude.rewound`). rewind_to: a dense training stopped after some steps
            (``stop``), whose weights take the place of the initial ones, and whose step that of the schedule's first.
        base: a ticket to go on from (hybrid tickets); ``round`` counts its rounds too.
    """

    version: ClassVar[int] = 2  # 2: the accuracy of every round's training is kept
    stacked: ClassVar[tuple[str, ...]] = ("init", "seed")

    init: Seed = 0
    seed: Seed | str = 0
    source: Distil | None = None
    recipe: Recipe
    round: int = Field(0, ge=0)
    rate: float = Field(0.2, gt=0, lt=1)
    rewind: Literal["full", "weights"] = "full"
    rewind_to: Train | None = None
    base: Ticket | None = None

    @property
    def dense(self) -> bool:
        return self.round == 0

    @property
    def noise(self) -> str:
        """The seed that :func:`lmcnb.prune_iteratively` takes to find the same ticket."""
        return f"{self.seed}/{self.init}"

    def check(self, data: Data) -> None:
        super().check(data)
        train = data(self.dataset).train
        images = len(train) if self.source is None else self.source.method.images(train.classes)
        steps, begin = self.recipe.steps(images), _first_step(self)
        if begin >= steps:
            raise ValueError(f"rewind_to is step {begin}, and a pruning round has {steps} steps: lower its stop, or "
                             f"raise epochs")

    def at(self, round: int) -> Ticket:
        """The same pruning after another number of rounds."""
        return self.but(round=round)

    def previous(self) -> Ticket:
        return self.base if self.base is not None and self.round - 1 == self.base.round else self.at(self.round - 1)

    def upstream(self) -> list[Stage]:
        before = [self.previous()] if self.round > 1 else []
        return before + [s for s in (self.source, self.rewind_to) if s is not None]

    def blank(self) -> dict[str, Any]:
        point = self.rewind_to and self.rewind_to.but(init=0)
        return {"init": 0, "seed": 0, "rewind_to": point, "base": None}

    def group(self) -> str:
        return super().group() + _way_back(self.previous() if self.round > 1 else None)

    @model_validator(mode="after")
    def _base_is_before(self):
        if self.base is not None and not 0 < self.base.round < max(self.round, self.base.round + 1):
            raise ValueError("base must have at least one round")
        if self.base is not None and self.round <= self.base.round:
            raise ValueError(f"round ({self.round}) counts the base's rounds too: it must exceed {self.base.round}")
        for name, other in (("base", self.base), ("rewind_to", self.rewind_to), ("source", self.source)):
            if other is not None and other.dataset != self.dataset:
                raise ValueError(f"{name} is of another data set ({other.dataset}) than the ticket ({self.dataset})")
        for name, other in (("base", self.base), ("rewind_to", self.rewind_to)):
            if other is not None and (other.net, other.init) != (self.net, self.init):
                raise ValueError(f"{name} is of another network or init ({other.net.canonical()}, init {other.init}) "
                                 f"than the ticket ({self.net.canonical()}, init {self.init})")
        return self

    @model_validator(mode="after")
    def _rewinds_to_a_step(self):
        if self.rewind_to is not None and not self.rewind_to.stop:
            raise ValueError("rewind_to must be a training that was stopped: give it stop, the number of its steps; to "
                             "rewind to the initial weights leave rewind_to out")
        if self.rewind_to is not None and self.rewind_to.mask is not None:
            raise ValueError("rewind_to must be a dense training: leave its mask out")
        return self

    def cost(self, data: Data) -> float:
        train = data(self.dataset).train
        images = self.source.method.images(train.classes) if self.source else len(train)
        return float(self.recipe.steps(images) * self.recipe.batch)

    def origin(self, lab: Lab) -> Networks:
        """The dense network that the subnetwork is rewound to."""
        return (self.rewind_to.load(lab) if self.rewind_to
                else Networks.initialise(self.net, [self.init], lab.device))

    def unmasked(self, lab: Lab) -> Networks:
        """:meth:`load` before anything is pruned: with biases and norms that are not rewound, where it has such."""
        start = self.origin(lab)
        tensors = {} if self.dense else lab.get(self).tensors
        own, buffers = ({n: t[None] for n, t in to(prefixed(tensors, p), lab.device).items()}
                        for p in ("params/", "buffers/"))
        # What a ticket does not rewind has its parameters and, perhaps none, its buffers.
        return replace(start, params=start.params | own, buffers=buffers) if own else start

    def mask(self, lab: Lab) -> Masks:
        """bool [1, ...] of every prunable weight."""
        like = {n: p for n, p in self.origin(lab).params.items() if n in self.net.prunable}
        return masks.ones(like, self.net.prunable) if self.dense else _unpacked(lab.get(self).tensors, like)

    def load(self, lab: Lab) -> Networks:
        """The subnetwork ready to be trained: rewound and masked, on the lab's device."""
        return self.unmasked(lab).masked(self.mask(lab))

    @classmethod
    def compute(cls, job: Job, specs: Sequence[Ticket]) -> list[Result]:
        spec, lab = specs[0], job.lab
        data = spec.source.decoded(lab) if spec.source else lab.dataset(spec.dataset).train
        origin = Networks.join([s.origin(lab) for s in specs])
        left = {n: torch.cat([m[n] for m in found]) for found in [[s.previous().mask(lab) for s in specs]]
                for n in found[0]}
        # What a base kept of its training is no part of a ticket that rewinds everything.
        own = Networks.join([s.previous().unmasked(lab) for s in specs]) if spec.rewind == "weights" else origin
        start = replace(origin, buffers=own.buffers, params={
            n: p if n in left else own.params[n] for n, p in origin.params.items()}).masked(left)
        done = prune_round(origin, start, data, spec.recipe, [round_seed(s.noise, s.round) for s in specs],
                           rate=spec.rate, rewind=spec.rewind, **resumable(job, spec.recipe))
        scores = evaluate(spec.net, done.trained.params, done.trained.buffers, lab.dataset(spec.dataset).test)
        return [s._result(lab, done, scores, k) for k, s in enumerate(specs)]

    def _result(self, lab: Lab, done: Round, scores: Scores, k: int) -> Result:
        start, points = done.start[k], done.data_points
        if self.round > 1:
            points += lab.get(self.previous()).result["data_points"]
        values = {"sparsity": float(start.sparsity), "data_points": points,
                  "density": {n: float(d) for n, d in start.density.items()},
                  "loss": float(done.trained.losses[k, -20:].mean()),
                  # Of the network whose magnitudes decided: the subnetwork of the round before, after its training.
                  "test_accuracy": float(scores.accuracy[k]), "test_loss": float(scores.loss[k])}
        tensors = {f"mask/{n}": m for n, m in masks.pack(start.masks).items()}
        if self.rewind == "weights":  # what is not rewound belongs to the ticket
            tensors |= {f"params/{n}": p[0] for n, p in start.params.items() if n not in start.masks}
            tensors |= {f"buffers/{n}": b[0] for n, b in start.buffers.items()}
        return Result(values, tensors)


class RandomMask(Stage):
    """A random mask with ``like``'s number of weights: "layerwise" keeps its layers' sparsities, "global" does not.

    It is a control for ``like``, so its network starts from what ``like``'s does: rewound to the same step, and with
    the same biases and norms where those were not rewound.
    """

    like: Ticket
    kind: Literal["layerwise", "global"] = "layerwise"
    seed: Seed = 0

    @model_validator(mode="after")
    def _same_network(self):
        if (self.like.net, self.like.dataset) != (self.net, self.dataset):
            raise ValueError(f"like is a mask of another network or data set ({self.like.net.canonical()} on "
                             f"{self.like.dataset}) than this one ({self.net.canonical()} on {self.dataset})")
        return self

    @model_validator(mode="after")
    def _like_is_pruned(self):
        if self.like.dense:
            raise ValueError("like must be pruned: give it a round of 1 or more")
        return self

    @property
    def init(self) -> int:
        return self.like.init

    @property
    def rewind_to(self) -> Train | None:
        return self.like.rewind_to

    @property
    def dense(self) -> bool:
        return False

    def upstream(self) -> list[Stage]:
        return [self.like]

    def mask(self, lab: Lab) -> Masks:
        """bool [1, ...] of every prunable weight."""
        return _unpacked(lab.get(self).tensors, self.like.mask(lab))

    def load(self, lab: Lab) -> Networks:
        """The subnetwork ready to be trained, on the lab's device."""
        return self.like.unmasked(lab).masked(self.mask(lab))

    @classmethod
    def compute(cls, job: Job, specs: Sequence[RandomMask]) -> list[Result]:
        (spec,) = specs
        shuffle = masks.random_layerwise if spec.kind == "layerwise" else masks.random_global
        found = shuffle(spec.like.mask(job.lab), [seeded("mask", spec.seed, spec.like.init, spec.kind)])
        values = {"sparsity": float(masks.sparsity(found)),
                  "density": {n: float(d) for n, d in masks.layer_density(found).items()}}
        return [Result(values, {f"mask/{n}": m for n, m in masks.pack(found).items()})]


def _unpacked(tensors: Params, like: Params) -> Masks:
    packed = prefixed(tensors, "mask/")
    return to(masks.unpack({n: packed[n] for n in like}, like), next(iter(like.values())).device)


def check_same(stage: Stage, *models: Train) -> None:
    """Raises ValueError where a stage is of another network or data set than the models that it measures."""
    for model in models:
        if (model.net, model.dataset) != (stage.net, stage.dataset):
            raise ValueError(f"the model is {model.net.canonical()} on {model.dataset}, the stage says "
                             f"{stage.net.canonical()} on {stage.dataset}: give both the same net and dataset")


def _way_back(mask: Ticket | RandomMask | None) -> str:
    """From what a mask's subnetwork starts: a stack has one answer for all of its models."""
    if mask is None:
        return "/full/None"
    ticket = mask.like if isinstance(mask, RandomMask) else mask
    point = ticket.rewind_to and ticket.rewind_to.but(init=0).canonical()
    return f"/{'full' if ticket.dense else ticket.rewind}/{point}"


def _first_step(mask: Ticket | RandomMask | None) -> int:
    """The step of the schedule that a mask's subnetwork starts from."""
    point = getattr(mask, "rewind_to", None)
    return point.stop if point else 0


Train.model_rebuild()
Ticket.model_rebuild()
