"""A step's memory stays with the process."""

import platform
import resource
from pathlib import Path

import pytest
import torch
from processes import begun, ended

from lmcnb.kernel.memory import keep_memory


def count_faults(keep: bool, path: Path) -> None:
    """Of some steps, of memory that the system had to find."""
    assert not keep or keep_memory() and keep_memory()
    before = 0
    for k in range(15):
        if k == 10:  # by then it has found places for all of them
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        _ = [torch.zeros(2 ** 24) for _ in range(3)]  # 64 MiB each, beyond what glibc keeps by itself
    path.write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_memory_that_was_freed_is_not_asked_for_again(tmp_path: Path):
    for name in ("keep", "let"):
        assert ended(begun(count_faults, name == "keep", tmp_path / name)) is None
    keep, let = (int((tmp_path / name).read_text()) for name in ("keep", "let"))
    assert keep < 1000 < let
