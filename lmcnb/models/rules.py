"""How each function of torch passes the units of its inputs on: see :mod:`.units`.

A rule takes the notes, the function, what it returned and its arguments; it returns the nodes of the outputs, or None
where it does not know, whereupon all that went in is held. Attention is followed as it is written, as
``scaled_dot_product_attention`` and as ``nn.MultiheadAttention``.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from .units import FREE, Units, compact

# By name without underscores: __iadd__, add_ and add are one.
ELEMENTWISE = frozenset((
    "abs", "add", "addcdiv", "addcmul", "celu", "clamp", "clip", "clone", "contiguous", "detach", "div", "double",
    "dropout", "dropout2d", "dropout3d", "elu", "exp", "float", "gelu", "hardsigmoid", "hardswish", "hardtanh",
    "iadd", "idiv", "imul", "isub", "itruediv", "leaky_relu", "log", "log_sigmoid", "logsigmoid", "masked_fill",
    "maximum", "minimum", "mish", "mul", "neg", "pow", "radd", "rdiv", "relu", "relu6", "rmul", "rsqrt", "rsub",
    "selu", "sigmoid", "silu", "softplus", "softsign", "sqrt", "square", "sub", "tanh", "to", "true_divide",
    "truediv", "type", "type_as", "where"))
SHAPE = frozenset((
    "cat", "chunk", "concat", "concatenate", "expand", "expand_as", "flatten", "flip", "get", "getitem", "moveaxis",
    "movedim", "narrow", "permute", "repeat", "repeat_interleave", "reshape", "reshape_as", "roll", "select",
    "split", "squeeze", "stack", "swapaxes", "swapdims", "t", "tile", "transpose", "unbind", "unflatten",
    "unsqueeze", "view", "view_as"))
SPATIAL = frozenset(f"{kind}pool{d}d" for d in (1, 2, 3) for kind in
                    ("avg_", "max_", "adaptive_avg_", "adaptive_max_", "lp_")) | {"interpolate", "upsample"}
UNIFORM = frozenset(("full_like", "new_full", "new_ones", "new_zeros", "ones_like", "zeros_like"))
REDUCTIONS = frozenset(("amax", "amin", "mean", "sum"))
ACROSS = frozenset(("log_softmax", "normalize", "softmax"))  # along one axis, symmetric in what lies on it


def _elementwise(units: Units, func: Callable, out: Tensor, /, *args, **kwargs) -> Tensor | None:
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    found, shape = units.of(tensors[0]), tensors[0].shape
    for t in tensors[1:]:
        found = units.joined(found, shape, units.of(t), t.shape)
        if found is None:
            return None
        shape = torch.broadcast_shapes(shape, t.shape)
    return found


def _shaped(units: Units, func: Callable, out: Any, /, *args, **kwargs) -> Any:
    if any(isinstance(t, Tensor) for t in tree_leaves((args[1:], kwargs))) and func.__name__ == "__getitem__":
        return None  # by an index that has no numbers here
    args, kwargs = tree_map(lambda t: units.whole_of(t) if isinstance(t, Tensor) else t, (args, kwargs))
    return func(*args, **kwargs)


def _pad(units: Units, func: Callable, out: Tensor, /, input: Tensor, pad: Sequence[int], mode: str = "constant",
         value: Any = None) -> Tensor | None:
    """What is added is one number whatever moves."""
    if mode == "constant":
        return func(units.whole_of(input), pad, value=FREE)
    found = units.of(input)
    return found if all(n == 1 for n in found.shape[input.ndim - len(pad) // 2:]) else None


def _uniform(units: Units, func: Callable, out: Tensor, /, *args, **kwargs) -> Tensor:
    """One number everywhere, whatever it takes its shape from."""
    return torch.full([1] * out.ndim, FREE)


def _spatial(units: Units, func: Callable, out: Any, /, x: Tensor, *args, **kwargs) -> Any:
    """Axes after the channels' may change their length."""
    found = units.of(x)
    if any(n > 1 for n in found.shape[2:]):
        return None
    return tree_map(lambda _: found, out)


def _reduced(units: Units, func: Callable, out: Any, /, x: Tensor, *args, **kwargs) -> Tensor | None:
    found = units.of(x)
    varied = [n for n in found.shape if n > 1]
    over = torch.zeros(found.shape, device="meta")
    left = func(over, *args, **kwargs)
    if not isinstance(out, Tensor):
        return None
    if len(varied) and left.numel() < found.numel():  # over units: all of them, or some
        return torch.full([1] * out.ndim, FREE) if left.numel() == 1 else None
    return found.reshape(left.shape)


def _across(units: Units, func: Callable, out: Tensor, /, x: Tensor, *args, **kwargs) -> Tensor | None:
    found = units.of(x)
    return found if sum(n > 1 for n in found.shape) < 2 else None


def _weighted(units: Units, x: Tensor, weight: Tensor, bias: Tensor | None, channel: int, groups: int = 1
              ) -> Tensor | None:
    """A convolution or linear layer, whose channels lie on an axis of its input."""
    nodes = units.matrix(weight)
    if nodes is None:
        return None
    (out, into), found = nodes, units.of(x).movedim(channel, -1)
    if groups == 1:
        units.tie(found, into)
    elif groups == x.shape[channel]:  # each output has its own input
        every = found.expand(*found.shape[:-1], groups)
        units.tie(every.repeat_interleave(len(out) // groups, -1), out)
    else:
        units.hold(torch.cat([found.flatten(), out, into]))
    if bias is not None:
        units.tie(units.of(bias), out)
    return out.view(*[1] * (x.ndim - 1), -1).movedim(-1, channel)


def _linear(units: Units, func: Callable, out: Tensor, /, input: Tensor, weight: Tensor, bias: Tensor | None = None
            ) -> Tensor | None:
    return _weighted(units, input, weight, bias, -1)


def _conv(units: Units, func: Callable, out: Tensor, /, input: Tensor, weight: Tensor, bias: Tensor | None = None,
          stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1) -> Tensor | None:
    return _weighted(units, input, weight, bias, 1, groups) if input.ndim == weight.ndim else None


def _channelwise(units: Units, func: Callable, out: Tensor, /, input: Tensor, *args, **kwargs) -> Tensor:
    """Norms and slopes of each channel, axis 1, with vectors of as many numbers."""
    found = units.of(input)
    for t in tree_leaves((args, kwargs)):
        if isinstance(t, Tensor) and t.numel() > 1:
            vector = units.of(t)
            units.tie(found, vector.view(-1, *[1] * (input.ndim - 2)))
            found = vector.view(1, -1, *[1] * (input.ndim - 2))
    return found


def _group_norm(units: Units, func: Callable, out: Tensor, /, input: Tensor, num_groups: int, *vectors, **kwargs
                ) -> Tensor | None:
    found = _channelwise(units, func, out, input, *vectors, **{n: t for n, t in kwargs.items() if n != "eps"})
    channels = input.shape[1]
    if num_groups not in (1, channels):
        if found.shape[1:].numel() != channels:
            return None
        owners = units.fresh([num_groups]).repeat_interleave(channels // num_groups)
        units.nested.append((found.flatten(), owners))
    return found


def _layer_norm(units: Units, func: Callable, out: Tensor, /, input: Tensor, normalized_shape: Sequence[int],
                weight: Tensor | None = None, bias: Tensor | None = None, eps: Any = None) -> Tensor | None:
    found: Tensor | None = units.of(input)
    for t in (weight, bias):
        if t is not None and found is not None:
            found = units.joined(found, input.shape, units.of(t), t.shape)
    found = None if found is None else compact(units.settled(found))
    return found if found is not None and sum(n > 1 for n in found.shape) < 2 else None


def _matmul(units: Units, func: Callable, out: Tensor, /, input: Tensor, other: Tensor, **kwargs) -> Tensor | None:
    return units.product(units.of(input), input.shape, units.of(other), other.shape)


def _attention(units: Units, func: Callable, out: Tensor, /, query: Tensor, key: Tensor, value: Tensor, *args, **kwargs
               ) -> Tensor | None:
    keys = [*key.shape[:-2], key.shape[-1], key.shape[-2]]
    heads, shape = (units.product(units.of(query), query.shape, units.of(key).transpose(-1, -2), keys),
                    [*query.shape[:-1], key.shape[-2]])
    for mask in (t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)):  # added to each head's products
        heads = None if heads is None else units.joined(heads, shape, units.of(mask), mask.shape)
    return None if heads is None else units.product(heads, shape, units.of(value), value.shape)


def _multi_head(units: Units, func: Callable, out: Any, /, query: Tensor, key: Tensor, value: Tensor, embed_dim: int,
                heads: int, in_weight: Tensor | None, in_bias: Tensor | None, bias_k: Tensor | None,
                bias_v: Tensor | None, add_zero_attn: bool, dropout_p: float, out_weight: Tensor,
                out_bias: Tensor | None, *args, **kwargs) -> Any:
    """``nn.MultiheadAttention`` of a tensor with itself: one layer to queries, keys and values, one out."""
    if in_weight is None or query is not key or key is not value or bias_k is not None:
        return None
    inner = _weighted(units, query, in_weight, in_bias, -1)
    if inner is None:
        return None
    q, k, v = inner.view(3, 1, heads, 1, -1)
    long = [1, heads, query.shape[0], embed_dim // heads]
    owners = units.product(q, long, k.transpose(-1, -2), [*long[:2], long[3], long[2]])
    if owners is None:
        return None
    units.joined(owners, [*long[:3], 1], v, long, nest=True)
    nodes = units.matrix(out_weight)
    if nodes is None:
        return None
    units.tie(v.flatten(), nodes[1])
    if out_bias is not None:
        units.tie(units.of(out_bias), nodes[0])
    return nodes[0].view(*[1] * (query.ndim - 1), -1), *[torch.zeros(1, dtype=torch.long)] * (len(out) - 1)


RULES: dict[str, Callable] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise), **dict.fromkeys(SHAPE, _shaped), **dict.fromkeys(SPATIAL, _spatial),
    **dict.fromkeys(UNIFORM, _uniform),
    **dict.fromkeys(REDUCTIONS, _reduced), **dict.fromkeys(ACROSS, _across),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _conv), "linear": _linear,
    **dict.fromkeys(("batch_norm", "instance_norm", "prelu"), _channelwise), "group_norm": _group_norm,
    **dict.fromkeys(("layer_norm", "rms_norm"), _layer_norm), **dict.fromkeys(("matmul", "bmm"), _matmul),
    "scaled_dot_product_attention": _attention, "multi_head_attention_forward": _multi_head,
    "pad": _pad,
}
