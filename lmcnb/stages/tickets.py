"""Subnetworks that iterative pruning finds."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import torch
from pydantic import Field, model_validator

from ..kernel import masks
from ..kernel.masks import Masks
from ..kernel.recipe import Recipe
from ..kernel.training import Scores, evaluate
from ..lab.engine import Lab
from ..lab.entry import Entry
from ..lab.job import Job
from ..lab.resume import resumable
from ..lab.stage import Data, Result, Stage
from ..networks import Networks
from ..params import Params, distance, prefixed, to
from ..prune.magnitude import Rewind, Round, prune_round, round_seed, sparsity_after
from ..spec import Seed
from .sets import Distill
from .training import Train, first_step, way_back


class Ticket(Stage):
    """A mask after ``round`` rounds of iterative pruning, 20% of what is left each.

    Args:
        init: seed of the initialisation. seed: of the SGD noise while pruning.
        source: the distilled set to train on; None is the real data (IMP).
        recipe: of the training in each round.
        rewind: "full" or "weights" (see :func:`lmcnb.prune.magnitude.rewound`).
        rewind_to: a dense training stopped after some steps (``stop``), whose weights take the place of the initial
            ones, and whose step that of the schedule's first.
        base: a ticket to go on from (hybrid tickets); ``round`` counts its rounds too.
    """

    version: ClassVar[int] = 3  # 2: the accuracy of every round's training is kept; 3: how far it moved
    stacked: ClassVar[tuple[str, ...]] = ("init", "seed", "rewind_to", "base")

    init: Seed = 0
    seed: Seed | str = 0
    source: Distill | None = None
    recipe: Recipe
    round: int = Field(default=0, ge=0)
    rate: float = Field(default=0.2, gt=0, lt=1)
    rewind: Rewind = "full"
    rewind_to: Train | None = None
    base: Ticket | None = None

    @property
    def dense(self) -> bool:
        return self.round == 0

    @property
    def ticket(self) -> Ticket:
        """Itself, as that of a random mask is the one that it is like."""
        return self

    @property
    def noise(self) -> str:
        """The seed that :func:`lmcnb.prune_iteratively` takes to find the same ticket."""
        return f"{self.seed}/{self.init}"

    def check(self, data: Data) -> None:
        super().check(data)
        if self.dense:
            raise ValueError("round must be 1 or more: of no round it is the dense network, which load gives")
        train = data(self.dataset).train
        images = len(train) if self.source is None else self.source.method.images(train.classes)
        steps, begin = self.recipe.steps(images), first_step(self)
        if begin >= steps:
            raise ValueError(f"rewind_to is step {begin}, and a pruning round has {steps} steps: lower its stop, or "
                             f"raise epochs")

    def described(self, sets: Mapping[str, Any]) -> dict[str, Any]:
        method = "dense" if self.dense else "imp" if self.source is None else self.source.described(sets)["method"]
        return {"method": method, "round": self.round, "sparsity": self.sparsity_at(self.round),
                "init": self.init, "rewind": self.rewind, "step": self.rewind_to.stop if self.rewind_to else 0}

    def rows(self, entry: Entry) -> Iterable[dict[str, Any]]:
        """Of its mask; and of the training that found it, which is that of the subnetwork of the round before."""
        before = {"round": self.round - 1, "sparsity": self.sparsity_at(self.round - 1)}
        before |= {"method": "dense"} if self.round == 1 and self.source is None else {}
        where = "" if self.source is None else ", trained on the set"
        for row in super().rows(entry):
            trained = row["quantity"] in ("loss", "moved", "test_accuracy", "test_loss")
            yield {**row, **before, "quantity": row["quantity"] + where} if trained else row

    def sparsity_at(self, round: int) -> float:
        """The share of the weights that is pruned after a round, whichever rate each round has had."""
        if self.base is None or self.base.rate == self.rate and self.base.base is None:
            return sparsity_after(round, self.rate)
        if round <= self.base.round:
            return self.base.sparsity_at(round)
        left = 1 - self.base.sparsity_at(self.base.round)
        return 1 - left * (1 - sparsity_after(round - self.base.round, self.rate))

    def at(self, round: int) -> Ticket:
        """The same pruning after another number of rounds."""
        return self.but(round=round)

    def previous(self) -> Ticket:
        return self.base if self.base is not None and self.round - 1 == self.base.round else self.at(self.round - 1)

    def upstream(self) -> list[Stage]:
        before: list[Stage] = [self.previous()] if self.round > 1 else []
        return before + [s for s in (self.source, self.rewind_to) if s is not None]

    def group(self) -> str:
        return super().group() + way_back(self) + way_back(self.previous() if self.round > 1 else None)

    @model_validator(mode="after")
    def _base_is_before(self):
        if self.base is not None and not self.base.round:
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
        return float((self.recipe.steps(images) - first_step(self)) * self.recipe.batch)

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
        return masks.ones(like, self.net.prunable) if self.dense else unpacked(lab.get(self).tensors, like)

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
                           rate=spec.rate, rewind=spec.rewind, **resumable(job, spec.recipe, origin.step))
        scores = evaluate(spec.net, done.trained.params, done.trained.buffers, lab.dataset(spec.dataset).test)
        # In the order of start's tensors: those of a training that was resumed come in another, and a sum keeps to it.
        moved = distance(done.trained.params, start.params)
        return [s._result(lab, done, scores, float(moved[k]), k) for k, s in enumerate(specs)]

    def _result(self, lab: Lab, done: Round, scores: Scores, moved: float, k: int) -> Result:
        start, points = done.start[k], done.data_points
        if self.round > 1:
            points += lab.get(self.previous()).result["data_points"]
        values = {"sparsity": float(start.sparsity), "data_points": points,
                  "density": {n: float(d) for n, d in start.density.items()},
                  "loss": float(done.trained.losses[k, -20:].mean()), "moved": moved,
                  # Of the network whose magnitudes decided: the subnetwork of the round before, after its training.
                  "test_accuracy": float(scores.accuracy[k]), "test_loss": float(scores.loss[k])}
        tensors = {f"mask/{n}": m for n, m in masks.pack(start.masks).items()}
        if self.rewind == "weights":  # what is not rewound belongs to the ticket
            tensors |= {f"params/{n}": p[0] for n, p in start.params.items() if n not in start.masks}
            tensors |= {f"buffers/{n}": b[0] for n, b in start.buffers.items()}
        return Result(values, tensors)


class AtStart:
    """What masks have alike whose subnetworks start from their initial weights, biases and norms."""

    dense: ClassVar[bool] = False
    rewind: ClassVar[str] = "full"
    rewind_to: ClassVar[None] = None

    @property
    def ticket(self) -> Self:
        return self

    def origin(self: Any, lab: Lab) -> Networks:
        """The dense network under the mask."""
        return Networks.initialise(self.net, [self.init], lab.device)

    def unmasked(self, lab: Lab) -> Networks:
        return self.origin(lab)

    def mask(self: Any, lab: Lab) -> Masks:
        """bool [1, ...] of every prunable weight."""
        params = self.origin(lab).params
        return unpacked(lab.get(self).tensors, {n: params[n] for n in self.net.prunable})

    def load(self, lab: Lab) -> Networks:
        """The subnetwork ready to be trained, on the lab's device."""
        return self.origin(lab).masked(self.mask(lab))


def held(found: Masks) -> Result:
    """A mask [1, ...] as what a stage keeps: its sparsity, the densities of its layers, and itself, packed."""
    return Result({"sparsity": float(masks.sparsity(found)),
                   "density": {n: float(d) for n, d in masks.layer_density(found).items()}},
                  {f"mask/{n}": m for n, m in masks.pack(found).items()})


def unpacked(tensors: Params, like: Params) -> Masks:
    """bool [1, ...] of every prunable weight, on the device of ``like`` [1, ...], from an entry's packed masks."""
    packed = prefixed(tensors, "mask/")
    return to(masks.unpack({n: packed[n] for n in like}, like), next(iter(like.values())).device)
