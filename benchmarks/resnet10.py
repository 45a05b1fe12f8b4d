"""A training step of ResNet-10 of width 64 in the fastest precision here, as in :mod:`benchmarks.training`."""

from __future__ import annotations

from typing import Any

from benchmarks._shared import one_thread
from benchmarks.training import run_resnet


@one_thread
def run(quick: bool) -> dict[str, Any]:
    return run_resnet(quick, "resnet10", 64, 4)
