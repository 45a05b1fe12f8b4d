"""The Hessian of a trained subnetwork's loss, restricted to the weights a mask keeps: its products and exact diagonal.

Everything composes from one object, :class:`HessianOperator`: ``operator @ v``, which is what the estimators of
:mod:`.diagonal` and :mod:`.spectrum` take. :func:`exact_diagonal` needs none: it differentiates at each layer's
outputs, where one product serves many weights at once.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vjp, vmap

from ..data import Images
from ..kernel.attention import second_order
from ..kernel.exact import exact_on
from ..kernel.masks import Masks
from ..kernel.sizes import products_at_once
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
        compile: by default for all but small networks, where a compiler is at hand: about three times faster.
    Raises:
        ValueError: unknown names, or several networks.

    >>> import lmcnb
    >>> images = lmcnb.load("digits").train.first(8)
    >>> H = HessianOperator(lmcnb.Networks.initialise(lmcnb.Net.of(images, "convnet2", width=2)), images)
    >>> u, v = torch.ones(H.shape[0]), torch.eye(H.shape[0])[3]
    >>> assert torch.isclose(u @ (H @ v), v @ (H @ u), rtol=1e-3), "it is symmetric"
    """

    SELF_ADJOINT = True

    def __init__(self, network: Networks, images: Images, names: Sequence[str] | None = None, batch: int = 64,
                 compile: bool | None = None):
        net, params, self.buffers, masks = one(network)
        self.net, self.images, self.batch = net, images, batch
        self.names = known(net.prunable if names is None else names, params)
        self.params = {n: p.detach() for n, p in params.items()}
        self.kept = kept(self.names, params, masks)
        self._total = sum(params[n].numel() for n in self.names)
        self._sizes = [params[n].numel() for n in self.names]
        self._slow = _make_hvp(net)
        if compile is None:
            compile = len(images) >= 16 * batch and compiles(net, images.x.device.type)
        self._fast = _compiled_hvp(net) if compile else self._slow

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
        full = v.new_zeros(self._total).scatter_(0, self.kept, v)
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
        return _hvp(module, params, buffers, direction, x, y)
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


def _loss(module: nn.Module, params: Params, buffers: Params, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(functional_call(module, (params, buffers), (x,)), y, reduction="sum")


def _hvp(module: nn.Module, params: Params, buffers: Params, direction: Params, x: Tensor, y: Tensor) -> Params:
    def slope(moved: Params) -> Tensor:
        gradient = grad(lambda p: _loss(module, {**params, **p}, buffers, x, y))(moved)
        return sum((gradient[n] * d).sum() for n, d in direction.items())  # pyright: ignore[reportReturnType]
    return grad(slope)({n: params[n] for n in direction})


def exact_diagonal(network: Networks, images: Images, names: Sequence[str] | None = None, batch: int = 64) -> Tensor:
    """The diagonal of :class:`HessianOperator`, exactly (to float32): float64 [kept weights], in its order.

    A plain convolution or linear layer is z = W a, and W acts through z alone. The Hessian of its row W_o is Σ a
    aᵀ-weighted entries of the Hessian in z_o, which images do not share. So one product in the direction "output
    channel o at location l, of every image at once" serves all weights of row o; there are channels × locations of
    them. Where fewer weights than that are kept, one product for each kept weight, in the direction that it moves z, is
    cheaper. Either way a product is differentiated from z onwards only, and many are taken in one vmapped call. Weights
    of any other kind (grouped convolutions, norms, packed attention, whatever is used twice) get one product each
    through the whole network.

    Arguments as in :class:`HessianOperator`. For small or very sparse networks: the cost is that of
    Σ_layers min(channels · locations, kept weights) products.
    """
    net, params, buffers, masks = one(network)
    names = known(net.prunable if names is None else names, params)
    module, params = net.build().eval(), {n: p.detach() for n, p in params.items()}
    masks = flags(names, params, masks)
    total = {n: torch.zeros(params[n].shape, dtype=torch.float64, device=params[n].device) for n in names}
    for x, y in batches(images, batch, params[names[0]].dtype):
        with exact_on(x.device):
            plain = _layers(module, params, buffers, x, y, names)
        for n in names:
            if not masks[n].any():  # a layer that pruning emptied
                continue
            with exact_on(x.device), second_order():
                if n in plain:
                    total[n] += _layer_diagonal(module, params, buffers, x, y, masks[n], *plain[n])
                else:
                    total[n] += _weight_diagonal(module, params, buffers, x, y, masks[n], n)
    return torch.cat([total[n][masks[n]] for n in names]) / len(images)


def _layers(module: nn.Module, params: Params, buffers: Params, x: Tensor, y: Tensor, names: Sequence[str]
            ) -> dict[str, tuple[nn.Module, Tensor, Tensor]]:
    """For each weight that acts through one output of a plain layer: the layer, its input unfolded, its output.

    A weight acts nowhere else if its gradient is all that of the output. That finds every second use: under another
    name, in another run of the layer, in a formula of the network's own.
    """
    seen: dict[str, list] = {n: [] for n in names if n.endswith(".weight")}

    def watch(name: str):
        return lambda layer, inputs, output: seen[name].append((layer, inputs[0].detach(), output))
    owners = {n: module.get_submodule(n.removesuffix(".weight")) for n in seen}
    handles = [m.register_forward_hook(watch(n)) for n, m in owners.items() if _plain(m)]
    own = {n: params[n].detach().requires_grad_() for n in seen}
    try:
        with torch.enable_grad(), second_order():
            loss = _loss(module, {**params, **own}, buffers, x, y)
    finally:
        for handle in handles:
            handle.remove()
    once = {n: calls[0] for n, calls in seen.items() if len(calls) == 1}
    if not once:
        return {}
    grads = torch.autograd.grad(loss, [own[n] for n in once] + [z for _, _, z in once.values()])
    found = {}
    for n, whole, outer in zip(once, grads, grads[len(once):]):
        layer, a, z = once[n][0], _unfolded(*once[n][:2]), once[n][2].detach()
        through = torch.einsum("bol,bfl->of", _channels_first(layer, outer), a).view_as(whole)
        if float((through - whole).norm()) <= 1e-4 * float(whole.norm()):
            found[n] = layer, a, z
    return found


def _plain(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        return layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return isinstance(layer, nn.Linear)


def _channels_first(layer: nn.Module, z: Tensor) -> Tensor:
    """A layer's output as [B, O, L]."""
    return z.flatten(2) if isinstance(layer, nn.Conv2d) else z.reshape(len(z), -1, z.shape[-1]).transpose(1, 2)


def _unfolded(layer: nn.Module, a: Tensor) -> Tensor:
    """[B, F, L]: for each output location the inputs that the layer's weights [O, F] multiply."""
    if isinstance(layer, nn.Conv2d):
        padding: Any = layer.padding  # numbers, as the layer is plain
        return F.unfold(a, layer.kernel_size, layer.dilation, padding, layer.stride)
    return a.reshape(len(a), -1, a.shape[-1]).transpose(1, 2)


def _layer_diagonal(module, params, buffers, x, y, mask: Tensor, layer: nn.Module, a: Tensor, z: Tensor) -> Tensor:
    rows, channels, locations = mask.flatten(1), mask.shape[0], a.shape[2]
    product = partial(_output_products, module, params, buffers, x, y, layer, z)
    found = torch.zeros(rows.shape, dtype=torch.float64, device=z.device)
    live = rows.any(1).nonzero().squeeze(1)
    size = products_at_once(z.device, z.numel())
    each = torch.arange(size, device=z.device)
    if len(live) * locations <= int(rows.sum()):
        places = torch.cartesian_prod(live, torch.arange(locations, device=z.device)).view(-1, 2)
        for o, at in (p.unbind(1) for p in places.split(size)):
            direction = z.new_zeros(len(o), len(z), channels, locations)
            direction[each[:len(o)], :, o, at] = 1
            curved = product(direction)[each[:len(o)], :, o]  # [c, B, L]
            part = torch.einsum("bfl,cbl,bfc->cf", a, curved, a[:, :, at])
            found.index_add_(0, o, part.double())
    else:
        for o, f in (p.unbind(1) for p in rows.nonzero().split(size)):
            direction = z.new_zeros(len(o), len(z), channels, locations)
            direction[each[:len(o)], :, o] = a[:, f].transpose(0, 1)
            found[o, f] = (product(direction) * direction).sum((1, 2, 3)).double()
    return found.view(mask.shape)


def _output_products(module, params, buffers, x, y, layer: nn.Module, z: Tensor, directions: Tensor) -> Tensor:
    """Products of the Hessian in a layer's output with directions [c, B, O, L]."""
    def shaped(d: Tensor) -> Tensor:  # a linear layer's channels come last
        return d.reshape(z.shape) if isinstance(layer, nn.Conv2d) else d.transpose(-1, -2).reshape(z.shape)

    def loss(moved: Tensor) -> Tensor:
        def add(_: nn.Module, inputs: Any, out: Tensor) -> Tensor:
            return out + shaped(moved)
        handle = layer.register_forward_hook(add)
        try:
            return _loss(module, params, buffers, x, y)
        finally:
            handle.remove()

    # Outside of vmap: the network and its gradient run once for all directions. The Hessian is symmetric.
    product: Callable = vjp(grad(loss), torch.zeros_like(directions[0]))[1]
    return vmap(product)(directions)[0]


def _weight_diagonal(module, params, buffers, x, y, mask: Tensor, name: str, size: int = 16) -> Tensor:
    found = torch.zeros(mask.numel(), dtype=torch.float64, device=mask.device)

    def entry(d: Tensor) -> Tensor:
        part = _hvp(module, params, buffers, {name: d}, x, y)
        return (part[name] * d).sum()
    for index in mask.flatten().nonzero().squeeze(1).split(size):
        directions = torch.zeros(len(index), mask.numel(), device=mask.device, dtype=params[name].dtype)
        directions[torch.arange(len(index), device=mask.device), index] = 1
        found[index] = vmap(entry)(directions.view(-1, *mask.shape)).double()
    return found.view(mask.shape)
