"""One state of torch for everything that is stored: full float32, deterministic kernels, one thread.

All of it is global in torch, and a notebook may have set any of it; it is put back afterwards.
"""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from .memory import keep_memory

_PRECISIONS = (torch.backends.cudnn.conv,  # pyright: ignore[reportAttributeAccessIssue]  # set when torch starts
               torch.backends.cuda.matmul,
               torch.backends.mkldnn.conv,  # pyright: ignore[reportAttributeAccessIssue]
               torch.backends.mkldnn.matmul)  # pyright: ignore[reportAttributeAccessIssue]


@contextmanager
def exact(gradients: bool = True) -> Iterator[None]:
    """Within it a computation gives the same bits on one kind of machine, whatever the session had set before.

    A CPU computes on one thread: how many there are decides where sums are split, and so their last bits. Other cores
    serve other models. ``gradients``: whether autograd records.
    """
    wanted: list[tuple[Any, str, Any]] = [(b, "fp32_precision", "ieee") for b in _PRECISIONS]
    wanted += [(torch.backends.cudnn, "benchmark", False), (torch.backends.cudnn, "deterministic", True)]
    before = [getattr(owner, name) for owner, name, _ in wanted]
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    keep_memory()
    try:
        for owner, name, value in wanted:
            setattr(owner, name, value)
        torch.set_num_threads(1)
        torch.set_default_dtype(torch.float32)
        with torch.set_grad_enabled(gradients), torch.autocast("cpu", enabled=False), \
                torch.autocast("cuda", enabled=False):
            yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_num_threads(threads)
        for (owner, name, _), value in zip(wanted, before):
            setattr(owner, name, value)


def exact_on(device: torch.device) -> AbstractContextManager[None]:
    """:func:`exact` for what is called outside a lab too, on a GPU; autograd records as before.

    There convolutions are of reduced precision unless someone says otherwise, by 1e-3 of a loss. A CPU's threads are
    the caller's own; memory is kept as in a lab.
    """
    keep_memory()
    return nullcontext() if device.type == "cpu" else exact(torch.is_grad_enabled())
