"""DC: dataset condensation with gradient matching (Zhao et al., 2021), and DSA (Zhao & Bilen, 2021), which augments."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from ..data import Dataset, Images, normalise
from ..kernel.inside import class_gradients
from ..kernel.recipe import Recipe, seeded
from ..kernel.sizes import classes_at_once
from ..kernel.step import State
from ..kernel.strategies import differentiated, settled
from ..kernel.training import fit
from ..models import Net, initialise
from ..params import Params, select, stack
from .base import Distilled, Method, decode, mix, real_pixels
from .matching import matcher, real_batches, shared_draws, sweep


class DC(Method):
    """Gradient matching along the training of networks **on the synthetic set itself**. Defaults: the paper's, 10 ipc.

    Each of ``iterations`` fresh networks is matched ``outer`` times (Σ over classes, layers and output rows of 1 − cos
    between the gradients on real and on synthetic images; convolutions and linear layers), with ``inner`` epochs of
    training on the synthetic images between. The paper's (outer, inner) are (1, 1), (10, 50), (50, 10) for 1, 10 and
    50 images per class.

    Args:
        start: "noise" (DC) or "real" images (DSA). augment: shared by a class's real and synthetic images.
        lr_image, momentum: SGD on the normalised pixels.
        lr_net, momentum_net, weight_decay_net: SGD of the networks between; a network keeps its velocity from one
            training to the next. DC's published numbers were made with momentum 0.5, those of DSA without, as both are
            in the released code now; none of them decays weights.
    """

    reads = staticmethod(partial(class_gradients, linear=True))
    length: ClassVar[str] = "iterations"
    normalised: ClassVar[bool] = True

    kind: Literal["dc", "dsa"] = "dc"
    iterations: int = Field(default=1000, ge=1)
    outer: int = Field(default=10, ge=1)
    inner: int = Field(default=50, ge=0)
    real_batch: int = Field(default=256, ge=1)
    lr_image: float = Field(default=0.1, gt=0)
    momentum: float = Field(default=0.5, ge=0, lt=1)
    lr_net: float = Field(default=0.01, gt=0)
    momentum_net: float = Field(default=0.5, ge=0, lt=1)
    weight_decay_net: float = Field(default=0, ge=0)
    start: Literal["noise", "real"] = "noise"
    augment: Literal["none_matching", "dsa_matching"] = "none_matching"

    def distill(self, data: Dataset, net: Net, seed: int, *, state: Params | None = None,
                checkpoint: Callable[[Params], None] | None = None, progress=None) -> Distilled:
        self.check(data, net)
        train = data.train
        if state is None:
            x = self._start(train, seed)
            state = {"x": x, "velocity": torch.zeros_like(x), "iteration": torch.tensor(0)}
        x, velocity = state["x"].clone(), state["velocity"].clone()
        for i in range(int(state["iteration"]), self.iterations):
            x, velocity = self._match_one_network(train, net, f"{seed}/{i}", x, velocity)
            self.finite(x, f"after network {i + 1} of {self.iterations}")
            if checkpoint:
                checkpoint({"x": x, "velocity": velocity, "iteration": torch.tensor(i + 1)})
            if progress:
                progress(i + 1, self.iterations)
        pixels = x * train.std[:, None, None] + train.mean[:, None, None]
        return self.result(data, pixels, self.iterations * self.outer * self.real_batch * data.classes)

    def work(self, data: Dataset) -> int:
        synthetic = self.ipc * data.classes * self.factor ** 2
        matching = self.outer * (self.real_batch * data.classes + 3 * synthetic)
        return self.iterations * (matching + (self.outer - 1) * self.inner * synthetic)

    def _start(self, train: Images, seed: int) -> Tensor:
        if self.start == "real":
            return normalise(mix(train, self.ipc, self.factor, seed), train.mean, train.std)
        noise = torch.randn(train.classes, self.ipc, *train.shape, generator=seeded("start", seed))
        return noise.to(train.x.device)

    def _match_one_network(self, train: Images, net: Net, seed: str, x: Tensor, velocity: Tensor
                           ) -> tuple[Tensor, Tensor]:
        params, buffers = (stack([t]) for t in initialise(net, seeded("net", seed).initial_seed(), x.device))
        network, generator = State.start(params, buffers), seeded("dc", seed)
        for step in range(self.outer):
            grad = self.sweep(train, net, select(network.params, 0), x, generator)[0]
            velocity = self.momentum * velocity + grad
            x = x - self.lr_image * velocity
            if step + 1 < self.outer and self.inner:
                network = self._train(net, network, train, x, f"{seed}/{step}")
        return x, velocity

    def sweep(self, train: Images, net: Net, params: Params, x: Tensor, generator: torch.Generator,
              way: str | None = None) -> tuple[Tensor, Tensor]:
        """Gradient of the matching loss for normalised x [classes, ipc, C, H, W], and the loss of every class."""
        real = normalise(real_pixels(train, real_batches(train, self.real_batch, generator)), train.mean, train.std)
        pick = torch.arange(self.ipc * self.factor ** 2, device=x.device).expand(train.classes, -1)
        draws = shared_draws(self.augment, train, generator)
        way = way or differentiated(net, x.device, self.iterations * self.outer > 100)
        match = matcher(net, self.factor, "cosine", way, self.augment, linear=True)
        same = torch.zeros_like(train.mean), torch.ones_like(train.std)  # x and real are normalised already
        at_once = classes_at_once(net, x.device, train.classes, max(self.real_batch, pick.shape[1]))
        return sweep(match, params, x, real, pick, draws, *same, at_once)

    def _train(self, net: Net, network: State, train: Images, x: Tensor, seed: str) -> State:
        """``inner`` epochs on the synthetic images."""
        images = decode(x.flatten(0, 1), self.factor)
        labels = torch.arange(train.classes, device=x.device).repeat_interleave(self.ipc).repeat(self.factor ** 2)
        same = torch.zeros_like(train.mean), torch.ones_like(train.std)
        data = Images(images, labels, *same, train.classes)
        augment = "none" if self.augment == "none_matching" else "dsa_single"
        recipe = Recipe(epochs=self.inner, batch=min(256, len(data)), lr=self.lr_net, momentum=self.momentum_net,
                        weight_decay=self.weight_decay_net, schedule="constant", augment=augment, cutmix=0)
        again = replace(network, step=0, losses=network.losses[:, :0])  # weights and velocity go on, the steps anew
        # By rule, not by measurement: bits must not depend on the clock. One step of work is never compiled, and a CUDA
        # graph would be captured anew for every change of the images.
        strategy = "loop" if x.device.type == "cuda" else settled(net, x.device, 0)
        return fit(net, {}, {}, data, recipe, [f"dc/{seed}"], strategy=strategy, state=again)


class DSA(DC):
    """Differentiable Siamese Augmentation: DC from real images, with one augmentation shared by real and synthetic."""

    kind: Literal["dsa"] = "dsa"
    momentum_net: float = Field(default=0, ge=0, lt=1)
    start: Literal["noise", "real"] = "real"
    augment: Literal["none_matching", "dsa_matching"] = "dsa_matching"
