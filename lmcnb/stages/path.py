"""The straight path between two trained networks."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from ..lab.engine import Lab
from ..lab.entry import Entry
from ..lab.job import Job
from ..lab.stage import Data, Result, Stage
from ..measure.align import Align
from ..measure.path import CONVENTIONS, QUANTITIES, alpha_grid, path, with_residuals
from ..models import permutation_spec
from ..networks import Networks
from ..spec import late
from .training import Train, check_same


class Connect(Stage):
    """The path between two trainings: the four quantities at ``points`` α.

    Args:
        a, b: two trainings. train_images: how many training images to measure on (None: all).
        bn: "lerp" or "recalibrate". masks: "held" (pruned weights are zero) or "released" (masks dropped, as in
            the released code: pruned weights are what weight decay leaves of their initial values).
        align: "weights" puts the units of b in the order of a's first, by weight matching: for trainings from
            different initialisations, with bn="recalibrate" where there is BatchNorm.
    """

    a: Train
    b: Train
    points: int = Field(default=11, ge=2)
    train_images: int | None = Field(default=None, ge=1)
    test_images: int | None = Field(default=None, ge=1)
    bn: Literal["lerp", "recalibrate"] = "lerp"
    masks: Literal["held", "released"] = "held"
    align: Align = late(None)

    @model_validator(mode="after")
    def _two_of_one_network(self):
        check_same(self, self.a, self.b)
        if self.a.but(seed=str(self.a.seed)) == self.b.but(seed=str(self.b.seed)):
            raise ValueError("a and b are one training, and a path needs two: give them different seeds")
        return self

    def check(self, data: Data) -> None:
        super().check(data)
        if self.align:
            permutation_spec(self.net)  # raises where none is known

    def described(self, sets: Mapping[str, Any]) -> dict[str, Any]:
        return described(self.a, self.b, sets) | {"bn": self.bn, "masks": self.masks, "align": self.align}

    def rows(self, entry: Entry) -> Iterable[dict[str, Any]]:
        tensors = entry.tensors
        return ({"quantity": q, "alpha": float(a), "value": float(v)} for q in QUANTITIES
                for a, v in zip(tensors["alphas"], tensors[q][0]))

    def cost(self, data: Data) -> float:
        found = data(self.dataset)
        return self.points * (len(found.train.first(self.train_images)) + len(found.test.first(self.test_images))) / 3

    @classmethod
    def compute(cls, job: Job, specs: Sequence[Connect]) -> list[Result]:
        (spec,) = specs
        data = job.lab.dataset(spec.dataset).first(spec.train_images, spec.test_images)
        a, b = (trained(job.lab, s, spec.masks) for s in (spec.a, spec.b))
        found = path(a, b, data, alpha_grid(spec.points), bn=spec.bn, align=spec.align)
        conventions = [c for c in CONVENTIONS if c != "midpoint" or spec.points % 2]
        values = {q: {c: float(found.barrier(q, c)) for c in conventions} for q in QUANTITIES}
        return [Result({"barrier": values}, found.tensors())]


def described(a: Train, b: Train, sets: Mapping[str, Any]) -> dict[str, Any]:
    """What a path's rows are of: a's network, and the seeds of both trainings; of two initialisations, b's too."""
    return a.described(sets) | {"seeds": f"{a.seed}–{b.seed}", "other_init": b.init if b.init != a.init else None}


def trained(lab: Lab, spec: Train, masks: Literal["held", "released"]) -> Networks:
    """A trained network with its mask held, or as the released code interpolates it."""
    network = spec.load(lab)
    if masks == "released" and spec.mask is not None:
        images = len(lab.dataset(spec.dataset).train)
        return with_residuals(network, spec.mask.ticket.origin(lab), spec.recipe, images)
    return network
