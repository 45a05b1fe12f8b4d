"""Soft labels for any method's images: a teacher's probabilities."""
from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field, SerializeAsAny

from ..data import Dataset, Images
from ..kernel.exact import exact_on
from ..kernel.recipe import Recipe, seeded
from ..kernel.sizes import portion
from ..kernel.step import State, caller
from ..kernel.training import fit
from ..models import Net, initialise
from ..params import stack
from ..spec import choose
from .base import METHODS, Distilled, Method


def as_method(value: Any) -> Any:
    """A method's settings from a dictionary with its ``kind``; a method as it is."""
    if isinstance(value, dict):
        if not isinstance(value.get("kind"), str):
            raise ValueError(f"a distillation method needs its kind as a text; known: {', '.join(sorted(METHODS))}")
        return choose("distillation method", value["kind"], METHODS)(**value)
    return value


AnyMethod = Annotated[SerializeAsAny[Method], BeforeValidator(as_method)]


class SoftLabels(Method):
    """The images of another method, with the class probabilities that a network trained on the real data gives them.

    Each decoded image has its own label. Soft labels alone carry much of a distilled set's value (Qin et al., *A Label
    is Worth a Thousand Images*, NeurIPS 2024); an early teacher (few epochs) suits small sets.

    Args:
        of: the method whose images are used; ipc and factor are its own. teacher: training of the network on real data.
        temperature: of the softmax.
    """

    kind: Literal["soft"] = "soft"
    of: AnyMethod
    teacher: Recipe = Recipe(epochs=10)
    temperature: float = Field(default=1.0, gt=0)

    def model_post_init(self, _) -> None:
        for name in ("ipc", "factor"):
            object.__setattr__(self, name, getattr(self.of, name))

    def shortened(self, share: float) -> SoftLabels:
        return self.but(of=self.of.shortened(share))

    def check(self, data: Dataset, net: Net) -> None:
        self.of.check(data, net)

    @property
    def experts(self):
        return self.of.experts

    def distill(self, data: Dataset, net: Net, seed: int, **options) -> Distilled:
        found, train = self.of.distill(data, net, seed, **options), data.train
        state = taught(net, train, self.teacher, seed)
        teacher, statistics = ({n: t[0] for n, t in part.items()} for part in (state.params, state.buffers))
        call, x = caller(net, False), found.decoded().normalised()
        _, batch = portion(net, x.device, 1, len(x))
        with torch.no_grad(), exact_on(x.device):
            logits = torch.cat([call(teacher, statistics, part) for part in x.split(batch)])
        return replace(found, labels=(logits / self.temperature).softmax(1),
                       data_points=found.data_points + self._looked_at(data))

    def _looked_at(self, data: Dataset) -> int:
        return self.teacher.steps(len(data.train)) * self.teacher.batch

    def work(self, data: Dataset) -> int:
        return self.of.work(data) + self._looked_at(data)


def taught(net: Net, data: Images, recipe: Recipe, seed: int) -> State:
    """The teacher of that seed, a stack of one: a network of its own initialisation trained on the real data."""
    params, buffers = (stack([t]) for t in initialise(net, seeded("teacher", seed).initial_seed(), data.x.device))
    return fit(net, params, buffers, data, recipe, [f"teacher/{seed}"])
