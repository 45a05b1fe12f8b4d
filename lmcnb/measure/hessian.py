"""The Hessian of a trained subnetwork's loss, restricted to the weights a mask keeps: its products.

Everything composes from one object, :class:`HessianOperator`: ``operator @ v``, which is what the estimators of
:mod:`.diagonal` and :mod:`.spectrum` take. The exact diagonal needs none: see :mod:`.diagonal_exact`.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad

from ..data import Images
from ..kernel.attention import second_order
from ..kernel.exact import exact_on
from ..kernel.masks import Masks
from ..kernel.strategies import compiled, compiles
from ..models import Net, per_network
from ..networks import Networks
from ..params import Params, select


class HessianOperator:
    """The Hessian of the mean cross-entropy (nats) on un-augmented images, in eval mode, over the kept weights.

    Rows and columns are the kept weights: ``names`` in order, each flattened, pruned ones left out; every other
    parameter is held. Symmetric. ``operator @ v`` takes float32 [n] or [n, k] on the parameters' device.

    Args:
        network: one trained network; its mask says which weights are kept.
        images: what the loss is measured on. names: which weights, by default the prunable ones.
        batch: images a product is taken on at once; the sum over batches is exact.
    Raises:
        ValueError: unknown names, or several networks.

    >>> import lmcnb
    >>> images = lmcnb.load("digits").train.first(8)
    >>> H = HessianOperator(lmcnb.Networks.initialise(lmcnb.Net.of(images, "convnet2", width=2)), images)
    >>> u, v = torch.ones(H.shape[0]), torch.eye(H.shape[0])[3]
    >>> assert torch.isclose(u @ (H @ v), v @ (H @ u), rtol=1e-3), "it is symmetric"
    """

    SELF_ADJOINT = True

    def __init__(self, network: Networks, images: Images, names: Sequence[str] | None = None, batch: int = 64):
        net, params, self.buffers, masks = one(network)
        images = images.to(network.device)
        self.net, self.images, self.batch = net, images, batch
        self.names = known(net.prunable if names is None else names, params)
        self.params = {n: p.detach() for n, p in params.items()}
        self.kept = kept(self.names, params, masks)
        self._sizes = [params[n].numel() for n in self.names]
        self._slow = _make_hvp(net)
        # Compiled, of all but small networks, it is about three times faster; 16 batches repay the compiling.
        fast = len(images) >= 16 * batch and compiles(net, images.x.device.type)
        self._fast = _compiled_hvp(net) if fast else self._slow

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.kept), len(self.kept)

    @property
    def device(self) -> torch.device:
        return self.kept.device

    @property
    def dtype(self) -> torch.dtype:
        return self.params[self.names[0]].dtype

    def adjoint(self) -> HessianOperator:
        return self

    def __matmul__(self, v: Tensor) -> Tensor:
        if v.ndim not in (1, 2) or len(v) != len(self.kept):
            raise ValueError(f"the operator has {len(self.kept)} columns; got a tensor of shape {tuple(v.shape)}")
        return self._product(v) if v.ndim == 1 else torch.stack([self._product(c) for c in v.unbind(1)], 1)

    def _product(self, v: Tensor) -> Tensor:
        full = v.new_zeros(sum(self._sizes)).scatter_(0, self.kept, v)
        direction = {n: part.view_as(self.params[n]) for n, part in zip(self.names, full.split(self._sizes))}
        total = torch.zeros_like(full)
        for x, y in batches(self.images, self.batch, self.dtype):
            product = self._fast if len(x) == self.batch else self._slow  # another shape would compile anew
            with exact_on(x.device), second_order():
                part = product(self.params, self.buffers, direction, x, y)
            total += torch.cat([part[n].flatten() for n in self.names])
        return total[self.kept] / len(self.images)


def _make_hvp(net: Net) -> Callable:
    module = net.build().eval()

    def hvp(params: Params, buffers: Params, direction: Params, x: Tensor, y: Tensor) -> Params:
        return product_in(module, params, buffers, direction, x, y)
    return hvp


@per_network(8)
def _compiled_hvp(net: Net) -> Callable:
    return compiled(_make_hvp(net))


def one(network: Networks) -> tuple[Net, Params, Params, Masks]:
    """What one network is made of, without a model axis. Raises ValueError for several."""
    if len(network) != 1:
        raise ValueError(f"a Hessian is of one network; got {len(network)}: take networks[k]")
    params, buffers, masks = (select(d, 0) for d in (network.params, network.buffers, network.masks))
    return network.net, params, buffers, masks


def known(names: Sequence[str], params: Params) -> tuple[str, ...]:
    """The names. Raises ValueError for one that the network has not."""
    if unknown := [n for n in names if n not in params]:
        raise ValueError(f"unknown weights {', '.join(unknown)}; the network has {', '.join(params)}")
    return tuple(names)


def kept(names: Sequence[str], params: Params, masks: Masks) -> Tensor:
    """int64 [n]: positions of the kept weights among all weights of ``names``, flattened side by side."""
    return torch.cat([m.flatten() for m in flags(names, params, masks).values()]).nonzero().squeeze(1)


def flags(names: Sequence[str], params: Params, masks: Masks) -> Masks:
    """Which weights of ``names`` are kept: bool, where the weights lie; all of those that have no mask."""
    return {n: masks[n].to(params[n].device) if n in masks else torch.ones_like(params[n], dtype=torch.bool)
            for n in names}


def batches(images: Images, batch: int, dtype: torch.dtype = torch.float32) -> Iterator[tuple[Tensor, Tensor]]:
    """Normalised images and labels, ``batch`` at a time, without augmentation."""
    for start in range(0, len(images), batch):
        index = slice(start, start + batch)
        yield images.normalised(index).to(dtype), images.y[index]


def summed_loss(module: nn.Module, params: Params, buffers: Params, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(functional_call(module, (params, buffers), (x,)), y, reduction="sum")


def product_in(module: nn.Module, params: Params, buffers: Params, direction: Params, x: Tensor, y: Tensor) -> Params:
    """The Hessian of the summed loss times a direction in some of the parameters."""
    def slope(moved: Params) -> Tensor:
        gradient = grad(lambda p: summed_loss(module, {**params, **p}, buffers, x, y))(moved)
        return sum((gradient[n] * d).sum() for n, d in direction.items())  # pyright: ignore[reportReturnType]
    return grad(slope)({n: params[n] for n in direction})
