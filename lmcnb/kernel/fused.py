"""Instance norm, ReLU and 2 × 2 average pool as one operation on a CPU, forwards and backwards (``fused.cpp``).

With a 3 × 3 convolution before them, the gradient of its weights belongs to the operation too.

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
PARTS = 8  # of a batch, each with its own sum of the weights' gradient: as many threads at most share the work
LANES = 16  # output channels that fused.cpp keeps together
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
        out, *saved = _forward(x, weight, bias, eps)
        ctx.save_for_backward(*saved)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        x, mean, rstd, weight, bias = ctx.saved_tensors
        gx, (gweight, gbias) = torch.empty_like(x), torch.empty(2, *mean.shape).unbind()
        grad = grad.contiguous(memory_format=torch.channels_last)
        _call(f"backward_{_NAMES[x.dtype]}", x, (x, grad, mean, rstd, weight, bias, gx, gweight, gbias))
        return gx, gweight.sum(0), gbias.sum(0), None


class _ConvolutionNormReluPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, kernel: Tensor, offset: Tensor | None, weight: Tensor, bias: Tensor, eps: float
                ) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        out, *saved = _forward(F.conv2d(x, kernel, offset, padding=1), weight, bias, eps)
        ctx.save_for_backward(x, kernel, offset, *saved)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        image, kernel, offset, x, mean, rstd, weight, bias = ctx.saved_tensors
        parts, (channels, inputs), wanted = min(PARTS, len(x)), kernel.shape[:2], ctx.needs_input_grad[0]
        gx = torch.empty_like(x) if wanted else x
        gconv = torch.zeros(parts, -(-channels // LANES), inputs, 3, 3, LANES)
        gweight, gbias = torch.empty(2, *mean.shape).unbind()
        grad = grad.contiguous(memory_format=torch.channels_last)
        _call("backward_convolution", x, (x, grad, mean, rstd, weight, bias, gx, gweight, gbias, image, gconv),
              inputs, int(wanted), parts=parts)
        gkernel = gconv.sum(0).permute(0, 4, 1, 2, 3).flatten(0, 1)[:channels].contiguous(
            memory_format=torch.channels_last)
        gimage = torch.ops.aten.convolution_backward(gx, image, kernel, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1,
                                                     [True, False, False])[0] if wanted else None
        # What is added to a whole channel, the norm takes away.
        return gimage, gkernel, None if offset is None else torch.zeros_like(offset), gweight.sum(0), gbias.sum(0), None


def _forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, ...]:
    """The result, and what its gradient needs."""
    x = x.contiguous(memory_format=torch.channels_last)
    weight, bias = weight.contiguous(), bias.contiguous()
    images, channels, height, width = x.shape
    out = torch.empty(images, channels, height // 2, width // 2, dtype=x.dtype, memory_format=torch.channels_last)
    mean, rstd = torch.empty(2, images, channels).unbind()
    _call(f"forward_{_NAMES[x.dtype]}", x, (x, out, mean, rstd, weight, bias), ctypes.c_float(eps))
    return out, x, mean, rstd, weight, bias


def _call(name: str, x: Tensor, tensors: tuple[Tensor, ...], *more, parts: int | None = None) -> None:
    """Over the images of a batch in parts, on as many threads as torch has.

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
        weight, bias: float32 [C]. They and x have a first derivative, no second.
    """
    return _NormReluPool.apply(x, weight, bias, eps)


def convolution_norm_relu_pool(x: Tensor, kernel: Tensor, offset: Tensor | None, weight: Tensor, bias: Tensor,
                               eps: float = 1e-5) -> Tensor:
    """:func:`norm_relu_pool` of a 3 × 3 convolution (stride and padding 1) of x [B, C, H, W], all float32.

    Args:
        kernel: [O, C, 3, 3]. offset: [O], or none; its gradient is zero, as the norm takes away what it adds.
    """
    return _ConvolutionNormReluPool.apply(x, kernel, offset, weight, bias, eps)


class Deferred(nn.Module):
    """A 3 × 3 convolution under its name: hands input and weights on to the :class:`NormReluPool` that follows."""

    def __init__(self, convolution: nn.Conv2d):
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        return x, self.weight, self.bias


class NormReluPool(nn.Module):
    """A norm, a ReLU and a pool in one; ``weight`` and ``bias`` are the norm's, under its name."""

    def __init__(self, norm: nn.GroupNorm):
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: Tensor | tuple[Tensor, Tensor, Tensor | None]) -> Tensor:
        if isinstance(x, tuple):
            if x[0].dtype == torch.float32 and x[0].device.type == "cpu" and not torch.is_autocast_enabled("cpu"):
                return convolution_norm_relu_pool(*x, self.weight, self.bias, self.eps)
            x = F.conv2d(*x, padding=1)
        if x.dtype in _NAMES and x.device.type == "cpu":
            return norm_relu_pool(x, self.weight, self.bias, self.eps)
        return F.avg_pool2d(F.group_norm(x, len(self.weight), self.weight, self.bias, self.eps).relu(), 2)


def fuse(module: nn.Module) -> int:
    """Replaces norm, ReLU, pool wherever they follow each other in an ``nn.Sequential``; how many times it did.

    A 3 × 3 convolution before them is replaced too. Names of parameters stay: the norm's place is taken, ReLU and pool
    become identities.
    """
    count = 0
    for parent in module.modules():
        if isinstance(parent, nn.Sequential):
            for i in range(len(parent) - 2):
                norm, relu, pool = parent[i], parent[i + 1], parent[i + 2]
                if isinstance(norm, nn.GroupNorm) and _are(norm, relu, pool):
                    parent[i], parent[i + 1], parent[i + 2] = NormReluPool(norm), nn.Identity(), nn.Identity()
                    if i and _is_plain(parent[i - 1]):
                        parent[i - 1] = Deferred(parent[i - 1])
                    count += 1
    return count


def _is_plain(layer: nn.Module) -> bool:
    plain = nn.Conv2d(1, 1, 3, padding=1)
    return type(layer) is nn.Conv2d and all(getattr(layer, n) == getattr(plain, n) for n in (
        "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode"))


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
