"""The stacked kernel: K networks trained at once, each as if it were alone.

Every random number of a step is drawn beforehand from the model's own seed (:mod:`lmcnb.augment`), so the step itself
is a pure function and can be run one model after another, vmapped, compiled, or replayed as a CUDA graph, with one
result. :func:`lmcnb.strategies.settled` is the rule that says which.
"""
from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from . import masks as _masks
from .augment import Augment, Draws, apply, augmentation, draw
from .data import Images, normalise
from .models import Net
from .params import Params, clone, size
from .randomness import refuse_random
from .spec import Spec

SEGMENT = 128  # steps drawn at once; a checkpoint falls between segments


class Recipe(Spec):
    """How a network is trained. The defaults are those of McDermott & Parhi's released code on real data.

    Args:
        epochs: passes over the data; batches never shrink, the last one of an epoch runs into the next.
        batch: images a step. lr, momentum, weight_decay: SGD's, weight decay on every parameter.
        schedule: "step" (× 0.2 at 2/3 and 5/6), "half" (× 0.1 at 1/2), "one_cycle" (linear up over the first fifth,
            linear to zero), "constant".
        augment: a name of :data:`lmcnb.AUGMENTS`. cutmix: probability of CutMix for a batch.
    """

    epochs: float = Field(300, gt=0)
    batch: int = Field(64, ge=1, le=2 ** 20)
    lr: float = Field(0.01, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    schedule: Literal["step", "half", "one_cycle", "constant"] = "step"
    augment: str = "cifar"
    cutmix: float = Field(0.5, ge=0, le=1)

    def model_post_init(self, _) -> None:
        _ = self.augmentation  # an unknown name fails here, before any work

    @property
    def augmentation(self) -> Augment:
        return augmentation(self.augment, self.cutmix)

    def steps(self, images: int) -> int:
        """Number of SGD steps on a set of that many images."""
        return max(1, round(self.epochs * images / self.batch))

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of step 0 … steps − 1."""
        done = (step + 0.5) / steps
        if self.schedule == "step":
            return self.lr * 0.2 ** ((done > 2 / 3) + (done > 5 / 6))
        if self.schedule == "half":
            return self.lr * 0.1 ** (done > 1 / 2)
        if self.schedule == "one_cycle":
            return self.lr * min(done / 0.2, (1 - done) / 0.8)
        return self.lr


@dataclass
class State:
    """Where a training stands: stacked [K, ...] weights, buffers and momentum, steps done, losses [K, step]."""

    params: Params
    buffers: Params
    momentum: Params
    step: int
    losses: Tensor

    @staticmethod
    def start(params: Params, buffers: Params, step: int = 0) -> State:
        """Before the first step, or before ``step`` of the schedule for networks rewound to it; momentum is zero."""
        zeros = {n: torch.zeros_like(p) for n, p in params.items()}
        return State(clone(params), clone(buffers), zeros, step, torch.zeros(size(params), 0))


def seeded(*parts: object) -> torch.Generator:
    """A CPU generator for a purpose: equal parts, equal numbers; any other part, independent numbers."""
    text = "/".join(map(str, parts)).encode()
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(text).digest()[:8]) >> 1)


def order(seed: int | str, start: int, stop: int, images: int, batch: int) -> Tensor:
    """Image indices int64 [stop − start, batch] of steps start … stop − 1: one permutation after another, unbroken."""
    first, last = start * batch, stop * batch
    epochs = range(first // images, math.ceil(last / images))
    stream = torch.cat([_permutation(seed, e, images) for e in epochs])
    offset = epochs.start * images
    return stream[first - offset:last - offset].view(stop - start, batch)


@lru_cache(maxsize=4)  # a training that goes on in short runs, as IDC's networks do, asks for one again and again
def _permutation(seed: int | str, epoch: int, images: int) -> Tensor:
    return torch.randperm(images, generator=seeded("order", seed, epoch))


@lru_cache(maxsize=4)
def _segment_draws(augment: Augment, steps: int, batch: int, size: int, seed: int | str, segment: int) -> Draws:
    return draw(augment, steps, batch, size, seeded("augment", seed, segment))


def draws(recipe: Recipe, seed: int | str, start: int, stop: int, images: Images) -> Draws:
    """All that is random in steps start … stop − 1 (within one segment) of one model: see :mod:`lmcnb.augment`."""
    segment = start - start % SEGMENT
    whole = _segment_draws(recipe.augmentation, SEGMENT, recipe.batch, images.shape[-1], seed, segment)
    part = {n: t[start - segment:stop - segment] for n, t in whole.items()}
    return {"index": order(seed, start, stop, len(images), recipe.batch), **part}


def loss_on_batch(call, params, buffers, x, y, draws, augment: Augment):
    """Training loss of one model on one augmented batch and its new buffers. x: normalised float32 [B, C, H, W]."""
    buffers = clone(buffers)  # BatchNorm writes its running statistics here
    logits = call(params, buffers, apply(augment, x, draws))
    loss = F.cross_entropy(logits, y)
    if augment.cutmix:
        kept = draws["kept"]
        loss = kept * loss + (1 - kept) * F.cross_entropy(logits, y[draws["partner"]])
    return loss, buffers


def make_step(net: Net, recipe: Recipe) -> Callable:
    """One SGD step of one model as a pure function, ready for vmap and compile.

    ``step(params, buffers, momentum, masks, images, labels, mean, std, draws, lr)`` returns (params, buffers,
    momentum, loss). Pruned weights, their gradients and their momentum are exactly zero after every step.
    """
    call, augment, decay, beta = caller(net, True), recipe.augmentation, recipe.weight_decay, recipe.momentum

    def step(params, buffers, momentum, masks, images, labels, mean, std, draws, lr):
        index = draws["index"]
        x, y = normalise(images[index], mean, std), labels[index]

        def loss(p):
            value, b = loss_on_batch(call, p, buffers, x, y, draws, augment)
            return value, (b, value)
        grads, (buffers, value) = torch.func.grad(loss, has_aux=True)(params)
        new, velocity = {}, {}
        for n, p in params.items():
            g = grads[n] + decay * p
            g = torch.where(masks[n], g, 0) if n in masks else g
            velocity[n] = beta * momentum[n] + g
            new[n] = p - lr * velocity[n]
        return new, buffers, velocity, value
    return step


def make_eager_step(net: Net, recipe: Recipe) -> Callable:
    """:func:`make_step` for running as it is: prepares for no second derivative, updates all tensors in one call."""
    call, augment, decay, beta = caller(net, True), recipe.augmentation, recipe.weight_decay, recipe.momentum

    def step(params, buffers, momentum, masks, images, labels, mean, std, draws, lr):
        index, leaves = draws["index"], {n: p.detach().requires_grad_() for n, p in params.items()}
        loss, buffers = loss_on_batch(call, leaves, buffers, normalise(images[index], mean, std), labels[index], draws,
                                      augment)
        grads = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
        with torch.no_grad():
            old = list(params.values())
            grads = torch._foreach_add(grads, old, alpha=decay)
            for g, n in zip(grads, params):
                if n in masks:
                    g.mul_(masks[n])
            velocity = torch._foreach_add(grads, [momentum[n] for n in params], alpha=beta)
            new = torch._foreach_add(old, velocity, alpha=-float(lr))
        return dict(zip(params, new)), buffers, dict(zip(params, velocity)), loss.detach()
    return step


def caller(net: Net, training: bool) -> Callable[[Params, Params, Tensor], Tensor]:
    """``call(params, buffers, x)``: logits [B, classes] of the network as a pure function."""
    module = net.build().train(training)
    if training:
        refuse_random(net)

    def call(params: Params, buffers: Params, x: Tensor) -> Tensor:
        # Buffers go in by reference: functional_call lets BatchNorm update them in place.
        return torch.func.functional_call(module, (params, buffers), (x,))
    return call


def fit(net: Net, params: Params, buffers: Params, data: Images, recipe: Recipe, seeds: Sequence[int | str],
        masks: _masks.Masks | None = None, *, strategy: str = "auto", state: State | None = None,
        stop: int | None = None, on_segment: Callable[[State, int], None] | None = None) -> State:
    """Trains a stack of K networks; a model in a stack ends as it would alone.

    Args:
        params, buffers: initial values [K, ...]; not changed.
        data: the training images, on the parameters' device.
        seeds: K seeds of SGD noise: data order, augmentation and CutMix of each model.
        masks: bool [K, ...] over prunable weights; None trains dense.
        strategy: "loop", "vmap", "compiled", "graph" (CUDA), or "auto": by rule (:func:`lmcnb.strategies.settled`).
        state: where to resume (as given to ``on_segment``). stop: step to stop at, by default the recipe's last.
        on_segment: called with (state, steps in all) after every segment; the place for checkpoints and progress.
    Returns:
        The final state; ``losses`` float32 [K, steps] is each step's training loss.
    Raises:
        ValueError: seeds, masks or images do not fit the stack or the network.
        FloatingPointError: the loss became NaN or infinite; the message names the step, the model and the setting.
    """
    from .strategies import runner

    _check(net, params, data, recipe, seeds, masks)
    masks = {} if masks is None else {n: m.to(params[n].device) for n, m in masks.items()}
    state = state or State.start(_masks.masked(params, masks), buffers)
    total = recipe.steps(len(data))
    stop = total if stop is None else min(stop, total)
    run = runner(net, recipe, data, state, masks, strategy)
    while state.step < stop:
        state = _segment(run, recipe, data, seeds, masks, state, min(stop, _next_segment(state.step)), total)
        if on_segment:
            on_segment(state, total)
    return state


def _next_segment(step: int) -> int:
    return step - step % SEGMENT + SEGMENT


def _segment(run, recipe, data, seeds, masks, state: State, stop: int, total: int) -> State:
    device = data.x.device
    each = [draws(recipe, s, state.step, stop, data) for s in seeds]
    batches = {n: torch.stack([d[n] for d in each]).to(device, non_blocking=True) for n in each[0]}
    rates = torch.tensor([recipe.rate(s, total) for s in range(state.step, stop)], device=device)
    params, buffers, momentum, losses = run(state.params, state.buffers, state.momentum, masks, batches, rates)
    losses = losses.cpu()
    if not bool(torch.isfinite(losses).all()):
        model, at = (int(v) for v in torch.nonzero(~torch.isfinite(losses))[0])
        raise FloatingPointError(f"the training loss of model {model} (seed {seeds[model]}) is {losses[model, at]} at "
                                 f"step {state.step + at} of {total}; lower lr (now {recipe.lr}) or change schedule")
    return State(params, buffers, momentum, stop, torch.cat([state.losses, losses], 1))


def _check(net: Net, params: Params, data: Images, recipe: Recipe, seeds, masks) -> None:
    k = size(params)
    if len(seeds) != k:
        raise ValueError(f"a stack of {k} models needs {k} seeds; got {len(seeds)}")
    if data.shape != (net.channels, net.size, net.size):
        raise ValueError(f"the network takes images {(net.channels, net.size, net.size)}, the data has {data.shape}; "
                         f"set channels and size of Net to the data's")
    if data.classes != net.classes:
        raise ValueError(f"the network has {net.classes} classes, the data {data.classes}; set classes of Net")
    if masks is not None:
        _masks.check(masks, params)


@dataclass(frozen=True)
class Scores:
    """Mean cross-entropy (nats) and error (share of images, 0…1) of each model: float64 [K]."""

    loss: Tensor
    error: Tensor

    @property
    def accuracy(self) -> Tensor:
        return 1 - self.error


@torch.no_grad()
def evaluate(net: Net, params: Params, buffers: Params, data: Images, *, batch: int = 500,
             strategy: str = "auto") -> Scores:
    """Loss and error of K models on un-augmented images, in eval mode. Soft labels count their likeliest class.

    ``strategy`` is "auto", "loop", "vmap" or "compiled"; sums are float64.
    """
    from .strategies import evaluator

    k = size(params)
    run = evaluator(net, k, len(data), params, strategy)
    sums = torch.zeros(k, 2, dtype=torch.float64, device=data.x.device)
    for start in range(0, len(data), batch):
        index = slice(start, start + batch)
        sums += run(params, buffers, data.normalised(index), data.y[index])
    sums = sums.cpu() / len(data)
    return Scores(sums[:, 0], sums[:, 1])


def make_score(net: Net) -> Callable:
    """``score(params, buffers, x, y)``: float32 [2], summed cross-entropy and number of errors of one model."""
    call = caller(net, False)

    def score(params, buffers, x, y):
        logits = call(params, buffers, x)
        hard = y if y.ndim == 1 else y.argmax(1)
        wrong = (logits.argmax(1) != hard).sum()
        return torch.stack([F.cross_entropy(logits, y, reduction="sum"), wrong.float()])
    return score
