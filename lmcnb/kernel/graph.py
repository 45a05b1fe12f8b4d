"""A step captured once as a CUDA graph and replayed. Not yet run on a GPU."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..params import Params, clone, size


def graph_runner(step: Callable, inputs: tuple) -> Callable:
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
    if old.keys() != new.keys():
        raise ValueError(f"captured for {sorted(old)}, called with {sorted(new)}")
    for n in old:
        old[n].copy_(new[n])
