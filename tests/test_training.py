"""The stacked kernel: one step against plain PyTorch, resuming, masks, seeds, and what it refuses."""

import pytest
import torch
import torch.nn.functional as F
from helpers import BATCHNORM, NET, QUICK, apart, double, identical, made_up, module, random_masks, start
from hypothesis import given
from hypothesis import strategies as st

from lmcnb import Images, Net, Recipe
from lmcnb.kernel.masks import masked
from lmcnb.kernel.recipe import SEGMENT, draws, order, seeded
from lmcnb.kernel.step import State
from lmcnb.kernel.training import evaluate, fit
from lmcnb.params import select

PLAIN = Recipe(epochs=2, batch=32, lr=0.05, augment="none", cutmix=0, weight_decay=0.01)


def by_hand(net: Net, params, buffers, data: Images, recipe: Recipe, seed, masks) -> tuple[dict, dict, list]:
    """The same training with torch.optim.SGD, an nn.Module and a Python loop."""
    model = module(net, params, buffers).train()
    optimiser = torch.optim.SGD(model.parameters(), lr=1, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    total, losses = recipe.steps(len(data)), []
    for step in range(total):
        given = draws(recipe, seed, step, step + 1, data)
        x, y = data.normalised(given["index"][0]), data.y[given["index"][0]]
        if recipe.cutmix:
            top, bottom, left, right = given["box"][0].tolist()
            partner, mixed = given["partner"][0], x.clone()
            mixed[:, :, top:bottom, left:right] = x[partner][:, :, top:bottom, left:right]
            kept = 1 - (bottom - top) * (right - left) / x.shape[-1] ** 2
            logits = model(mixed)
            loss = kept * F.cross_entropy(logits, y) + (1 - kept) * F.cross_entropy(logits, y[partner])
        else:
            loss = F.cross_entropy(model(x), y)
        optimiser.zero_grad()
        loss.backward()
        for name, mask in masks.items():
            model.get_parameter(name).grad *= mask
        optimiser.param_groups[0]["lr"] = recipe.rate(step, total)
        optimiser.step()
        losses.append(loss.item())
    return dict(model.named_parameters()), dict(model.named_buffers()), losses


@pytest.mark.parametrize("net", [NET, BATCHNORM], ids=lambda n: n.name)
@pytest.mark.parametrize("cutmix", [0.0, 1.0])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "masked"])
def test_training_equals_a_plain_sgd_loop(net: Net, cutmix: float, sparse: bool):
    data, recipe = double(made_up(96, 10)), PLAIN.but(cutmix=cutmix)
    params, buffers = start(net, 0)
    params, buffers = double(params), double(buffers)
    masks = random_masks(net, params) if sparse else None
    state = fit(net, params, buffers, data, recipe, [5], masks, strategy="loop")
    one = masked(params, masks or {})
    expected, statistics, losses = by_hand(net, select(one, 0), select(buffers, 0), data, recipe, 5,
                                           select(masks or {}, 0))
    assert apart(select(state.params, 0), {n: p.detach() for n, p in expected.items()}) < 1e-7
    assert apart(select(state.buffers, 0), statistics) < 1e-7
    assert state.losses[0].tolist() == pytest.approx(losses, abs=1e-7)
    assert apart(state.params, params) > 1e-3


@pytest.mark.parametrize("schedule", ["step", "one_cycle", "constant"])
def test_the_schedules_are_those_they_are_named_for(schedule: str):
    rates = [Recipe(lr=1, schedule=schedule).rate(s, 600) for s in range(600)]
    if schedule == "step":
        assert rates == pytest.approx([1] * 400 + [0.2] * 100 + [0.04] * 100)
    elif schedule == "one_cycle":
        assert max(rates) == pytest.approx(1, abs=0.01) and rates.index(max(rates)) in (119, 120)
        assert rates[:120] == sorted(rates[:120]) and rates[120:] == sorted(rates[120:], reverse=True)
        assert 0 < rates[-1] < 0.002 and 0 < rates[0] < 0.01
    else:
        assert rates == [1] * 600


def test_steps_are_epochs_of_whole_batches():
    assert Recipe(epochs=3, batch=50).steps(1000) == 60
    assert Recipe(epochs=1, batch=64).steps(100) == 2
    assert Recipe(epochs=1, batch=64).steps(3) == 1


@given(st.integers(2, 30), st.integers(1, 12), st.integers(0, 20))
def test_every_epoch_shows_each_image_once(images: int, batch: int, seed: int):
    stream = order(seed, 0, 3 * images, images, batch).flatten()
    for epoch in range(3):
        assert sorted(stream[epoch * images:(epoch + 1) * images].tolist()) == list(range(images))


@given(st.integers(2, 30), st.integers(1, 12), st.integers(0, 8), st.integers(1, 8), st.integers(1, 8))
def test_the_order_does_not_depend_on_where_it_is_cut(images: int, batch: int, first: int, more: int, rest: int):
    whole = order("s", first, first + more + rest, images, batch)
    cut = first + more
    parts = order("s", first, cut, images, batch), order("s", cut, cut + rest, images, batch)
    assert torch.equal(whole, torch.cat(parts))


def test_epochs_and_seeds_are_shuffled_differently():
    stream = order(0, 0, 2, 50, 50)
    assert not torch.equal(stream[0], stream[1])
    assert not torch.equal(stream, order(1, 0, 2, 50, 50))


@given(st.integers(0, 2), st.integers(0, 60), st.integers(1, 30), st.integers(1, 30))
def test_draws_do_not_depend_on_where_they_are_cut(segment: int, first: int, more: int, rest: int):
    data, begin = made_up(20), segment * SEGMENT + first
    whole = draws(QUICK, 3, begin, begin + more + rest, data)
    parts = draws(QUICK, 3, begin, begin + more, data), draws(QUICK, 3, begin + more, begin + more + rest, data)
    assert all(torch.equal(t, torch.cat([p[n] for p in parts])) for n, t in whole.items())


def test_segments_and_seeds_draw_differently():
    data = made_up(20)
    first, next_, other = (draws(QUICK, s, at, at + 40, data) for s, at in ((0, 0), (0, SEGMENT), (1, 0)))
    assert not any(torch.equal(first[n], next_[n]) or torch.equal(first[n], other[n]) for n in first)


@given(st.lists(st.text("ab/1-", max_size=5) | st.integers(), max_size=3),
       st.lists(st.text("ab/1-", max_size=5), max_size=3))
def test_seeded_depends_on_its_parts_alone(a: list, b: list):
    assert seeded(*a).initial_seed() == seeded(*a).initial_seed()
    same = "/".join(map(str, a)) == "/".join(b)
    assert (seeded(*a).initial_seed() == seeded(*b).initial_seed()) == same


@pytest.mark.parametrize("net", [NET, BATCHNORM], ids=lambda n: n.name)
@pytest.mark.parametrize("strategy", ["loop", "vmap"])
def test_resumed_training_ends_in_the_same_bytes(net: Net, strategy: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lmcnb.kernel.recipe.SEGMENT", 8)
    data, recipe = made_up(32, 10), QUICK.but(epochs=3, batch=4, augment="cifar")
    params, buffers = start(net, 0, 1)
    masks, kept = random_masks(net, params), []
    options = {"strategy": strategy, "masks": masks, "seeds": [0, 1]}
    whole = fit(net, params, buffers, data, recipe, on_segment=lambda s, _: kept.append(s), **options)
    assert [s.step for s in kept] == [8, 16, 24]
    at_segment = fit(net, params, buffers, data, recipe, state=kept[0], **options)
    assert identical(at_segment.params, whole.params) and torch.equal(at_segment.losses, whole.losses)
    state = fit(net, params, buffers, data, recipe, stop=7, **options)
    assert state.step == 7 and state.losses.shape == (2, 7)
    state = fit(net, params, buffers, data, recipe, state=state, stop=20, **options)
    state = fit(net, params, buffers, data, recipe, state=state, **options)
    for part in ("params", "buffers", "momentum"):
        assert identical(getattr(state, part), getattr(whole, part))
    assert torch.equal(state.losses, whole.losses)


def test_pruned_weights_and_their_momentum_are_zero_at_every_step(few: Images):
    params, buffers = start(NET, 0, 1)
    masks, state = random_masks(NET, params), None
    for stop in range(1, 6):
        state = fit(NET, params, buffers, few, QUICK, [0, 1], masks, strategy="vmap", state=state, stop=stop)
        for n, m in masks.items():
            assert (state.params[n][~m] == 0).all() and (state.momentum[n][~m] == 0).all()
            assert (state.params[n][m] != 0).all() and (state.momentum[n][m] != 0).any()


def test_the_initial_values_are_not_changed(few: Images):
    params, buffers = start(BATCHNORM, 0)
    before = {n: t.clone() for n, t in (params | buffers).items()}
    fit(BATCHNORM, params, buffers, few, QUICK, [0], random_masks(BATCHNORM, params), strategy="loop", stop=2)
    assert identical(params | buffers, before)


def test_one_seed_trains_to_the_same_bytes_and_another_does_not(few: Images):
    params, buffers = start(NET, 0, 0, 0)
    state = fit(NET, params, buffers, few, QUICK, [0, 0, 1], strategy="loop")
    assert identical(select(state.params, 0), select(state.params, 1))
    assert not identical(select(state.params, 0), select(state.params, 2))
    again = fit(NET, params, buffers, few, QUICK, [0, 0, 1], strategy="loop")
    assert identical(again.params, state.params)


def test_training_leaves_the_global_generator_alone(few: Images):
    before = torch.random.get_rng_state()
    fit(NET, *start(NET, 0), few, QUICK, [0], strategy="loop", stop=2)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_training_learns_the_digits(digits):
    recipe = QUICK.but(epochs=4, lr=0.2, augment="none", cutmix=0)
    state = fit(NET, *start(NET, 0), digits.train, recipe, [0], strategy="loop")
    before, after = (evaluate(NET, *p, digits.test) for p in (start(NET, 0), (state.params, state.buffers)))
    assert float(after.accuracy) > 0.5 > float(before.accuracy) + 0.2 and float(after.loss) < float(before.loss)


def test_a_training_that_is_done_returns_its_state(few: Images):
    done = State.start(*start(NET, 0))
    done.step = QUICK.steps(len(few))
    assert identical(fit(NET, *start(NET, 0), few, QUICK, [0], strategy="loop", state=done).params, done.params)


def test_evaluation_is_the_mean_over_images_whatever_the_batch(few: Images):
    params, buffers = start(BATCHNORM, 0, 1)
    scores = evaluate(BATCHNORM, params, buffers, few, batch=50)
    for k in range(2):
        plain = module(BATCHNORM, select(params, k), select(buffers, k)).eval()
        logits = plain(few.normalised()).detach()
        assert float(scores.loss[k]) == pytest.approx(float(F.cross_entropy(logits, few.y)), rel=1e-5)
        wrong = (logits.argmax(1) != few.y).double().mean()
        assert float(scores.error[k]) == pytest.approx(float(wrong), abs=1e-9)
    assert torch.equal(scores.accuracy, 1 - scores.error)


@pytest.mark.parametrize(("change", "message"), [
    ({"seeds": [0]}, "stack of 2 models needs 2 seeds; got 1"),
    ({"data": made_up(40, 10, size=16)}, r"takes images \(1, 8, 8\), the data has \(1, 16, 16\)"),
    ({"data": made_up(40, 3)}, "10 classes, the data 3"),
    ({"masks": {"5.weight": torch.ones(2, 3)}}, "mask is of another network"),
    ({"strategy": "fast"}, "unknown strategy 'fast'; known: auto, loop"),
    ({"strategy": "graph"}, "CUDA"),
])
def test_what_does_not_fit_is_refused_before_training(few: Images, change: dict, message: str):
    params, buffers = start(NET, 0, 1)
    options = {"data": few, "recipe": QUICK, "seeds": [0, 1], "strategy": "loop"} | change
    with pytest.raises(ValueError, match=message):
        fit(NET, params, buffers, **options)


def test_nan_in_training_names_the_step_the_model_and_the_setting(few: Images):
    params, buffers = start(NET, 0, 1)
    params["0.weight"][1, 0] = float("nan")
    with pytest.raises(FloatingPointError, match=r"model 1 \(seed 7\) is nan at step 0 of 6; lower lr \(now 0.05\)"):
        fit(NET, params, buffers, few, QUICK, [4, 7], strategy="loop")
