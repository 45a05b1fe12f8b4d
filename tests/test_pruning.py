"""Pruning round by round: what is removed, what is rewound, what goes on from where."""

from dataclasses import replace

import pytest
import torch
from helpers import BATCHNORM, NET, QUICK, identical, made_up, networks, random_masks

from lmcnb import Images, Networks, prune_iteratively, sparsity_after
from lmcnb.kernel.masks import flat, masked, prune
from lmcnb.kernel.step import State
from lmcnb.kernel.training import fit
from lmcnb.prune.magnitude import prune_round, prune_rounds, rewound
from lmcnb.stages import Ticket

SHORT = QUICK.but(epochs=0.5)


def trained(start: Networks, data: Images, recipe=QUICK, seeds=(0,), **options) -> State:
    return fit(start.net, start.params, start.buffers, data, recipe, seeds, start.masks, **options)


def trained_bn() -> tuple[Networks, State, dict]:
    """Two BatchNorm networks before and after a training, and a mask."""
    init = networks(BATCHNORM, 0, 1)
    masks = random_masks(BATCHNORM, init.params)
    return init, trained(init.masked(masks), made_up(64, 10), seeds=[0, 1]), masks


def test_full_rewinding_returns_everything_to_the_start():
    init, state, masks = trained_bn()
    back = rewound(init, state, masks)
    assert identical(back.params, masked(init.params, masks)) and identical(back.buffers, init.buffers)
    assert identical(back.masks, masks)


def test_rewinding_weights_keeps_biases_norms_and_statistics_trained():
    init, state, masks = trained_bn()
    back = rewound(init, state, masks, "weights")
    for n, p in back.params.items():
        assert torch.equal(p, init.params[n] * masks[n] if n in masks else state.params[n])
    assert identical(back.buffers, state.buffers) and not identical(back.buffers, init.buffers)
    kept = [n for n in back.params if n not in masks]
    assert kept and any(not torch.equal(back.params[n], init.params[n]) for n in kept)


def test_an_unknown_rewinding_lists_the_known_ones():
    with pytest.raises(ValueError, match="unknown rewind 'all'; known: full, weights"):
        rewound(*trained_bn(), "all")


def test_each_round_removes_a_fifth_of_what_is_left_and_starts_from_the_start(few: Images):
    init, left = networks(NET, 0, 1), 364
    rounds = prune_iteratively(init, few, SHORT, rounds=4)
    assert rounds[0] is init and len(rounds) == 5
    for before, result in zip(rounds, rounds[1:], strict=False):
        left -= round(0.2 * left)
        assert flat(result.masks).sum(1).tolist() == [left, left]
        assert identical(result.params, masked(init.params, result.masks))
        assert not (flat(result.masks) & ~flat(before.masks)).any()
    assert not torch.equal(*flat(rounds[-1].masks))


def test_a_round_prunes_by_the_magnitudes_of_the_network_it_trained(few: Images):
    init = networks(NET, 0)
    result = prune_round(init, init, few, SHORT, [7], rate=0.3)
    alone = trained(init, few, SHORT, [7])
    assert identical(result.trained.params, alone.params)
    assert identical(result.start.masks, prune(alone.params, init.masks, 0.3))
    assert result.data_points == SHORT.steps(len(few)) * SHORT.batch == 96


def test_a_later_round_trains_the_subnetwork_not_the_dense_one(few: Images):
    rounds = list(prune_rounds(networks(NET, 0), few, SHORT, rounds=2))
    gone = ~flat(rounds[0].start.masks)
    weights = flat({n: rounds[1].trained.params[n] for n in NET.prunable})
    assert (weights[gone] == 0).all() and (weights[~gone] != 0).all()


def test_rounds_see_different_noise(few: Images):
    frozen = QUICK.but(lr=1e-30)  # so that both rounds train the same numbers
    rounds = list(prune_rounds(networks(NET, 0), few, frozen, rounds=2, rate=0.0))
    assert not torch.equal(rounds[0].trained.losses, rounds[1].trained.losses)


def test_pruning_repeats_with_a_seed_and_differs_with_another(few: Images):
    first, again, other = (prune_iteratively(networks(NET, 0), few, QUICK, rounds=2, seed=s)[-1] for s in (0, 0, 1))
    assert identical(first.masks, again.masks) and not identical(first.masks, other.masks)


def test_a_stack_finds_what_each_network_would_alone(few: Images):
    start = networks(NET, 3, 5)
    together = prune_iteratively(start, few, SHORT, rounds=2)[-1]
    alone = [prune_iteratively(one, few, SHORT, rounds=2)[-1] for one in start]
    assert identical(together.masks, Networks.join(alone).masks) and together.labels == (3, 5)


def test_pruning_depends_on_the_data_it_trains_on(few: Images):
    init = networks(NET, 0)
    real, noise = (prune_round(init, init, d, QUICK, [0]).start.masks for d in (few, made_up(192, 10)))
    assert not identical(real, noise)


def test_a_round_from_a_later_step_trains_only_the_rest_of_the_schedule(few: Images):
    init = networks(NET, 0)
    early = trained(init, few, stop=4)
    point = replace(init, params=early.params, buffers=early.buffers, step=4)
    result = prune_round(point, point, few, QUICK, [0])
    assert result.trained.step == 6 and result.trained.losses.shape == (1, 2)
    assert result.data_points == 2 * QUICK.batch
    assert identical(result.start.params, masked(early.params, result.start.masks)) and result.start.step == 4


def test_a_round_resumes_to_the_same_bytes(few: Images):
    init = networks(NET, 0)
    part = trained(init, few, stop=3)
    whole, resumed = (prune_round(init, init, few, QUICK, [0], state=s) for s in (None, part))
    assert identical(whole.start.masks, resumed.start.masks)
    assert identical(whole.trained.params, resumed.trained.params)


@pytest.mark.parametrize(("rounds", "percent"), [(0, 0), (4, 59.04), (8, 83.22), (9, 86.58), (10, 89.26)])
def test_sparsities_are_those_of_the_papers(rounds: int, percent: float):
    assert 100 * sparsity_after(rounds) == pytest.approx(percent, abs=0.005)


def test_a_hybrid_of_two_rates_has_the_sparsity_of_both():
    first = Ticket(net=NET, recipe=QUICK, round=2, rate=0.5)
    whole = first.but(round=3, rate=0.2, base=first)
    assert [whole.sparsity_at(r) for r in (1, 2, 3)] == pytest.approx([0.5, 0.75, 0.8])
    assert whole.described({})["sparsity"] == pytest.approx(0.8)
    assert first.but(round=3, base=first).sparsity_at(3) == first.at(3).sparsity_at(3) == sparsity_after(3, 0.5)


def test_what_is_trained_already_is_not_pruned_without_training(few: Images):
    start = networks(NET, 0)
    trained_on = start.train(few, SHORT)
    with pytest.raises(ValueError, match="at step .*, the end of a recipe.*begin the schedule anew"):
        prune_iteratively(trained_on, few, SHORT, rounds=1)
    anew = prune_iteratively(replace(trained_on, step=0), few, SHORT, rounds=1)
    assert round(float(anew[-1].sparsity), 2) == 0.2


def test_only_the_first_round_is_resumed(few: Images):
    start = networks(NET, 0)
    half = trained(start, few, SHORT, seeds=["prune/0/0/1"], stop=1)
    found = list(prune_rounds(start, few, SHORT, rounds=2, state=half))
    again = prune_round(start, found[0].start, few, SHORT, ["prune/0/0/2"])
    assert identical(found[1].trained.params, again.trained.params)
