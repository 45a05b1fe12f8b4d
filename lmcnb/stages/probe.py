"""How well a trained network's features serve another data set."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import Field, model_validator

from ..kernel.inside import features
from ..lab.entry import Entry
from ..lab.job import Job
from ..lab.stage import Data, Result, Stage
from ..measure.probe import fitted, probe
from ..models import Net, per_network
from .training import Train, check_same


class Probe(Stage):
    """A linear probe of a trained network's features on another data set: see :mod:`lmcnb.measure.probe`.

    Args:
        target: the other data set, as :func:`lmcnb.load` knows it; its images are fitted to the network's input.
        train_images, test_images: the target's first images (None: all). C: inverse of the L2 penalty.
    """

    model: Train
    target: str
    train_images: int | None = Field(default=None, ge=1)
    test_images: int | None = Field(default=None, ge=1)
    C: float = Field(default=0.01, gt=0)

    def other_data(self) -> list[str]:
        return [self.target]

    @model_validator(mode="after")
    def _same_network(self):
        check_same(self, self.model)
        return self

    def check(self, data: Data) -> None:
        super().check(data)
        _readable(self.net)

    def rows(self, entry: Entry) -> Iterable[dict[str, Any]]:
        return [{"quantity": "probe_accuracy", "value": entry.result["accuracy"]}]

    def cost(self, data: Data) -> float:
        target = data(self.target)
        return (len(target.train.first(self.train_images)) + len(target.test.first(self.test_images))) / 3

    @classmethod
    def compute(cls, job: Job, specs: Sequence[Probe]) -> list[Result]:
        (spec,) = specs
        source, target = job.lab.dataset(spec.dataset), job.lab.dataset(spec.target)
        train, test = (fitted(images.first(count), spec.net.channels, spec.net.size, source=source.train)
                       for images, count in ((target.train, spec.train_images), (target.test, spec.test_images)))
        accuracy = probe(spec.model.load(job.lab), train, test, C=spec.C)
        return [Result({"accuracy": accuracy, "classes": target.classes, "images": len(train),
                        "test_images": len(test)})]


@per_network(64)
def _readable(net: Net) -> bool:
    """Raises ValueError where a network has no features to read."""
    features(net, training=False)
    return True
