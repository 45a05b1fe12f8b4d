"""Matching: gradients and means against the plain loop, class by class and layer by layer, that they stand for."""

import pytest
import torch
import torch.nn.functional as F
from helpers import BATCHNORM, apart, double, module
from tiny_methods import AP, CHOSEN, DATA, DC_TINY, DM_TINY, DSA_TINY, EARLY_TINY, IDC_TINY, THREE
from torch import nn

from lmcnb import (
    IDC,
    Net,
    register_model,
)
from lmcnb.distill import decode
from lmcnb.distill.base import mix, real_pixels
from lmcnb.distill.dm import matcher as dm_matcher
from lmcnb.distill.early import perturbed
from lmcnb.distill.matching import matcher as idc_matcher
from lmcnb.distill.matching import sweep
from lmcnb.kernel.augment import AUGMENTS, apply
from lmcnb.kernel.inside import class_gradients
from lmcnb.kernel.recipe import seeded
from lmcnb.kernel.step import State
from lmcnb.models import MODELS, initialise
from lmcnb.params import stack


@pytest.mark.parametrize("linear", [False, True], ids=["convolutions", "linear too"])
@pytest.mark.parametrize("net", [THREE, AP], ids=lambda n: n.name)
def test_class_gradients_equal_one_autograd_call_a_class(net: Net, linear: bool):
    params = double(initialise(net, 0)[0])
    x, y = torch.randn(3, 4, 1, net.size, net.size).double(), torch.arange(3)[:, None].expand(3, 4)
    found = class_gradients(net, linear)(params, x, y)
    model = module(net, params, {})
    kinds = (torch.nn.Conv2d, torch.nn.Linear) if linear else torch.nn.Conv2d
    weights = [m.weight for m in model.modules() if isinstance(m, kinds)]
    assert len(found) == len(weights)
    for c in range(3):
        expected = torch.autograd.grad(F.cross_entropy(model(x[c]), y[c]), weights)
        for mine, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(mine[c], theirs, atol=1e-10, rtol=1e-10)


class Winding(nn.Module):
    """Layers defined in another order than they run in, one that runs twice, two of one weight, all kinds of padding,
    a linear layer on tokens."""

    def __init__(self, net: Net):
        super().__init__()
        self.head = nn.Linear(4, net.classes)
        self.twice = nn.Conv2d(4, 4, 3, padding="same")
        self.tokens = nn.Linear(4, 4)
        self.second = nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect", bias=False)
        self.twin = nn.Conv2d(4, 4, 3, stride=2, bias=False)
        self.twin.weight = self.second.weight
        self.unused = nn.Conv2d(1, 1, 1)
        self.first = nn.Conv2d(net.channels, 4, 3, padding=1)

    def forward(self, x):
        x = self.second(torch.relu(self.first(x)))
        x = self.twice(torch.sigmoid(self.twice(x)))
        x = self.tokens(torch.tanh(self.twin(x)).flatten(2).transpose(1, 2))
        return self.head(x.square().mean(1))


@pytest.fixture
def winding():
    register_model("winding-for-test", Winding)
    yield THREE.but(name="winding-for-test")
    MODELS.pop("winding-for-test")


def test_class_gradients_are_right_whatever_the_order_of_the_layers(winding: Net):
    model = Winding(winding).double()
    params = {n: p.detach() for n, p in model.named_parameters()}
    x, y = torch.randn(3, 4, 1, 8, 8, generator=seeded(0)).double(), torch.arange(3)[:, None].expand(3, 4)
    for linear, layers in ((False, "first second twice"), (True, "first second twice tokens head")):
        weights = [model.get_submodule(n).weight for n in layers.split()]
        found = class_gradients(winding, linear)(params, x, y)
        for c in range(3):
            expected = torch.autograd.grad(F.cross_entropy(model(x[c]), y[c]), weights)
            for mine, theirs in zip(found, expected, strict=True):
                torch.testing.assert_close(mine[c], theirs, atol=1e-10, rtol=1e-10)


def test_methods_run_on_such_a_network_and_say_what_they_need(winding: Net):
    for method in (IDC_TINY, DSA_TINY, DM_TINY):
        assert torch.isfinite(method.but(factor=1).distill(DATA, winding, 0).images).all()
    register_model("no-linear-for-test", lambda net: nn.Sequential(nn.Conv2d(1, net.classes, net.size), nn.Flatten()))
    try:
        for method in (DM_TINY, CHOSEN[1]):
            with pytest.raises(ValueError, match="last linear layer, and no-linear-for-test has none: take a convnet"):
                method.distill(DATA, THREE.but(name="no-linear-for-test"), 0)
    finally:
        MODELS.pop("no-linear-for-test")


def test_dm_under_batchnorm_normalises_over_all_classes_in_one_batch():
    net = BATCHNORM.but(classes=3)
    params, buffers = (double(d) for d in initialise(net, 0))
    x, real = torch.randn(3, 2, 1, 8, 8).double(), torch.randn(3, 6, 1, 8, 8).double()
    draws = {"affine": torch.eye(2, 3).expand(3, 1, 2, 3).clone().double(), "colour": torch.full((3, 1, 3), 0.5),
             "cutout": torch.full((3, 1, 2), -8)}
    before = {n: b.clone() for n, b in buffers.items()}
    grad, value = dm_matcher(net, 1, "loop")(params, buffers, x, real, draws)
    assert apart(buffers, before) == 0
    model, leaf = module(net, params, buffers).train(), x.clone().requires_grad_()
    model[-1][-1] = nn.Identity()
    ends = [model(v.flatten(0, 1)).unflatten(0, (3, -1)).mean(1) for v in (real, leaf)]
    total = (ends[0].detach() - ends[1]).square().sum()
    torch.testing.assert_close(value, total.detach(), atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(grad, torch.autograd.grad(total, leaf)[0], atol=1e-10, rtol=1e-8)
    assert torch.isfinite(DM_TINY.distill(DATA, net, 0).images).all()


def test_batchnorm_is_refused_before_any_matching():
    with pytest.raises(ValueError, match="resnet10 has BatchNorm: distill with a convnet or resnetap10"):
        class_gradients(BATCHNORM)
    for method in (IDC_TINY, DC_TINY):
        with pytest.raises(ValueError, match="BatchNorm"):
            method.distill(DATA, BATCHNORM.but(classes=3), 0)


@pytest.mark.parametrize("distance", ["l2", "l1"])
def test_the_idc_match_equals_a_plain_loop_over_classes(distance: str):
    method, train = IDC_TINY.but(distance=distance), double(DATA.train)
    params, pixels = double(initialise(THREE, 0)[0]), mix(DATA.train, 2, 2, 0).double()
    real, pick, draws = method._draw(train, seeded(1))
    assert pick.shape == (3, 5) and (train.y[real] == torch.arange(3)[:, None]).all()
    match = idc_matcher(THREE, 2, distance, "loop")
    grads, losses = match(params, pixels, real_pixels(train, real), pick, torch.arange(3)[:, None], draws, train.mean,
                          train.std)
    sweep = method.sweep(train, THREE, params, pixels, seeded(1))
    torch.testing.assert_close(sweep[0], grads, atol=1e-10, rtol=1e-9)  # one class at a time or all at once
    model = module(THREE, params, {})
    weights = [m.weight for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    for c in range(3):
        own, given = pixels[c].clone().requires_grad_(), {n: d[c] for n, d in draws.items()}

        def gradient(x: torch.Tensor, c=c, given=given):
            x = apply(AUGMENTS["match"], (x - 0.5) / 0.25, given)
            loss = F.cross_entropy(model(x), torch.full((len(x),), c))
            return torch.autograd.grad(loss, weights, create_graph=True)
        target = [g.detach() for g in gradient(train.x[real[c]])]
        apart_by = [a - b for a, b in zip(target, gradient(decode(own, 2)[pick[c]]), strict=True)]
        loss = sum(d.square().sum() if distance == "l2" else d.abs().sum() for d in apart_by)
        torch.testing.assert_close(losses[c], loss.detach(), atol=1e-10, rtol=1e-10)
        torch.testing.assert_close(grads[c], torch.autograd.grad(loss, own)[0], atol=1e-10, rtol=1e-8)


def test_an_idc_update_equals_one_optimiser_that_holds_all_classes():
    method, classes, sweeps = IDC(ipc=2, lr_image=0.3, momentum=0.6), 4, 5
    gradients = torch.randn(sweeps, classes, 2, 1, 3, 3, generator=seeded(0)).double()
    start = torch.randn(classes, 2, 1, 3, 3, generator=seeded(1)).double()
    pixels = torch.nn.Parameter(start.clone())
    optimiser = torch.optim.SGD([pixels], lr=0.3 * 2 / 10, momentum=0.6)
    seen = torch.empty(sweeps, classes, 2, 1, 3, 3).double()
    for s in range(sweeps):
        for c in range(classes):
            seen[s, c] = pixels.detach()[c]  # what the class looks like at its turn
            pixels.grad = torch.zeros_like(pixels)
            pixels.grad[c] = gradients[s, c]
            optimiser.step()
    mine, velocity = start, torch.zeros_like(start)
    for s in range(sweeps):
        torch.testing.assert_close(mine, seen[s], atol=1e-12, rtol=1e-12)
        mine, velocity = method.update(mine, velocity, gradients[s])


@pytest.mark.parametrize("factor", [1, 2])
def test_the_dm_gradient_equals_plain_autograd(factor: int):
    params, buffers = double(initialise(THREE, 0)[0]), {}
    x, real = torch.randn(3, 2, 1, 8, 8).double(), torch.randn(3, 6, 1, 8, 8).double()
    draws = {"affine": torch.eye(2, 3).expand(3, 1, 2, 3).clone(), "colour": torch.full((3, 1, 3), 0.5),
             "cutout": torch.tensor([[[0, 0]], [[-8, -8]], [[3, 2]]])}
    draws["colour"][1] = torch.tensor([0.9, 0.2, 0.7])
    grad, value = dm_matcher(THREE, factor, "loop")(params, buffers, x, real, draws)
    model, total = module(THREE, params, {})[:-1], 0
    leaf = x.clone().requires_grad_()
    for c in range(3):
        given = {n: d[c] for n, d in draws.items()}
        mean = [model(apply(AUGMENTS["dsa_matching"], i, given)).mean(0) for i in (real[c], decode(leaf[c], factor))]
        total = total + (mean[0].detach() - mean[1]).square().sum()
    torch.testing.assert_close(value, total.detach(), atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(grad, torch.autograd.grad(total, leaf)[0], atol=1e-10, rtol=1e-8)


def test_one_large_outer_drift_stays_in_range_and_moves_the_pixels():
    found = IDC_TINY.but(lr_image=500).distill(DATA, THREE, 0)
    assert float(found.images.min()) == 0 and float(found.images.max()) == 1
    assert not torch.equal(found.images.view(3, 2, 1, 8, 8), mix(DATA.train, 2, 2, 0))


def test_matching_brings_the_gradients_together():
    method = IDC_TINY.but(outer=1, inner=1, net_steps=0, lr_image=5)
    params, pixels = initialise(THREE, 0)[0], mix(DATA.train, 2, 2, 0)
    velocity, losses = torch.zeros_like(pixels), []
    for _ in range(20):
        grad, loss = method.sweep(DATA.train, THREE, params, pixels, seeded(0))  # one batch, one augmentation
        pixels, velocity = method.update(pixels, velocity, grad)
        losses.append(float(loss.sum()))
    assert losses[-1] < 0.7 * losses[0]


def test_the_cosine_match_equals_a_plain_loop_over_classes_layers_and_rows():
    method, train = DSA_TINY, double(DATA.train)
    params = double(initialise(THREE, 0)[0])
    x = torch.randn(3, 2, 1, 8, 8, generator=seeded(0)).double()
    real = torch.randn(3, 6, 1, 8, 8, generator=seeded(1)).double()
    draws = {"affine": torch.eye(2, 3).expand(3, 1, 2, 3).clone(), "colour": torch.full((3, 1, 3), 0.5),
             "cutout": torch.tensor([[[0, 0]], [[-8, -8]], [[3, 2]]])}
    draws["colour"][1] = torch.tensor([0.9, 0.2, 0.7])
    match = idc_matcher(THREE, 1, "cosine", "loop", method.augment, linear=True)
    grads, losses = sweep(match, params, x, real, torch.arange(2).expand(3, 2), draws, torch.zeros(1), torch.ones(1))
    model = module(THREE, params, {})
    weights = [p for p in model.parameters() if p.ndim >= 2]
    assert len(weights) == 4 and train.classes == 3
    for c in range(3):
        leaf, given = x[c].clone().requires_grad_(), {n: d[c] for n, d in draws.items()}

        def gradient(images: torch.Tensor, c=c, given=given):
            logits = model(apply(AUGMENTS["dsa_matching"], images, given))
            return torch.autograd.grad(F.cross_entropy(logits, torch.full((len(images),), c)), weights,
                                       create_graph=True)
        loss = 0
        for a, b in zip(gradient(real[c]), gradient(leaf), strict=True):
            for row in range(len(a)):
                one, other = a[row].flatten().detach(), b[row].flatten()
                loss = loss + 1 - one @ other / (one.norm() * other.norm() + 1e-6)
        torch.testing.assert_close(losses[c], loss.detach(), atol=1e-9, rtol=1e-9)
        torch.testing.assert_close(grads[c], torch.autograd.grad(loss, leaf)[0], atol=1e-9, rtol=1e-7)


def test_the_network_between_matches_is_trained_as_in_the_released_code():
    """One SGD optimiser a network, kept over all outer steps: DC's momentum is 0.5, DSA's 0, neither decays weights."""
    params = double(initialise(THREE, 0)[0])
    images = torch.randn(3, 2, 1, 8, 8, generator=seeded(0)).double()
    train = double(DATA.train)
    for method, momentum in ((DC_TINY, 0.5), (DSA_TINY.but(augment="none_matching"), 0.0)):
        model = module(THREE, params, {})
        optimiser = torch.optim.SGD(model.parameters(), lr=method.lr_net, momentum=momentum)
        network = State.start(stack([params]), {})
        for outer in range(3):
            network = method._train(THREE, network, train, images, f"0/{outer}")
            for _ in range(method.inner):  # the whole set is one batch
                optimiser.zero_grad()
                F.cross_entropy(model(images.flatten(0, 1)), torch.arange(3).repeat_interleave(2)).backward()
                optimiser.step()
        found = {n: p[0] for n, p in network.params.items()}
        assert apart(found, dict(model.state_dict())) < 1e-6
        assert apart(found, params) > 1e-3


def test_dc_trains_its_network_on_the_synthetic_images_between_matches():
    once = DC_TINY.but(iterations=1, outer=2)
    assert not torch.equal(once.distill(DATA, THREE, 0).images, once.but(inner=0).distill(DATA, THREE, 0).images)


def test_early_networks_are_trained_once_and_perturbed_anew_each_time():
    networks = EARLY_TINY.networks(DATA.train, THREE, 0)
    first, second, third = (networks(i).params for i in range(3))  # the third is the first again, elsewhere
    fresh = initialise(THREE, seeded("early", 0, 0).initial_seed())[0]
    assert not torch.equal(first["0.weight"][0], fresh["0.weight"])
    plain = EARLY_TINY.but(perturbation=0).networks(DATA.train, THREE, 0)
    assert apart(plain(0).params, plain(2).params) == 0 < apart(first, third)
    assert apart(plain(0).params, plain(1).params) > 0 < apart(first, second)
    moved, own = (first["0.weight"] - plain(0).params["0.weight"])[0], plain(0).params["0.weight"][0]
    torch.testing.assert_close(moved.flatten(1).norm(dim=1), 0.2 * own.flatten(1).norm(dim=1))
    assert torch.equal(perturbed(first, 0.0, seeded(0))["0.weight"], first["0.weight"])
