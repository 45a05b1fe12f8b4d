"""Weight matching against plain loops, networks whose units have moved, and what that makes of a path."""

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
import torch
from helpers import BATCHNORM, NET, TRAIN, identical, made_up, networks, random_masks
from permuting import Attention, ViT, Written, built, conv, drawn, several, with_batchnorm
from scipy.optimize import linear_sum_assignment
from torch import nn

from lmcnb import Connect, Dataset, Lab, Net, Networks, Recipe, path, register_model
from lmcnb.measure import aligned, carried, permuted, weight_matching
from lmcnb.models import MODELS, permutation_spec
from lmcnb.params import select
from lmcnb.stages import Layers

NOISE = Dataset("noise", made_up(64, 10), made_up(40, 10, seed=1))


@pytest.fixture(scope="module")
def trained(digits) -> dict[str, Networks]:
    """A pair of two initialisations each, with BatchNorm and with instance norm."""
    recipe = Recipe(epochs=3, batch=64, lr=0.05, augment="none", cutmix=0)
    pairs = {"batchnorm": several_of(with_batchnorm, 0, 1),
             "convnet": networks(Net.of(digits.train, "convnet2", width=16), 0, 1)}
    return {name: pair.train(digits, recipe) for name, pair in pairs.items()}


def several_of(kind: Callable[[], nn.Module], *seeds: int) -> Networks:
    """Networks of 8 × 8 pixels, each from its own initialisation."""
    return Networks.of(built(kind, *seeds), NOISE)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 9), nn.ReLU(), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 10))


def plain_matching(a: dict, b: dict, seed: int) -> list[np.ndarray]:
    """git-re-basin's loop for three linear layers, in numpy: two permutations."""
    weights, biases = ([[d[f"{k}.{kind}"].double().numpy() for k in (1, 3, 5)] for d in (a, b)]
                       for kind in ("weight", "bias"))
    found = [np.arange(9), np.arange(7)]
    generator, order, progress = torch.Generator().manual_seed(seed), [0, 1], True
    while progress:
        progress = False
        for p in order:
            before = np.arange(64) if p == 0 else found[0]
            after = np.arange(10) if p == 1 else found[1]
            alike = weights[0][p] @ weights[1][p][:, before].T + np.outer(biases[0][p], biases[1][p])
            alike += weights[0][p + 1].T @ weights[1][p + 1][after]
            best = linear_sum_assignment(alike, maximize=True)[1]
            rows = np.arange(len(best))
            progress |= alike[rows, best].sum() > alike[rows, found[p]].sum() + 1e-9
            found[p] = best
        order = torch.randperm(2, generator=generator).tolist()
    return found


@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_the_plain_loop(seed: int):
    both = several_of(mlp, *range(12))
    found = weight_matching(both[:6], both[6:], seed)
    for k in range(6):
        first, second = plain_matching(select(both.params, k), select(both.params, 6 + k), seed)
        assert found["1"][k].tolist() == first.tolist() and found["3"][k].tolist() == second.tolist()


def agreement(a: Networks, b: Networks) -> float:
    return sum(float((w.double() * b.params[n].double()).sum()) for n, w in a.params.items())


def test_of_one_layer_it_is_the_best_of_all_permutations():
    a, b = several_of(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, 10)), 0, 1)
    every = [agreement(a, permuted(b, {"1": torch.tensor(p)})) for p in permutations(range(4))]
    assert len(every) == 24 and agreement(a, aligned(a, b)) == pytest.approx(max(every), rel=1e-12)
    assert max(every) > agreement(a, b)


class Heads(nn.Module):
    """Of nothing but attention: two heads of two dimensions, patches in, classes out."""

    def __init__(self):
        super().__init__()
        self.attn = Attention(4, 2, out=10)

    def forward(self, x):
        return self.attn(x.flatten(1).view(len(x), 16, 4)).mean(1)


def test_of_heads_it_is_the_best_of_all_blocks_and_what_is_inside():
    a, b = several_of(Heads, 0, 1)
    inside = [[0, 1], [1, 0]]

    def whole(heads, first, second):
        return torch.tensor([2 * head + unit for head, units in zip(heads, (first, second)) for unit in units])
    every = [agreement(a, permuted(b, {"attn.qkv": whole(heads, q, p), "attn.qkv (2)": whole(heads, u, v)}))
             for heads, q, p, u, v in product(inside, repeat=5)]
    assert agreement(a, aligned(a, b)) == pytest.approx(max(every), rel=1e-12) and max(every) > agreement(a, b)


@pytest.mark.parametrize("make", [mlp, ViT, lambda: Written(lambda n, x: n.b(n.a(x)) + n.a(x), a=conv(1), b=conv())],
                         ids=["mlp", "vit", "a layer between its own units"])
def test_every_step_gains_and_the_same_seed_gives_the_same(make):
    a, b = several_of(make, 0, 1), several_of(make, 2, 3)
    found = weight_matching(a, b, seed=5)
    assert identical(found, weight_matching(a, b, seed=5))
    for k in range(2):
        assert agreement(a[k], permuted(b, found)[k]) >= agreement(a[k], b[k])
        alone = weight_matching(a[k], b[k], seed=5)
        assert all(torch.equal(p[0], found[n][k]) for n, p in alone.items()), "as if it were alone"


@pytest.mark.parametrize("kind", [NET.but(width=8), BATCHNORM.but(width=8),
                                  Net(name="resnetap10", channels=1, size=64, width=8)], ids=lambda n: n.name)
def test_a_permuted_copy_is_put_back_bit_for_bit(kind: Net):
    start = networks(kind, 0, 1)
    start = replace(start, buffers={n: torch.rand_like(t) + 0.5 if t.is_floating_point() else t
                                    for n, t in start.buffers.items()})
    moved = permuted(start, several(permutation_spec(kind), 3, 4))
    assert not identical(moved.params, start.params)
    back = aligned(start, moved)
    assert identical(back.params, start.params) and identical(back.buffers, start.buffers)


def test_a_path_to_a_permuted_copy_is_flat(trained, digits):
    data = digits.first(train=50, test=50)
    for a in (trained["convnet"][0], trained["batchnorm"][0]):
        b = permuted(a, drawn(permutation_spec(a.net)))
        assert float(path(a, b, data, [0, 0.5, 1]).barrier("test_loss")) > 0.1
        found = path(a, b, data, [0, 0.5, 1], align="weights")
        assert float(found.barrier("test_loss")) == float(found.barrier("train_loss")) == 0
        torch.testing.assert_close(b.evaluate(data.test).loss, found.test_loss[0, 2:], rtol=1e-5, atol=1e-6)


def test_masks_move_with_their_weights():
    start = networks(NET, 0)
    ticket = start.masked(random_masks(NET, start.params))
    moves = drawn(permutation_spec(NET))
    moved = permuted(ticket, moves)
    assert identical(permuted(start, moves).masked(moved.masks).params, moved.params)
    assert torch.equal(moved.sparsity, ticket.sparsity) and not identical(moved.masks, ticket.masks)
    other = networks(NET, 1)
    found = carried(ticket, moves, other)
    assert identical(found.masks, moved.masks) and found.labels == (1,)
    assert all(torch.equal(found.params[n], torch.where(m, other.params[n], 0)) for n, m in moved.masks.items())


def test_a_mask_of_a_permuted_copy_is_carried_back():
    start = networks(NET.but(width=8), 0)
    moved = permuted(start, drawn(permutation_spec(start.net)))
    ticket = moved.masked(random_masks(start.net, moved.params))
    found = carried(ticket, weight_matching(start, moved), start)
    assert identical(found.params, aligned(start, moved).masked(found.masks).params)
    assert identical(permuted(ticket, weight_matching(start, moved)).params, found.params)


def test_repair_lowers_the_barrier_of_networks_with_batchnorm(trained, digits):
    a, b = trained["batchnorm"]
    found = {(align, bn): path(a, b, digits, [0, 0.5, 1], align=align, bn=bn)
             for align in (None, "weights") for bn in ("lerp", "recalibrate")}
    error, loss = ({how: float(f.barrier(q)) for how, f in found.items()} for q in ("test_error", "test_loss"))
    assert error["weights", "recalibrate"] < 0.25 * error[None, "recalibrate"] < 0.25 * error[None, "lerp"]
    assert loss["weights", "recalibrate"] < 0.75 * loss["weights", "lerp"]


def test_without_batchnorm_there_is_nothing_to_re_estimate(trained, digits):
    a, b = trained["convnet"]
    apart, found, again = (path(a, b, digits, [0, 0.5, 1], align=align, bn=bn)
                           for align, bn in ((None, "lerp"), ("weights", "lerp"), ("weights", "recalibrate")))
    assert float(found.barrier("test_error")) < 0.5 * float(apart.barrier("test_error"))
    assert identical(found.tensors(), again.tensors())


def test_the_lab_measures_the_same(lab: Lab, digits):
    spec = Connect(net=NET, a=TRAIN, b=TRAIN.but(init=1), points=3, train_images=100, test_images=50, align="weights")
    found = path(lab.load(spec.a), lab.load(spec.b), digits.first(100, 50), [0, 0.5, 1], align="weights")
    assert identical(lab.get(spec).tensors, found.tensors())
    plain = spec.but(align=None)
    assert "align" not in plain.settings() and lab.key(plain) != lab.key(spec)
    rows = lab.table([spec, plain])
    assert len(rows.barriers()) == 2 and set(rows["align"].dropna()) == {"weights"}


def test_the_lab_asks_before_it_computes(lab: Lab):
    register_model("one layer for test", lambda net: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    try:
        train = TRAIN.but(net=Net(name="one layer for test", channels=1, size=8))
        for stage in (Connect, Layers):
            with pytest.raises(ValueError, match="nothing in one layer for test is known to be exchangeable"):
                lab.get(stage(net=train.net, a=train, b=train.but(init=1), align="weights"))
        assert not list(lab.store.root.rglob("result.json"))
    finally:
        MODELS.pop("one layer for test")


def test_what_cannot_be_matched_is_refused_in_a_sentence(monkeypatch):
    one, three = networks(NET, 0), networks(NET, 1, 2, 3)
    for other in (three, networks(NET.but(width=5), 0), networks(BATCHNORM, 0)):
        with pytest.raises(ValueError, match="between as many networks on either side, of one architecture; got"):
            weight_matching(one, other)
    with pytest.raises(ValueError, match="unknown align 'wieghts'; known: None, weights"):
        path(one, one, NOISE, align="wieghts")
    with pytest.raises(ValueError, match=r"convnet3 has no part 7 whose units change places; it has: 0, 4, 8"):
        permuted(one, {"7": torch.arange(4)})
    for wrong in (torch.arange(5), torch.tensor([0, 1, 2, 2])):
        with pytest.raises(ValueError, match="0 of convnet3 needs a permutation of its 4 units"):
            permuted(one, {"0": wrong})
    with pytest.raises(ValueError, match=r"attn.qkv and attn.qkv \(2\) of Heads-.* in the same whole blocks"):
        permuted(several_of(Heads, 0), {"attn.qkv": torch.tensor([2, 3, 0, 1])})
    linear = several_of(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), 0)
    with pytest.raises(ValueError, match="nothing in Sequential-.* is known to be exchangeable; take align=None"):
        path(linear, linear, NOISE, align="weights")


def test_a_forward_that_was_not_understood_is_noticed(monkeypatch):
    """By what the networks compute, whatever the specification says."""
    a, b = networks(NET, 0), networks(NET, 1)
    spec = permutation_spec(NET)
    wrong = replace(spec, axes={n: axes for n, axes in spec.axes.items() if n != "4.weight"})
    monkeypatch.setattr("lmcnb.measure.align.permutation_spec", lambda _: wrong)
    with pytest.raises(ValueError, match="convnet3 does not compute the same with its units in other places"):
        weight_matching(a, b)
