"""Attention by its plain formula, where the fused kernels do not serve."""
from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


@contextmanager
def second_order() -> Iterator[None]:
    """Attention by its plain formula: the fused kernels have no second derivative."""
    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")
        yield


def attention_on(device: torch.device, precision: str = "float32") -> AbstractContextManager[Any]:
    """How a stack's networks attend: on a GPU, and in bfloat16, by the plain formula.

    The fused kernels of a GPU have no rule for a stack, which would be run one by one, and no repeatable gradient. In
    bfloat16 a CPU's take six times as long as the formula at 17 and 65 tokens, and 1.4 times at 197.
    """
    fused = device.type == "cpu" and precision == "float32"
    return nullcontext() if fused else sdpa_kernel(SDPBackend.MATH)


@contextmanager
def rounded_attention() -> Iterator[None]:
    """The plain formula keeps to bfloat16 where its factors are: else it mixes precisions, and a stack of networks has
    no gradient ("expected scalar type Float but found BFloat16")."""
    cuda = torch.backends.cuda
    before = cuda.fp16_bf16_reduction_math_sdp_allowed()
    cuda.allow_fp16_bf16_reduction_math_sdp(True)
    try:
        yield
    finally:
        cuda.allow_fp16_bf16_reduction_math_sdp(before)
