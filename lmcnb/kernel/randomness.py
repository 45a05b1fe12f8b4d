"""A network must be a function of weights and images: nothing in it may draw random numbers while it runs."""
from __future__ import annotations

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from ..models import Net, per_network


class _Drawn(TorchDispatchMode):
    """Notes the operations that draw from a global generator."""

    def __init__(self):
        super().__init__()
        self.names: dict[str, None] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if torch.Tag.nondeterministic_seeded in function.tags:
            self.names[function.overloadpacket.__name__.strip("_")] = None
        return function(*args, **(kwargs or {}))


@per_network(256)
def refuse_random(net: Net) -> None:
    """Raises ValueError when a network in training draws random numbers: dropout, stochastic depth.

    They would come from the global generator, so that a training depended on what ran before it, and no stack of
    networks could be vmapped. The network runs once on the meta device, without numbers.
    """
    module = net.build().train()
    # Fused attention is of the drawing kind even where its dropout is 0; the plain formula draws only where it must.
    with torch.device("meta"), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), _Drawn() as drawn:
        module(torch.empty(2, net.channels, net.size, net.size))
    if drawn.names:
        raise ValueError(f"{net.name} draws random numbers while it runs ({', '.join(drawn.names)}), so that no "
                         f"training of it could be repeated: set its dropout to 0 and take other random layers out")
