"""A ticket of one data set on another: its mask and its initial weights, wherever the other's network has the layer."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import model_validator

from ..lab.engine import Lab
from ..lab.job import Job
from ..lab.stage import Data, Result, Stage
from ..networks import Networks
from .controls import BorrowedMask, RandomMask
from .gradual import GradualTicket
from .tickets import AtStart, Ticket, held
from .training import Train, shared_weights, transferred


class TransferredTicket(AtStart, Stage):
    """A ticket that was found on another data set, ready to be trained on this one (Morcos et al., 2019).

    Layers of the same name and shape have its mask and its initial weights. Any other, such as the last one where
    there are other classes, is dense, with initial weights of its own.

    Args:
        of: the mask, with the network and the data set that it was found on.
    """

    of: Ticket | GradualTicket | RandomMask

    @classmethod
    def stays(cls, settings: Mapping[str, Any]) -> bool:
        """It is a copy of another's."""
        return True

    @model_validator(mode="after")
    def _is_of_other_data(self):
        if self.of.dataset == self.dataset:
            raise ValueError(f"of is a mask of {self.dataset} itself: train under it as it is")
        if self.of.rewind_to is not None or self.of.dense or self.of.ticket.rewind != "full":
            raise ValueError("of must be a pruned mask, rewound to its initial weights, biases and norms")
        return self

    @property
    def init(self) -> int:
        return self.of.init

    def check(self, data: Data) -> None:
        super().check(data)
        if not set(shared_weights(self.net, self.of.net)) & set(self.net.prunable):
            raise ValueError(f"no layer of {self.net.canonical()} has the shape of one of {self.of.net.canonical()}, "
                             f"whose mask it should have: give both the same width")

    def described(self, sets: Mapping[str, Any]) -> dict[str, Any]:
        return self.of.described(sets)

    def origin(self, lab: Lab) -> Networks:
        """The dense network under the mask."""
        return transferred(super().origin(lab), self.of.ticket.unmasked(lab))

    @classmethod
    def compute(cls, job: Job, specs: Sequence[TransferredTicket]) -> list[Result]:
        (spec,) = specs
        theirs, params = spec.of.mask(job.lab), spec.origin(job.lab).params
        found = {n: theirs[n] if n in theirs and theirs[n].shape == params[n].shape
                 else torch.ones_like(params[n], dtype=torch.bool) for n in spec.net.prunable}
        return [held(found)]


# The last kind of mask: what is trained under any of them is complete now.
Train.model_rebuild(_types_namespace={**globals(), "BorrowedMask": BorrowedMask})
Ticket.model_rebuild()
