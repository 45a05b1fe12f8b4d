"""How a stack is executed: one model after another, vmapped, compiled, or as a CUDA graph. Chosen by measurement.

The choice changes the time, not the result (beyond the last bits of float32): a test holds all of them together.
"""
from __future__ import annotations

import itertools
import logging
import math
import time
import types
from collections.abc import Callable
from functools import cache, lru_cache

import torch
from torch import Tensor

from .data import Images
from .models import Net
from .params import Params, clone, select, size
from .training import Recipe, State, make_score, make_step

log = logging.getLogger(__name__)

STRATEGIES = ("loop", "vmap", "compiled", "compiled_vmap", "graph")
COMPILE_SECONDS = 40.0  # compiling is only worth trying when the eager work left takes longer than this
_chosen: dict[tuple, str] = {}
_numbers = itertools.count()


@lru_cache(maxsize=32)
def _step(net: Net, recipe: Recipe, strategy: str, shape: tuple) -> Callable:
    """The step of one model, or of a stack for the vmapped strategies. ``shape`` keys what compile specialises on."""
    step = make_step(net, recipe)
    if strategy in ("vmap", "compiled_vmap", "graph"):
        step = torch.vmap(step, in_dims=(0, 0, 0, 0, None, None, None, None, 0, None))
    if strategy in ("compiled", "compiled_vmap"):
        step = compiled(step)
    return step


@lru_cache(maxsize=32)
def _score(net: Net, strategy: str, shape: tuple) -> Callable:
    score = make_score(net)
    if strategy == "vmap":
        return torch.vmap(score, in_dims=(0, 0, None, None))
    return compiled(score) if strategy == "compiled" else score


def compiled(function: Callable) -> Callable:
    """``torch.compile`` for static shapes, without graph breaks, and with a cache of its own.

    Dynamo counts recompilations by code object and gives up after a few. Closures of one factory share theirs, so the
    fifth network or recipe of a long study would fail: each gets a renamed copy.
    """
    code = function.__code__.replace(co_name=f"{function.__name__}_{next(_numbers)}")
    own = types.FunctionType(code, function.__globals__, code.co_name, function.__defaults__, function.__closure__)
    return torch.compile(own, fullgraph=True, dynamic=False)


@cache
def can_compile() -> bool:
    """Whether torch.compile works here; on a CPU it needs a C++ compiler. Without it everything runs, only slower."""
    try:
        compiled(lambda x: x + 1)(torch.ones(1))
        return True
    except Exception as error:  # whatever a broken tool chain raises
        log.warning("torch.compile does not work here, so long runs are slower: %s", str(error).splitlines()[0])
        return False


def settled(net: Net, device: torch.device, steps: int) -> str:
    """A strategy for one model by rule, not by measurement: for stages whose bits must not depend on the clock."""
    if device.type == "cuda":
        return "graph"
    return "compiled" if steps > 1000 and not tiny(net) and can_compile() else "loop"


def runner(net: Net, recipe: Recipe, data: Images, state: State, masks: Params, steps: int, strategy: str) -> Callable:
    """``run(params, buffers, momentum, masks, batches, rates)`` over a segment; returns new values and losses [K, S].

    Raises:
        ValueError: an unknown strategy, or "graph" without CUDA.
    """
    if strategy != "auto" and strategy not in STRATEGIES:
        raise ValueError(f"unknown strategy {strategy!r}; known: auto, {', '.join(STRATEGIES)}")
    if strategy == "graph" and data.x.device.type != "cuda":
        raise ValueError("strategy 'graph' needs a CUDA device; take 'auto'")
    if strategy == "auto":
        strategy = choose(net, recipe, data, state, masks, steps)
    shape = _shape(net, recipe, data, size(state.params), bool(masks))
    return _runner(_step(net, _neutral(recipe), strategy, shape), strategy, (data.x, data.y, data.mean, data.std))


def _neutral(recipe: Recipe) -> Recipe:
    # Length, rate and schedule are inputs of the step, not part of it: recipes that differ only there share it.
    return recipe.but(epochs=1, lr=1, schedule="constant")


def _shape(net: Net, recipe: Recipe, data: Images, k: int, masked: bool) -> tuple:
    return (k, len(data), data.x.dtype, data.y.ndim, str(data.x.device), masked, torch.get_num_threads())


@lru_cache(maxsize=8)  # a captured graph serves every later segment and every later fit on the same images
def _runner(step: Callable, strategy: str, inputs: tuple[Tensor, Tensor, Tensor, Tensor]) -> Callable:
    def one(params, buffers, momentum, masks, batches, rates):
        losses = []
        for s, lr in enumerate(rates.unbind()):
            draws = {n: t[:, s] for n, t in batches.items()} if stacked else {n: t[s] for n, t in batches.items()}
            params, buffers, momentum, loss = step(params, buffers, momentum, masks, *inputs, draws, lr)
            losses.append(loss)
        return params, buffers, momentum, torch.stack(losses, -1)

    def each(params, buffers, momentum, masks, batches, rates):
        ends = [one(*(select(d, k) for d in (params, buffers, momentum, masks, batches)), rates)
                for k in range(size(params))]
        joined = [{n: torch.stack([e[i][n] for e in ends]) for n in ends[0][i]} for i in range(3)]
        return *joined, torch.stack([e[3] for e in ends])

    stacked = strategy in ("vmap", "compiled_vmap", "graph")
    if strategy == "graph":
        return _graph_runner(step, inputs)
    return one if stacked else each


def _graph_runner(step: Callable, inputs: tuple) -> Callable:
    """Replays one captured step: inputs are copied into fixed memory, so a step costs one launch."""
    captured: list = []

    def run(*stacks_and_rates):
        with torch.cuda.device(inputs[0].device):  # streams and graphs belong to the current device
            return replay(*stacks_and_rates)

    def replay(params, buffers, momentum, masks, batches, rates):
        losses = torch.empty(size(params), len(rates), device=rates.device)
        if not captured:
            captured.extend(_capture(step, inputs, params, buffers, momentum, masks, batches, rates))
        graph, state, fixed_masks, draws, lr, loss = captured
        for old, new in zip(state, (params, buffers, momentum)):
            _copy(old, new)
        _copy(fixed_masks, masks)
        for s in range(len(rates)):
            _copy(draws, {n: t[:, s] for n, t in batches.items()})
            lr.copy_(rates[s])
            graph.replay()
            losses[:, s] = loss
        return *(clone(d) for d in state), losses
    return run


def _capture(step, inputs, params, buffers, momentum, masks, batches, rates):
    state, fixed_masks = [clone(d) for d in (params, buffers, momentum)], clone(masks)
    draws, lr = {n: t[:, 0].clone() for n, t in batches.items()}, rates[0].clone()

    def advance() -> Tensor:
        *new, loss = step(*state, fixed_masks, *inputs, draws, lr)
        for old, values in zip(state, new):
            _copy(old, values)
        return loss
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # capture needs warm libraries and allocator
        for _ in range(3):
            advance()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = advance()
    return graph, state, fixed_masks, draws, lr, loss


def _copy(old: Params, new: Params) -> None:
    for n in old:
        old[n].copy_(new[n])


def choose(net: Net, recipe: Recipe, data: Images, state: State, masks: Params, steps: int) -> str:
    """The fastest strategy for ``steps`` steps of this stack here, by timing a few steps of each candidate.

    Remembered for the process. Candidates that must compile are tried only where the work left can repay it.
    """
    k = size(state.params)
    key = (net, _neutral(recipe), _shape(net, recipe, data, k, bool(masks)))
    if key in _chosen:
        return _chosen[key]
    times: dict[str, float] = {}

    def attempt(strategy: str) -> None:
        try:
            times[strategy] = measure(net, recipe, data, state, masks, strategy)
        except RuntimeError as error:  # no compiler, no memory for a whole stack, a failed capture: others remain
            log.warning("strategy %s cannot be used here: %s", strategy, str(error).splitlines()[0])

    times["loop"] = measure(net, recipe, data, state, masks, "loop")
    if k > 1:
        attempt("vmap")
    worth = min(times.values()) * steps > COMPILE_SECONDS
    if data.x.device.type == "cuda":
        attempt("graph")
    if worth and can_compile():
        attempt("compiled")
        if times.get("vmap", math.inf) < 1.5 * times["loop"]:
            attempt("compiled_vmap")
    best = min(times, key=times.get)
    log.info("strategy %s for %d × %s, batch %d: %s", best, k, net.name, recipe.batch,
             ", ".join(f"{s} {1e3 * t:.1f} ms" for s, t in times.items()))
    if worth:  # a cheap verdict on little work must not bind later, longer work
        _chosen[key] = best
    return best


def measure(net: Net, recipe: Recipe, data: Images, state: State, masks: Params, strategy: str, repeats: int = 5
            ) -> float:
    """Seconds a step of the whole stack takes under one strategy, on throw-away copies.

    The least of several after a warm-up: what else the machine does can only add.
    """
    from .training import draws

    k, device = size(state.params), data.x.device
    one = draws(recipe, 0, 0, 2, data)
    shape = _shape(net, recipe, data, k, bool(masks))
    run = _runner(_step(net, _neutral(recipe), strategy, shape), strategy, (data.x, data.y, data.mean, data.std))
    models = 1 if strategy in ("loop", "compiled") else k  # looped models cost the same each
    stacks = [select(d, slice(0, models)) for d in (state.params, state.buffers, state.momentum, masks)]
    batches = {n: t.expand(models, *t.shape).to(device) for n, t in one.items()}
    rates, times = torch.zeros(2, device=device), []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        run(*(clone(d) for d in stacks), batches, rates)[3].cpu()  # .cpu() waits for the device
        times.append(time.perf_counter() - start)
    return min(times[1:]) / 2 * (k / models)


def evaluator(net: Net, k: int, images: int, params: Params, strategy: str) -> Callable:
    """``run(params, buffers, x, y)``: float64 [K, 2] sums of loss and errors of a stack on one batch.

    "auto" follows a rule here: evaluation is too short to repay a measurement.
    """
    device = next(iter(params.values())).device
    if strategy not in ("auto", "loop", "vmap", "compiled"):
        raise ValueError(f"unknown strategy {strategy!r}; known: auto, loop, vmap, compiled")
    if strategy == "auto":
        # On a GPU a stack is one launch; on a CPU vmap's grouped convolutions lose to the loop except on tiny nets.
        long = images >= 2000 or k * images >= 30_000
        strategy = "vmap" if device.type == "cuda" or tiny(net) else "compiled" if long and can_compile() else "loop"
    score = _score(net, strategy, (str(device), torch.get_num_threads()))

    def run(params: Params, buffers: Params, x: Tensor, y: Tensor) -> Tensor:
        if strategy == "vmap":
            return score(params, buffers, x, y).double()
        return torch.stack([score(select(params, i), select(buffers, i), x, y) for i in range(k)]).double()
    return run


def stack_size(net: Net, device: torch.device) -> int:
    """How many models to train as one stack.

    A GPU, and a CPU with tiny networks, gain from a stack as long as a step is dearer to launch than to compute. With
    larger networks a CPU is busy with one; a stack of one then saves each model as soon as it is done.
    """
    if device.type == "cuda":
        return 16
    return 16 if tiny(net) else 1


def tiny(net: Net) -> bool:
    """Whether launching a step costs a CPU more than computing it."""
    return net.count() < 20_000 and net.size <= 16
