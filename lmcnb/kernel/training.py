"""The stacked kernel: K networks trained at once, each as if it were alone.

Every random number of a step is drawn beforehand from the model's own seed (:mod:`.augment`), so the step itself
is a pure function and can be run one model after another, vmapped, compiled, or replayed as a CUDA graph, with one
result. :func:`lmcnb.kernel.strategies.settled` is the rule that says which.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..data import Images
from ..models import Net
from ..params import Params, select, size
from . import masks as _masks
from . import recipe as _recipe
from .exact import exact_on
from .optimise import rule
from .recipe import Recipe, draws
from .sizes import portion
from .step import Pruner, State
from .strategies import evaluator, runner


def fit(net: Net, params: Params, buffers: Params, data: Images, recipe: Recipe, seeds: Sequence[int | str],
        masks: _masks.Masks | None = None, *, pruner: Pruner | None = None, strategy: str = "auto",
        state: State | None = None, stop: int | None = None,
        on_segment: Callable[[State, int], None] | None = None) -> State:
    """Trains a stack of K networks; a model in a stack ends as it would alone.

    Args:
        params, buffers: initial values [K, ...]; not changed.
        data: the training images, on the parameters' device.
        seeds: K seeds of SGD noise: data order, augmentation and CutMix of each model.
        masks: bool [K, ...] over prunable weights; None trains dense.
        pruner: removes weights on the way (:class:`.step.Pruner`), beside ``masks``.
        strategy: "loop", "fused", "vmap", "compiled", "graph" (CUDA), or "auto": by rule (:func:`.strategies.settled`).
        state: where to resume (as given to ``on_segment``). stop: step to stop at, by default the recipe's last.
        on_segment: called with (state, steps in all) after every segment; the place for checkpoints and progress.
    Returns:
        The final state; ``losses`` float32 [K, steps] is each step's training loss.
    Raises:
        ValueError: seeds, masks or images do not fit the stack or the network.
        FloatingPointError: the loss became NaN or infinite; the message names the step, the model and the setting.
    """
    _check(net, params, data, seeds, masks)
    masks = {} if masks is None else {n: m.to(params[n].device) for n, m in masks.items()}
    state = _begun(state or State.start(_masks.masked(params, masks), buffers), recipe, len(data), pruner)
    total = recipe.steps(len(data))
    stop = total if stop is None else min(stop, total)
    with exact_on(data.x.device):
        run = runner(net, recipe, data, state, masks, strategy, pruner)
        while state.step < stop:
            end = (state.step // _recipe.SEGMENT + 1) * _recipe.SEGMENT
            state = _segment(run, recipe, data, seeds, masks, state, min(stop, end), total, pruner)
            if on_segment:
                on_segment(state, total)
    return state


def _begun(state: State, recipe: Recipe, images: int, pruner: Pruner | None) -> State:
    if state.momentum:
        return state
    memory = rule(recipe).begin(state.params)
    if pruner:
        memory |= pruner.begin(state.params, recipe.steps(images))
    return replace(state, momentum=memory)


def _segment(run, recipe, data, seeds, masks, state: State, stop: int, total: int, pruner: Pruner | None) -> State:
    device = data.x.device
    each = [draws(recipe, s, state.step, stop, data) for s in seeds]
    if pruner:
        schedule = pruner.schedule(state.step, stop, total)
        each = [d | schedule for d in each]
    batches = {n: torch.stack([d[n] for d in each]).to(device, non_blocking=True) for n in each[0]}
    rates = torch.tensor([recipe.rate(s, total) for s in range(state.step, stop)], device=device)
    params, buffers, momentum, losses = run(state.params, state.buffers, state.momentum, masks, batches, rates)
    losses = losses.cpu()
    if not bool(torch.isfinite(losses).all()):
        model, at = (int(v) for v in torch.nonzero(~torch.isfinite(losses))[0])
        raise FloatingPointError(f"the training loss of model {model} (seed {seeds[model]}) is {losses[model, at]} at "
                                 f"step {state.step + at} of {total}; lower lr (now {recipe.lr}) or change schedule")
    return State(params, buffers, momentum, stop, torch.cat([state.losses, losses], 1))


def _check(net: Net, params: Params, data: Images, seeds, masks) -> None:
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

    ``strategy`` is "auto", "loop", "fused", "vmap" or "compiled"; sums are float64. Off the CPU, fewer images than
    ``batch`` and fewer models than all go through at once where their activations would be large.
    """
    k = size(params)
    many, batch = portion(net, data.x.device, k, batch)
    if many < k:
        each = [evaluate(net, select(params, part), select(buffers, part), data, batch=batch, strategy=strategy)
                for part in (slice(start, start + many) for start in range(0, k, many))]
        return Scores(torch.cat([s.loss for s in each]), torch.cat([s.error for s in each]))
    sums = torch.zeros(k, 2, dtype=torch.float64, device=data.x.device)
    with exact_on(data.x.device):
        run = evaluator(net, k, len(data), params, strategy)
        for start in range(0, len(data), batch):
            index = slice(start, start + batch)
            sums += run(params, buffers, data.normalised(index), data.y[index])
    sums = sums.cpu() / len(data)
    return Scores(sums[:, 0], sums[:, 1])
