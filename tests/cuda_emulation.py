"""CUDA graphs on a CPU, emulated at the level of aten operations.

A captured region is recorded below functorch and autograd, operation by operation, with the very tensors it touched; a
replay runs the same operations again on the same memory. So what a real graph would get wrong (an input that is not
copied into fixed memory, a stale mask, an output that is overwritten) goes wrong here, and what a capture forbids
(reading a number back, shapes that depend on data) raises here.
"""
import contextlib
import types

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lmcnb import Images
from lmcnb.kernel import graph

FORBIDDEN = ("_local_scalar_dense", "nonzero", "masked_select", "_unique", "unique_", "bincount", "is_nonzero", "equal")


def tensors(values) -> list[torch.Tensor]:
    return [t for t in tree_leaves(values) if isinstance(t, torch.Tensor)]


def memory(t: torch.Tensor) -> int:
    return t.untyped_storage()._cdata


class Watch(TorchDispatchMode):
    """Whatever waits for the device raises: sync debug mode, and part of what a capture forbids."""

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        if op.overloadpacket.__name__ in FORBIDDEN:
            raise RuntimeError(f"waits for the device: {op}")
        return self.run(op, args, kwargs or {})

    def run(self, op, args, kwargs):
        return op(*args, **kwargs)


class Graph(Watch):
    """Stands for torch.cuda.CUDAGraph. Nothing may run during a capture: state is put back at its end."""

    def __init__(self):
        super().__init__()
        self.tape, self.before, self.replays = [], [], 0

    def capture_begin(self, pool=None, capture_error_mode="global"):
        self.shared = pool or object()
        self.__enter__()

    def run(self, op, args, kwargs):
        if op._schema.is_mutable:
            self.before += [(t, t.clone()) for t in tensors(args)]
        out = op(*args, **kwargs)
        self.tape.append((op, args, kwargs, tensors(out)))
        return out

    def capture_end(self):
        self.__exit__(None, None, None)
        for t, value in reversed(self.before):
            t.copy_(value)

    @torch.no_grad()
    def replay(self):
        self.replays += 1
        for op, args, kwargs, outs in self.tape:
            known = {memory(t) for t in tensors((args, kwargs))}
            for old, new in zip(outs, tensors(op(*args, **kwargs))):
                if memory(old) not in known and old is not new:  # neither a view nor in place
                    old.copy_(new)

    def pool(self):
        return self.shared

    def reset(self):
        self.tape = None


class Cuda:
    """What of torch.cuda the graph runner uses, and what it has done with it."""

    def __init__(self):
        self.streams, self.graphs, self.free, self.peak = ["current"], [], 2 ** 40, 0
        self.watch: Watch | None = None

    def CUDAGraph(self):
        self.graphs.append(Graph())
        return self.graphs[-1]

    def Stream(self):
        return types.SimpleNamespace(wait_stream=lambda _: None)

    @contextlib.contextmanager
    def stream(self, stream):
        self.streams.append(stream)
        try:
            yield
        finally:
            self.streams.pop()

    def current_stream(self):
        return types.SimpleNamespace(wait_stream=lambda _: None)

    def get_sync_debug_mode(self):
        return 2 if self.watch else 0

    def set_sync_debug_mode(self, mode):
        if bool(mode) != bool(self.watch):
            if self.watch:
                self.watch.__exit__(None, None, None)
            self.watch = None if self.watch else Watch().__enter__()

    def mem_get_info(self, _):
        return self.free, 2 ** 40

    def max_memory_reserved(self, _):
        return self.peak

    def install(self, monkeypatch: pytest.MonkeyPatch):
        names = ("CUDAGraph", "Stream", "stream", "current_stream", "get_sync_debug_mode", "set_sync_debug_mode",
                 "mem_get_info", "max_memory_reserved")
        fakes = {n: getattr(self, n) for n in names}
        fakes |= dict.fromkeys(("synchronize", "empty_cache", "reset_peak_memory_stats"), lambda *_: None)
        fakes |= {"memory_reserved": lambda _: 0, "device": lambda _: contextlib.nullcontext()}
        for name, fake in fakes.items():
            monkeypatch.setattr(torch.cuda, name, fake)
        monkeypatch.setattr(graph, "_failures", [])
        monkeypatch.setattr(graph, "_kept", type(graph._kept)())
        graph._tell.cache_clear()


def meta_images(net, count: int = 20) -> Images:
    """Images without numbers on the meta device, which stands for one that is not the CPU; five of each class."""
    found = object.__new__(Images)  # past the check of labels, which are none
    with torch.device("meta"):
        tensors = {"x": torch.empty(count, net.channels, net.size, net.size, dtype=torch.uint8),
                   "y": torch.empty(count, dtype=torch.int64), "mean": torch.empty(net.channels),
                   "std": torch.empty(net.channels)}
        vars(found).update(tensors, classes=net.classes, by_class=list(torch.empty(net.classes, 5, dtype=torch.int64)))
    return found


class Names(TorchDispatchMode):
    """The operations that run."""

    def __init__(self):
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        self.found.add(op.overloadpacket.__name__)
        return op(*args, **(kwargs or {}))
