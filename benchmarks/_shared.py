"""What the benchmarks share: random images, timing side by side, peak memory, the machine's arithmetic limit."""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lmcnb
from lmcnb.models import MODELS
from lmcnb.params import Params

ROOT = Path(__file__).resolve().parent.parent
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.backends.cudnn.allow_tf32 = False  # float32 means float32, for every variant alike

Case = Callable[[], Any]


def about() -> dict[str, Any]:
    """What the numbers were measured on."""
    name = torch.cuda.get_device_name() if DEVICE.type == "cuda" else _processor()
    return {"device": str(DEVICE), "name": name, "torch": torch.__version__, "threads": torch.get_num_threads()}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


def random_data(train: int, test: int, channels: int, size: int, classes: int = 10) -> lmcnb.Dataset:
    """A data set of uniform noise: time does not depend on what an image shows. Classes take turns."""
    generator = torch.Generator().manual_seed(0)
    arrays = {}
    for split, count in (("train", train), ("test", test)):
        shape = (count, size, size, channels)
        arrays[f"x_{split}"] = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8).numpy()
        arrays[f"y_{split}"] = (torch.arange(count) % classes).numpy()
    data = lmcnb.Dataset.from_arrays("noise", **arrays, mean=[0.5] * channels, std=[0.29] * channels)
    return lmcnb.Dataset(data.name, data.train.to(DEVICE), data.test.to(DEVICE))


def plain_module(net: lmcnb.Net, params: Params) -> nn.Module:
    """The network as an ordinary module with these parameters (of one model), in their precision."""
    module = MODELS[net.name](net).to(next(iter(params.values())))
    module.load_state_dict(params)
    return module


@dataclass
class Timing:
    """Seconds of a case's first call (it may compile) and of the later ones, and what the first returned."""

    first: float
    result: Any
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def side_by_side(cases: Mapping[str, Case], repeats: int) -> dict[str, Timing]:
    """Call every case once, then all of them in turn, A B C A B C, so that a busy minute hits them alike."""
    timings = {name: Timing(*_timed(case)) for name, case in cases.items()}
    for _ in range(repeats):
        for name, case in cases.items():
            timings[name].seconds.append(_timed(case)[0])
    return timings


def one_thread(run: Callable[[bool], dict[str, Any]]) -> Callable[[bool], dict[str, Any]]:
    """A benchmark on one thread of torch, whatever the session has set."""
    @wraps(run)
    def alone(quick: bool) -> dict[str, Any]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return run(quick)
        finally:
            torch.set_num_threads(threads)
    return alone


def _timed(case: Case) -> tuple[float, Any]:
    _wait()
    start = time.perf_counter()
    result = case()
    _wait()
    return time.perf_counter() - start, result


def _wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def peak_memory(benchmark: str, case: str, quick: bool) -> float:
    """MiB that a call of `benchmarks.<benchmark>.cases(quick)[case]` needs, measured in its own process."""
    command = [sys.executable, "-m", "benchmarks._memory", benchmark, case, str(int(quick))]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def apart(found: Tensor, reference: Tensor) -> tuple[float, float]:
    """‖found − reference‖ / ‖reference‖, and the same with the largest absolute value as norm."""
    difference, reference = (found - reference).double(), reference.double()
    return float(difference.norm() / reference.norm()), float(difference.abs().max() / reference.abs().max())


@torch.no_grad()
def layer_flops(net: lmcnb.Net) -> list[tuple[bool, float]]:
    """For each layer in order: is it a convolution, and its FLOPs for one image (a multiply-add is two)."""
    found: list[tuple[bool, float]] = []

    def count(layer: nn.Module, _: Any, out: Tensor) -> None:
        found.append((isinstance(layer, nn.Conv2d), 2.0 * out[0].numel() * layer.weight[0].numel()))

    module = net.build()
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(count)
    module(torch.empty(1, net.channels, net.size, net.size, device="meta"))
    return found


def matmul_gflops(size: int = 2048) -> float:
    """GFLOP/s of one large float32 matrix product here: what arithmetic can reach."""
    a, b = (torch.rand(size, size, device=DEVICE) for _ in range(2))
    return 2e-9 * size**3 / _best(lambda: a @ b)


def conv_gflops(width: int = 128, side: int = 16, batch: int = 64) -> float:
    """GFLOP/s of the forward pass of one 3 × 3 convolution, by default the largest of ConvNet-3."""
    x, w = torch.rand(batch, width, side, side, device=DEVICE), torch.rand(width, width, 3, 3, device=DEVICE)
    return 2e-9 * batch * side**2 * 9 * width**2 / _best(lambda: F.conv2d(x, w, padding=1))


@torch.no_grad()
def _best(case: Case, repeats: int = 7) -> float:
    return min(_timed(case)[0] for _ in range(repeats))
