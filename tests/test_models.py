"""The networks: their prunable counts, the sizes they take, and how they start."""

import hashlib

import pytest
import torch
from helpers import BATCHNORM, NET, identical, module
from torch import nn

from lmcnb import Net, register_model
from lmcnb.kernel.step import caller
from lmcnb.models import MODELS, initialise


@pytest.mark.parametrize(("net", "count"), [
    (Net(name="convnet3"), 318_848),
    (Net(name="convnet3", classes=100), 503_168),
    (Net(name="resnet10"), 1_226_080),
    (Net(name="resnet18"), 2_792_800),
    (Net(name="resnet10-imagenet", size=224), 4_905_152),
], ids=lambda v: f"{v.name}-{v.classes}" if isinstance(v, Net) else "")
def test_prunable_weights_are_as_many_as_the_papers(net: Net, count: int):
    assert net.count() == count


def test_prunable_are_all_convolutions_and_linear_layers_and_nothing_else():
    module = BATCHNORM.build()
    weights = {n for n, p in module.named_parameters() if p.ndim >= 2}
    assert set(BATCHNORM.prunable) == weights
    owners = [module.get_submodule(n.removesuffix(".weight")) for n in BATCHNORM.prunable]
    assert any(isinstance(m, nn.Linear) for m in owners)


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"vit"}))  # which tests/test_vit.py holds
@pytest.mark.parametrize(("channels", "size", "classes"), [(1, 64, 3), (4, 96, 7)])
def test_every_model_takes_other_sizes_channels_and_classes(name: str, channels: int, size: int, classes: int):
    net = Net(name=name, channels=channels, size=size, classes=classes, width=2)
    params, buffers = initialise(net, 0)
    logits = caller(net, True)(params, buffers, torch.randn(2, channels, size, size))
    assert logits.shape == (2, classes) and bool(logits.isfinite().all())


def test_a_convnet_takes_sizes_that_do_not_halve_evenly():
    net = Net(name="convnet3", channels=1, size=13, classes=3, width=2)
    assert caller(net, False)(*initialise(net, 0), torch.randn(2, 1, 13, 13)).shape == (2, 3)


@pytest.mark.parametrize(("name", "size", "factor"), [
    ("resnet10", 9, 8), ("resnet18", 28, 8), ("resnet10-imagenet", 33, 32), ("resnetap10", 8, 32),
    ("convnet3", 7, 8)])
def test_a_size_that_a_network_cannot_take_is_named(name: str, size: int, factor: int):
    with pytest.raises(ValueError, match=rf"{name}.*size must be .*{factor}, got {size}"):
        Net(name=name, size=size).build()


def test_resnetap10_pools_where_a_resnet_strides_and_mixes_no_images():
    module = Net(name="resnetap10", size=64, width=4).build()
    assert {m.stride for m in module.modules() if isinstance(m, nn.Conv2d)} == {(1, 1)}
    assert not any(isinstance(m, nn.BatchNorm2d) for m in module.modules())
    everything = [m for _, m in module.named_modules(remove_duplicate=False)]
    assert sum(isinstance(m, nn.AvgPool2d) for m in everything) == 1 + 2 * 3  # the stem; body and shortcut


def test_an_unknown_model_lists_the_known_ones():
    with pytest.raises(ValueError, match="unknown model 'vgg'; known: .*convnet1, .*resnet10, .*resnetap10"):
        Net(name="vgg").build()


def test_a_model_can_be_added_and_changed(monkeypatch):
    monkeypatch.setattr("lmcnb.models.net.MODELS", dict(MODELS))
    register_model("linear", lambda net: nn.Sequential(nn.Flatten(), nn.Linear(net.size ** 2, net.classes)))
    net = Net(name="linear", channels=1, size=4, classes=3)
    assert (net.count(), net.prunable) == (48, ("1.weight",))
    assert caller(net, False)(*initialise(net, 0), torch.ones(2, 1, 4, 4)).shape == (2, 3)
    register_model("linear", lambda net: nn.Identity())  # a cell may be run again
    assert net.prunable == ()
    with pytest.raises(ValueError, match="'resnet10' is built in"):
        register_model("resnet10", lambda net: nn.Identity())


def test_building_makes_no_numbers():
    assert all(p.is_meta for p in NET.build().parameters())


@pytest.mark.parametrize("net", [Net(width=8), BATCHNORM, Net(name="resnetap10", size=64, width=4)],
                         ids=lambda n: n.name)
def test_a_network_starts_as_its_own_constructor_makes_it(net: Net):
    params, buffers = initialise(net, 0)
    torch.manual_seed(0)
    reference = MODELS[net.name](net)
    assert identical(params, {n: p.detach() for n, p in reference.named_parameters()})
    assert identical(buffers, dict(reference.named_buffers()))


@pytest.mark.parametrize(("net", "sha256"), [
    (Net(name="convnet3", width=32), "4f2758bd69d6e71a444a1ef91ed61ba3cb3a71a5655ae2142b85b409618b4f07"),
    (NET, "42bd3ee4279418c4f9d4cfb7deaf3ac0c6f93188940c3bb404991fd3e307ecac")], ids=("32", "4"))
def test_the_initial_weights_of_convnets_never_change(net: Net, sha256: str):
    values = b"".join(t.numpy().tobytes() for t in initialise(net, 7)[0].values())
    assert hashlib.sha256(values).hexdigest() == sha256


@pytest.mark.parametrize("net", [Net(name="resnet18"), Net(name="resnet10-imagenet", size=64),
                                 Net(name="resnetap10", size=64)], ids=lambda n: n.name)
def test_convolutions_of_resnets_start_as_in_the_released_code(net: Net):
    """Normal with standard deviation √(2 / (k · k · out)), 2.45 times PyTorch's for most 3 × 3 layers."""
    params, _ = initialise(net, 0)
    seen = 0
    for n in net.prunable:
        out, _, *kernel = params[n].shape if params[n].ndim == 4 else (0, 0)
        if params[n].numel() > 5000 and kernel:
            assert float(params[n].std()) == pytest.approx((2 / (kernel[0] * kernel[1] * out)) ** 0.5, rel=0.05)
            seen += 1
    assert seen > 5


def test_the_same_seed_gives_the_same_bytes_and_another_does_not():
    first, again, other = (initialise(NET, s)[0] for s in (0, 0, 1))
    assert identical(first, again)
    assert not any(torch.equal(first[n], other[n]) for n in NET.prunable)


def test_layers_of_one_shape_start_from_different_numbers():
    params, _ = initialise(NET, 0)
    same = [n for n in NET.prunable if params[n].shape == (4, 4, 3, 3)]
    assert len(same) == 2 and not torch.equal(params[same[0]], params[same[1]])


def test_no_global_random_number_is_used():
    before = torch.random.get_rng_state()
    initialise(BATCHNORM, 3)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_pure_function_equals_the_module():
    params, buffers = initialise(BATCHNORM, 0)
    x = torch.randn(4, 1, 8, 8)
    plain = module(BATCHNORM, params, buffers).eval()
    torch.testing.assert_close(caller(BATCHNORM, False)(params, buffers, x), plain(x), rtol=0, atol=0)
