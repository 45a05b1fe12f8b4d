"""Stacks of networks as one object: their parts, what they refuse, their training, instability analysis."""

import re
from dataclasses import replace

import pytest
import torch
from helpers import BATCHNORM, NET, QUICK, identical, made_up, module, random_masks, start

from lmcnb import Dataset, Images, Networks, instability, path
from lmcnb.kernel.training import evaluate, fit
from lmcnb.measure.path import QUANTITIES, interpolate
from lmcnb.params import select

PARTS = ("params", "buffers", "masks")
DATA = Dataset("noise", made_up(64, 10), made_up(40, 10, seed=1))  # two steps an epoch


def same(a: Networks, b: Networks) -> bool:
    return (a.net, a.labels, a.step) == (b.net, b.labels, b.step) and all(
        identical(getattr(a, part), getattr(b, part)) for part in PARTS)


def fresh(*seeds: int, net=BATCHNORM) -> Networks:
    return Networks.initialise(net, seeds)


def sparse(*seeds: int, net=BATCHNORM) -> Networks:
    found = fresh(*seeds, net=net)
    return found.masked(random_masks(net, found.params))


def test_they_start_as_their_seeds_say_dense_and_at_step_0():
    found = fresh(3, 1)
    params, buffers = start(BATCHNORM, 3, 1)
    assert identical(found.params, params) and identical(found.buffers, buffers)
    assert len(found) == 2 and found.labels == (3, 1) and found.step == 0
    assert tuple(found.masks) == BATCHNORM.prunable
    assert all(m.dtype == torch.bool and m.shape == params[n].shape and m.all() for n, m in found.masks.items())
    assert Networks(BATCHNORM, params, buffers).labels == (0, 1)
    assert len(Networks.initialise(NET)) == 1, "one network is the default"


@pytest.mark.parametrize(("index", "chosen"), [(0, [0]), (2, [2]), (-1, [2]), (slice(1, None), [1, 2]),
                                               (slice(None, None, 2), [0, 2]), ([2, 0], [2, 0]), ([1, 1], [1, 1])])
def test_an_index_gives_networks(index, chosen: list):
    found = replace(sparse(5, 6, 7), step=9)
    part = found[index]
    assert part.labels == tuple((5, 6, 7)[k] for k in chosen) and part.step == 9 and part.net == found.net
    for name in PARTS:
        assert identical(getattr(part, name), select(getattr(found, name), chosen))


def test_they_are_walked_one_by_one_and_joined_again():
    found = replace(sparse(5, 6, 7), step=2)
    assert [one.labels for one in found] == [(5,), (6,), (7,)]
    assert same(Networks.join(list(found)), found)
    assert same(Networks.join([found[1:], found[0]]), found[[1, 2, 0]])


@pytest.mark.parametrize("index", [3, -4])
def test_an_index_outside_is_an_index_error(index: int):
    with pytest.raises(IndexError):
        fresh(0, 1, 2)[index]


def test_a_mask_that_only_some_have_stays_where_they_are_joined_and_ends_on_a_path_to_the_others():
    dense = fresh(0, net=NET)
    bias = dense.masked({"0.bias": torch.arange(len(dense.params["0.bias"][0])) > 0})
    for parts in ((bias, dense), (dense, bias)):
        both = Networks.join(parts)
        assert [bool(m.all()) for m in both.masks["0.bias"]] == [p is dense for p in parts]
        between = interpolate(*parts, torch.tensor([0.5]))
        assert "0.bias" not in between.masks and between.masks.keys() == dense.masks.keys()


def test_it_shows_what_it_is():
    assert repr(fresh(0, 1)) == "Networks(2 × resnet10, 0% sparse, step 0)"
    half = {n: torch.arange(m.numel()).view(m.shape) % 2 == 0 for n, m in fresh(0).masks.items()}
    assert repr(replace(fresh(0).masked(half), step=7)) == "Networks(1 × resnet10, 50% sparse, step 7)"


def test_bad_stacks_are_refused_in_a_sentence():
    one, two = fresh(0), fresh(0, 1)
    with pytest.raises(ValueError, match="2 networks need as many labels; got 1"):
        replace(two, labels=(0,))
    for wrong in (fresh(0, 1, 2).masks, {"0.weight": torch.ones(9, dtype=torch.bool)}):
        with pytest.raises(ValueError, match=r"the mask is of another network: '0.weight' is .*stacks of [39] and 2"):
            two.masked(wrong)
    with pytest.raises(ValueError, match=r"the mask is of another network: .*stacks of 1 and 2"):
        replace(two, masks=one.masks)
    with pytest.raises(ValueError, match="the mask is of another network: it has a layer 'nothing'"):
        Networks(NET, fresh(0, net=NET).params, {}, {"nothing": torch.ones(1, 2, dtype=torch.bool)})
    with pytest.raises(ValueError, match="seeds needs at least one"):
        Networks.initialise(NET, [])
    with pytest.raises(ValueError, match="give at least one stack"):
        Networks.join([])
    for other in (fresh(0, net=NET), replace(one, step=1)):
        with pytest.raises(ValueError, match="of one architecture, and at one step"):
            Networks.join([one, other])


def test_masking_changes_a_copy_and_counts_what_is_left():
    found, masks = fresh(0, 1), random_masks(BATCHNORM, fresh(0, 1).params)
    pruned = found.masked(masks)
    assert same(found, fresh(0, 1)), "the stack itself stays"
    assert all(not pruned.params[n][~m].any() and torch.equal(pruned.params[n][m], found.params[n][m])
               for n, m in masks.items())
    count = torch.stack([m.flatten(1).sum(1) for m in masks.values()]).sum(0)
    torch.testing.assert_close(pruned.sparsity, 1 - count / BATCHNORM.count(), check_dtype=False)
    assert {n: d.tolist() for n, d in pruned.density.items()} == {
        n: m.flatten(1).double().mean(1).tolist() for n, m in masks.items()}
    assert found.sparsity.tolist() == [0, 0] and pruned.jaccard(pruned).tolist() == [1, 1]
    torch.testing.assert_close(pruned.jaccard(found), 1 - pruned.sparsity)


def test_a_mask_without_a_model_axis_or_of_one_model_is_every_networks():
    found = fresh(0, 1)
    one = random_masks(BATCHNORM, select(found.params, 0))
    each = found.masked({n: m.expand(2, *m.shape) for n, m in one.items()})
    assert same(found.masked(one), each) and same(found.masked({n: m[None] for n, m in one.items()}), each)


def test_its_modules_have_its_numbers_and_weights_of_their_own():
    found, x = fresh(0, 1), DATA.test.normalised()
    for k, made in enumerate(found.modules()):
        plain = module(BATCHNORM, select(found.params, k), select(found.buffers, k)).eval()
        assert not made.training and torch.equal(made(x), plain(x))
        with torch.no_grad():
            next(made.parameters()).zero_()
    assert same(found, fresh(0, 1))


@pytest.mark.parametrize("net", [NET, BATCHNORM], ids=lambda n: n.name)
def test_training_is_that_of_the_kernel_with_the_labs_noise(net, few: Images):
    found = sparse(4, 5, net=net)
    state = fit(net, found.params, found.buffers, few, QUICK, ["train/7/4", "train/7/5"], found.masks)
    trained = found.train(few, QUICK, 7)
    assert identical(trained.params, state.params) and identical(trained.buffers, state.buffers)
    assert (trained.step, trained.labels) == (6, (4, 5)) and identical(trained.masks, found.masks)
    assert same(trained, found.train(Dataset("few", few, few), QUICK, 7)), "a data set stands for its training images"
    assert same(trained[1], found[1].train(few, QUICK, 7)), "as alone"
    assert same(found, sparse(4, 5, net=net)), "the stack itself stays"
    scores, own = evaluate(net, trained.params, trained.buffers, DATA.test), trained.evaluate(DATA.test)
    assert torch.equal(own.loss, scores.loss) and torch.equal(own.error, scores.error)


def test_a_training_stops_at_a_step_and_goes_on_from_it(few: Images):
    found = fresh(0)
    early = found.train(few, QUICK, 0, stop=2)
    assert early.step == 2 and not identical(early.params, found.params)
    assert same(early, early.train(few, QUICK, 1, stop=2)), "there was nothing left to do"
    late = early.train(few, QUICK, 1)
    assert late.step == 6 and not identical(late.params, early.train(few, QUICK, 0).params)


def test_at_the_end_of_a_schedule_there_is_nothing_to_train():
    with pytest.raises(ValueError, match="at step 2, the end of a recipe of 2: raise epochs, or begin its"):
        replace(fresh(0), step=2).train(DATA, QUICK)


@pytest.mark.parametrize("options", [{}, {"seeds": ("a", 5)}, {"step": 0}, {"step": 1}, {"step": 1, "seeds": (5, 6)}],
                         ids=str)
def test_instability_is_two_trainings_and_the_path_between_them(options: dict):
    found, alphas = sparse(0, 1), [0, 0.5, 1]
    one, other = options.get("seeds", (0, 1))
    begun = found.train(DATA, QUICK, one, stop=options["step"]) if "step" in options else found
    expected = path(begun.train(DATA, QUICK, one), begun.train(DATA, QUICK, other), DATA, alphas)
    measured = instability(found, DATA, QUICK, alphas=alphas, **options)
    assert identical(measured.tensors(), expected.tensors())
    assert all(getattr(measured, q).shape == (2, 3) for q in QUANTITIES)


def test_networks_trained_together_to_the_end_are_one():
    found = instability(fresh(0), DATA, QUICK, step=2, alphas=[0, 1])
    late = instability(fresh(0), DATA, QUICK, step=1, alphas=[0, 1])
    assert torch.equal(found.test_loss[:, 0], found.test_loss[:, 1])
    assert not torch.equal(late.test_loss[:, 0], late.test_loss[:, 1])


def test_the_options_of_a_path_go_through():
    lerp, anew = (instability(fresh(0), DATA, QUICK, alphas=[0, 0.5, 1], bn=bn) for bn in ("lerp", "recalibrate"))
    assert torch.equal(lerp.alphas, anew.alphas) and not torch.equal(lerp.train_loss, anew.train_loss)


@pytest.mark.parametrize("seeds", [(3, 3), ("a", "a"), (0, "0")])
def test_equal_seeds_are_no_two_trainings(seeds: tuple):
    with pytest.raises(ValueError, match=rf"two different ones, .*; got {re.escape(str(seeds))}"):
        instability(fresh(0), DATA, QUICK, seeds)


@pytest.mark.parametrize(("step", "at"), [(3, 0), (-1, 0), (0, 1)])
def test_a_step_outside_the_schedule_is_refused(step: int, at: int):
    with pytest.raises(ValueError, match=f"step must lie in {at}…2; got {step}"):
        instability(replace(fresh(0), step=at), DATA, QUICK, step=step)
