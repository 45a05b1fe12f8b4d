"""Sparse networks of other codes: torch's pruning, zeros among weights, masks of other types."""
from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import lmcnb

DATA = lmcnb.load("digits").first(train=64, test=50)
RECIPE = lmcnb.Recipe(epochs=1, batch=32, augment="none", cutmix=0)


def plain(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10))


def pruned(seed: int = 0) -> nn.Module:
    module = plain(seed)
    prune.l1_unstructured(module[0], "weight", 0.5)
    prune.l1_unstructured(module[0], "weight", 0.25)  # twice: torch keeps a container of methods
    prune.random_unstructured(module[3], "weight", 0.9)
    return module


def test_pruned_biases_are_told_and_left():
    module = pruned()
    prune.l1_unstructured(module[0], "bias", 0.5)
    with pytest.warns(UserWarning, match="masks of 0.bias are left out"):
        found = lmcnb.Networks.of([module, plain(1)], DATA)
    assert list(found.masks) == ["0.weight", "3.weight"] and list(found.params)[:2] == ["0.weight", "0.bias"]
    assert int((found.params["0.bias"][0] == 0).sum()) == 2


def test_masks_are_the_networks_own():
    kept = torch.rand(4, 1, 3, 3) > 0.5
    found = lmcnb.Networks.of(plain(), DATA).masked({"0.weight": kept})
    kept[:] = False
    assert float(found.sparsity) < 0.1


def test_torchs_pruning_is_read_off_modules():
    first = pruned(0)
    first(DATA.train.normalised(slice(0, 2))).sum().backward()  # a product that is no leaf, which cannot be copied
    found = lmcnb.Networks.of([first, pruned(1)], DATA)
    assert list(found.params) == [n for n, _ in plain().named_parameters()]
    for k, module in enumerate((first, pruned(1))):
        assert torch.equal(found.masks["0.weight"][k], module[0].weight_mask.bool())
        assert torch.equal(found.params["3.weight"][k], module[3].weight)
    x = DATA.test.normalised(slice(0, 4))
    assert torch.equal(found.modules()[0](x), first(x))
    assert prune.is_pruned(first), "the module that was given stays as it is"
    after = found.train(DATA, RECIPE)
    assert bool((after.params["3.weight"][~after.masks["3.weight"]] == 0).all())


@pytest.mark.parametrize("net", [plain(), pruned()], ids=["plain", "pruned"])
@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": {f"module.{n}": t for n, t in s.items()}}],
                         ids=["as it is", "of a checkpoint"])
def test_torchs_pruning_is_read_off_state_dicts(net: nn.Module, wrap):
    modules = [pruned(0), plain(1)]  # one of them is dense
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = lmcnb.Networks.of([wrap(m.state_dict()) for m in modules], DATA, net=net)
    assert torch.equal(found.params["0.weight"][0], modules[0][0].weight)
    assert torch.equal(found.masks["3.weight"][0], modules[0][3].weight_mask.bool())
    assert bool(found.masks["3.weight"][1].all())


def test_zeros_among_weights_are_told_and_kept_where_it_is_said():
    module = pruned()
    for layer in (module[0], module[3]):
        prune.remove(layer, "weight")
    with pytest.warns(UserWarning, match="90% of 3.weight is exactly 0, and no masks are given.*masks='zeros'"):
        dense = lmcnb.Networks.of(module, DATA)
    assert float(dense.sparsity) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sparse = lmcnb.Networks.of(module, DATA, masks="zeros")
        again = lmcnb.Networks.of(module, DATA, masks={n: m[0].numpy() for n, m in sparse.masks.items()})
        lmcnb.Networks.of(plain(), DATA)
        empty = plain()
        nn.init.zeros_(empty[3].weight)  # a head may begin at zero: that is no pruning
        lmcnb.Networks.of(empty, DATA)
    assert torch.equal(sparse.masks["3.weight"][0], module[3].weight != 0)
    assert all(torch.equal(sparse.masks[n], again.masks[n]) for n in sparse.masks)


def test_masks_of_other_types_and_of_some_layers():
    start = lmcnb.Networks.of([plain(0), plain(1)], DATA)
    kept = torch.rand(4, 1, 3, 3) > 0.5
    wanted = start.masked({"0.weight": kept})
    for given in (kept.float(), kept.numpy(), kept.int()[None], np.stack([kept.numpy()] * 2)):
        found = start.masked({"0.weight": given})
        assert list(found.masks) == ["0.weight", "3.weight"]
        assert all(torch.equal(found.masks[n], wanted.masks[n]) for n in found.masks)
    share = float((~kept).sum()) / sum(m[0].numel() for m in start.masks.values())
    assert found.sparsity.tolist() == pytest.approx([share] * 2), "of all prunable weights, not of the given layer's"
    rounds = lmcnb.prune_iteratively(found, DATA, RECIPE, rounds=1)
    assert bool((rounds[-1].density["3.weight"] < 1).all()), "the layer without a mask is pruned from then on"


@pytest.mark.parametrize(("masks", "words"), [
    ([torch.ones(4)], "masks must be a dict.*got a list"),
    ({"0.weight": torch.rand(4, 1, 3, 3)}, "mask of '0.weight' must hold True and False, or 1 and 0"),
    ("zero", "or 'zeros'; got 'zero'"),
])
def test_masks_that_cannot_be_are_refused(masks, words: str):
    with pytest.raises(ValueError, match=words):
        lmcnb.Networks.of(plain(), DATA, masks=masks)


def test_one_shot_to_a_sparsity():
    start = lmcnb.Networks.of(plain(), DATA)
    once = lmcnb.prune_iteratively(start, DATA, RECIPE, rounds=1, sparsity=0.9)
    thrice = lmcnb.prune_iteratively(start, DATA, RECIPE, rounds=3, sparsity=0.9)
    assert len(once) == 2 and len(thrice) == 4
    for found in (once[-1], thrice[-1]):
        assert float(found.sparsity) == pytest.approx(0.9, abs=1e-3)
    assert copy.copy(start) is not start and float(start.sparsity) == 0


def test_networks_are_saved_whole_and_read_without_running_code(tmp_path):
    path = tmp_path / "mine.safetensors"
    for networks, net in ((lmcnb.Networks.of(pruned(), DATA).train(DATA, RECIPE), plain(5)),
                          (lmcnb.Networks.initialise(lmcnb.Net.of(DATA, "resnet10", 4), [3, 4]), None),
                          (lmcnb.Networks.initialise(lmcnb.ViT.of(DATA, width=8, depth=1, heads=2, patch=4)), None)):
        networks.save(path)
        again = lmcnb.Networks.load(path, net)
        assert (again.net, again.labels, again.step) == (networks.net, networks.labels, networks.step)
        for kind in ("params", "buffers", "masks"):
            ours, theirs = getattr(networks, kind), getattr(again, kind)
            assert ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)
        assert torch.equal(again.evaluate(DATA.test).loss, networks.evaluate(DATA.test).loss)
    lmcnb.Networks.of(pruned(), DATA).save(path)
    with pytest.raises(ValueError, match="holds networks of Sequential-.*: net's weights have other names or shapes"):
        lmcnb.Networks.load(path, nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    assert type(lmcnb.Networks.load(path).net) is type(lmcnb.Networks.of(pruned(), DATA).net), "known in this process"
    changed = nn.Sequential(*plain(), nn.Identity())
    with pytest.warns(UserWarning, match="its code differs"):
        assert float(lmcnb.Networks.load(path, changed).sparsity) > 0.5
    with pytest.raises(ValueError, match="does not hold networks that Networks.save wrote"):
        from safetensors.torch import save_file

        save_file(plain().state_dict(), path)
        lmcnb.Networks.load(path)
