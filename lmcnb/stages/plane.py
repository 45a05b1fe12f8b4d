"""The train loss on a plane in weight space."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from pydantic import Field, model_validator

from ..kernel.layers import fuses
from ..kernel.strategies import compiles
from ..lab.entry import Entry
from ..lab.job import Job
from ..lab.stage import Data, Result, Stage
from ..measure.plane import Plane, grid, loss_on_plane, plane_as_released, plane_random, plane_through
from ..networks import Networks
from ..spec import Seed
from .path import trained
from .training import Train, check_same


class Landscape(Stage):
    """The train loss on a plane in weight space: see :mod:`lmcnb.measure.plane`.

    Args:
        models: trainings from one initialisation under one mask; "random" takes the first, the others are projected.
        kind: "through" (the first three, orthonormal axes), "released" (of four, as the released code draws it) or
            "random" (filter-normalised directions).
        points: along each axis. train_images: how many training images to measure on (None: all).
        bn: "lerp" combines BatchNorm statistics linearly, "recalibrate" re-estimates them at every point.
        masks: as in :class:`Connect`. seed: of the random directions.
    """

    models: tuple[Train, ...]
    kind: Literal["through", "released", "random"] = "through"
    points: int = Field(default=21, ge=2)
    train_images: int | None = Field(default=None, ge=1)
    bn: Literal["lerp", "recalibrate"] = "lerp"
    masks: Literal["held", "released"] = "held"
    seed: Seed = 0

    @model_validator(mode="after")
    def _enough_models(self):
        needed = {"through": 3, "released": 4, "random": 1}[self.kind]
        if len(self.models) < needed:
            raise ValueError(f"a plane of kind {self.kind!r} needs {needed} models; got {len(self.models)}: add seeds")
        if len(set(self.models)) < len(self.models):
            raise ValueError("models must be different trainings: give each a seed of its own")
        first, *others = (m.but(seed=0, stop=None, start=None) for m in self.models)
        if any(m != first for m in others):
            raise ValueError("the models of a plane may differ in their seed and in where they start and stop: not in "
                             "initialisation, mask, recipe")
        check_same(self, *self.models)
        return self

    def described(self, sets: Mapping[str, Any]) -> dict[str, Any]:
        seeds = ", ".join(str(m.seed) for m in self.models)
        return self.models[0].described(sets) | {"seeds": seeds, "kind": self.kind, "bn": self.bn}

    def rows(self, entry: Entry) -> Iterable[dict[str, Any]]:
        """The loss and error on the grid, and where the networks lie: ``network`` is their number."""
        tensors, places = entry.tensors, zip(entry.result["places"], entry.result["away"])
        yield from ({"quantity": f"train_{name}", "x": float(x), "y": float(y), "value": float(tensors[name][j, i])}
                    for name in ("loss", "error") for j, y in enumerate(tensors["ys"])
                    for i, x in enumerate(tensors["xs"]))
        yield from ({"quantity": "distance from the plane", "network": k, "x": x, "y": y, "value": away}
                    for k, ((x, y), away) in enumerate(places))

    def numerics(self, device: torch.device) -> str:
        compiled = device.type == "cpu" and compiles(self.net) and not fuses(self.net)
        return "one compiled plane" if compiled else ""  # where its size decides: see loss_on_plane

    def cost(self, data: Data) -> float:
        return self.points ** 2 * len(data(self.dataset).train.first(self.train_images)) / 3

    @classmethod
    def compute(cls, job: Job, specs: Sequence[Landscape]) -> list[Result]:
        (spec,) = specs
        # Points of one space, however far each was trained.
        models = Networks.join([replace(trained(job.lab, m, spec.masks), step=0) for m in spec.models])
        plane, axes = spec._plane(models)
        images = job.lab.dataset(spec.dataset).train.first(spec.train_images)
        saved, last, cost = job.saved(), [0], spec.cost(job.lab.dataset)

        def on_tile(values: torch.Tensor, done: int) -> None:
            job.advance(cost * (done - last[0]) / spec.points ** 2)
            last[0] = done
            job.checkpoint(lambda: [{"values": values}])
        found = loss_on_plane(plane, images, *axes, on_tile=on_tile,
                              done=saved[0][0]["values"].cpu() if saved else None,
                              recalibrate_on=images if spec.bn == "recalibrate" else None)
        places, away = plane.project(models)
        values = {"min": float(found[0].min()), "orthonormal": plane.orthonormal, "places": places.tolist(),
                  "away": away.tolist()}
        return [Result(values, {"xs": axes[0], "ys": axes[1], "loss": found[0], "error": found[1]})]

    def _plane(self, models: Networks) -> tuple[Plane, tuple[torch.Tensor, torch.Tensor]]:
        if self.kind == "through":
            plane = plane_through(models)
            return plane, grid(plane, self.points, models)
        if self.kind == "released":
            return plane_as_released(models), grid(None, self.points, reach=2.0)
        plane = plane_random(models[0], self.seed)
        return plane, grid(plane, self.points)
