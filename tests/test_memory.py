"""A step's memory stays with the process."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from lmcnb.kernel.memory import keep_memory
if sys.argv[1] == "keep":
    assert keep_memory() and keep_memory()
step = lambda: [torch.zeros(2 ** 24) for _ in range(3)]  # 64 MiB each, beyond what glibc keeps by itself
for _ in range(10):  # until it has found places for all of them
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_memory_that_was_freed_is_not_asked_for_again():
    keep, let = (int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True,
                                    check=True).stdout) for how in ("keep", "let"))
    assert keep < 1000 < let
