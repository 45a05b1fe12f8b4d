"""IDC's class sweep (pixel gradients of every class's matching loss) against the loop of the public code.

Full size: ConvNet-3 of width 32, 10 classes, 64 real and 40 decoded synthetic images each (10 stored, factor
2), random pixels. Compared, on the same images, draws and network:

- "plain": as IDC's released code does it. For each class `torch.autograd.grad` of the cross-entropy with respect
  to the convolutions' weights on real images, again with `create_graph=True` on decoded and augmented synthetic
  ones, the sum of squared differences, `.backward()`. That also works out gradients of the weights, which nobody
  reads.
- "loop", "compiled", "fused": ways of `lmcnb.IDC.sweep` (one class at a time on a CPU, all at once on a GPU); a
  distillation takes the last one here.
- "limit": the FLOPs that the sweep cannot do without, at the speed of a large matrix product or of the network's
  largest convolution, whichever is faster here.

GFLOP/s counts those FLOPs alone, so it shows how near to the limit each is.

Differences are relative, to "plain", of one stored image's gradient: the median and the worst image in float32 at
full size, and the worst in float64 on a narrow network. The gradient jumps where a ReLU's input changes sign, and
among a hundred million ReLUs some input always lies within float32's rounding of zero. The row "plain, weights off
by 1e-6" says how far "plain" is from itself for that reason; only float64 can show that two loops are the same.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lmcnb
from benchmarks._shared import (
    DEVICE,
    Case,
    Timing,
    about,
    apart,
    conv_gflops,
    layer_flops,
    matmul_gflops,
    peak_memory,
    plain_module,
    random_data,
    side_by_side,
)
from lmcnb.kernel.recipe import seeded
from lmcnb.kernel.strategies import differentiated
from lmcnb.models import initialise
from lmcnb.params import Params

GOAL_RATIO, GOAL_EQUAL = 3.0, 1e-5


@dataclass(frozen=True)
class Problem:
    """A sweep to do: method, network and its parameters, real images, pixels [classes, ipc, C, H, W]."""

    idc: lmcnb.IDC
    net: lmcnb.Net
    train: lmcnb.data.Images
    params: Params
    pixels: Tensor

    def double(self) -> Problem:
        """The same in float64 throughout."""
        train = replace(self.train, x=self.train.x.double() / 255)
        params = {n: p.double() for n, p in self.params.items()}
        return replace(self, train=train, params=params, pixels=self.pixels.double())


def problem(width: int, classes: int = 10, real: int = 64, ipc: int = 10, seed: int = 0) -> Problem:
    """A sweep on CIFAR-shaped noise with a freshly initialised ConvNet-3."""
    train = random_data(classes * max(real, 4 * ipc), classes, 3, 32, classes).train
    net = lmcnb.Net.of(train, "convnet3", width)
    pixels = torch.rand(classes, ipc, *train.shape, generator=seeded("pixels", seed)).to(DEVICE)
    params = initialise(net, seed, DEVICE)[0]
    return Problem(lmcnb.IDC(ipc=ipc, factor=2, real_batch=real), net, train, params, pixels)


def ours(p: Problem, way: str) -> Tensor:
    """The package's sweep: gradient [classes, ipc, C, H, W]."""
    return p.idc.sweep(p.train, p.net, p.params, p.pixels, seeded("sweep"), way)[0]


def plain(p: Problem, module: nn.Module) -> Tensor:
    """The textbook's sweep, with the package's random numbers."""
    real, pick, draws = p.idc._draw(p.train, seeded("sweep"))
    grads = []
    for c in range(p.train.classes):
        pixels = p.pixels[c].clone().requires_grad_()
        prepare = partial(augment, draws={n: d[c, 0] for n, d in draws.items()})
        x = p.train.x[real[c]]
        x = (x if x.is_floating_point() else x.float() / 255) - p.train.mean[:, None, None]
        target = gradients(module, prepare(x / p.train.std[:, None, None]), c, create_graph=False)
        x = decode(pixels, p.idc.factor)[pick[c]] - p.train.mean[:, None, None]
        found = gradients(module, prepare(x / p.train.std[:, None, None]), c, create_graph=True)
        loss = sum((a - b).square().sum() for a, b in zip(target, found, strict=True))
        loss.backward()
        grads.append(pixels.grad)
        module.zero_grad()
    return torch.stack(grads)


def gradients(module: nn.Module, x: Tensor, label: int, create_graph: bool) -> tuple[Tensor, ...]:
    """Of the mean cross-entropy of one class's images, with respect to the convolutions' weights."""
    weights = [m.weight for m in module.modules() if isinstance(m, nn.Conv2d)]
    loss = F.cross_entropy(module(x), torch.full((len(x),), label, device=x.device))
    return torch.autograd.grad(loss, weights, create_graph=create_graph)


def decode(images: Tensor, factor: int) -> Tensor:
    """Cut every image into factor² tiles and blow each up to its size."""
    size = images.shape[-1]
    rows = [part.chunk(factor, -1) for part in images.chunk(factor, -2)]
    return F.interpolate(torch.cat([tile for row in rows for tile in row]), size=(size, size), mode="bilinear")


def augment(x: Tensor, draws: dict[str, Tensor]) -> Tensor:
    """Brightness, saturation, contrast, a crop by slicing and a cutout, the same for the whole batch."""
    size, (brightness, saturation, contrast) = x.shape[-1], draws["colour"]
    x = x + (brightness - 0.5)
    grey = x.mean(1, keepdim=True)
    x = (x - grey) * (saturation * 2) + grey
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * (contrast + 0.5) + mean
    reach = size // 8
    right, down = (draws["affine"][:, 2] * size / 2).round().int().tolist()
    top, left = reach + down, reach + right
    x = F.pad(x, (reach, reach, reach, reach))[..., top : top + size, left : left + size]
    top, left = draws["cutout"].tolist()
    mask = torch.ones(size, size, dtype=x.dtype, device=x.device)
    mask[max(0, top) : top + size // 2, max(0, left) : left + size // 2] = 0
    return x * mask


def sweep_flops(p: Problem) -> float:
    """What a sweep cannot do without, in convolutions and matrix products.

    A convolution's forward pass is F. A real image needs 3 F: forward, gradient of inputs, gradient of weights.
    A synthetic one needs 7 F: these three, the second derivative of the gradient of weights (two: by inputs and
    by outputs' gradients), of the gradient of inputs (one: the weights are constants), and the way back to the
    pixels. The first convolution saves the gradient of its inputs and what follows from it; of the linear layer
    no gradient of weights is asked.
    """
    (_, first), *rest = layer_flops(p.net)
    real = 2 * first + sum((3 if conv else 2) * f for conv, f in rest)
    synthetic = 5 * first + sum((7 if conv else 4) * f for conv, f in rest)
    decoded = min(p.idc.synthetic_batch, p.idc.ipc * p.idc.factor**2)
    return p.train.classes * (p.idc.real_batch * real + decoded * synthetic)


def variants(p: Problem) -> dict[str, Case]:
    """The plain sweep, and the package's: without anything special, and as a distillation does it."""
    module = plain_module(p.net, p.params)
    found: dict[str, Case] = {"plain": partial(plain, p, module)}
    return found | {way: partial(ours, p, way) for way in ("loop", differentiated(p.net, DEVICE, long=True))}


def sized(quick: bool) -> Problem:
    return problem(8, classes=3, real=8, ipc=2) if quick else problem(32)


def cases(quick: bool) -> dict[str, Case]:
    """What :func:`run` times, and the memory benchmark calls one by one."""
    return variants(sized(quick))


def differences(found: Tensor, reference: Tensor) -> list[tuple[float, float]]:
    """For each stored image, :func:`apart` of its gradients."""
    pairs = zip(found.flatten(0, 1), reference.flatten(0, 1), strict=True)
    return [apart(a, b) for a, b in pairs]


def in_float32(found: Tensor, reference: Tensor) -> dict[str, float]:
    """How the images' gradients differ in L2 and in the largest absolute value."""
    l2, largest = zip(*differences(found, reference), strict=True)
    return {"L2 median": statistics.median(l2), "L2 worst": max(l2), "max worst": max(largest)}


def in_float64(p: Problem) -> dict[str, dict[str, float]]:
    """How every variant's gradients differ from "plain" in double precision, at worst."""
    found = {name: case() for name, case in variants(p.double()).items()}
    worst = {name: zip(*differences(grad, found["plain"]), strict=True) for name, grad in found.items()}
    return {
        name: {f"{norm} float64": max(d) for norm, d in zip(("L2", "max"), both, strict=True)}
        for name, both in worst.items()
    }


def nudged(p: Problem) -> Tensor:
    """The sweep of "plain" with every weight off by about 1e-6 of itself."""
    noise = seeded("nudge")
    params = {n: w * (1 + 1e-6 * torch.randn(w.shape, generator=noise).to(w)) for n, w in p.params.items()}
    return plain(p, plain_module(p.net, params))


def run(quick: bool) -> dict[str, Any]:
    p, threads = sized(quick), torch.get_num_threads()
    torch.set_num_threads(1)
    timings = side_by_side(cases(quick), repeats=1 if quick else 3)
    double = in_float64(p if quick else problem(8, classes=3))
    flops, reference = sweep_flops(p), timings["plain"]
    rows = [
        speed(name, t.median, reference.median, flops)
        | spread(t, reference)
        | in_float32(t.result, reference.result)
        | double[name]
        | {"peak MiB": None if quick else peak_memory("idc_sweep", name, quick)}
        for name, t in timings.items()
    ]
    matmul, conv = matmul_gflops(512 if quick else 2048), conv_gflops(p.net.width)
    best, measured = max(matmul, conv), {"gflop": flops / 1e9, "matmul_gflops": matmul, "conv_gflops": conv}
    rows.append({"variant": "plain, weights off by 1e-6"} | in_float32(nudged(p), reference.result))
    rows.append(speed("limit", flops / best / 1e9, reference.median, flops))
    result = {"title": title(p, measured), "rows": rows, **about(), **measured, "goals": goals(rows)}
    torch.set_num_threads(threads)
    return result


def speed(name: str, seconds: float, plain_seconds: float, flops: float) -> dict[str, Any]:
    ratio, rate = plain_seconds / seconds, flops / seconds / 1e9
    return {"variant": name, "seconds": seconds, "plain / this": ratio, "GFLOP/s": rate}


def spread(timing: Timing, reference: Timing) -> dict[str, Any]:
    """The range of "plain / this" over the turns, and how many there were."""
    ratios = [plain / this for plain, this in zip(reference.seconds, timing.seconds, strict=True)]
    return {"spread": f"{min(ratios):.2f}–{max(ratios):.2f}", "n": len(ratios)}


def title(p: Problem, measured: dict[str, float]) -> str:
    synthetic = p.idc.ipc * p.idc.factor**2
    return (
        f"IDC's class sweep, ConvNet-3 of width {p.net.width}, {p.train.classes} classes, {p.idc.real_batch} real "
        f"and {synthetic} synthetic images each: {measured['gflop']:.3g} GFLOP, one thread.\nThis machine: "
        f"{measured['matmul_gflops']:.0f} GFLOP/s in a matrix product, {measured['conv_gflops']:.0f} in a convolution"
    )


def goals(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the sweep should reach, and whether its fastest variant did."""
    mine = [row for row in rows if not row["variant"].startswith(("plain", "limit"))]
    best = max(row["plain / this"] for row in mine)
    off = max(row["L2 float64"] for row in mine)
    return [
        {"goal": f"at least {GOAL_RATIO:g} × plain", "found": best, "met": best >= GOAL_RATIO},
        {"goal": f"gradients equal to {GOAL_EQUAL:g}", "found": off, "met": off <= GOAL_EQUAL},
    ]
