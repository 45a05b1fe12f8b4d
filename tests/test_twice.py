"""Gradients of gradients as a CPU takes them: of the fused operation and of convolutions, and in every method."""
import pytest
import torch
import torch.nn.functional as F
from helpers import QUICK, apart, double
from tiny_methods import DATA, DSA_TINY, IDC_TINY, THREE

from lmcnb import IDC, Net, RandomReal
from lmcnb.distill.base import mix
from lmcnb.distill.dm import matcher as dm_matcher
from lmcnb.distill.matching import real_batches, shared_draws
from lmcnb.distill.mtt import _fused_steps, _steps
from lmcnb.kernel import fused
from lmcnb.kernel.augment import AUGMENTS, draw
from lmcnb.kernel.convolution import install, weight_gradient
from lmcnb.kernel.fused import norm_relu_pool
from lmcnb.kernel.inside import by_autograd, class_gradients
from lmcnb.kernel.recipe import seeded
from lmcnb.kernel.strategies import differentiated, mode
from lmcnb.lab.keys import execution
from lmcnb.models import initialise
from lmcnb.stages import Curvature, Distill, Train

if fused.library() is None:
    pytest.skip("no C++ compiler here", allow_module_level=True)


def three(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return F.avg_pool2d(F.group_norm(x, len(weight), weight, bias).relu(), 2)


@pytest.mark.parametrize("shape", [(3, 32, 8, 8), (2, 21, 6, 7), (2, 3, 5, 4), (1, 8, 3, 3)], ids=str)
def test_the_second_derivative_of_the_fused_operation(shape: tuple[int, ...]):
    torch.manual_seed(0)
    drawn = torch.randn(shape), torch.randn(shape[1]), torch.randn(shape[1])
    upstream, found = torch.randn(shape[0], shape[1], shape[2] // 2, shape[3] // 2), []
    onto = [torch.randn_like(t) for t in drawn]
    for function, dtype in ((three, torch.float64), (norm_relu_pool, torch.float32)):
        leaves = [t.to(dtype).requires_grad_() for t in (*drawn, upstream)]
        first = torch.autograd.grad(function(leaves[0], leaves[1], leaves[2]), leaves[:3], leaves[3], create_graph=True)
        along = [t.to(dtype) for t in onto]
        found.append(torch.autograd.grad(first, [leaves[0], leaves[1], leaves[3]], along))
    for wanted, got in zip(*found, strict=True):
        assert (wanted - got).norm() <= 1e-5 * wanted.norm()


def test_going_backwards_a_third_time_is_refused():
    x, weight, bias = (torch.randn(s, generator=seeded(0)).requires_grad_() for s in ((1, 4, 4, 4), (4,), (4,)))
    value = norm_relu_pool(x, weight, bias).square().sum()
    for _ in range(2):
        value = torch.autograd.grad(value, x, create_graph=True)[0].square().sum()
    with pytest.raises(RuntimeError, match="once_differentiable"):
        value.backward()


@pytest.mark.parametrize("layer", [
    torch.nn.Conv2d(4, 6, 3, padding=1), torch.nn.Conv2d(4, 6, 3, stride=2, groups=2, bias=False),
    torch.nn.Conv2d(4, 4, (1, 3), dilation=2, padding=(0, 2)), torch.nn.Conv2d(4, 4, 3, padding="same"),
    torch.nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular")], ids=lambda layer: layer.extra_repr())
def test_convolutions_have_two_derivatives(layer: torch.nn.Conv2d):
    layer, x = layer.double(), torch.randn(2, 4, 5, 4, dtype=torch.float64, generator=seeded(0)).requires_grad_()
    wanted = layer(x)
    install(layer)
    assert torch.equal(layer(x), wanted)
    given = [x, *layer.parameters()]
    names = [n for n, _ in layer.named_parameters()]

    def call(x, *params):
        return torch.func.functional_call(layer, dict(zip(names, params, strict=True)), (x,))
    assert torch.autograd.gradcheck(call, given) and torch.autograd.gradgradcheck(call, given)


def test_the_gradient_by_a_weight_is_a_function_of_input_and_output_gradient():
    x, grad = (torch.randn(2, c, 5, 5, dtype=torch.float64, generator=seeded(c)).requires_grad_() for c in (3, 4))
    geometry = (1, 1), (1, 1), (1, 1), 1
    assert torch.autograd.gradcheck(lambda a, b: weight_gradient(a, torch.Size((4, 3, 3, 3)), b, geometry), [x, grad])


@pytest.mark.parametrize("method", [IDC_TINY, IDC_TINY.but(distance="l1"), DSA_TINY], ids=["l2", "l1", "cosine"])
@pytest.mark.parametrize(("dtype", "near"), [(torch.float64, 1e-9), (torch.float32, 2e-3)], ids=str)
def test_matching_is_the_same_by_plain_autograd(method, dtype: torch.dtype, near: float):
    train, params = double(DATA.train), double(initialise(THREE, 0)[0])
    pixels = mix(DATA.train, 2, method.factor, 0)
    wanted = method.sweep(train, THREE, params, pixels.double(), seeded(1), "loop")
    if dtype == torch.float32:
        train, params = DATA.train, initialise(THREE, 0)[0]
    with torch.no_grad():
        found = method.sweep(train, THREE, params, pixels.to(dtype), seeded(1), "fused")
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.dtype == dtype and not mine.requires_grad
        assert (mine - theirs).norm() <= near * theirs.norm()


@pytest.mark.parametrize(("dtype", "near"), [(torch.float64, 1e-9), (torch.float32, 1e-4)], ids=str)
def test_means_are_the_same_by_plain_autograd(dtype: torch.dtype, near: float):
    train, found = DATA.train, []
    params, buffers = initialise(THREE, 0)
    index, draws = real_batches(train, 6, seeded(0)), shared_draws("dsa_matching", train, seeded(1))
    for way, kind in (("loop", torch.float64), ("fused", dtype)):
        x, real = (torch.randn(3, n, 1, 8, 8, generator=seeded(n)).to(kind) for n in (2, index.shape[1]))
        given = {n: d.to(kind) if d.is_floating_point() else d for n, d in draws.items()}
        found.append(dm_matcher(THREE, 1, way)({n: p.to(kind) for n, p in params.items()}, buffers, x, real, given))
    for wanted, mine in zip(*found, strict=True):
        assert (mine - wanted).norm() <= near * wanted.norm()


@pytest.mark.parametrize(("dtype", "near"), [(torch.float64, 1e-9), (torch.float32, 2e-3)], ids=str)
def test_a_trajectory_is_walked_the_same_by_plain_autograd(dtype: torch.dtype, near: float):
    drawn = draw(AUGMENTS["dsa_single"], 1, 4, 8, seeded(1))
    draws = {n: t[0] for n, t in drawn.items()} | {"index": torch.tensor([0, 1, 2, 4])}
    found = []
    for steps, kind in ((_steps(THREE, False), torch.float64), (_fused_steps(THREE), dtype)):
        theta, towards = ({n: p.to(kind) for n, p in initialise(THREE, s)[0].items()} for s in (0, 1))
        x = torch.randn(6, 1, 8, 8, generator=seeded(0)).to(kind)
        given = x, torch.arange(6) % 3, {n: t.to(kind) if t.is_floating_point() else t for n, t in draws.items()}
        rate = torch.tensor(0.3, dtype=kind)
        then, (adjoint, gx, slope) = steps[0](theta, *given, rate), steps[1](theta, *given, rate, towards)
        found.append(({n: then[n].double() for n in then}, {n: adjoint[n].double() for n in adjoint}, gx, slope))
    for k in (0, 1):
        assert apart(found[1][k], found[0][k]) <= near
    for wanted, mine in zip(found[0][2:], found[1][2:], strict=True):
        assert not mine.requires_grad and (mine - wanted).norm() <= near * wanted.norm()


def test_what_does_not_need_a_second_derivative_gets_none():
    params, x, y = initialise(THREE, 0)[0], torch.randn(1, 4, 1, 8, 8), torch.zeros(1, 4, dtype=torch.int64)
    gradients = class_gradients(THREE, fused=True)
    assert not any(g.requires_grad for g in gradients(params, x, y))
    value = by_autograd(lambda p: (gradients(params, p, y)[0].square().sum(), p.sum()))(x)
    assert value[0].shape == x.shape and not value[1].requires_grad


def test_the_rule_asks_for_device_and_network_and_is_in_the_key_of_what_is_distilled():
    cpu, wide = torch.device("cpu"), Net(name="convnet3", width=16)
    assert differentiated(wide, cpu, False) == differentiated(wide, cpu, True) == "fused"
    assert differentiated(THREE, cpu, True) == "fused" and mode(THREE, cpu, True) == "fused twice", "tiny, too"
    assert mode(wide, cpu) == mode(wide, cpu, True).replace("fused twice", "fused blocks") != mode(wide, cpu, True)
    learned, chosen = (Distill(net=wide, dataset="digits", method=method) for method in (IDC(), RandomReal()))
    for what, distilled in ((Train(net=wide, recipe=QUICK), False), (learned, True), (chosen, False)):
        assert execution(what, cpu)["mode"] == mode(wide, cpu, distilled)


def test_a_gpu_that_cannot_compile_has_keys_of_its_own(monkeypatch: pytest.MonkeyPatch):
    gpu, wide = torch.device("cuda"), Net(name="convnet3", width=16)
    curvature = Curvature(net=wide, model=Train(net=wide, recipe=QUICK), diagonal="hutchinson")
    monkeypatch.setattr("lmcnb.kernel.strategies.can_compile", lambda device="cpu": True)
    able = [mode(wide, gpu), mode(wide, gpu, True), curvature.numerics(gpu)]
    monkeypatch.setattr("lmcnb.kernel.strategies.can_compile", lambda device="cpu": False)
    assert able == ["graph", "graph", ""] and mode(wide, gpu) == "graph", "what replays a graph needs no compiler"
    assert mode(wide, gpu, True) == "graph uncompiled" and curvature.numerics(gpu) == "uncompiled"
    assert mode(THREE, gpu, True) == "graph" and curvature.numerics(torch.device("cpu")) == "", "tiny; no GPU"
