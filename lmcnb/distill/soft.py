"""Soft labels for any method's images: a teacher's probabilities."""
from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field, SerializeAsAny
from torch import Tensor

from ..data import Dataset, Images
from ..kernel.exact import exact_on
from ..kernel.recipe import Recipe, seeded
from ..kernel.sizes import portion
from ..kernel.step import State, caller
from ..kernel.training import fit
from ..models import Net, initialise
from ..params import select, stack
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
        x = found.decoded().normalised()
        guesses = logits(net, taught(net, train, self.teacher, seed), x, len(x))
        return replace(found, labels=(guesses / self.temperature).softmax(1),
                       data_points=found.data_points + self._looked_at(data))

    def _looked_at(self, data: Dataset) -> int:
        return self.teacher.steps(len(data.train)) * self.teacher.batch

    def work(self, data: Dataset) -> int:
        return self.of.work(data) + self._looked_at(data)


def taught(net: Net, data: Images, recipe: Recipe, seed: int) -> State:
    """The teacher of that seed, a stack of one: a network of its own initialisation trained on the real data."""
    params, buffers = (stack([t]) for t in initialise(net, seeded("teacher", seed).initial_seed(), data.x.device))
    return fit(net, params, buffers, data, recipe, [f"teacher/{seed}"])


@torch.no_grad()
def logits(net: Net, teacher: State, x: Tensor, batch: int) -> Tensor:
    """float32 [N, classes]: what a stack of one says of normalised images x [N, C, H, W], ``batch`` of them at once."""
    call, model = caller(net, False), (select(teacher.params, 0), select(teacher.buffers, 0))
    with exact_on(x.device):
        return torch.cat([call(*model, part) for part in x.split(portion(net, x.device, 1, batch)[1])])
