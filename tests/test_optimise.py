"""AdamW and the schedules, against torch.optim; SGD is held by tests/test_training.py."""

import math
from dataclasses import replace

import pytest
import torch
from helpers import apart, double
from torch import nn
from torch.nn.functional import cross_entropy

from lmcnb import Dataset, Images, Net, Networks, Recipe
from lmcnb.kernel import masks
from lmcnb.kernel.optimise import rule
from lmcnb.kernel.recipe import order
from lmcnb.kernel.training import fit
from lmcnb.params import laid_out

RECIPE = Recipe(epochs=8, batch=32, lr=3e-3, momentum=0.9, weight_decay=0.05, schedule="cosine", warmup=0.1,
                optimiser="adamw", augment="none", cutmix=0)
SEEDS = ("train/0/0", "train/0/1", "train/0/2")


@pytest.fixture(scope="module")
def start(digits: Dataset) -> Networks:
    """In float64: a bias before a norm has a gradient of rounding errors alone, which Adam makes full steps of."""
    found = Networks.initialise(Net.of(digits.train, "convnet2", width=4), seeds=[0, 1, 2])
    return replace(found, params=double(found.params))


@pytest.fixture(scope="module")
def few(digits: Dataset) -> Images:
    return double(digits.train.first(192))


def trained(start: Networks, few: Images, recipe: Recipe = RECIPE, **options):
    return fit(start.net, start.params, start.buffers, few, recipe, SEEDS[:len(start)], **options)


@pytest.mark.parametrize("strategy", ["loop", "vmap"])
def test_adamw_takes_torchs_steps(start: Networks, few: Images, strategy: str) -> None:
    steps = RECIPE.steps(len(few))
    found = trained(start[:1], few, strategy=strategy)
    module = start.modules()[0].double().train()
    optimiser = torch.optim.AdamW(module.parameters(), lr=1, betas=(0.9, RECIPE.beta2), weight_decay=0.05)
    for step, index in enumerate(order(SEEDS[0], 0, steps, len(few), RECIPE.batch)):
        optimiser.param_groups[0]["lr"] = RECIPE.rate(step, steps)
        optimiser.zero_grad()
        cross_entropy(module(few.normalised(index)), few.y[index]).backward()
        optimiser.step()
    assert steps == 48
    for name, value in module.named_parameters():
        torch.testing.assert_close(found.params[name][0], value.detach(), rtol=1e-5, atol=1e-8)
    assert float(found.momentum["count"]) == steps


@pytest.mark.parametrize("strategy", ["loop", "vmap"])
def test_adamw_goes_on_from_a_checkpoint_and_keeps_masks(start: Networks, few: Images, strategy: str) -> None:
    kept = {n: torch.rand(p.shape, generator=torch.Generator().manual_seed(0)) > 0.5
            for n, p in start.params.items() if n in start.net.prunable}
    options = {"masks": kept, "strategy": strategy}
    whole, half = trained(start, few, **options), trained(start, few, stop=20, **options)
    on = trained(start, few, state=half, **options)
    for n, p in whole.params.items():
        assert torch.equal(p, on.params[n])
        if n in kept:
            assert (p[~kept[n]] == 0).all() and (p[kept[n]] != 0).any()
            assert (whole.momentum[f"second/{n}"][~kept[n]] == 0).all()


def test_a_network_in_a_stack_ends_as_alone_under_adamw(start: Networks, few: Images) -> None:
    together, alone = trained(start, few), trained(start[:1], few)
    for n, p in alone.params.items():
        assert torch.equal(p[0], together.params[n][0])
    vmapped = trained(start, few, strategy="vmap")
    assert apart(vmapped.params, together.params) < 1e-6


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_both_forms_of_a_rule_are_one(start: Networks, optimiser: str, layout: torch.memory_format) -> None:
    """However a weight and its memory are laid out: a mask may leave them unlike."""
    update = rule(RECIPE.but(optimiser=optimiser))
    params, grads = ({n: p[k] for n, p in start.params.items()} for k in (0, 1))
    kept = {n: m[0] for n, m in masks.prune(start.params, masks.ones(start.params, start.net.prunable), 0.5).items()}
    params, memory = masks.masked(params, kept), {n: t[0] for n, t in update.begin(start.params).items()}
    one = other = (params, memory)
    for _ in range(3):
        one = update.each(one[0], grads, one[1], kept, torch.tensor(0.01))
        mine = {n: g.clone() for n, g in laid_out(grads, layout).items()}
        other = update.together(other[0], [*mine.values()], laid_out(other[1], layout), kept, torch.tensor(0.01))
        other = ({n: p.contiguous() for n, p in other[0].items()}, other[1])
    for a, b in zip(one, other):
        for n, t in a.items():
            torch.testing.assert_close(t, b[n], rtol=1e-6, atol=1e-10)


def test_schedules_rise_and_fall() -> None:
    rates = {s: [Recipe(lr=1, schedule=s, warmup=0.25).rate(k, 16) for k in range(16)] for s in ("linear", "cosine")}
    for found in rates.values():
        assert found[:4] == [0.125, 0.375, 0.625, 0.875], "a quarter of the steps to warm up"
        assert all(a > b for a, b in zip(found[4:], found[5:])) and found[-1] < 0.05
    assert rates["linear"][10] == pytest.approx(1 - 6.5 / 12)
    assert rates["cosine"][10] == pytest.approx((1 + math.cos(math.pi * 6.5 / 12)) / 2)
    constant = [Recipe(lr=1, schedule="constant", warmup=0.5).rate(k, 4) for k in range(4)]
    assert constant == [0.25, 0.75, 1, 1]


def test_what_was_there_before_adamw_keeps_its_keys() -> None:
    assert Recipe().but(optimiser="sgd", warmup=0.0).key == Recipe().key != RECIPE.key
    assert "beta2" not in Recipe().settings()


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_weights_that_are_added_are_masked_each_by_its_own(digits: Dataset, optimiser: str) -> None:
    """Of a sum autograd gives both terms one tensor, which must not be masked in place."""
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(64, 10, bias=False), nn.Linear(64, 10, bias=False)

        def forward(self, x):
            return nn.functional.linear(x.flatten(1), self.a.weight + self.b.weight)
    start = Networks.of(Sum(), digits)
    start = start.masked({"a.weight": torch.rand(10, 64) > 0.5})
    loop, vmap = (fit(start.net, start.params, start.buffers, digits.train.first(96), RECIPE.but(optimiser=optimiser),
                      ["train/0/0"], start.masks, strategy=strategy) for strategy in ("loop", "vmap"))
    assert apart(loop.params, vmap.params) < 1e-5
