"""How trained networks fare on images spoilt at test time."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any, ClassVar

from pydantic import Field, model_validator

from ..data import Images
from ..kernel.training import Scores
from ..lab import shelf
from ..lab.entry import Entry
from ..lab.job import Job
from ..lab.stage import Data, Result, Stage
from ..measure.corruptions import SEVERITIES, corruption, digest
from ..networks import Networks
from ..spec import Seed, late
from .training import Train, check_same


class Robustness(Stage):
    """The test accuracy of a trained network on images spoilt at test time: see :mod:`lmcnb.measure.corruptions`.

    Args:
        corruptions, severities: each pair of them is one spoilt test set. images: the first test images (None: all).
        seed: of the noise. files: digest of the benchmark's files, of corruptions that are read from such; filled in.
    """

    stacked: ClassVar[tuple[str, ...]] = ("model",)

    model: Train
    corruptions: tuple[str, ...] = Field(min_length=1)
    severities: tuple[int, ...] = Field(default=SEVERITIES, min_length=1)
    images: int | None = Field(default=None, ge=1)
    seed: Seed = 0
    files: str = late("")

    @model_validator(mode="after")
    def _defined(self):
        check_same(self, self.model)
        for name, given in (("corruptions", self.corruptions), ("severities", self.severities)):
            if len(set(given)) < len(given):
                raise ValueError(f"{name} must be different; got {', '.join(map(str, given))}")
        now = digest(self.dataset, self.corruptions)
        if self.files not in ("", now):
            raise ValueError(f"files of the benchmark have the digest {now[:12]}…, not {self.files[:12]}…: they were "
                             f"changed. Leave files out to take them as they are")
        object.__setattr__(self, "files", now)
        for name in self.corruptions:
            for severity in self.severities:
                corruption(name, severity, self.net.channels)
        return self

    def rows(self, entry: Entry) -> Iterable[dict[str, Any]]:
        yield {"quantity": "test_accuracy", "corruption": "none", "severity": 0,
               "value": entry.result["clean"]["accuracy"]}
        yield from ({"quantity": "test_accuracy", "corruption": name, "severity": int(severity), "value": value}
                    for name, each in entry.result["accuracy"].items() for severity, value in each.items())

    def cost(self, data: Data) -> float:
        images = len(data(self.dataset).test.first(self.images))
        return (1 + len(self.corruptions) * len(self.severities)) * images / 3

    @classmethod
    def compute(cls, job: Job, specs: Sequence[Robustness]) -> list[Result]:
        spec, device = specs[0], job.lab.device
        # Where each stands on its way does not matter here.
        networks = Networks.join([replace(s.model.load(job.lab), step=0) for s in specs])

        def scores(images: Images) -> Scores:
            found = networks.evaluate(images)
            job.advance(len(specs) * len(images) / 3)
            return found
        clean = scores(job.lab.dataset(spec.dataset).test.first(spec.images))
        spoilt = {name: {severity: scores(shelf.corrupted(spec.dataset, device, name, severity, spec.seed,
                                                          spec.images))
                         for severity in spec.severities} for name in spec.corruptions}
        return [Result(_values(clean, spoilt, k)) for k in range(len(specs))]


def _values(clean: Scores, spoilt: dict[str, dict[int, Scores]], k: int) -> dict:
    """Of network k. Severities are text, as they come back from JSON."""
    accuracy = {name: {str(severity): float(s.accuracy[k]) for severity, s in each.items()}
                for name, each in spoilt.items()}
    return {"clean": {"accuracy": float(clean.accuracy[k]), "loss": float(clean.loss[k])}, "accuracy": accuracy,
            "mean_accuracy": fmean(fmean(each.values()) for each in accuracy.values())}
