"""Instance norm, ReLU and 2 × 2 average pool as one operation on a CPU, to the second derivative (``fused.cpp``).

Between two convolutions a ConvNet does little arithmetic and much reading and writing: three operations forwards and
three backwards, each through all of a layer's memory. One pass over each image, while it is in the cache, does it all.
The C++ is compiled once a machine, by whatever compiler there is, in a second; without one nothing here is used.
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
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..models import Net, per_network
from ..places import cache_root

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_suffix(".cpp")
FLAGS = ("-O3", "-march=native", "-Wno-psabi", "-shared", "-fPIC")
_NAMES = {torch.float32: "float32", torch.bfloat16: "bf16"}


@cache
def library() -> ctypes.CDLL | None:
    """The compiled functions, or None where no C++ compiler works."""
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("c++", "g++", "clang++")), None)
    if compiler is None:
        return None
    what = repr((SOURCE.read_text(), compiler, FLAGS, platform.machine(), torch.backends.cpu.get_cpu_capability(),
                 platform.node()))  # one folder may serve many machines, each of its own kind
    built = cache_root() / "kernels" / f"fused-{hashlib.sha256(what.encode()).hexdigest()[:16]}.so"
    try:
        if not built.exists():
            built.parent.mkdir(parents=True, exist_ok=True)
            aside = built.with_suffix(f".{os.getpid()}")
            command = [*shlex.split(compiler), *FLAGS, str(SOURCE), "-o", str(aside)]
            subprocess.run(command, check=True, capture_output=True)
            aside.replace(built)
        return ctypes.CDLL(str(built))
    except (OSError, subprocess.CalledProcessError) as error:
        log.warning("no fused kernel, so trainings of ConvNets are slower: %s", error)
        return None


class _NormReluPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        images, channels, height, width = x.shape
        out = torch.empty(images, channels, height // 2, width // 2, dtype=x.dtype, memory_format=torch.channels_last)
        mean, rstd = torch.empty(2, images, channels).unbind()
        _call("forward", x, (x, out, mean, rstd, weight, bias), ctypes.c_float(eps))
        ctx.save_for_backward(x, mean, rstd, weight, bias)
        return out

    @staticmethod
    def backward(ctx, grad: Tensor):
        return *_Backward.apply(grad.contiguous(memory_format=torch.channels_last), *ctx.saved_tensors), None


class _Backward(torch.autograd.Function):
    """The gradients by x, weight and bias, as a function of the output's gradient, of x and of the weight."""

    @staticmethod
    def forward(ctx, grad: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, weight: Tensor, bias: Tensor):
        gx, (gweight, gbias) = torch.empty_like(x), torch.empty(2, *mean.shape).unbind()
        _call("backward", x, (x, grad, mean, rstd, weight, bias, gx, gweight, gbias))
        ctx.save_for_backward(x, grad, mean, rstd, weight, bias)
        return gx, gweight.sum(0), gbias.sum(0)

    @staticmethod
    @once_differentiable
    def backward(ctx, by_x: Tensor, by_weight: Tensor, by_bias: Tensor):
        x, grad, mean, rstd, weight, bias = ctx.saved_tensors
        by_x = by_x.contiguous(memory_format=torch.channels_last)
        ggrad, gx, gweight = torch.empty_like(grad), torch.empty_like(x), torch.empty_like(mean)
        _call("second", x, (x, grad, by_x, mean, rstd, weight, bias, by_weight.contiguous(), by_bias.contiguous(),
                            ggrad, gx, gweight))
        return ggrad, gx, None, None, gweight.sum(0), None


def _call(name: str, x: Tensor, tensors: tuple[Tensor, ...], *more) -> None:
    """Over the images of a batch, on as many threads as torch has; each image by itself, so to the same bits."""
    function = getattr(library(), f"{name}_{_NAMES[x.dtype]}")
    pointers = [ctypes.c_void_p(t.data_ptr()) for t in tensors]
    images, channels, height, width = x.shape
    threads = min(torch.get_num_threads(), images)

    def part(k: int) -> None:
        first, last = images * k // threads, images * (k + 1) // threads
        function(*pointers, first, last, height, width, channels, *more)
    if threads == 1:
        part(0)
    else:
        list(_pool(threads).map(part, range(threads)))


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
    x = x.contiguous(memory_format=torch.channels_last)
    return _NormReluPool.apply(x, weight.contiguous(), bias.contiguous(), eps)


class NormReluPool(nn.Module):
    """A norm, a ReLU and a pool in one; ``weight`` and ``bias`` are the norm's, under its name."""

    def __init__(self, norm: nn.GroupNorm):
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype in _NAMES and x.device.type == "cpu":
            return norm_relu_pool(x, self.weight, self.bias, self.eps)
        return F.avg_pool2d(F.group_norm(x, len(self.weight), self.weight, self.bias, self.eps).relu(), 2)


def fuse(module: nn.Module) -> int:
    """Replaces norm, ReLU, pool wherever they follow each other in an ``nn.Sequential``; how many times it did.

    Names of parameters stay: the norm's place is taken, ReLU and pool become identities.
    """
    count = 0
    for parent in module.modules():
        if isinstance(parent, nn.Sequential):
            for i in range(len(parent) - 2):
                norm, relu, pool = parent[i], parent[i + 1], parent[i + 2]
                if isinstance(norm, nn.GroupNorm) and _are(norm, relu, pool):
                    parent[i], parent[i + 1], parent[i + 2] = NormReluPool(norm), nn.Identity(), nn.Identity()
                    count += 1
    return count


def _are(norm: nn.GroupNorm, relu: nn.Module, pool: nn.Module) -> bool:
    plain = nn.AvgPool2d(2)
    return (norm.affine and norm.num_groups == norm.num_channels and type(relu) is nn.ReLU
            and type(pool) is nn.AvgPool2d and _pair(pool.kernel_size) == _pair(pool.stride) == (2, 2)
            and all(getattr(pool, n) == getattr(plain, n) for n in ("padding", "ceil_mode", "divisor_override")))


def _pair(sides: int | tuple[int, int]) -> tuple[int, int]:
    return (sides, sides) if isinstance(sides, int) else sides


@per_network(256)
def fuses(net: Net) -> bool:
    """Whether a CPU runs this network with the fused operation: it has the three in a row, and they can be built."""
    return fuse(net.build()) > 0 and library() is not None
