"""Masks to compare a ticket's with: random ones, those of initial magnitudes, those of another initialisation."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import model_validator

from ..kernel import masks
from ..kernel.masks import Masks
from ..kernel.recipe import seeded
from ..lab.engine import Lab
from ..lab.job import Job
from ..lab.stage import Data, Result, Stage
from ..measure.align import carried, weight_matching
from ..models import permutation_spec
from ..networks import Networks
from ..spec import Seed, late
from .gradual import GradualTicket
from .tickets import AtStart, Ticket, held, unpacked
from .training import Train, check_same


class RandomMask(Stage):
    """A mask with ``like``'s number of weights that no training found.

    It is a control for ``like``, so its network starts from what ``like``'s does: rewound to the same step, and with
    the same biases and norms where those were not rewound.

    Args:
        kind: "layerwise", random with the sparsities of ``like``'s layers; "global", random without them;
            "magnitude", of each layer the largest initial weights, as many as ``like`` has.
    """

    like: Ticket | GradualTicket
    kind: Literal["layerwise", "global", "magnitude"] = "layerwise"
    seed: Seed = 0

    @classmethod
    def stays(cls, settings: Mapping[str, Any]) -> bool:
        """It is drawn again in a moment."""
        return True

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
    def ticket(self) -> Ticket | GradualTicket:
        return self.like

    @property
    def init(self) -> int:
        return self.like.init

    @property
    def rewind_to(self) -> Train | None:
        return self.like.rewind_to

    @property
    def dense(self) -> bool:
        return False

    def described(self, sets: Mapping[str, Any]) -> dict[str, Any]:
        name = {"layerwise": "random mask", "global": "random mask, global", "magnitude": "magnitude mask"}[self.kind]
        return self.like.described(sets) | {"method": name}

    def mask(self, lab: Lab) -> Masks:
        """bool [1, ...] of every prunable weight."""
        return unpacked(lab.get(self).tensors, self.like.mask(lab))

    def load(self, lab: Lab) -> Networks:
        """The subnetwork ready to be trained, on the lab's device."""
        return self.like.unmasked(lab).masked(self.mask(lab))

    @classmethod
    def compute(cls, job: Job, specs: Sequence[RandomMask]) -> list[Result]:
        (spec,) = specs
        like = spec.like.mask(job.lab)
        if spec.kind == "magnitude":
            found = masks.largest_layerwise(like, spec.like.unmasked(job.lab).params)
        else:
            shuffle = masks.random_layerwise if spec.kind == "layerwise" else masks.random_global
            # One shuffle for each seed and initialisation: of two tickets it keeps the same places, as far as they go.
            found = shuffle(like, [seeded("mask", spec.seed, spec.like.init, spec.kind)])
        return [held(found)]


class BorrowedMask(AtStart, Stage):
    """The mask that was found for another initialisation, put on this one.

    For pretrained networks, whose initialisations differ in their heads alone, it asks whether a mask is the head's.

    Args:
        of: the mask. matched: dense trainings of this initialisation and of ``of``'s, by whose weights the units of
            the mask are put in this one's order first (sparse re-basin: Adnan et al., 2025).
    """

    of: Ticket | GradualTicket
    init: Seed
    matched: tuple[Train, Train] | None = late(None)

    @classmethod
    def stays(cls, settings: Mapping[str, Any]) -> bool:
        """Unless it was matched, it is a copy of another's."""
        return settings.get("matched") is None

    @model_validator(mode="after")
    def _is_anothers(self):
        if (self.of.net, self.of.dataset) != (self.net, self.dataset):
            raise ValueError("of must be a mask of the same network and data set")
        if self.of.init == self.init or self.of.rewind_to is not None or self.of.dense:
            raise ValueError("of must be a pruned mask of another initialisation, rewound to its initial weights")
        if self.matched:
            check_same(self, *self.matched)
            if [m.init for m in self.matched] != [self.init, self.of.init] or any(m.mask for m in self.matched):
                raise ValueError(f"matched must be dense trainings of init {self.init} and {self.of.init}, in this "
                                 f"order")
        return self

    def check(self, data: Data) -> None:
        super().check(data)
        if self.matched:
            permutation_spec(self.net)  # raises where none is known

    def described(self, sets: Mapping[str, Any]) -> dict[str, Any]:
        found, how = self.of.described(sets), "matched" if self.matched else "another"
        return found | {"method": f"{found['method']}, {how} init", "init": self.init}

    @classmethod
    def compute(cls, job: Job, specs: Sequence[BorrowedMask]) -> list[Result]:
        (spec,) = specs
        found = spec.of.mask(job.lab)
        if spec.matched:
            mine, other = (m.load(job.lab) for m in spec.matched)
            order = weight_matching(mine, other)
            found = carried(spec.of.load(job.lab), order, spec.origin(job.lab)).masks
        return [held(found)]
