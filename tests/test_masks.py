"""Masks: exact counts at any size, ties included, and nothing ever comes back."""

import pytest
import torch
from helpers import NET, identical, random_masks, start
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lmcnb.kernel.masks import (
    check,
    flat,
    jaccard,
    layer_density,
    masked,
    ones,
    pack,
    prune,
    random_global,
    random_layerwise,
    sparsity,
    unpack,
)
from lmcnb.kernel.recipe import seeded

# few distinct values, so that ties are everywhere
levels = st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0])
shapes = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 6)), min_size=1, max_size=3)


@st.composite
def weights(draw) -> tuple[dict, dict]:
    """Weights [K, a, b] of a few layers, and masks of what is left of them."""
    k, params, masks = draw(st.integers(1, 3)), {}, {}
    for i, shape in enumerate(draw(shapes)):
        params[f"layer{i}"] = torch.from_numpy(draw(arrays("float32", (k, *shape), elements=levels)))
        masks[f"layer{i}"] = torch.from_numpy(draw(arrays("bool", (k, *shape))))
    return params, masks


@given(weights(), st.floats(0, 0.99))
def test_the_count_removed_is_exact_for_every_model(drawn, rate: float):
    params, masks = drawn
    left = flat(masks).sum(1)
    after = flat(prune(params, masks, rate)).sum(1)
    assert (left - after).tolist() == [round(rate * int(n)) for n in left]


@given(weights(), st.floats(0, 0.99))
def test_pruning_removes_the_smallest_and_breaks_ties_by_position(drawn, rate: float):
    params, masks = drawn
    magnitude, kept, after = flat(params).abs(), flat(masks), flat(prune(params, masks, rate))
    for row in range(len(kept)):
        alive = [i for i in range(kept.shape[1]) if kept[row, i]]
        ranked = sorted(alive, key=lambda i: (float(magnitude[row, i]), i))
        gone = ranked[:round(rate * len(alive))]
        assert torch.nonzero(kept[row] & ~after[row]).flatten().tolist() == sorted(gone)


@given(weights(), st.floats(0, 0.99))
def test_pruning_never_brings_a_weight_back(drawn, rate: float):
    params, masks = drawn
    assert not (flat(prune(params, masks, rate)) & ~flat(masks)).any()


def test_ten_rounds_of_equal_weights_leave_exactly_what_rounding_says():
    params = {"w": torch.ones(1, 1000)}
    masks, left = ones(params, ("w",)), 1000
    for _ in range(10):
        masks, left = prune(params, masks), left - round(0.2 * left)
        assert int(masks["w"].sum()) == left
    assert masks["w"][0, -left:].all() and not masks["w"][0, :-left].any()


def test_models_of_a_stack_are_pruned_each_by_its_own_weights():
    params, _ = start(NET, 0, 1)
    both = prune(params, ones(params, NET.prunable), 0.5)
    for k in range(2):
        alone = {n: p[k:k + 1] for n, p in params.items()}
        single = prune(alone, ones(alone, NET.prunable), 0.5)
        assert identical({n: m[k:k + 1] for n, m in both.items()}, single)


def test_pruning_is_global_a_layer_of_small_weights_loses_all():
    params = {"small": torch.full((1, 3), 0.1), "large": torch.full((1, 7), 1.0)}
    after = prune(params, ones(params, ("small", "large")), 0.3)
    assert after["small"].sum() == 0 and after["large"].sum() == 7


@pytest.mark.parametrize("rate", [-0.1, 1.0, 2])
def test_a_rate_outside_0_and_1_is_refused(rate: float):
    params = {"w": torch.ones(1, 4)}
    with pytest.raises(ValueError, match=rf"rate must lie in \[0, 1\); got {rate}"):
        prune(params, ones(params, ("w",)), rate)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_diverged_are_not_pruned(value: float):
    params = {"w": torch.tensor([[1.0, value]])}
    with pytest.raises(ValueError, match="NaN.*lr"):
        prune(params, ones(params, ("w",)), 0.5)


@given(weights(), st.integers(0, 9))
def test_random_masks_keep_their_counts(drawn, seed: int):
    _, masks = drawn
    generators = [seeded("mask", seed, k) for k in range(len(flat(masks)))]
    layerwise = random_layerwise(masks, generators)
    assert {n: m.flatten(1).sum(1).tolist() for n, m in layerwise.items()} == {
        n: m.flatten(1).sum(1).tolist() for n, m in masks.items()}
    assert all(layerwise[n].shape == m.shape for n, m in masks.items())
    everywhere = random_global(masks, generators)
    assert flat(everywhere).sum(1).tolist() == flat(masks).sum(1).tolist()


def test_random_masks_are_other_masks_and_a_seed_repeats_them():
    params, _ = start(NET, 0)
    masks = prune(params, ones(params, NET.prunable), 0.6)
    for shuffle in (random_layerwise, random_global):
        first, again, other = (shuffle(masks, [seeded(s)]) for s in (0, 0, 1))
        assert identical(first, again) and not identical(first, other) and not identical(first, masks)
    assert layer_density(random_layerwise(masks, [seeded(0)])) == layer_density(masks)
    assert layer_density(random_global(masks, [seeded(0)])) != layer_density(masks)


@given(weights())
def test_packing_and_unpacking_give_the_mask_back(drawn):
    _, masks = drawn
    packed = pack(masks)
    assert identical(unpack(packed, masks), masks)
    assert all(packed[n].shape[1] == -(-m[0].numel() // 8) for n, m in masks.items())


def test_masked_weights_are_exactly_zero_and_the_others_untouched():
    params, _ = start(NET, 0)
    masks = random_masks(NET, params)
    zeroed = masked(params, masks)
    for n, p in params.items():
        assert torch.equal(zeroed[n], p * masks[n] if n in masks else p)
    assert not identical(zeroed, params)


def test_masked_replaces_even_nan():
    zeroed = masked({"w": torch.tensor([[float("nan"), 1.0]])}, {"w": torch.tensor([[False, True]])})
    assert zeroed["w"].tolist() == [[0, 1]]


def test_jaccard_sparsity_and_density_by_hand():
    a = {"x": torch.tensor([[True, True, False]]), "y": torch.tensor([[False, True]])}
    b = {"x": torch.tensor([[True, False, True]]), "y": torch.tensor([[False, True]])}
    assert jaccard(a, b).tolist() == [0.5] and jaccard(a, a).tolist() == [1.0]
    assert sparsity(a).tolist() == pytest.approx([0.4])
    assert {n: d.tolist() for n, d in layer_density(a).items()} == {"x": pytest.approx([2 / 3]), "y": [0.5]}


def test_independent_masks_overlap_by_chance():
    a, b = ({"w": torch.rand(1, 40_000, generator=seeded(s)) < 0.3} for s in (0, 1))
    assert float(jaccard(a, b)) == pytest.approx(0.3 / 1.7, abs=0.01)


@pytest.mark.parametrize("masks", [{"other.weight": torch.ones(1, 2, dtype=torch.bool)},
                                   {"0.weight": torch.ones(1, 9, dtype=torch.bool)}])
def test_a_mask_of_another_network_is_named(masks: dict):
    params, _ = start(NET, 0)
    with pytest.raises(ValueError, match="mask is of another network.*weight"):
        check(masks, params)
