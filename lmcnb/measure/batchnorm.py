"""BatchNorm between and beyond trained networks: its statistics measured anew."""
from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from ..data import Images
from ..kernel.exact import exact_on
from ..networks import Networks
from ..params import clone, select


@torch.no_grad()
def recalibrated(networks: Networks, images: Images, batch: int = 500) -> Networks:
    """The networks with BatchNorm statistics re-estimated on ``images``: exact cumulative means over batches.

    As in REPAIR (Jordan et al., 2023) and Izmailov et al. (2018). Networks without BatchNorm stay as they are. The
    batches are as few as ``batch`` images in each allow, and of even size.

    Raises:
        ValueError: a single image, which has no variance where features are one pixel.
    """
    module, buffers = networks.net.build(), networks.buffers
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return networks
    if len(images) < 2:
        raise ValueError(f"re-estimating BatchNorm needs two images or more; got {len(images)}: raise train_images")
    images = images.to(networks.device)
    parts = torch.arange(len(images)).tensor_split(-(-len(images) // batch))  # a rest could be one image
    module.eval()  # dropout stays off
    for m in norms:
        m.train().momentum = 1.0  # a batch then leaves exactly its own statistics, which are averaged here
    models = []
    for k in range(len(networks)):
        p, total = select(networks.params, k), {}
        for part in parts:
            x, own = images.normalised(slice(int(part[0]), int(part[-1]) + 1)), clone(select(buffers, k))
            with exact_on(x.device):
                torch.func.functional_call(module, (p, own), (x,))
            for n, t in own.items():
                total[n] = total.get(n, 0) + (t.double() * len(x) if t.is_floating_point() else 0)
        models.append({n: (total[n] / len(images)).to(t) if t.is_floating_point() else t
                       for n, t in select(buffers, k).items()})
    return replace(networks, buffers={n: torch.stack([m[n] for m in models]) for n in buffers})
