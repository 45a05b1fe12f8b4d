"""A step captured once as a CUDA graph and replayed: a segment costs one launch a step.

A capture that fails may leave CUDA's streams and memory in a state that nothing mends, so the step is tried out before
it is captured, and after a failure this process captures nothing any more.
"""
from __future__ import annotations

import gc
import logging
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..params import Params, clone, select, size
from . import recipe as _recipe

log = logging.getLogger(__name__)

STREAMS = 8  # on which a graph's networks compute side by side
KEPT = 2  # captured steps at once: each holds the memory of a step of a whole stack
MARGIN = 1.2  # of free memory over what a step was seen to take
_failures: list[str] = []  # of captures in this process
_kept: OrderedDict[tuple, Replayed] = OrderedDict()


def forked(step: Callable) -> Callable:
    """One network's step as that of a stack, to be captured: its networks compute side by side, on a few streams.

    A vmapped step has fewer, larger kernels; but it turns convolutions into a grouped one, which is slow, and prepares
    for second derivatives. On an H100 this takes 0.7 to 0.9 times as long in float32.
    """
    sides: list[Any] = []

    def stacked(params, buffers, memory, masks, images, labels, mean, std, draws, lr):
        main = torch.cuda.current_stream()
        sides.extend(torch.cuda.Stream() for _ in range(STREAMS - len(sides)))
        for side in sides:
            side.wait_stream(main)
        ends = []
        for k in range(size(params)):
            with torch.cuda.stream(sides[k % STREAMS]):
                own = (select(part, k) for part in (params, buffers, memory, masks))
                ends.append(step(*own, images, labels, mean, std, select(draws, k), lr))
        for side in sides:
            main.wait_stream(side)
        joined = [{n: torch.stack([end[i][n] for end in ends]) for n in ends[0][i]} for i in range(3)]
        return *joined, torch.stack([end[3] for end in ends])
    return stacked


class Uncapturable(RuntimeError):
    """A step cannot become a CUDA graph here."""


def replayed(step: Callable, inputs: tuple[Tensor, ...], most: int, otherwise: Callable[[], Callable]) -> Callable:
    """``run(params, buffers, momentum, masks, batches, rates)`` over a segment, by replaying a step of the stack.

    Args:
        step: of a stack: ``step(params, buffers, momentum, masks, *inputs, draws, lr)``.
        inputs: images, labels, mean and std, the same tensors in every step.
        most: networks that one graph trains; larger stacks are trained in parts.
        otherwise: makes the ``run`` that takes its place where the step cannot be captured.
    """
    def part(*segment: Any) -> tuple:
        try:
            return _runner(step, inputs, size(segment[0]))(*segment)
        except Uncapturable as error:
            _tell(str(error))
            return otherwise()(*segment)

    def run(*segment: Any) -> tuple:
        *stacks, rates = segment
        parts = [slice(start, start + most) for start in range(0, size(stacks[0]), most)]
        ends = [part(*(select(stack, p) for stack in stacks), rates) for p in parts]
        joined = [{n: torch.cat([end[i][n] for end in ends]) for n in ends[0][i]} for i in range(3)]
        return *joined, torch.cat([end[3] for end in ends])
    return run


@cache
def _tell(why: str) -> None:
    log.warning("%s; its steps are launched one by one, which is slower", why)


def _runner(step: Callable, inputs: tuple[Tensor, ...], models: int) -> Replayed:
    """A captured step serves every later segment and every later fit on the same images."""
    key = (step, models, *map(id, inputs))  # which the runner keeps alive
    if key not in _kept:
        while len(_kept) >= KEPT:
            _kept.popitem(last=False)[1].forget()
        _kept[key] = Replayed(step, inputs)
    _kept.move_to_end(key)
    return _kept[key]


@dataclass
class _Memory:
    """What a captured step reads and writes, always at the same place.

    Beside the state and the masks of a stack there are the draws, rates and losses of a whole segment; ``at``, a
    counter on the device, says which of them a replay is for. So a segment is copied in once, and nothing is copied
    between its steps.
    """

    state: list[Params]
    masks: Params
    batches: Params
    rates: Tensor
    losses: Tensor
    at: Tensor

    @classmethod
    def like(cls, params: Params, buffers: Params, momentum: Params, masks: Params, batches: Params, rates: Tensor
             ) -> _Memory:
        most = max(_recipe.SEGMENT, len(rates))
        whole = {n: t.new_zeros(len(t), most, *t.shape[2:]) for n, t in batches.items()}
        losses, at = rates.new_zeros(size(params), most), torch.zeros(1, dtype=torch.int64, device=rates.device)
        return cls([clone(d) for d in (params, buffers, momentum)], clone(masks), whole, rates.new_zeros(most), losses,
                   at)

    def load(self, *state_and_masks: Params, batches: Params, rates: Tensor) -> None:
        """The start of a segment."""
        for old, new in zip((*self.state, self.masks), state_and_masks):
            _copy(old, new)
        _copy({n: t[:, :len(rates)] for n, t in self.batches.items()}, batches)
        self.rates[:len(rates)].copy_(rates)
        self.at.zero_()

    def advance(self, step: Callable, inputs: tuple[Tensor, ...]) -> None:
        draws = {n: t.index_select(1, self.at).squeeze(1) for n, t in self.batches.items()}
        rate = self.rates.index_select(0, self.at).squeeze(0)
        *new, loss = step(*self.state, self.masks, *inputs, draws, rate)
        for old, values in zip(self.state, new):
            _copy(old, values)
        self.losses.index_copy_(1, self.at, loss[:, None].to(self.losses.dtype))
        self.at.add_(1)


class Replayed:
    """One step of a stack, captured when it is first called."""

    def __init__(self, step: Callable, inputs: tuple[Tensor, ...]):
        self.step, self.inputs = step, inputs
        self.graph: Any = None  # once captured, a torch.cuda.CUDAGraph
        self.needed = 0  # bytes, while a step runs
        self.refused: Uncapturable | None = None

    def __call__(self, params: Params, buffers: Params, momentum: Params, masks: Params, batches: Params, rates: Tensor
                 ) -> tuple[Params, Params, Params, Tensor]:
        """New values and losses float32 [K, S].

        Raises:
            Uncapturable: the step waits for the device, or capturing failed. torch.OutOfMemoryError: before a capture.
        """
        with torch.cuda.device(self.inputs[0].device):  # streams and graphs belong to the current device
            graph = self.graph or self._capture(_Memory.like(params, buffers, momentum, masks, batches, rates))
            memory = self.memory
            memory.load(params, buffers, momentum, masks, batches=batches, rates=rates)
            for _ in range(len(rates)):
                graph.replay()
            params, buffers, momentum = (clone(d) for d in memory.state)
            return params, buffers, momentum, memory.losses[:, :len(rates)].clone()

    def forget(self) -> None:
        """Gives the memory back; another call captures anew."""
        if self.graph is not None:
            self.graph.reset()
            self.graph = None
            del self.memory
            torch.cuda.empty_cache()

    def _capture(self, memory: _Memory) -> Any:
        if _failures:
            self.refused = Uncapturable(f"a capture has failed in this process, so none is made ({_failures[0]})")
        if self.refused:
            raise self.refused
        device, side = memory.at.device, torch.cuda.Stream()

        def advance() -> None:
            memory.advance(self.step, self.inputs)
        try:
            self.needed = _tried(advance, memory.at, side)
            others = [kept for kept in _kept.values() if kept.graph and kept.memory.at.device == device]
            _refuse_without_room(self.needed, max((kept.needed for kept in others), default=0), device)
            self.graph = _captured(advance, side, others[0].graph.pool() if others else None)
        except Uncapturable as error:
            self.refused = error
            raise
        self.memory = memory
        return self.graph


def _tried(advance: Callable[[], None], at: Tensor, side: Any) -> int:
    """Bytes that a step takes, run outside of a capture, where failing does no harm.

    They are those that the allocator reserves: streams do not share what it holds, while what is allocated at once is
    counted in the order of the launches, in which one network follows the other.
    Twice to warm libraries and allocator, then with every wait for the device forbidden.
    """
    side.wait_stream(torch.cuda.current_stream())
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(at.device)
    before = torch.cuda.memory_reserved(at.device)
    try:
        with torch.cuda.stream(side):
            for watch in (False, False, True):
                at.zero_()
                with _without_waiting(watch):
                    advance()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a network raises that cannot be stacked, or waits for the device
        raise Uncapturable(f"a step cannot be captured as a CUDA graph ({_line(error)})") from error
    finally:
        torch.cuda.current_stream().wait_stream(side)
    return torch.cuda.max_memory_reserved(at.device) - before


def _refuse_without_room(needed: int, shared: int, device: torch.device) -> None:
    """Raises OutOfMemoryError, rather than in the middle of a capture. ``shared``: bytes of other graphs' pool."""
    torch.cuda.empty_cache()
    free = torch.cuda.mem_get_info(device)[0] + shared
    if MARGIN * needed > free:
        raise torch.OutOfMemoryError(
            f"capturing a step takes {MARGIN * needed / 2 ** 30:.1f} GiB of GPU memory, and {free / 2 ** 30:.1f} are "
            f"free: train fewer networks at once, as with Lab(stack=…), or lower batch")


def _captured(advance: Callable[[], None], side: Any, pool: Any) -> Any:
    """The graph of one call of ``advance``. ``torch.cuda.graph`` would leave its stream current if it failed.

    One pool serves all graphs: nothing of it is read after a replay, and replays follow each other.
    """
    graph: Any = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    gc.collect()  # a graph that were collected during the capture would end it
    try:
        with torch.cuda.stream(side):
            graph.capture_begin(pool=pool, capture_error_mode="thread_local")
            try:
                advance()
            finally:
                graph.capture_end()
    except Exception as error:
        _failures.append(_line(error))
        raise Uncapturable(f"capturing a step as a CUDA graph failed ({_line(error)})") from error
    return graph


@contextmanager
def _without_waiting(watch: bool) -> Iterator[None]:
    """With ``watch``, whatever waits for the device raises RuntimeError."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Synchronization debug mode is a prototype")
        torch.cuda.set_sync_debug_mode("error" if watch else before)
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def _line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _copy(old: Params, new: Params) -> None:
    if old.keys() != new.keys():
        raise ValueError(f"captured for {sorted(old)}, called with {sorted(new)}")
    for n in old:
        old[n].copy_(new[n])
