"""The exact diagonal of a Hessian, layer by layer: differentiated at outputs, where one product serves many weights."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from ..models.own import filled
from ..networks import Networks
from ..params import Params
from .hessian import batches, flags, known, one, product_in, summed_loss
from .piecewise import Bends, is_piecewise, softmax_slopes

Plain = tuple[nn.Module, Tensor, Tensor]


def exact_diagonal(network: Networks, images: Images, names: Sequence[str] | None = None, batch: int = 64) -> Tensor:
    """The diagonal of :class:`.hessian.HessianOperator`, exactly (to float32): float64 [kept weights], in its order.

    A plain convolution or linear layer is z = W a, and W acts through z alone. Networks that are linear in pieces but
    for instance norms (the ConvNets), or altogether (ResNets, whose BatchNorm is fixed in eval mode), take one backward
    pass a class and, before a later instance norm, one forward pass a kept weight: see :mod:`.piecewise`.

    Others: the Hessian of a row W_o is Σ a aᵀ-weighted entries of the Hessian in z_o, which images do not share. So one
    product in the direction "output channel o at location l, of every image at once" serves all weights of row o; there
    are channels × locations of them. Where fewer weights than that are kept, one product for each kept weight, in the
    direction that it moves z, is cheaper. Either way a product is differentiated from z onwards only, and many are
    taken in one vmapped call. Weights of any other kind (grouped convolutions, norms, packed attention, whatever is
    used twice) get one product each through the whole network, in any network.

    Arguments as in :class:`.hessian.HessianOperator`.
    """
    net, params, buffers, masks = one(network)
    names = known(net.prunable if names is None else names, params)
    params = {n: p.detach() for n, p in params.items()}
    module = filled(net.build().eval(), params | buffers).requires_grad_(False)
    images = images.to(network.device)
    masks, in_pieces = flags(names, params, masks), is_piecewise(module)
    total = {n: torch.zeros(params[n].shape, dtype=torch.float64, device=params[n].device) for n in names}
    for x, y in batches(images, batch, params[names[0]].dtype):
        with exact_on(x.device), second_order():
            plain, logits = _layers(module, params, buffers, x, y, names)
            found = _in_pieces(module, x, y, logits, plain, masks) if in_pieces and plain else {}
            for n in (n for n in names if masks[n].any()):  # pruning may have emptied a layer
                if n in found:
                    total[n] += found[n]
                elif n in plain:
                    total[n] += _layer_diagonal(module, params, buffers, x, y, masks[n], *plain[n])
                else:
                    total[n] += _weight_diagonal(module, params, buffers, x, y, masks[n], n)
    return torch.cat([total[n][masks[n]] for n in names]) / len(images)


def _in_pieces(module: nn.Module, x: Tensor, y: Tensor, logits: Tensor, plain: Mapping[str, Plain], masks: Masks
               ) -> dict[str, Tensor]:
    """By weight, the summed diagonal where :mod:`.piecewise` serves."""
    bends = Bends(module, x, y)
    found = {n: bends.of(layer, a, masks[n].flatten(1)) for n, (layer, a, _) in plain.items()}
    for slopes in softmax_slopes(logits, y, [z for _, _, z in plain.values()]):
        for (n, (layer, a, _)), slope in zip(plain.items(), slopes):
            found[n] += (_channels_first(layer, slope) @ a.transpose(1, 2)).square().sum(0).double()
    return {n: f.view_as(masks[n]) for n, f in found.items()}


def _layers(module: nn.Module, params: Params, buffers: Params, x: Tensor, y: Tensor, names: Sequence[str]
            ) -> tuple[dict[str, Plain], Tensor]:
    """For each weight that acts through one output of a plain layer: the layer, its input unfolded, its output in the
    graph of the logits; and these.

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
        with torch.enable_grad():
            logits = functional_call(module, ({**params, **own}, buffers), (x,))
            loss = F.cross_entropy(logits, y, reduction="sum")
    finally:
        for handle in handles:
            handle.remove()
    once = {n: calls[0] for n, calls in seen.items() if len(calls) == 1}
    if not once:
        return {}, logits
    wanted = [own[n] for n in once] + [z for _, _, z in once.values()]
    grads = torch.autograd.grad(loss, wanted, retain_graph=True, allow_unused=True)
    found = {}
    for n, whole, outer in zip(once, grads, grads[len(once):]):
        if whole is None:  # the layer runs, and the logits do not depend on it
            continue
        layer, a, z = once[n][0], _unfolded(*once[n][:2]), once[n][2]
        through = torch.einsum("bol,bfl->of", _channels_first(layer, outer), a).view_as(whole)
        if float((through - whole).norm()) <= 1e-4 * float(whole.norm()):
            found[n] = layer, a, z
    return found, logits


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
            return summed_loss(module, params, buffers, x, y)
        finally:
            handle.remove()

    # Outside of vmap: the network and its gradient run once for all directions. The Hessian is symmetric.
    product: Callable = vjp(grad(loss), torch.zeros_like(directions[0]))[1]
    return vmap(product)(directions)[0]


def _weight_diagonal(module, params, buffers, x, y, mask: Tensor, name: str, size: int = 16) -> Tensor:
    found = torch.zeros(mask.numel(), dtype=torch.float64, device=mask.device)

    def entry(d: Tensor) -> Tensor:
        part = product_in(module, params, buffers, {name: d}, x, y)
        return (part[name] * d).sum()
    for index in mask.flatten().nonzero().squeeze(1).split(size):
        directions = torch.zeros(len(index), mask.numel(), device=mask.device, dtype=params[name].dtype)
        directions[torch.arange(len(index), device=mask.device), index] = 1
        found[index] = vmap(entry)(directions.view(-1, *mask.shape)).double()
    return found.view(mask.shape)
