"""Which networks a GPU may train as one captured graph of a whole stack: a rule that needs no GPU to ask."""
from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..models import Net, per_network
from .recipe import Recipe
from .step import make_step


class _Here(TorchDispatchMode):
    """Refuses tensors that arise on the CPU, as bringing them to a GPU waits for it; a single number may."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for t in tree_leaves(out):
            if isinstance(t, torch.Tensor) and t.device.type == "cpu" and t.ndim:
                raise RuntimeError(f"{function} makes a tensor on the CPU")
        return out


@per_network(256)
def capturable(net: Net) -> bool:
    """Whether a training step of a stack of these networks runs on one device, without asking it for a number.

    It runs once on the meta device, where there are no numbers to ask for.
    """
    module = net.build()
    params, buffers = ({n: t.detach().expand(2, *t.shape) for n, t in named}
                       for named in (module.named_parameters(), module.named_buffers()))
    try:
        step = make_step(net, Recipe(batch=2, augment="none", cutmix=0))
        stacked = torch.vmap(step, in_dims=(0, 0, 0, None, None, None, None, None, 0, None))
        with torch.enable_grad(), _Here():
            stacked(params, buffers, params, {}, *_batch(net))
        return True
    except Exception:  # whatever a network raises that cannot be stacked, or asks for a number
        return False


def _batch(net: Net) -> tuple:
    """Images, labels, mean, std, draws and rate."""
    with torch.device("meta"):
        images = torch.empty(2, net.channels, net.size, net.size)
        label, mean, std = torch.empty(2, dtype=torch.int64), torch.empty(net.channels), torch.empty(net.channels)
        return images, label, mean, std, {"index": torch.empty(2, 2, dtype=torch.int64)}, torch.empty(())
