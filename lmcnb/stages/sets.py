"""Distilled sets, the expert trainings that some of them follow, and what networks learn from a set alone."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import torch
from pydantic import Field, model_validator

from ..data import Images
from ..distill import METHODS, AnyMethod, Distilled, EvalProtocol, course
from ..kernel.recipe import Recipe
from ..kernel.step import State
from ..kernel.training import evaluate
from ..lab import shelf
from ..lab.entry import Entry
from ..lab.job import Job
from ..lab.resume import fitted, joined, parted
from ..lab.stage import Data, Result, Stage
from ..networks import Networks
from ..params import Params, prefixed, select, to
from ..spec import Seed


class Expert(Stage):
    """The weights of a network before the first and after every epoch of a training on the real data.

    Args:
        init: seed of the initialisation and of the SGD noise. zca: ε of the whitening of the images it sees.
    """

    stacked: ClassVar[tuple[str, ...]] = ("init",)

    recipe: Recipe
    init: Seed = 0
    zca: float | None = Field(default=None, gt=0)

    @classmethod
    def stays(cls, settings: Mapping[str, Any]) -> bool:
        return True

    def cost(self, data: Data) -> float:
        return self.recipe.epochs * len(data(self.dataset).train)

    @classmethod
    def compute(cls, job: Job, specs: Sequence[Expert]) -> list[Result]:
        spec, saved = specs[0], job.saved()
        data = job.lab.dataset(spec.dataset).train
        if spec.zca:
            data = shelf.whitened(spec.dataset, job.lab.device, spec.zca)
        before = (joined(saved), {n: torch.stack([prefixed(t, "course/")[n] for t, _ in saved])
                                  for n in prefixed(saved[0][0], "course/")}) if saved else None
        last = [before[0].step if before else 0]

        def on_segment(now: State, total: int) -> None:
            job.advance((now.step - last[0]) * spec.recipe.batch * len(specs))
            last[0] = now.step

        def on_epoch(now: State, kept: Params) -> None:
            job.checkpoint(lambda: [parted(now, k) | {f"course/{n}": t[k] for n, t in kept.items()}
                                    for k in range(len(specs))], step=now.step)
        kept = course(spec.net, data, spec.recipe, [s.init for s in specs], resume=before, on_segment=on_segment,
                      on_epoch=on_epoch)
        epochs = len(next(iter(kept.values()))[0]) - 1
        return [Result({"epochs": epochs}, select(kept, k)) for k in range(len(specs))]


class Distill(Stage):
    """A distilled (or chosen) set. ``net`` is the network it is made with."""

    stored: ClassVar[str] = "Distil"

    method: AnyMethod
    seed: Seed = 0

    @classmethod
    def stays(cls, settings: Mapping[str, Any]) -> bool:
        """Sets that are chosen, not learnt: real images, or a published set; of a method unknown here none."""
        method = settings["method"]
        while method["kind"] == "soft":
            method = method["of"]
        known = METHODS.get(method["kind"])
        return known is not None and not known.length

    def check(self, data: Data) -> None:
        super().check(data)
        self.method.check(data(self.dataset), self.net)

    def upstream(self) -> list[Stage]:
        """The expert trainings that the method follows, if it follows any."""
        needed = self.method.experts
        if needed is None:
            return []
        return [Expert(dataset=self.dataset, net=self.net, recipe=needed.recipe, zca=needed.zca, init=i)
                for i in range(needed.count)]

    def described(self, sets: Mapping[str, Any]) -> dict[str, Any]:
        name = next((n for n, method in sets.items() if method == self.method), self.method.kind)
        return {"method": name, "set": self.seed}

    def cost(self, data: Data) -> float:
        return max(1.0, float(self.method.work(data(self.dataset))))

    def load(self, lab) -> Distilled:
        """The set, on the lab's device."""
        entry = lab.get(self)
        notes: dict[str, Any] = {n: entry.result.get(n) for n in ("factor", "data_points", "classes", "lr", "zca")}
        return Distilled(**to(entry.tensors, lab.device), **notes)

    def decoded(self, lab) -> Images:
        """Its images to train on: the same tensors in every round, so that a captured graph serves them all."""
        return lab.remembered(lab.key(self), lambda: self.load(lab).decoded())

    @classmethod
    def compute(cls, job: Job, specs: Sequence[Distill]) -> list[Result]:
        (spec,) = specs
        saved, done, cost = job.saved(), [0], spec.cost(job.lab.dataset)

        def progress(now: int, total: int) -> None:
            job.advance(cost * (now - done[0]) / total)
            done[0] = now
        options = spec._followed(job) if spec.upstream() else {}
        found = spec.method.distill(job.lab.dataset(spec.dataset), spec.net, spec.seed,
                                    state=saved[0][0] if saved else None, progress=progress,
                                    checkpoint=lambda tensors: job.checkpoint(lambda: [tensors]), **options)
        values = {"factor": found.factor, "data_points": found.data_points, "classes": found.classes,
                  "ipc": found.ipc, "lr": found.lr, "zca": found.zca}
        return [Result(values, found.tensors())]

    def _followed(self, job: Job) -> dict[str, Any]:
        """Experts by number, read when they are asked for (they may be larger than memory), and their whitening."""
        upstream, needed = self.upstream(), self.method.experts
        zca = needed.zca if needed else None
        space = shelf.whitening(self.dataset, job.lab.device, zca) if zca else None
        return {"trajectories": lru_cache(maxsize=16)(lambda k: job.lab.get(upstream[k]).tensors), "space": space}


class Assess(Stage):
    """Test accuracy of networks trained on a set alone: ``networks`` of them, as one stack, at the last epoch."""

    source: Distill
    protocol: EvalProtocol
    networks: int = Field(default=3, ge=1)

    @property
    def recipe(self) -> Recipe:
        """The protocol's training."""
        return self.protocol.recipe

    @model_validator(mode="after")
    def _same_data(self):
        if self.source.dataset != self.dataset:
            raise ValueError(f"source is of the dataset {self.source.dataset}, the assessment of {self.dataset}: give "
                             f"both the same")
        return self

    def described(self, sets: Mapping[str, Any]) -> dict[str, Any]:
        return self.source.described(sets)

    def rows(self, entry: Entry) -> Iterable[dict[str, Any]]:
        """A network of its own a row."""
        return ({"quantity": f"set_{name}", "init": k, "value": value} for name in ("accuracy", "loss")
                for k, value in enumerate(entry.result[name]))

    def cost(self, data: Data) -> float:
        images = self.source.method.images(data(self.dataset).classes)
        return float(self.recipe.steps(images) * self.recipe.batch * self.networks)

    @classmethod
    def compute(cls, job: Job, specs: Sequence[Assess]) -> list[Result]:
        (spec,) = specs
        found, test = spec.source.load(job.lab), job.lab.dataset(spec.dataset).test
        space = None
        if spec.protocol.zca and found.zca:
            space = shelf.whitening(spec.dataset, job.lab.device, found.zca)
        train, test, recipe = spec.protocol.prepare(found, test, space)
        start = Networks.initialise(spec.net, range(1000, 1000 + spec.networks), job.lab.device)
        state = fitted(job, start, train, recipe, [f"assess/{i}" for i in start.labels], dense=True)
        scores = evaluate(spec.net, state.params, state.buffers, test)
        return [Result({"accuracy": scores.accuracy.tolist(), "loss": scores.loss.tolist(), "images": len(train),
                        "lr": recipe.lr})]
