"""The exact diagonal of a Hessian where a network is linear in pieces but for its instance norms.

Along a line in weight space such a network bends in its softmax and its instance norms, and nowhere else. So an entry
of the diagonal is a sum of two:

- of the softmax, Σ S (J w)²: generalised Gauss-Newton. S = Σ_c v_c v_cᵀ with v_c = √π_c (e_c − π) takes one backward
  pass for each class, for all weights of all layers, as gradients image by image (Dangel et al., 2020).
- of each norm that the weight reaches, the loss's slope in what the norm gives times the second derivative of that
  along the weight. A norm keeps channels apart, so those of a layer's own norm are had for all weights at once; to a
  later norm each kept weight takes one pass forwards, and none back.
"""
from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import jvp, vmap

from ..kernel.sizes import products_at_once
from ..models.resnet import BasicBlock

LINEAR = (nn.AdaptiveAvgPool2d, nn.AvgPool2d, nn.BatchNorm2d, nn.Conv2d, nn.Flatten, nn.Identity, nn.Linear,
          nn.MaxPool2d, nn.ReLU)  # in eval mode, in pieces


def is_piecewise(module: nn.Module) -> bool:
    """Whether :func:`softmax_slopes` and :class:`Bends` tell all of this network's curvature.

    Known parts in sequence, or, without instance norms, in residual blocks: what a formula of one's own does, nobody
    knows. Behind its last instance norm a network may do as it likes with those parts; before, it must convolve.
    """
    parts, norms = list(module.modules()), [m for m in module.modules() if _is_norm(m)]
    if not all(_is_linear(m) or m in norms or type(m) in (nn.Sequential, BasicBlock) for m in parts):
        return False
    flat = in_sequence(module)
    last = max((k for k, m in enumerate(flat) if m in norms), default=-1)
    return not norms or (len(set(flat)) == len(flat) and BasicBlock not in map(type, parts)
                         and not any(isinstance(m, (nn.Linear, nn.Flatten)) for m in flat[:last])
                         and all(_is_spread(m) for m in flat if isinstance(m, nn.Conv2d)))


def in_sequence(module: nn.Module) -> list[nn.Module]:
    """The parts of nested ``nn.Sequential`` in the order in which they run."""
    return [part for m in module for part in in_sequence(m)] if type(module) is nn.Sequential else [module]


def _is_norm(m: nn.Module) -> bool:
    return type(m) is nn.GroupNorm and m.num_groups == m.num_channels and m.affine


def _is_linear(m: nn.Module) -> bool:
    return type(m) in LINEAR and not getattr(m, "inplace", False) and getattr(m, "track_running_stats", True)


def _is_spread(m: nn.Conv2d) -> bool:
    return m.groups == 1 and m.padding_mode == "zeros" and not isinstance(m.padding, str)


def softmax_slopes(logits: Tensor, y: Tensor, outputs: Sequence[Tensor]) -> Iterator[Sequence[Tensor]]:
    """For each class, the slopes Jᵀ v_c in some layers' outputs: the squares of what they become in a weight, image by
    image, add up to the softmax's share.

    Args:
        logits: [B, classes], with their graph. y: labels, of any kind. outputs: in that graph.
    """
    share = F.softmax(logits.detach(), 1)
    weight = share if y.ndim == 1 else share * y.sum(1, keepdim=True)
    unit = torch.eye(share.shape[1], dtype=share.dtype, device=share.device)
    for c in range(share.shape[1]):
        v = weight[:, c, None].sqrt() * (unit[c] - share)
        yield torch.autograd.grad(logits, outputs, v, retain_graph=True, materialize_grads=True)


@dataclass(frozen=True)
class Norm:
    """An instance norm at some images: its input normalised, and the slope of the summed loss in that, [B, C, L]; what
    it multiplies its centred input by, [B, C], and then the normalised, [C, 1]."""

    unit: Tensor
    slope: Tensor
    scale: Tensor
    gain: Tensor

    @classmethod
    def at(cls, norm: Any, value: Tensor, slope: Tensor) -> Norm:
        """``slope``: of the summed loss in what the norm gives, like ``value``."""
        v = value.flatten(2)
        scale = (v.var(2, correction=0) + norm.eps).rsqrt()
        unit = (v - v.mean(2, keepdim=True)) * scale[..., None]
        return cls(unit, slope.flatten(2) * norm.weight[:, None], scale, norm.weight[:, None])

    def bend(self, t: Tensor) -> Tensor:
        """Second derivative of the loss along t [B, k, C or 1, L] in this norm alone: [B, k, C]."""
        scale, mean, moved = self.scale[:, None], t.mean(3), self._moved(t)
        sloped = scale * (_along(t, self.slope) - mean * self.slope.sum(2)[:, None])
        square = scale ** 2 * (torch.linalg.vecdot(t, t) / t.shape[3] - mean ** 2)
        return (self.slope * self.unit).sum(2)[:, None] * (3 * moved ** 2 - square) - 2 * moved * sloped

    def push(self, t: Tensor) -> Tensor:
        """What becomes of t: [B, k, C, L]."""
        centred = self.scale[:, None, :, None] * (t - t.mean(3, keepdim=True))
        return self.gain * (centred - self.unit[:, None] * self._moved(t)[..., None])

    def _moved(self, t: Tensor) -> Tensor:
        return self.scale[:, None] * _along(t, self.unit) / t.shape[3]


def _along(t: Tensor, v: Tensor) -> Tensor:
    """[B, k, C]: t [B, k, C or 1, L] · v [B, C, L]."""
    return t[:, :, 0] @ v.transpose(1, 2) if t.shape[2] == 1 else torch.linalg.vecdot(t, v[:, None])


class Bends:
    """The norms' share of the curvature of a network in sequence, at images x with labels y."""

    def __init__(self, module: nn.Module, x: Tensor, y: Tensor):
        self.parts, values = in_sequence(module), [x.detach().requires_grad_()]
        with torch.enable_grad():
            for part in self.parts:
                values.append(part(values[-1]))
            loss = F.cross_entropy(values[-1], y, reduction="sum")
        self.inputs = {part: v.detach() for part, v in zip(self.parts, values)}
        norms = {part: v for part, v in zip(self.parts, values[1:]) if _is_norm(part)}
        slopes = torch.autograd.grad(loss, list(norms.values())) if norms else ()
        self.norms = {part: Norm.at(part, self.inputs[part], slope) for part, slope in zip(norms, slopes)}
        self.last = max((k for k, part in enumerate(self.parts) if part in norms), default=-1)
        with warnings.catch_warnings():  # torch loads what its forward mode needs at first use, by its old compiler
            warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated")
            jvp(torch.sin, (torch.zeros(()),), (torch.ones(()),))

    def of(self, layer: nn.Module, a: Tensor, kept: Tensor) -> Tensor:
        """float64 [O, F] for a layer of the sequence with unfolded input a [B, F, L], right where ``kept``."""
        found = torch.zeros(kept.shape, dtype=torch.float64, device=kept.device)
        tail = self.parts[self.parts.index(layer) + 1:self.last + 1] if self.norms else []
        if not tail or not bool(kept.any()):
            return found
        convs = [k for k, part in enumerate(tail) if isinstance(part, nn.Conv2d)]
        own, rest = tail[:convs[0]] if convs else tail, tail[convs[0]:] if convs else []
        side = self.inputs[tail[0]]
        for f in kept.any(0).nonzero().squeeze(1).split(products_at_once(a.device, side.numel())):
            t, bent = self._walk(a[:, f].unflatten(2, side.shape[2:]).unsqueeze(2), own)  # alike in all channels
            found[:, f] += bent.sum(0).T.double()
            if rest:
                t, pairs = t.expand(-1, -1, len(kept), -1, -1), kept[:, f].T.nonzero()
                after = self.inputs[rest[1]]
                for e, o in (p.unbind(1) for p in pairs.split(products_at_once(a.device, after.numel()))):
                    _, bent = self._walk(_spread(rest[0], t[:, e, o], o), rest[1:])
                    found[o, f[e]] += bent.sum((0, 2)).double()
        return found

    def _walk(self, t: Tensor, parts: Sequence[nn.Module]) -> tuple[Tensor, Tensor]:
        """Directions [B, k, C, H, W] after these parts, and how the loss bends in them: [B, k, C], or zero."""
        bent = t.new_zeros(1, 1, 1)
        for part in parts:
            value = self.inputs[part]
            if norm := self.norms.get(part):
                bent = bent + norm.bend(t.flatten(3))
            if part is self.parts[self.last]:
                break
            if norm:
                t = norm.push(t.flatten(3)).unflatten(3, value.shape[2:])
            else:
                t = t.expand(-1, -1, value.shape[1], -1, -1)
                t = vmap(lambda d, part=part, value=value: jvp(part, (value,), (d,))[1], 1, 1)(t)
        return t, bent


def _spread(conv: Any, t: Tensor, channels: Tensor) -> Tensor:
    """What a convolution makes of k directions [B, k, H, W], each in one input channel: [B, k, O, H', W']."""
    weight = conv.weight.transpose(0, 1)[channels].flatten(0, 1).unsqueeze(1)
    out = F.conv2d(t, weight, None, conv.stride, conv.padding, conv.dilation, len(channels))
    return out.unflatten(1, (len(channels), -1))
