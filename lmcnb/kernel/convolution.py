"""Convolutions whose gradients have gradients of their own, each an ordinary convolution.

torch's second derivative makes convolutions with kernels of images' size, and one that nobody asked for: the weight's
gradient of an input's gradient. By hand each is one of the three that a first derivative needs, too.
"""
from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Geometry = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]  # stride, padding, dilation, groups


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return F.conv2d(x, weight, bias, *geometry)

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, weight = ctx.saved_tensors
        by_x, by_weight, by_bias, _ = ctx.needs_input_grad
        return (_InputGradient.apply(grad, x, weight, ctx.geometry) if by_x else None,
                _WeightGradient.apply(x, grad, weight, ctx.geometry) if by_weight else None,
                grad.sum((0, 2, 3)) if by_bias else None, None)


class _InputGradient(torch.autograd.Function):
    """Depends on the output's gradient and on the weight; of x on the shape and layout alone."""

    @staticmethod
    def forward(ctx, grad: Tensor, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(grad, weight)
        ctx.geometry = geometry
        return _backward(grad, x, weight, geometry, 0)

    @staticmethod
    @once_differentiable
    def backward(ctx, by_x: Tensor):
        grad, weight = ctx.saved_tensors
        by_grad, _, by_weight, _ = ctx.needs_input_grad
        return (F.conv2d(by_x, weight, None, *ctx.geometry) if by_grad else None, None,
                _backward(grad, by_x, weight, ctx.geometry, 1) if by_weight else None, None)


class _WeightGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, grad: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(x, grad)
        ctx.geometry = geometry
        return _backward(grad, x, weight, geometry, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx, by_weight: Tensor):
        x, grad = ctx.saved_tensors
        by_x, by_grad, *_ = ctx.needs_input_grad
        return (_backward(grad, x, by_weight, ctx.geometry, 0) if by_x else None,
                F.conv2d(x, by_weight, None, *ctx.geometry) if by_grad else None, None, None)


def _backward(grad: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, which: int) -> Tensor:
    """The gradient of a convolution by x (0), whose numbers it does not read, or by the weight (1), likewise."""
    stride, padding, dilation, groups = geometry
    wanted = [which == 0, which == 1, False]
    return torch.ops.aten.convolution_backward(grad, x, weight, None, stride, padding, dilation, False, [0, 0], groups,
                                               wanted)[which]


def weight_gradient(x: Tensor, shape: torch.Size, grad: Tensor, geometry: Geometry) -> Tensor:
    """``torch.nn.grad.conv2d_weight``: the gradient by a weight of that shape [O, I, h, w]."""
    weight = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)  # for its shape and layout
    return _WeightGradient.apply(x, grad, weight, geometry)


def install(module: nn.Module) -> None:
    """Makes every convolution of the module one of these, but for those that pad otherwise than with some zeros."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
            geometry = layer.stride, layer.padding, layer.dilation, layer.groups
            layer._conv_forward = partial(_convolved, geometry)  # pyright: ignore[reportAttributeAccessIssue]


def _convolved(geometry: Geometry, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return _Convolution.apply(x, weight, bias, geometry)
