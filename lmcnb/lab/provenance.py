"""Where and with what a result was computed."""
from __future__ import annotations

import datetime
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path

import torch

from .. import __version__
from .job import device_name


@cache
def commit() -> str:
    """The package's git commit, with "-dirty" when its code differs from it, or "unknown" outside a checkout."""
    folder = Path(__file__).parents[1]
    try:
        # A package that is installed inside somebody else's repository is no part of it.
        tracked, head, changed = (
            subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, timeout=5).stdout.strip()
            for words in (["ls-files", "__init__.py"], ["rev-parse", "HEAD"], ["status", "--porcelain", "--", "."]))
        return (head + ("-dirty" if changed else "")) if tracked and head else "unknown"
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"


def provenance(device: torch.device) -> dict[str, str]:
    """Kind of device, processor, versions, commit, and the time (UTC)."""
    return {"device": device_name(device), "processor": processor(), "torch": torch.__version__,
            "python": platform.python_version(), "platform": sys.platform, "commit": commit(), "lmcnb": __version__,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}


@cache
def processor() -> str:
    """The processor's name as its maker writes it, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
