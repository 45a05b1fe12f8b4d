"""Norm, ReLU and pool as one operation: what PyTorch's three give, and used where it can be."""

import logging

import pytest
import torch
import torch.nn.functional as F
from helpers import QUICK, apart, identical, made_up, random_masks, start
from torch import Tensor, nn

from lmcnb import Net
from lmcnb.kernel import fused
from lmcnb.kernel.fused import convolution, convolution_norm_relu_pool, kernel_gradient, norm_relu_pool
from lmcnb.kernel.layers import fuse, fuses, is_strided_pointwise, quicken, quickens
from lmcnb.kernel.step import layout_of
from lmcnb.kernel.training import evaluate, fit

DATA = made_up(64, 10)
NET = Net(name="convnet1", channels=1, size=8, width=20)

if fused.library() is None:
    pytest.skip("no C++ compiler here", allow_module_level=True)


def three(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.avg_pool2d(F.relu(F.group_norm(x, len(weight), weight, bias)), 2)


def inputs(shape: tuple[int, ...], dtype: torch.dtype) -> list[Tensor]:
    torch.manual_seed(1)
    x, weight, bias = torch.randn(shape).to(dtype), torch.randn(shape[1]), torch.randn(shape[1])
    return [t.requires_grad_() for t in (x, weight, bias)]


@pytest.mark.parametrize("shape", [(3, 32, 16, 16), (2, 21, 8, 8), (2, 7, 9, 5), (1, 8, 3, 3)], ids=str)
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 2e-5), (torch.bfloat16, 3e-2)], ids=str)
def test_it_equals_the_three_operations_and_their_gradients(shape: tuple[int, ...], dtype: torch.dtype, near: float):
    mine = inputs(shape, dtype)
    theirs = [t.detach().double().requires_grad_() for t in mine]
    out, wanted = norm_relu_pool(*mine), three(*theirs)
    assert out.dtype == dtype and out.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(out.double(), wanted, rtol=near, atol=near)
    upstream = torch.randn_like(out)
    found = torch.autograd.grad(out, mine, upstream)
    for got, want in zip(found, torch.autograd.grad(wanted, theirs, upstream.double())):
        assert (got.double() - want).norm() <= near * want.norm()


def convolved(shape: tuple[int, ...], outputs: int) -> list[Tensor]:
    """Images, kernel and bias of a convolution, weight and bias of its norm."""
    torch.manual_seed(2)
    kernel = torch.randn(outputs, shape[1], 3, 3) / 3
    return [t.requires_grad_() for t in (torch.randn(shape), kernel, *torch.randn(3, outputs))]


SHAPES = [((3, 3, 32, 32), 32), ((11, 16, 8, 8), 20), ((2, 5, 9, 7), 7), ((1, 2, 300, 2), 16), ((9, 1, 2, 3), 40)]


@pytest.mark.parametrize(("shape", "outputs"), SHAPES, ids=str)
def test_with_a_convolution_before_them_it_equals_the_four_operations_and_their_gradients(shape, outputs):
    mine = convolved(shape, outputs)
    theirs = [t.detach().double().requires_grad_() for t in mine]
    out, wanted = convolution_norm_relu_pool(*mine), three(F.conv2d(*theirs[:3], padding=1), *theirs[3:])
    torch.testing.assert_close(out.double(), wanted, rtol=2e-5, atol=2e-5)
    upstream = torch.randn_like(out)
    found = torch.autograd.grad(out, mine, upstream)
    for got, want in zip(found, torch.autograd.grad(wanted, theirs, upstream.double())):
        assert (got.double() - want).norm() <= 2e-5 * want.norm() + 1e-12  # that of the convolution's bias is zero


def test_a_first_layer_has_the_gradients_of_any_other():
    """Nobody asks for its images'; a convolution may have no bias."""
    leaves = convolved((5, 3, 8, 8), 32)
    image, kernel, offset, weight, bias = leaves
    found = torch.autograd.grad(convolution_norm_relu_pool(*leaves).sum(), leaves)
    first = convolution_norm_relu_pool(image.detach(), kernel, offset, weight, bias).sum()
    assert all(map(torch.equal, torch.autograd.grad(first, leaves[1:]), found[1:]))
    bare = convolution_norm_relu_pool(image, kernel, None, weight, bias).sum()
    for got, want in zip(torch.autograd.grad(bare, [image, kernel, weight, bias]), (*found[:2], *found[3:])):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


def test_any_layout_and_any_number_of_threads_give_the_same_bits():
    x, weight, bias = inputs((5, 9, 8, 8), torch.float32)
    leaves = convolved((13, 9, 8, 8), 18)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            for layout in (torch.contiguous_format, torch.channels_last):
                out = norm_relu_pool(x.contiguous(memory_format=layout), weight, bias)
                results.append([out, *torch.autograd.grad(out.sum(), [x, weight, bias])])
                after = convolution_norm_relu_pool(*(t.contiguous(memory_format=layout) if t.ndim == 4 else t
                                                     for t in leaves))
                results[-1] += [after, *torch.autograd.grad(after.sum(), leaves)]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other))


def test_what_is_not_a_number_stays_so():
    x = torch.full((1, 3, 4, 4), torch.nan)
    for dtype in (torch.float32, torch.bfloat16):
        assert norm_relu_pool(x.to(dtype), torch.ones(3), torch.zeros(3)).isnan().all()
    leaves = convolved((2, 3, 4, 4), 8)
    leaves[0].data[0] = torch.nan
    out = convolution_norm_relu_pool(*leaves)
    gkernel = torch.autograd.grad(out.sum(), leaves[1])[0]
    assert out[0].isnan().all() and not out[1].isnan().any() and gkernel.isnan().all()


@pytest.mark.parametrize("layers", [
    [nn.GroupNorm(2, 4), nn.ReLU(), nn.AvgPool2d(2)], [nn.GroupNorm(4, 4, affine=False), nn.ReLU(), nn.AvgPool2d(2)],
    [nn.GroupNorm(4, 4), nn.GELU(), nn.AvgPool2d(2)], [nn.GroupNorm(4, 4), nn.ReLU(), nn.AvgPool2d(3)],
    [nn.GroupNorm(4, 4), nn.ReLU(), nn.AvgPool2d(2, padding=1)], [nn.GroupNorm(4, 4), nn.ReLU(), nn.MaxPool2d(2)],
    [nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2)], [nn.GroupNorm(4, 4), nn.ReLU()],
], ids=str)
def test_other_layers_are_left_alone(layers: list[nn.Module]):
    assert fuse(nn.Sequential(*layers)) == 0


def test_a_fused_network_has_the_names_and_the_function_of_the_plain_one():
    plain, other = (Net(width=8).module() for _ in range(2))
    other.load_state_dict(plain.state_dict())
    assert fuse(other) == 3 and other.state_dict().keys() == plain.state_dict().keys()
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(other(x), plain(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(other.double()(x.double()), plain.double()(x.double()))


def test_the_fused_step_equals_the_loop_and_keeps_pruned_weights_zero():
    params, buffers = start(NET, 0, 1)
    masks = random_masks(NET, params)
    loop, mine = (fit(NET, params, buffers, DATA, QUICK.but(augment="cifar", cutmix=0.5), [0, 1], masks, strategy=s)
                  for s in ("loop", "fused"))
    assert apart(loop.params, mine.params) < 1e-4 and apart(loop.params, params) > 1e-2
    assert all((mine.params[n][~m] == 0).all() for n, m in masks.items())
    again = fit(NET, params, buffers, DATA, QUICK.but(augment="cifar", cutmix=0.5), [0, 1], masks, strategy="fused")
    assert identical(again.params, mine.params)


def test_the_fused_score_equals_the_loop():
    plain, mine = (evaluate(NET, *start(NET, 0, 1), DATA, strategy=s) for s in ("loop", "fused"))
    torch.testing.assert_close(plain.loss, mine.loss, rtol=1e-5, atol=1e-6)
    assert torch.equal(plain.error, mine.error)


def test_without_a_compiler_that_works_nothing_is_fused(monkeypatch, tmp_path, caplog):
    fused.library.cache_clear()
    fuses.cache_clear()
    monkeypatch.setattr(fused, "cache_root", lambda: tmp_path)
    monkeypatch.setenv("CXX", "false")
    try:
        with caplog.at_level(logging.WARNING):
            assert not fuses(NET)
        assert "no fused kernel" in caplog.text and not list(tmp_path.rglob("*.so"))
    finally:
        fused.library.cache_clear()
        fuses.cache_clear()


def test_no_strided_pointwise_convolution_has_the_channels_last():
    resnet, bf16 = Net(name="resnet10", width=4), QUICK.but(precision="bf16")
    for layers, layout in ((fuse, torch.contiguous_format), (quicken, torch.channels_last)):
        assert layout_of(resnet, bf16, layers) == layout
        assert layout_of(Net(name="convnet2", width=4), bf16, layers) == torch.channels_last
    assert layout_of(NET, QUICK, None) == torch.contiguous_format


@pytest.mark.parametrize(("shape", "outputs"), [*SHAPES, ((19, 8, 4, 4), 24), ((2, 16, 1, 1), 3)], ids=str)
def test_a_convolution_has_pytorchs_gradients(shape: tuple[int, ...], outputs: int):
    mine = convolved(shape, outputs)[:3]
    theirs = [t.detach().double().requires_grad_() for t in mine]
    out, wanted = convolution(*mine), F.conv2d(*theirs, padding=1)
    torch.testing.assert_close(out.double(), wanted, rtol=1e-5, atol=1e-5)
    upstream = torch.randn_like(out)
    gradients = torch.autograd.grad(wanted, theirs, upstream.double())
    for got, want in zip(torch.autograd.grad(out, mine, upstream), gradients):
        assert (got.double() - want).norm() <= 1e-5 * want.norm()
    alone = torch.autograd.grad(convolution(*mine[:2]), mine[1], upstream.contiguous())[0]  # no bias, another layout
    assert torch.equal(alone, torch.autograd.grad(convolution(*mine), mine[1], upstream)[0])


def test_a_kernels_gradient_has_the_same_bits_with_any_number_of_threads():
    image, kernel, grad = torch.randn(21, 17, 4, 4), torch.randn(33, 17, 3, 3), torch.randn(21, 33, 4, 4)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(kernel_gradient(image, grad, kernel))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*found)
    grad[20, :, 3, 3] = torch.nan
    assert kernel_gradient(image, grad, kernel)[:, :, 0].isnan().all()


def test_a_quickened_network_has_the_names_the_function_and_the_gradients_of_the_plain_one():
    net = Net(name="resnet10", width=8)
    plain, other = (net.module() for _ in range(2))
    other.load_state_dict(plain.state_dict())
    assert quicken(other) == 3 + 3 and quickens(net) and other.state_dict().keys() == plain.state_dict().keys()
    assert any(map(is_strided_pointwise, plain.modules())) and not any(map(is_strided_pointwise, other.modules()))
    x, results = torch.randn(4, 3, 16, 16), []
    for module in (plain, other):
        out = module(x)
        results.append([out, *torch.autograd.grad(out.square().sum(), list(module.parameters()))])
    for want, got in zip(*results):
        assert (got - want).norm() <= 1e-3 * want.norm()
    torch.testing.assert_close(other.double()(x.double()), plain.double()(x.double()))
