"""Pruning round by round: what is removed, what is rewound, what goes on from where."""

import pytest
import torch
from helpers import BATCHNORM, NET, QUICK, identical, made_up, random_masks, start

from lmcnb import Images, prune_iteratively, sparsity_after
from lmcnb.kernel.masks import flat, masked, ones, prune
from lmcnb.kernel.training import fit
from lmcnb.prune.magnitude import prune_round, rewound

SHORT = QUICK.but(epochs=0.5)


def trained_bn():
    """Initial and trained parameters and buffers of a BatchNorm network, and a mask."""
    init, data = start(BATCHNORM, 0, 1), made_up(64, 10)
    masks = random_masks(BATCHNORM, init[0])
    state = fit(BATCHNORM, *init, data, QUICK, [0, 1], masks, strategy="loop")
    return init, (state.params, state.buffers), masks


def test_full_rewinding_returns_everything_to_the_start():
    init, trained, masks = trained_bn()
    params, buffers = rewound(BATCHNORM, init, trained, masks)
    assert identical(params, masked(init[0], masks)) and identical(buffers, init[1])


def test_rewinding_weights_keeps_biases_norms_and_statistics_trained():
    init, trained, masks = trained_bn()
    params, buffers = rewound(BATCHNORM, init, trained, masks, "weights")
    for n, p in params.items():
        assert torch.equal(p, init[0][n] * masks[n] if n in masks else trained[0][n])
    assert identical(buffers, trained[1]) and not identical(buffers, init[1])
    kept = [n for n in params if n not in masks]
    assert kept and any(not torch.equal(params[n], init[0][n]) for n in kept)


def test_an_unknown_rewinding_lists_the_known_ones():
    init, trained, masks = trained_bn()
    with pytest.raises(ValueError, match="unknown rewind 'all'; known: full, weights"):
        rewound(BATCHNORM, init, trained, masks, "all")


def test_each_round_removes_a_fifth_of_what_is_left_and_starts_from_the_start(few: Images):
    init, left, before = start(NET, 0, 1), 364, None
    rounds = list(prune_iteratively(NET, init, few, SHORT, [0, 1], rounds=4, strategy="loop"))
    for result in rounds:
        left -= round(0.2 * left)
        assert flat(result.masks).sum(1).tolist() == [left, left]
        assert identical(result.start[0], masked(init[0], result.masks))
        assert before is None or not (flat(result.masks) & ~flat(before)).any()
        before = result.masks
    assert not torch.equal(flat(before)[0], flat(before)[1])


def test_a_round_prunes_by_the_magnitudes_of_the_network_it_trained(few: Images):
    init = start(NET, 0)
    everything = ones(init[0], NET.prunable)
    result = prune_round(NET, init, init, everything, few, SHORT, [7], rate=0.3, strategy="loop")
    alone = fit(NET, *init, few, SHORT, [7], everything, strategy="loop")
    assert identical(result.trained.params, alone.params)
    assert identical(result.masks, prune(alone.params, everything, 0.3))
    assert result.data_points == SHORT.steps(len(few)) * SHORT.batch == 96


def test_a_later_round_trains_the_subnetwork_not_the_dense_one(few: Images):
    init = start(NET, 0)
    rounds = list(prune_iteratively(NET, init, few, SHORT, [0], rounds=2, strategy="loop"))
    gone = ~flat(rounds[0].masks)
    weights = flat({n: rounds[1].trained.params[n] for n in NET.prunable})
    assert (weights[gone] == 0).all() and (weights[~gone] != 0).all()


def test_rounds_see_different_noise(few: Images):
    init = start(NET, 0)
    frozen = QUICK.but(lr=1e-30)  # so that both rounds train the same numbers
    rounds = list(prune_iteratively(NET, init, few, frozen, [0], rounds=2, rate=0.0, strategy="loop"))
    assert not torch.equal(rounds[0].trained.losses, rounds[1].trained.losses)


def test_pruning_repeats_with_a_seed_and_differs_with_another(few: Images):
    init = start(NET, 0)
    first, again, other = (list(prune_iteratively(NET, init, few, QUICK, [s], rounds=2, strategy="loop"))[-1]
                           for s in (0, 0, 1))
    assert identical(first.masks, again.masks) and not identical(first.masks, other.masks)


def test_pruning_depends_on_the_data_it_trains_on(few: Images):
    init, everything = start(NET, 0), ones(start(NET, 0)[0], NET.prunable)
    real, noise = (prune_round(NET, init, init, everything, d, QUICK, [0], strategy="loop").masks
                   for d in (few, made_up(192, 10)))
    assert not identical(real, noise)


def test_a_round_from_a_later_step_trains_only_the_rest_of_the_schedule(few: Images):
    init = start(NET, 0)
    everything = ones(init[0], NET.prunable)
    early = fit(NET, *init, few, QUICK, [0], strategy="loop", stop=4)
    point = early.params, early.buffers
    result = prune_round(NET, point, point, everything, few, QUICK, [0], from_step=4, strategy="loop")
    assert result.trained.step == 6 and result.trained.losses.shape == (1, 2)
    assert result.data_points == 2 * QUICK.batch
    assert identical(result.start[0], masked(early.params, result.masks))


def test_a_round_resumes_to_the_same_bytes(few: Images):
    init = start(NET, 0)
    everything = ones(init[0], NET.prunable)
    part = fit(NET, *init, few, QUICK, [0], everything, strategy="loop", stop=3)
    whole, resumed = (prune_round(NET, init, init, everything, few, QUICK, [0], state=s, strategy="loop")
                      for s in (None, part))
    assert identical(whole.masks, resumed.masks) and identical(whole.trained.params, resumed.trained.params)


@pytest.mark.parametrize(("rounds", "percent"), [(0, 0), (4, 59.04), (8, 83.22), (9, 86.58), (10, 89.26)])
def test_sparsities_are_those_of_the_papers(rounds: int, percent: float):
    assert 100 * sparsity_after(rounds) == pytest.approx(percent, abs=0.005)
