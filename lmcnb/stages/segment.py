"""The segment between two trained networks, and where they came from."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import Field, model_validator

from ..kernel.training import evaluate
from ..lab.entry import Entry
from ..lab.job import Job
from ..lab.stage import Data, Result, Stage
from ..measure.segment import segment
from ..params import distance
from .training import Train, check_same


class Segment(Stage):
    """Distance between two trainings, curvature along it, and what they started from: see :mod:`lmcnb.measure.segment`.

    Args:
        a, b: two trainings from one start. images: training images that the curvature is measured on (the first ones).
    """

    a: Train
    b: Train
    images: int = Field(default=1024, ge=1)

    @model_validator(mode="after")
    def _two_of_one_start(self):
        check_same(self, self.a, self.b)
        if self.a == self.b or self.a.but(seed=self.b.seed) != self.b:
            raise ValueError("a and b must be two trainings from one start, which differ in nothing but their seeds")
        return self

    def described(self, sets: Mapping[str, Any]) -> dict[str, Any]:
        return self.a.described(sets) | {"seeds": f"{self.a.seed}–{self.b.seed}"}

    def rows(self, entry: Entry) -> Iterable[dict[str, Any]]:
        """The curvature a row an α; before training the network is called ``untrained``."""
        yield from ({"quantity": name, "value": entry.result[name]} for name in
                    ("distance", "travelled", "untrained test_accuracy", "untrained train_loss"))
        for quantity in ("curvature", "bend"):
            yield from ({"quantity": quantity, "alpha": a, "value": v}
                        for a, v in zip(entry.result["alphas"], entry.result[quantity]))

    def cost(self, data: Data) -> float:
        found = data(self.dataset)
        return 3.0 * 3 * min(self.images, len(found.train)) + len(found.test) / 3

    @classmethod
    def compute(cls, job: Job, specs: Sequence[Segment]) -> list[Result]:
        (spec,) = specs
        data = job.lab.dataset(spec.dataset)
        start, a, b = spec.a.begun(job.lab), spec.a.load(job.lab), spec.b.load(job.lab)
        images = data.train.first(spec.images)
        found = segment(a, b, images)
        test, train = (evaluate(spec.net, start.params, start.buffers, part) for part in (data.test, images))
        travelled = [float(distance(start.params, end.params)) for end in (a, b)]
        return [Result({"distance": found.length, "travelled": sum(travelled) / 2, "alphas": found.alphas.tolist(),
                        "curvature": found.curvature.tolist(), "bend": found.bend.tolist(),
                        "untrained test_accuracy": float(test.accuracy), "untrained train_loss": float(train.loss)})]
