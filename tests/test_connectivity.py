"""Paths between networks: exact ends, barriers by hand, BatchNorm statistics, residuals of weight decay."""

from dataclasses import replace

import pytest
import torch
from helpers import BATCHNORM, NET, QUICK, apart, identical, made_up, module, random_masks, start
from hypothesis import given
from hypothesis import strategies as st

from lmcnb import Dataset, Images, Net, Networks, Recipe, path
from lmcnb.kernel.recipe import seeded
from lmcnb.kernel.training import evaluate, fit
from lmcnb.measure.batchnorm import recalibrated
from lmcnb.measure.path import QUANTITIES, LinearPath, alpha_grid, barrier, interpolate, residual, with_residuals
from lmcnb.params import select

TEST = made_up(40, 10, seed=1)
TWICE = Dataset("noise", TEST, TEST)


def fresh(net: Net, *seeds: int) -> Networks:
    return Networks.initialise(net, seeds)


def walk(a: Networks, b: Networks, train: Images, *args, **options) -> LinearPath:
    return path(a, b, Dataset("few", train, TEST), *args, **options)


@pytest.fixture(scope="module", params=[NET, BATCHNORM], ids=lambda n: n.name)
def pair(request, few: Images):
    """A network and two pairs of its trained copies."""
    net = request.param
    state = fit(net, *start(net, 0, 0, 1, 1), few, QUICK, [0, 1, 2, 3], strategy="loop")
    trained = Networks(net, state.params, state.buffers)
    return net, trained[[0, 2]], trained[[1, 3]]


@given(st.integers(2, 60))
def test_a_grid_is_exact_at_its_ends_even_and_symmetric(points: int):
    alphas = alpha_grid(points)
    assert len(alphas) == points and alphas[0] == 0 and alphas[-1] == 1 and alphas.dtype == torch.float64
    torch.testing.assert_close(alphas + alphas.flip(0), torch.ones(points, dtype=torch.float64))
    if points % 2:
        assert alphas[points // 2] == 0.5


def test_a_path_needs_two_points():
    with pytest.raises(ValueError, match="at least 2 points; got 1"):
        alpha_grid(1)


def test_the_ends_of_a_path_are_the_trained_models_bit_for_bit(pair):
    net, a, b = pair
    theta = interpolate(a[0], b[0], alpha_grid(5))
    for part in ("params", "buffers"):
        assert identical(select(getattr(theta, part), 0), select(getattr(a, part), 0))
        if net is NET or part == "params":
            assert identical(select(getattr(theta, part), -1), select(getattr(b, part), 0))
    middle = {n: (a.params[n][0].double() + b.params[n][0].double()) / 2 for n in a.params}
    assert apart(select(theta.params, 2), middle) < 1e-6


def test_the_ends_of_a_path_score_as_the_trained_models_bit_for_bit(pair, few: Images):
    net, a, b = pair
    found = walk(a, b, few, alpha_grid(3))
    for column, ends in ((0, a), (-1, b)):
        for split, images in (("train", few), ("test", TEST)):
            scores = evaluate(net, ends.params, ends.buffers, images)
            assert torch.equal(getattr(found, f"{split}_loss")[:, column], scores.loss)
            assert torch.equal(getattr(found, f"{split}_error")[:, column], scores.error)


def test_the_middle_of_a_path_scores_as_the_averaged_network(pair, few: Images):
    net, a, b = pair
    found = walk(a, b, few, [0, 0.25, 1])
    mixed = [{n: 0.75 * x + 0.25 * d[1][n] if x.is_floating_point() else x for n, x in d[0].items()}
             for d in ((a.params, b.params), (a.buffers, b.buffers))]
    torch.testing.assert_close(found.train_loss[:, 1], evaluate(net, *mixed, few).loss, rtol=1e-5, atol=1e-6)
    assert found.test_error.shape == (2, 3)


def test_a_path_backwards_is_the_path_reversed(pair, few: Images):
    _, a, b = pair
    there, back = walk(a, b, few, alpha_grid(3)), walk(b, a, few, alpha_grid(3))
    torch.testing.assert_close(there.test_loss, back.test_loss.flip(-1), rtol=1e-5, atol=1e-6)


def test_a_path_from_a_network_to_itself_is_flat(pair, few: Images):
    _, a, _ = pair
    found = walk(a, a, few, alpha_grid(3))
    assert all(float(found.barrier(q).abs().max()) < 1e-6 for q in QUANTITIES)
    assert float(found.train_loss.std(1).max()) < 1e-6


@pytest.mark.parametrize("alphas", [[-0.1, 1], [0, 1.1], [0, 0.5, 2]])
def test_an_alpha_outside_0_and_1_is_refused(alphas: list, few: Images):
    a = fresh(NET, 0)
    with pytest.raises(ValueError, match=r"α must lie in \[0, 1\]; got"):
        walk(a, a, few, alphas)


def test_ends_that_are_no_pairs_are_refused():
    a, b = fresh(NET, 0), fresh(NET, 1, 2)
    with pytest.raises(ValueError, match=r"as many networks at either end, of one architecture; got .*\(1 × conv.*\(2"):
        path(a, b, TWICE)
    with pytest.raises(ValueError, match="as many networks at either end, of one architecture"):
        path(a, fresh(NET.but(width=5), 1), TWICE)
    with pytest.raises(ValueError, match=r"one network at each end; got 1 and 2: take networks\[k\]"):
        interpolate(a, b, alpha_grid(3))


def test_between_two_subnetworks_is_kept_what_either_keeps():
    a, b = (n.masked(random_masks(NET, n.params, seed=s)) for s, n in enumerate((fresh(NET, 0), fresh(NET, 0))))
    theta = interpolate(a, b, alpha_grid(3))
    for n, m in theta.masks.items():
        assert torch.equal(m, (a.masks[n] | b.masks[n]).expand_as(m))
        assert not theta.params[n][~m].any()


def test_barriers_by_hand():
    alphas = torch.tensor([0, 0.25, 0.5, 0.75, 1.0]).double()
    hill = torch.tensor([[1.0, 2.0, 4.0, 5.0, 3.0], [2.0, 1.0, 0.0, 1.0, 4.0]]).double()
    assert barrier(alphas, hill, "frankle").tolist() == [3.0, 1.0]
    assert barrier(alphas, hill, "chord").tolist() == [2.5, 0.0]
    assert barrier(alphas, hill, "midpoint").tolist() == [2.0, -3.0]


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=9))
def test_barriers_of_one_curve_are_ordered_and_ignore_its_level(values: list):
    alphas, curve = alpha_grid(len(values)), torch.tensor(values, dtype=torch.float64)
    frankle, chord = (float(barrier(alphas, curve, c)) for c in ("frankle", "chord"))
    assert frankle >= abs(values[0] - values[-1]) / 2 - 1e-9 and chord >= 0
    assert float(barrier(alphas, curve + 7, "chord")) == pytest.approx(chord, abs=1e-9)
    assert float(barrier(alphas, curve.flip(0), "frankle")) == pytest.approx(frankle, abs=1e-9)
    if len(values) % 2:
        assert float(barrier(alphas, curve, "midpoint")) <= min(frankle, chord) + 1e-9


def test_a_midpoint_barrier_needs_a_midpoint():
    with pytest.raises(ValueError, match="odd number of points"):
        barrier(alpha_grid(4), torch.zeros(4).double(), "midpoint")


def test_wrong_barriers_are_refused_by_name(few: Images):
    with pytest.raises(ValueError, match="unknown convention 'max'; known: frankle, chord, midpoint"):
        barrier(alpha_grid(3), torch.zeros(3), "max")
    with pytest.raises(ValueError, match="alphas from 0 to 1; got 0.0 to 0.5"):
        barrier(alpha_grid(3)[:2], torch.zeros(2))
    a = fresh(NET, 0)
    with pytest.raises(ValueError, match="unknown quantity 'loss'; known: .*train_loss"):
        path(a, a, TWICE, [0, 1]).barrier("loss")
    with pytest.raises(ValueError, match="unknown bn 'mean'; known: lerp, recalibrate"):
        path(a, a, TWICE, [0, 1], bn="mean")


def test_recalibrated_statistics_are_those_of_the_data():
    images, networks = made_up(48, 10), fresh(BATCHNORM, 0, 1)
    anew = recalibrated(networks, images, batch=48).buffers
    for k in range(2):
        stem = module(BATCHNORM, select(networks.params, k), select(networks.buffers, k))[0]
        out = stem(images.normalised()).detach().double()
        torch.testing.assert_close(anew["1.running_mean"][k].double(), out.mean((0, 2, 3)), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(anew["1.running_var"][k].double(), out.var((0, 2, 3)), atol=1e-5, rtol=1e-4)
        pieces = recalibrated(networks, images, batch=20).buffers["1.running_mean"][k]  # 20, 20 and 8
        torch.testing.assert_close(pieces.double(), out.mean((0, 2, 3)), atol=1e-5, rtol=1e-4)


def test_a_last_batch_of_one_image_is_spread_over_the_others():
    """Eleven images in tens, on features of one pixel: BatchNorm refuses a single value."""
    networks, images = fresh(BATCHNORM, 0), made_up(11)
    found = recalibrated(networks, images, batch=10).buffers["1.running_mean"]
    whole = recalibrated(networks, images).buffers["1.running_mean"]
    torch.testing.assert_close(found, whole)
    with pytest.raises(ValueError, match="two images or more; got 1: raise train_images"):
        recalibrated(networks, images.subset(slice(0, 1)))


def test_recalibration_forgets_the_old_statistics_and_leaves_the_counter():
    images, networks = made_up(48, 10), fresh(BATCHNORM, 0)
    other = {n: b + 3 for n, b in networks.buffers.items()}
    a, b = (recalibrated(replace(networks, buffers=x), images).buffers for x in (networks.buffers, other))
    floats = [n for n in a if a[n].is_floating_point()]
    assert identical({n: a[n] for n in floats}, {n: b[n] for n in floats})
    assert all(torch.equal(b[n], other[n]) for n in b if n not in floats)


def test_recalibration_changes_a_path_with_batchnorm_and_none_without(pair, few: Images):
    net, a, b = pair
    lerp, anew = (walk(a, b, few, [0, 0.5, 1], bn=bn) for bn in ("lerp", "recalibrate"))
    assert torch.equal(lerp.train_loss, anew.train_loss) == (net is NET)


@pytest.mark.parametrize("schedule", ["step", "one_cycle", "constant"])
def test_a_residual_is_what_sgd_leaves_of_a_weight_without_gradient(schedule: str):
    recipe = Recipe(epochs=3, batch=10, lr=0.1, weight_decay=0.05, momentum=0.8, schedule=schedule)
    weight = torch.nn.Parameter(torch.tensor(2.0).double())
    optimiser = torch.optim.SGD([weight], lr=1, momentum=0.8, weight_decay=0.05)
    for step in range(60):
        optimiser.param_groups[0]["lr"] = recipe.rate(step, 60)
        weight.grad = torch.zeros_like(weight)
        optimiser.step()
        if step == 9:
            assert residual(recipe, 200, to_step=10) == pytest.approx(weight.item() / 2, rel=1e-9)
    assert residual(recipe, 200) == pytest.approx(weight.item() / 2, rel=1e-9)
    assert 0 < residual(recipe, 200) < 0.9


def test_a_residual_under_adamw_is_its_decay_alone():
    recipe = Recipe(epochs=3, batch=10, lr=0.1, weight_decay=0.05, optimiser="adamw", schedule="linear", warmup=0.1)
    weight = torch.nn.Parameter(torch.tensor(2.0).double())
    optimiser = torch.optim.AdamW([weight], lr=1, weight_decay=0.05)
    for step in range(60):
        optimiser.param_groups[0]["lr"] = recipe.rate(step, 60)
        weight.grad = torch.zeros_like(weight)
        optimiser.step()
    assert residual(recipe, 200) == pytest.approx(weight.item() / 2, rel=1e-9) and residual(recipe, 200) < 0.9


def test_the_papers_residual_on_cifar10_is_that_of_the_protocol():
    assert residual(Recipe(), 50_000) == pytest.approx(2.5e-4, rel=0.05)


def test_as_released_weights_are_the_trained_ones_and_what_is_left_of_init():
    trained, init, recipe = fresh(NET, 0), fresh(NET, 1), QUICK
    masks = random_masks(NET, init.params)
    mixed = with_residuals(trained.masked(masks), init, recipe, 192)
    for n, p in mixed.params.items():
        if n not in masks:
            assert torch.equal(p, trained.params[n])
            continue
        assert torch.equal(p[masks[n]], trained.params[n][masks[n]])
        torch.testing.assert_close(p[~masks[n]], init.params[n][~masks[n]] * residual(recipe, 192))
        assert mixed.masks[n].all(), "nothing is pruned any more"


def test_a_rewound_weight_decays_from_the_step_that_it_was_rewound_to():
    trained, init, recipe = fresh(NET, 0), replace(fresh(NET, 1), step=3), QUICK
    masks = random_masks(NET, init.params)
    mixed = with_residuals(trained.masked(masks), init, recipe, 192)
    assert residual(recipe, 192, 3) > residual(recipe, 192)
    for n, m in masks.items():
        torch.testing.assert_close(mixed.params[n][~m], init.params[n][~m] * residual(recipe, 192, 3))


def test_paths_do_not_touch_the_global_generator():
    before, a = torch.random.get_rng_state(), fresh(NET, 0)
    path(a, a, TWICE, [0, 1])
    assert torch.equal(torch.random.get_rng_state(), before) and seeded("x").initial_seed() > 0
