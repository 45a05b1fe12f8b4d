"""What is left to the device: where indices and masks lie, which compiler is asked, what a CPU goes on from."""
import pytest
import torch
from helpers import NET, TRAIN, another, identical, made_up, networks, random_masks
from torch.overrides import TorchFunctionMode

from lmcnb import IDC, Images, Lab, Net
from lmcnb.distill.matching import real_batches
from lmcnb.kernel import compiling, fused, strategies
from lmcnb.kernel.recipe import seeded
from lmcnb.kernel.sizes import products_at_once
from lmcnb.lab.shelf import numbered
from lmcnb.lab.store import Store
from lmcnb.measure import hessian
from lmcnb.measure.diagonal_exact import exact_diagonal
from lmcnb.params import sent

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_a_gpu_takes_enough_hessian_products_at_once_to_be_busy():
    wide = 64 * 128 * 32 * 32
    assert products_at_once(CPU, wide) == 1 and products_at_once(GPU, wide) == 16


class Indices(TorchFunctionMode):
    """The devices that torch.arange and torch.eye are asked for."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (torch.arange, torch.eye):
            self.found.append((kwargs or {}).get("device"))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("pieces", [True, False])
@pytest.mark.parametrize("density", [0.05, 1.0])
def test_every_index_of_the_exact_diagonal_is_made_where_it_is_used(density: float, pieces: bool, monkeypatch):
    """On a GPU one that is made on the CPU is waited for."""
    monkeypatch.setattr("lmcnb.measure.diagonal_exact.is_piecewise", lambda _: pieces)
    images, network = made_up(8, 10), networks(NET, 0)
    sparse = network.masked(random_masks(NET, network.params, density=density))
    with Indices() as indices:
        exact_diagonal(sparse, images)
    assert indices.found and set(indices.found) == {CPU}


def test_masks_of_another_device_are_moved_to_the_weights():
    network = networks(NET, 0).to("meta")
    names = hessian.known(NET.prunable, network.params)
    found = hessian.flags(names, hessian.select(network.params, 0), hessian.select(networks(NET, 0).masks, 0))
    assert list(found) == list(names) and {m.device.type for m in found.values()} == {"meta"}


def test_compiling_is_asked_of_the_device_that_computes(monkeypatch, tmp_path):
    """Triton may be broken where a C++ compiler is at hand, and the other way round."""
    asked, wide = [], Net(width=32)

    def broken(function):
        def run(x):
            asked.append(x.device.type)
            if x.device.type != "cpu":
                raise RuntimeError("no Triton")
        return run
    monkeypatch.setattr(compiling, "compiled", broken)
    monkeypatch.setattr(fused, "cache_root", lambda: tmp_path)
    strategies.can_compile.cache_clear()
    try:
        assert strategies.compiles(wide) and not strategies.compiles(wide, "meta")
        assert not strategies.compiles(NET, "meta"), "tiny"
        assert asked == ["cpu", "meta"]
    finally:
        strategies.can_compile.cache_clear()


def test_matching_compiles_only_where_the_pixels_device_can(monkeypatch):
    from cuda_emulation import meta_images

    from lmcnb.models import initialise

    asked, net = [], Net(channels=1, size=8, width=2, classes=4)
    monkeypatch.setattr("lmcnb.distill.idc.differentiated", lambda net, on, _: asked.append(on.type) or "loop")
    monkeypatch.setattr("lmcnb.distill.matching.compile_apart", lambda _: pytest.fail("compiled all the same"))
    IDC(ipc=1, outer=2000).sweep(meta_images(net), net, initialise(net, 0, "meta")[0],
                                 torch.empty(4, 1, 1, 8, 8, device="meta"), seeded(0))
    assert asked == ["meta"]


def test_a_checkpoint_of_another_device_goes_on_here(lab: Lab, tmp_path, monkeypatch):
    """What its note says of a way of running is not asked."""
    save, saved = Store.save_checkpoint, []
    monkeypatch.setattr("lmcnb.kernel.recipe.SEGMENT", 5)
    monkeypatch.setattr("lmcnb.lab.job.CHECKPOINT_SECONDS", 0)

    def interrupted(self, key, tensors, note):
        save(self, key, tensors, note | {"strategy": "graph", "device": "cuda:0"})
        saved.append(key)
        raise KeyboardInterrupt
    monkeypatch.setattr(Store, "save_checkpoint", interrupted)
    with pytest.raises(KeyboardInterrupt):
        lab.get(TRAIN)
    monkeypatch.setattr(Store, "save_checkpoint", save)
    whole = Lab("cpu", tmp_path / "whole", progress=False).get(TRAIN)
    assert saved and identical(another(lab).get(TRAIN).tensors, whole.tensors)


def test_a_gpu_is_sent_pinned_memory_and_nobody_waits(monkeypatch):
    calls, x = [], torch.arange(3)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda t: calls.append("pinned") or t)
    monkeypatch.setattr(torch.Tensor, "to", lambda t, device, **how: calls.append((str(device), how)) or t)
    sent(x, "cuda:1")
    sent(x, CPU)
    assert calls == ["pinned", ("cuda:1", {"non_blocking": True}), ("cpu", {})]


def test_real_images_of_all_classes_go_to_the_device_in_one_piece(monkeypatch):
    train, calls = made_up(41, 4), []
    uneven = Images(train.x, (torch.arange(41) ** 2 // 420).clamp_max(3), train.mean, train.std, 4)
    assert len({len(i) for i in uneven.by_class}) > 1
    generator = seeded(0)  # as they were drawn class by class
    each = [i[torch.randint(len(i), (6,), generator=generator)] for i in uneven.by_class]
    monkeypatch.setattr("lmcnb.distill.matching.sent", lambda t, device: calls.append(t.shape) or t)
    assert torch.equal(real_batches(uneven, 6, seeded(0)), torch.stack(each)) and calls == [(4, 6)]


def test_one_gpu_has_one_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert Lab("cuda", progress=False).device == numbered(torch.device("cuda:1")) == torch.device("cuda:1")
    assert numbered(CPU) == CPU
