"""How much goes through a network at once: rules of device and network, never of what memory happens to be free.

A CPU keeps to what its callers ask for. Elsewhere activations are the bulk of what a computation holds, and all that
is asked here is how large they are.
"""
from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..models import Net, per_network

LARGEST = 2 ** 30  # bytes of an evaluation's largest activation: three or four of its size are alive at once
STACK = 2 ** 33  # bytes that a training step of a stack keeps for its way back
MATCHING = 2 ** 35  # bytes that gradients of gradients take
STACKED = 16  # networks at most
# Numbers of a layer's output that Hessian products are taken at together: what a CPU's caches hold, what a GPU is
# kept busy with.
PRODUCTS, PRODUCTS_GPU = 2 ** 21, 2 ** 27


class _Sizes(TorchDispatchMode):
    """Notes the size of every new tensor, in numbers."""

    def __init__(self):
        super().__init__()
        self.found: list[int] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        known = {_memory(t) for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        self.found += [t.numel() for t in tree_leaves(out) if isinstance(t, torch.Tensor) and _memory(t) not in known]
        return out


def _memory(t: torch.Tensor) -> int:
    return t.untyped_storage()._cdata


@per_network(256)
def activations(net: Net) -> tuple[int, int]:
    """Bytes (float32) of the largest activation that one image makes, and of all of them."""
    module = net.build().eval()
    with torch.no_grad(), _Sizes() as sizes:
        module(torch.empty(1, net.channels, net.size, net.size, device="meta"))
    least = net.channels * net.size ** 2
    return 4 * max(least, *sizes.found), 4 * (least + sum(sizes.found))


def stack_size(device: torch.device, net: Net, batch: int) -> int:
    """How many models are trained as one stack: on a GPU a step is dearer to launch than to compute, on a CPU not."""
    if device.type == "cpu":
        return 1
    return max(1, min(STACKED, STACK // (batch * activations(net)[1])))


def portion(net: Net, device: torch.device, models: int, images: int) -> tuple[int, int]:
    """Models and images that are evaluated at once."""
    if device.type == "cpu":
        return models, images
    most = max(1, LARGEST // activations(net)[0])
    return max(1, min(models, most // images)), min(images, most)


def classes_at_once(net: Net, device: torch.device, classes: int, images: int) -> int:
    """Classes whose gradients are matched at once, with so many images each: they share the network and nothing else.

    A CPU takes one at a time, which keeps the work in its caches.
    """
    if device.type == "cpu":
        return 1
    return max(1, min(classes, MATCHING // (12 * images * activations(net)[0])))


def products_at_once(device: torch.device, outputs: int) -> int:
    """Hessian products that are taken together at a layer's output of so many numbers."""
    return max(1, (PRODUCTS if device.type == "cpu" else PRODUCTS_GPU) // outputs)
