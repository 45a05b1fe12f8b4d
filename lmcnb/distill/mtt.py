"""MTT: dataset distillation by matching training trajectories (Cazenavette et al., 2022), in constant graph memory."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from ..data import Dataset, Images, normalise, whitening
from ..kernel.augment import AUGMENTS, Draws, apply, draw
from ..kernel.exact import exact_on
from ..kernel.inside import refuse_batchnorm
from ..kernel.layers import fuse_twice
from ..kernel.recipe import Recipe, order, seeded
from ..kernel.step import caller, layout_of
from ..kernel.strategies import compiled as compile_apart
from ..kernel.strategies import differentiated
from ..models import Net, per_network
from ..params import Params, laid_out, select, sent
from .base import Distilled, Method, decode, mix
from .experts import Experts, course


class MTT(Method):
    """Images (and a step size) whose training moves a network as far as real data does. Defaults: the paper's, 10 ipc.

    In every iteration a random expert and epoch t < ``max_start`` are drawn. From the expert's weights θ*(t), ``steps``
    SGD steps on synthetic images lead to θ̂; the loss is ‖θ̂ − θ*(t + M)‖² / ‖θ*(t) − θ*(t + M)‖².

    Its gradient is exact, but no graph is kept over the steps: :func:`trajectory_gradient` walks back through them by
    the adjoint equation. Memory is that of one step and of the weights before each.

    Args:
        ahead: M, the expert's epochs to catch up with. synthetic_batch: images a step (the whole set if smaller).
        lr_image: SGD rate (momentum 0.5) of the pixels. lr, lr_lr: start and rate of the learned step size.
        zca: ε of the whitening under which experts and images live (the paper: 0.1 for 1 and 10 ipc), or None.
        expert_count, expert: how many trainings on real data to follow, and how they train.
    """

    reads = staticmethod(refuse_batchnorm)
    length: ClassVar[str] = "iterations"

    kind: Literal["mtt"] = "mtt"
    iterations: int = Field(default=5000, ge=1)
    steps: int = Field(default=30, ge=1)
    ahead: int = Field(default=2, ge=1)
    max_start: int = Field(default=20, ge=1)
    synthetic_batch: int = Field(default=256, ge=1)
    lr_image: float = Field(default=100.0, gt=0)
    momentum: float = Field(default=0.5, ge=0, lt=1)
    lr: float = Field(default=0.01, gt=0)
    lr_lr: float = Field(default=1e-5, ge=0)
    zca: float | None = Field(default=0.1, gt=0)
    expert_count: int = Field(default=100, ge=1)
    expert: Recipe = Recipe(epochs=50, batch=256, momentum=0, weight_decay=0, schedule="constant",
                            augment="dsa_single", cutmix=0)
    checkpoint_every: int = Field(default=20, ge=1)

    @property
    def normalised(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]  # whitened images are decoded as pixels
        return self.zca is None

    @property
    def experts(self) -> Experts:
        return Experts(count=self.expert_count, recipe=self.expert, zca=self.zca)

    @model_validator(mode="after")
    def _expert_is_long_enough(self):
        if self.max_start - 1 + self.ahead > self.expert.epochs:
            raise ValueError(f"an expert of {self.expert.epochs:g} epochs cannot be followed for {self.ahead} from "
                             f"epoch {self.max_start - 1}: lower max_start or ahead, or train it for longer")
        return self

    def distill(self, data: Dataset, net: Net, seed: int, *, state: Params | None = None,
                checkpoint: Callable[[Params], None] | None = None, progress=None,
                trajectories: Callable[[int], Params] | None = None,
                space: whitening.Whitening | None = None) -> Distilled:
        self.check(data, net)
        space = (space or whitening.zca(data.train, self.zca)) if self.zca else None
        trajectories = trajectories or self._in_memory(net, space.images(data.train) if space else data.train)
        if state is None:
            start = mix(data.train, self.ipc, self.factor, seed).flatten(0, 1)
            x = space.whiten(start) if space else normalise(start, data.train.mean, data.train.std)
            state = {"x": x, "velocity": torch.zeros_like(x), "lr": torch.tensor(self.lr, device=x.device),
                     "lr_velocity": torch.tensor(0.0, device=x.device), "iteration": torch.tensor(0)}
        now = {n: t.clone() for n, t in state.items()}
        for i in range(int(now["iteration"]), self.iterations):
            gx, glr, _ = self.gradient(data.train, net, now["x"], now["lr"], trajectories, f"{seed}/{i}", space)
            now["velocity"] = self.momentum * now["velocity"] + gx
            now["lr_velocity"] = self.momentum * now["lr_velocity"] + glr
            now["x"] = now["x"] - self.lr_image * now["velocity"]
            # A step size at or below zero would end the training of every later network.
            now["lr"] = (now["lr"] - self.lr_lr * now["lr_velocity"]).clamp_min(1e-6)
            now["iteration"] = torch.tensor(i + 1)
            if (i + 1) % self.checkpoint_every == 0 or i + 1 == self.iterations:
                self.finite(now["x"], f"after iteration {i + 1} of {self.iterations}")
                if checkpoint:
                    checkpoint(now)
                if progress:
                    progress(i + 1, self.iterations)
        pixels = self._pixels(now["x"], data.train, space).unflatten(0, (data.classes, self.ipc))
        seen = int(self.expert_count * self.expert.epochs * len(data.train))
        return self.result(data, pixels, seen, lr=float(now["lr"]), zca=self.zca)

    def work(self, data: Dataset) -> int:
        batch = min(self.synthetic_batch, self.ipc * data.classes * self.factor ** 2)
        return 4 * self.iterations * self.steps * batch  # forth, and back through gradients of gradients

    def _in_memory(self, net: Net, images: Images) -> Callable[[int], Params]:
        """The experts without a store: trained now and kept."""
        all_of_them = course(net, images, self.expert, range(self.expert_count))
        return lambda k: select(all_of_them, k)

    def _pixels(self, x: Tensor, train: Images, space: whitening.Whitening | None) -> Tensor:
        return space.restore(x) if space else x * train.std[:, None, None] + train.mean[:, None, None]

    def _trained_on(self, x: Tensor, space: whitening.Whitening | None) -> Tensor:
        """What a network sees of the stored images x: decoded; under ZCA the decoding is of the pixels."""
        if self.factor == 1:
            return x
        return space.whiten(decode(space.restore(x), self.factor)) if space else decode(x, self.factor)

    def gradient(self, train: Images, net: Net, x: Tensor, lr: Tensor, trajectories: Callable[[int], Params],
                 seed: str, space: whitening.Whitening | None) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of the loss by the stored images x [N, C, H, W] and by the step size, and the loss."""
        generator = seeded("mtt", seed)
        expert, begin = (int(torch.randint(n, (1,), generator=generator)) for n in (self.expert_count, self.max_start))
        whole = trajectories(expert)
        start, target = ({n: sent(t[e], x.device) for n, t in whole.items()} for e in (begin, begin + self.ahead))
        labels = torch.arange(train.classes, device=x.device).repeat_interleave(self.ipc).repeat(self.factor ** 2)
        batch = min(self.synthetic_batch, len(labels))
        draws = draw(AUGMENTS["dsa_single"], self.steps, batch, train.shape[-1], generator)
        draws["index"] = order(f"mtt/{seed}", 0, self.steps, len(labels), batch)
        draws = {n: sent(t, x.device) for n, t in draws.items()}
        each = [{n: t[s] for n, t in draws.items()} for s in range(self.steps)]
        long = self.iterations * self.steps > 300
        with exact_on(x.device):
            ready, back = torch.func.vjp(  # pyright: ignore[reportAssignmentType]  # three only with has_aux
                lambda given: self._trained_on(given, space), x)
            by_images, by_lr, loss = trajectory_gradient(net, start, target, ready, labels, lr, each, compiled=long)
            return back(by_images)[0], by_lr, loss


def trajectory_gradient(net: Net, start: Params, target: Params, x: Tensor, labels: Tensor, lr: Tensor,
                        draws: Sequence[Draws], compiled: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient of MTT's loss by the training images and by the step size, and the loss itself.

    With gᵢ = ∇ℓ(θᵢ; xᵢ) and θᵢ₊₁ = θᵢ − η gᵢ, the adjoint λᵢ = ∂L/∂θᵢ obeys λᵢ = λᵢ₊₁ − η Hᵢ λᵢ₊₁; the images of step
    i get −η ∂⟨gᵢ, λᵢ₊₁⟩/∂xᵢ and the step size −⟨gᵢ, λᵢ₊₁⟩. Going back needs the weights before every step, not their
    graphs, so activations are those of one step however many there are.

    Args:
        x: normalised float32 [N, C, H, W]. labels: int64 [N] or probabilities [N, classes].
        draws: for each step its augmentation ("dsa_single") and ``index`` int64 [batch] into x.
    """
    way = differentiated(net, x.device, compiled)
    descent, adjoint = _fused_steps(net) if way == "fused" else _steps(net, way == "compiled")
    theta, before = start, []
    for d in draws:
        before.append(theta)
        theta = descent(theta, x, labels, d, lr)
    distance = sum((start[n] - target[n]).square().sum() for n in start)
    loss = sum((theta[n] - target[n]).square().sum() for n in theta) / distance
    towards = {n: 2 * (theta[n] - target[n]) / distance for n in theta}
    by_images, by_lr = torch.zeros_like(x), torch.zeros((), device=x.device)
    for theta, d in zip(reversed(before), reversed(draws)):
        towards, gx, slope = adjoint(theta, x, labels, d, lr, towards)
        by_images, by_lr = by_images - lr * gx, by_lr - slope
    return by_images, by_lr, loss  # pyright: ignore[reportReturnType]  # a sum of one tensor or more is a tensor


@per_network(4)
def _fused_steps(net: Net) -> tuple[Callable, Callable]:
    """:func:`_steps` by plain autograd, with norm, ReLU and pool as one operation."""
    call, augment = caller(net, True, layers=fuse_twice), AUGMENTS["dsa_single"]
    layout = layout_of(net, Recipe(), fuse_twice)

    def loss(params: Params, x: Tensor, labels: Tensor, draws: Draws) -> Tensor:
        index = draws["index"]
        images = apply(augment, x[index], draws, differentiated=True).contiguous(memory_format=layout)
        return F.cross_entropy(call(laid_out(params, layout), {}, images), labels[index])

    def gradients(params: Params, x: Tensor, labels: Tensor, draws: Draws) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        with torch.enable_grad():
            leaves = {n: p.detach().requires_grad_() for n, p in params.items()}
            value = loss(leaves, x, labels, draws)
        at = list(leaves.values())
        return at, torch.autograd.grad(value, at, create_graph=x.requires_grad, materialize_grads=True)

    def descent(params, x, labels, draws, rate):
        _, grads = gradients(params, x, labels, draws)
        return {n: p - rate * g for (n, p), g in zip(params.items(), grads)}

    def adjoint(params, x, labels, draws, rate, towards):
        x = x.detach().requires_grad_()
        at, grads = gradients(params, x, labels, draws)
        with torch.enable_grad():
            value = torch.stack([(g * towards[n]).sum() for n, g in zip(params, grads)]).sum()
        *curved, gx = torch.autograd.grad(value, [*at, x], materialize_grads=True)
        return {n: towards[n] - rate * c for n, c in zip(params, curved)}, gx, value.detach()
    return descent, adjoint


@per_network(4)
def _steps(net: Net, compiled: bool) -> tuple[Callable, Callable]:
    call, augment = caller(net, True), AUGMENTS["dsa_single"]

    def loss(params: Params, x: Tensor, labels: Tensor, draws: Draws) -> Tensor:
        index = draws["index"]
        return F.cross_entropy(call(params, {}, apply(augment, x[index], draws, differentiated=True)), labels[index])

    def descent(params, x, labels, draws, rate):
        grads = torch.func.grad(loss)(params, x, labels, draws)
        return {n: p - rate * grads[n] for n, p in params.items()}

    def adjoint(params, x, labels, draws, rate, towards):
        def slope(params, x):
            grads = torch.func.grad(loss)(params, x, labels, draws)
            value = sum((grads[n] * towards[n]).sum() for n in grads)
            return value, value
        (curved, gx), value = torch.func.grad(slope, argnums=(0, 1), has_aux=True)(params, x)
        return {n: t - rate * curved[n] for n, t in towards.items()}, gx, value
    if compiled:
        return compile_apart(descent), compile_apart(adjoint)
    return descent, adjoint
