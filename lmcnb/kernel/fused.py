"""Operations with a faster form on a CPU (``*.cpp``): instance norm, ReLU and pool as one; a kernel's gradient.

oneDNN, PyTorch's library, computes the gradient of a convolution's kernel at half the speed of a matrix product or
less; here it runs at that speed. Between two convolutions a ConvNet does little arithmetic and much reading and
writing: norm, ReLU and 2 × 2 average pool are three operations forwards and three backwards, each through all of a
layer's memory. One pass over each image, while it is in the cache, does it all. The C++ is compiled once a machine, by
whatever compiler there is, in a few seconds; without one nothing here is used.
"""
from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .. import __version__
from ..places import cache_root

log = logging.getLogger(__name__)

SOURCES = sorted(Path(__file__).parent.glob("*.cpp"))
FLAGS = ("-O3", "-march=native", "-Wno-psabi", "-shared", "-fPIC")
PARTS = 8  # of a batch, each with its own sum of the weights' gradient: as many threads at most share the work
LANES = 16  # output channels that fused.cpp keeps together
_LAST = torch.channels_last
NAMES = {torch.float32: "float32", torch.bfloat16: "bf16"}


def compiler() -> str | None:
    """The C++ compiler's command: ``CXX``, or the first that is at hand."""
    return os.environ.get("CXX") or next(filter(shutil.which, ("c++", "g++", "clang++")), None)


def machine_file(name: str, *what: str) -> Path:
    """A file for what this machine's compiler made of ``what``; one folder may serve many machines, each of its own
    kind."""
    command = shlex.split(compiler() or "none")
    found = shutil.which(command[0])
    changed = found and os.stat(found).st_mtime_ns
    made = repr((*what, command, found, changed, platform.machine(), torch.backends.cpu.get_cpu_capability(),
                 platform.node()))
    stem, dot, ending = name.partition(".")
    return cache_root() / "kernels" / f"{stem}-{hashlib.sha256(made.encode()).hexdigest()[:16]}{dot}{ending}"


def asked_once(name: str, *what: str, ask: Callable[[], bool], keep_no: bool = True) -> bool:
    """A yes or no that this machine is asked once and remembers beside what it compiled; a bad file is asked anew.

    ``keep_no``: whether a no stays; else it is asked again, as it may be mended.
    """
    path = machine_file(name, __version__, torch.__version__, sys.version, *what)
    with suppress(OSError):
        if (known := path.read_text()) in ("yes", "no"):
            return known == "yes"
    if not (answer := ask()) and not keep_no:
        return False
    with suppress(OSError):  # a cache that cannot be written to remembers nothing
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(f".{os.getpid()}")
        aside.write_text("yes" if answer else "no")
        aside.replace(path)
    return answer


@cache
def library() -> ctypes.CDLL | None:
    """The compiled functions, or None where no C++ compiler works."""
    if compiler() is None:
        return None
    built = machine_file("fused.so", *(source.read_text() for source in SOURCES), *FLAGS)
    try:
        if not built.exists():
            built.parent.mkdir(parents=True, exist_ok=True)
            aside = built.with_suffix(f".{os.getpid()}")
            command = [*shlex.split(compiler() or ""), *FLAGS, *map(str, SOURCES), "-o", str(aside)]
            subprocess.run(command, check=True, capture_output=True)
            aside.replace(built)
        return ctypes.CDLL(str(built))
    except (OSError, subprocess.CalledProcessError) as error:
        log.warning("no fused kernel, so trainings of ConvNets are slower: %s", error)
        return None


class _NormReluPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        out, *saved = _forward(x, weight, bias, eps)
        ctx.save_for_backward(*saved)
        return out

    @staticmethod
    def backward(ctx, grad: Tensor):
        return *_Backward.apply(grad.contiguous(memory_format=_LAST), *ctx.saved_tensors), None


class _Backward(torch.autograd.Function):
    """The gradients by x, weight and bias, as a function of the output's gradient, of x and of the weight."""

    @staticmethod
    def forward(ctx, grad: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, weight: Tensor, bias: Tensor):
        gx, (gweight, gbias) = torch.empty_like(x), torch.empty(2, *mean.shape).unbind()
        call(f"backward_{NAMES[x.dtype]}", x, (x, grad, mean, rstd, weight, bias, gx, gweight, gbias))
        ctx.save_for_backward(x, grad, mean, rstd, weight, bias)
        return gx, gweight.sum(0), gbias.sum(0)

    @staticmethod
    @once_differentiable
    def backward(ctx, by_x: Tensor, by_weight: Tensor, by_bias: Tensor):
        x, grad, mean, rstd, weight, bias = ctx.saved_tensors
        by_x = by_x.contiguous(memory_format=_LAST)
        ggrad, gx, gweight = torch.empty_like(grad), torch.empty_like(x), torch.empty_like(mean)
        call(f"second_{NAMES[x.dtype]}", x, (x, grad, by_x, mean, rstd, weight, bias, by_weight.contiguous(),
                                             by_bias.contiguous(), ggrad, gx, gweight))
        return ggrad, gx, None, None, gweight.sum(0), None


class _ConvolutionNormReluPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, kernel: Tensor, offset: Tensor | None, weight: Tensor, bias: Tensor, eps: float
                ) -> Tensor:
        x = x.contiguous(memory_format=_LAST)
        out, *saved = _forward(F.conv2d(x, kernel, offset, padding=1), weight, bias, eps)
        ctx.save_for_backward(x, kernel, offset, *saved)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        image, kernel, offset, x, mean, rstd, weight, bias = ctx.saved_tensors
        wanted, sums = ctx.needs_input_grad[0], _sums(kernel, len(x))
        gx, (gweight, gbias) = torch.empty_like(x) if wanted else x, torch.empty(2, *mean.shape).unbind()
        grad = grad.contiguous(memory_format=_LAST)
        call("backward_convolution", x, (x, grad, mean, rstd, weight, bias, gx, gweight, gbias, image, sums),
              kernel.shape[1], int(wanted), parts=len(sums))
        gimage = _input_gradient(gx, image, kernel) if wanted else None
        # What is added to a whole channel, the norm takes away.
        goffset = None if offset is None else torch.zeros_like(offset)
        return gimage, _summed(sums, kernel), goffset, gweight.sum(0), gbias.sum(0), None


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, kernel: Tensor, offset: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, kernel)
        ctx.biased = offset is not None
        return F.conv2d(x, kernel, offset, padding=1)

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, kernel = ctx.saved_tensors
        gx = _input_gradient(grad, x, kernel) if ctx.needs_input_grad[0] else None
        return gx, kernel_gradient(x, grad, kernel), grad.sum((0, 2, 3)) if ctx.biased else None


@torch.library.custom_op("lmcnb::kernel_gradient", mutates_args=())  # one node for torch.compile
def kernel_gradient(x: Tensor, grad: Tensor, kernel: Tensor) -> Tensor:
    """Of a 3 × 3 convolution (stride and padding 1): float32 [O, C, 3, 3] for x [B, C, H, W], grad [B, O, H, W]."""
    x, grad = (t.contiguous(memory_format=_LAST) for t in (x, grad))
    sums = _sums(kernel, len(x))
    call("weight_gradient", x, (x, grad, sums), len(kernel), parts=len(sums))
    return _summed(sums, kernel)


@kernel_gradient.register_fake
def _(x: Tensor, grad: Tensor, kernel: Tensor) -> Tensor:
    return torch.empty_like(kernel, memory_format=_LAST)


def _sums(kernel: Tensor, images: int) -> Tensor:
    """Where each part of a batch adds up its gradient of a kernel [O, C, 3, 3]; a large one has fewer parts."""
    outputs, inputs = kernel.shape[:2]
    parts = min(PARTS, images, max(2, 2 ** 21 // kernel.numel()))
    return torch.zeros(parts, -(-outputs // LANES), inputs, 3, 3, LANES)


def _summed(sums: Tensor, kernel: Tensor) -> Tensor:
    gradient = sums.sum(0).permute(0, 4, 1, 2, 3).flatten(0, 1)[:len(kernel)]
    return gradient.contiguous(memory_format=_LAST)


def _input_gradient(grad: Tensor, x: Tensor, kernel: Tensor) -> Tensor:
    return torch.ops.aten.convolution_backward(grad, x, kernel, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1,
                                               [True, False, False])[0]


def _forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, ...]:
    """The result, and what its gradient needs."""
    x = x.contiguous(memory_format=_LAST)
    weight, bias = weight.contiguous(), bias.contiguous()
    images, channels, height, width = x.shape
    out = torch.empty(images, channels, height // 2, width // 2, dtype=x.dtype, memory_format=_LAST)
    mean, rstd = torch.empty(2, images, channels).unbind()
    call(f"forward_{NAMES[x.dtype]}", x, (x, out, mean, rstd, weight, bias), ctypes.c_float(eps))
    return out, x, mean, rstd, weight, bias


def call(name: str, x: Tensor, tensors: tuple[Tensor, ...], *more, parts: int | None = None) -> None:
    """A function of the library over the images of a batch in parts, on as many threads as torch has.

    An image's results do not depend on its part; sums over a part do, so whoever wants these says how many there are.
    """
    function = getattr(library(), name)
    pointers = [ctypes.c_void_p(t.data_ptr()) for t in tensors]
    images, channels, height, width = x.shape
    threads = min(torch.get_num_threads(), images)
    parts = parts or threads

    def run(part: int) -> None:
        function(*pointers, part, parts, images, height, width, channels, *more)
    if threads == 1:
        for part in range(parts):
            run(part)
    else:
        list(_pool(threads).map(run, range(parts)))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "lmcnb-fused")


def norm_relu_pool(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """Average pool of ReLU of instance norm: x [B, C, H, W] to [B, C, ⌊H/2⌋, ⌊W/2⌋], channels last.

    Args:
        x: float32 or bfloat16 on the CPU; statistics and all arithmetic are float32.
        weight, bias: float32 [C]. They and x have a first derivative and a second, but no third.
    """
    # Made contiguous here, where autograd records it: a second derivative goes through what was saved.
    x = x.contiguous(memory_format=_LAST)
    return _NormReluPool.apply(x, weight.contiguous(), bias.contiguous(), eps)


def convolution_norm_relu_pool(x: Tensor, kernel: Tensor, offset: Tensor | None, weight: Tensor, bias: Tensor,
                               eps: float = 1e-5) -> Tensor:
    """:func:`norm_relu_pool` of a 3 × 3 convolution (stride and padding 1) of x [B, C, H, W], all float32.

    Args:
        kernel: [O, C, 3, 3]. offset: [O], or none; its gradient is zero, as the norm takes away what it adds.
    """
    return _ConvolutionNormReluPool.apply(x, kernel, offset, weight, bias, eps)


def convolution(x: Tensor, kernel: Tensor, offset: Tensor | None = None) -> Tensor:
    """The 3 × 3 convolution (stride and padding 1) of float32 x [B, C, H, W] with kernel [O, C, 3, 3], channels last.

    The gradient of the kernel is ours; all else is PyTorch's.
    """
    return _Convolution.apply(x, kernel, offset)
