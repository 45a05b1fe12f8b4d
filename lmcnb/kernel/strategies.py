"""How a stack is executed: one model after another, vmapped, compiled, or as a CUDA graph. Chosen by rule.

The choice changes the time, not the result, beyond the last bits of float32: a test holds all of them together. But
training and pruning amplify last bits, so the rule asks nothing that could differ between two runs of one plan.
"""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..data import Images
from ..models import Net, per_network
from ..params import Params, laid_out, select, size
from .agreement import changes_input, traces
from .capturable import capturable
from .compiling import can_compile, compiled
from .graph import forked, replayed
from .layers import fuse, fuses, quicken, quickens
from .recipe import Recipe
from .sizes import stack_size
from .step import Layers, Pruner, State, layout_of, make_first_order_step, make_score, make_step

STRATEGIES = ("loop", "fused", "vmap", "compiled", "graph")
COMPILE_OPERATIONS = 5e11  # of a training: some 350 steps of a ConvNet-3 of width 32, about 20 s of one core


@per_network(32)
def _step(net: Net, recipe: Recipe, strategy: str, shape: tuple, pruner: Pruner | None = None) -> Callable:
    """The step of one model, or of a stack for the vmapped strategies. ``shape`` keys what compile specialises on."""
    if strategy == "vmap":
        return torch.vmap(make_step(net, recipe, pruner), in_dims=(0, 0, 0, 0, None, None, None, None, 0, None))
    if strategy == "compiled":
        return make_first_order_step(net, recipe, _layers(net, strategy), compiled, pruner)
    captured = strategy == "graph"
    step = make_first_order_step(net, recipe, _layers(net, strategy), pruner=pruner, captured=captured)
    return forked(step) if captured else step


def _layers(net: Net, strategy: str) -> Layers | None:
    if strategy == "compiled":
        return quicken if quickens(net) else None
    return fuse if strategy == "fused" else None


@per_network(32)
def _score(net: Net, strategy: str, shape: tuple) -> Callable:
    score = make_score(net, fuse if strategy == "fused" else None)
    if strategy == "vmap":
        return torch.vmap(score, in_dims=(0, 0, None, None))
    return compiled(score) if strategy == "compiled" else score


@per_network(256)
def operations(net: Net) -> int:
    """Floating-point operations of one image's forward pass (a multiplication and an addition are two).

    Of convolutions and matrix products; a training step takes three times as many.
    """
    from torch.utils.flop_counter import FlopCounterMode  # which loads Triton

    with FlopCounterMode(display=False) as counter:
        net.build().eval()(torch.empty(1, net.channels, net.size, net.size, device="meta"))
    return counter.get_total_flops()


def settled(net: Net, device: torch.device, steps: int, batch: int = 64) -> str:
    """How a training of so many steps is executed: a rule of device, network and work, never of a clock.

    What changes the last bits of a result must not depend on what else the machine does, on what is left of an
    interrupted run, or on the other models of a stack. So a CPU takes one model after another: fused where the network
    can be, else compiled where that can repay compiling and a compiler is at hand. A GPU replays one graph of the
    whole stack, of whatever network can be captured.
    """
    if device.type == "cuda":
        return "graph" if capturable(net) else "loop"
    if fuses(net):
        return "fused"
    return "compiled" if 3 * operations(net) * batch * steps > COMPILE_OPERATIONS and compiles(net) else "loop"


def differentiated(net: Net, device: torch.device, long: bool) -> str:
    """How a distillation takes gradients of images, "fused", "compiled" or "loop": by the rule of :func:`settled`.

    ``long``: whether it takes so many that compiling repays, which on a GPU, too, is all that there is.
    """
    if device.type == "cpu" and fuses(net):
        return "fused"
    return "compiled" if long and compiles(net, device.type) else "loop"


def compiles(net: Net, device: str = "cpu") -> bool:
    """Whether anything of this network is ever compiled here."""
    return not tiny(net) and (can_compile() if device == "cpu" else can_compile(device)) and traces(net)


def uncompiled(net: Net, device: torch.device) -> str:
    """What a key holds where a GPU cannot compile what others do (its Triton does not work): other last bits."""
    lost = device.type == "cuda" and not tiny(net) and not can_compile("cuda") and traces(net)
    return "uncompiled" if lost else ""


def mode(net: Net, device: torch.device, distilled: bool = False) -> str:
    """What of the rules' inputs a key must hold; ``distilled``: of what takes gradients of images, too."""
    if device.type == "cuda":
        how = "graph" if capturable(net) else "eager"
        return f"{how} {uncompiled(net, device)}".rstrip() if distilled else how
    fast = [f"fused {'twice' if distilled else 'blocks'}"] * fuses(net)
    if compiles(net):
        fast.append("compiled loss, own convolutions" if quickens(net) else "compiled loss")
    return " ".join(fast) or "eager"


def runner(net: Net, recipe: Recipe, data: Images, state: State, masks: Params, strategy: str,
           pruner: Pruner | None = None) -> Callable:
    """``run(params, buffers, momentum, masks, batches, rates)`` over a segment; returns new values and losses [K, S].

    Raises:
        ValueError: an unknown strategy, or "graph" without CUDA.
    """
    if strategy != "auto" and strategy not in STRATEGIES:
        raise ValueError(f"unknown strategy {strategy!r}; known: auto, {', '.join(STRATEGIES)}")
    if strategy == "graph" and data.x.device.type != "cuda":
        raise ValueError("strategy 'graph' needs a CUDA device; take 'auto'")
    if strategy == "auto":
        strategy = settled(net, data.x.device, recipe.steps(len(data)), recipe.batch)
    shape, inputs = _shape(data, state.params, masks), (data.x, data.y, data.mean, data.std)
    recipe = recipe.on(data.x.device)

    def run_by(way: str) -> Callable:
        step = _step(net, _neutral(recipe), way, shape, pruner)
        if way == "graph":
            return replayed(step, inputs, stack_size(data.x.device, net, recipe.batch), lambda: run_by("loop"))
        return _runner(step, way, layout_of(net, recipe, _layers(net, way)), inputs)
    return run_by(strategy)


def _neutral(recipe: Recipe) -> Recipe:
    # Length, rate and schedule are inputs of the step, not part of it: recipes that differ only there share it.
    return recipe.but(epochs=1, lr=1, schedule="constant", warmup=0)


def _shape(data: Images, params: Params, masks: Params) -> tuple:
    dtype = next(iter(params.values())).dtype
    return (size(params), dtype, len(data), data.x.dtype, data.y.ndim, str(data.x.device), tuple(masks),
            torch.get_num_threads())


def _runner(step: Callable, strategy: str, layout: torch.memory_format, inputs: tuple[Tensor, Tensor, Tensor, Tensor]
            ) -> Callable:
    def one(params, buffers, momentum, masks, batches, rates):
        losses = []
        for s, lr in enumerate(rates.unbind()):
            draws = {n: t[:, s] for n, t in batches.items()} if stacked else {n: t[s] for n, t in batches.items()}
            params, buffers, momentum, loss = step(params, buffers, momentum, masks, *inputs, draws, lr)
            losses.append(loss)
        return params, buffers, momentum, torch.stack(losses, -1)

    def each(params, buffers, momentum, masks, batches, rates):
        ends = []
        for k in range(size(params)):
            p, b, m, kept = (laid_out(select(d, k), layout) for d in (params, buffers, momentum, masks))
            ends.append(one(p, b, m, kept, select(batches, k), rates))
        joined = [{n: torch.stack([e[i][n] for e in ends]) for n in ends[0][i]} for i in range(3)]
        return *joined, torch.stack([e[3] for e in ends])

    stacked = strategy == "vmap"
    return one if stacked else each


def evaluator(net: Net, k: int, images: int, params: Params, strategy: str) -> Callable:
    """``run(params, buffers, x, y)``: float64 [K, 2] sums of loss and errors of a stack on one batch."""
    device = next(iter(params.values())).device
    if strategy not in ("auto", "loop", "fused", "vmap", "compiled"):
        raise ValueError(f"unknown strategy {strategy!r}; known: auto, loop, fused, vmap, compiled")
    if strategy == "auto":  # of the network and the images alone: a model scores the same in any stack
        strategy = scored(net, device, images)
    score = _score(net, strategy, (str(device), torch.get_num_threads()))
    shared = k > 1 and changes_input(net)  # the images of a stack

    def run(params: Params, buffers: Params, x: Tensor, y: Tensor) -> Tensor:
        if strategy == "vmap":
            return score(params, buffers, x, y).double()
        given = (x.clone() if shared else x for _ in range(k))
        return torch.stack([score(select(params, i), select(buffers, i), each, y) for i, each in enumerate(given)]
                           ).double()
    return run


def scored(net: Net, device: torch.device, images: int) -> str:
    """How a model is scored on so many images: compiled where that repays compiling, unless it is fused."""
    if device.type == "cuda":
        return "vmap" if capturable(net) else "loop"
    if fuses(net):
        return "fused"
    return "compiled" if images >= 2000 and compiles(net) else "loop"


def tiny(net: Net) -> bool:
    """Whether launching a step costs a CPU more than computing it."""
    return net.count() < 20_000 and net.size <= 16
