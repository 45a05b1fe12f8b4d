"""torch.compile for many networks in one process, and whether it works here."""
from __future__ import annotations

import itertools
import logging
import types
from collections.abc import Callable
from functools import cache

import torch

from .fused import asked_once

log = logging.getLogger(__name__)

SHAPES = 64  # of one function: numbers of images, of classes at once, of a layer's weights
_numbers = itertools.count()


def compiled(function: Callable) -> Callable:
    """``torch.compile`` for static shapes, without graph breaks, for as many shapes as a study has.

    The limit that dynamo ends at is that of the thread which asks for the function: call it there.
    """
    import torch._dynamo

    # It warns where there is CUDA's compiler and no GPU, which a CPU needs as little, into a terminal's progress.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, SHAPES)
    return torch.compile(renamed(function), fullgraph=True, dynamic=False)


def renamed(function: Callable) -> Callable:
    """A copy under a name of its own.

    Dynamo counts recompilations by code object and gives up after a few. Closures of one factory share theirs, so the
    fifth network or recipe of a long study would fail.
    """
    code = function.__code__.replace(co_name=f"{function.__name__}_{next(_numbers)}")
    return types.FunctionType(code, function.__globals__, code.co_name, function.__defaults__, function.__closure__)


@cache
def can_compile(device: str = "cpu") -> bool:
    """Whether torch.compile works for this kind of device; a CPU needs a C++ compiler, a GPU Triton. Without it
    everything runs, only slower.

    Keys ask it, so every process does, and asking loads the compiler, for ten seconds of a slow core: a yes is kept
    with the fused kernels. A no is asked again, as it can be mended.
    """
    def ask() -> bool:
        try:
            compiled(lambda x: x + 1)(torch.ones(1, device=device))
        except Exception as error:  # whatever a broken tool chain raises
            reason = (str(error) or type(error).__name__).splitlines()[0]
            log.warning("torch.compile does not work here, so long runs are slower: %s", reason)
            return False
        return True
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return asked_once("compiles", *([] if device == "cpu" else [device, gpu]), ask=ask, keep_no=False)
