"""Augmentation: the pixels against plain references, the random numbers against their promises."""

import math

import pytest
import torch
import torch.nn.functional as F
from augmenting import at, draws_of, images
from hypothesis import given
from hypothesis import strategies as st

from lmcnb.kernel.augment import AUGMENTS, Augment, apply, augmentation, compose, draw
from lmcnb.kernel.recipe import seeded
from lmcnb.spec import SettingError

EYE = torch.eye(2, 3)


def test_none_is_the_identity_and_draws_nothing():
    x = images()
    assert draws_of(augmentation("none")) == {}
    assert apply(augmentation("none"), x, {}) is x


def test_an_unknown_augmentation_lists_the_known_ones():
    with pytest.raises(ValueError, match="'flip'; known: cifar, .*none"):
        augmentation("flip")
    with pytest.raises(ValueError, match=r"geometry\[0\] must be 'crop', 'scale', 'rotate', .*got 'shear'"):
        draws_of(Augment(geometry=("shear",)))
    with pytest.raises(SettingError, match="cutmix"):
        augmentation("none", 2)


def test_flip_mirrors_left_and_right_half_of_the_time():
    augment, x = Augment(flip=True), images()
    draws = draws_of(augment, steps=100)
    mirrored = draws["affine"][..., 0, 0] == -1
    assert 0.42 < float(mirrored.float().mean()) < 0.58
    out = apply(augment, x, at(draws, 0))
    for i in range(len(x)):
        torch.testing.assert_close(out[i], x[i].flip(-1) if mirrored[0, i] else x[i], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [8, 12, 16])
def test_crop_shifts_by_whole_pixels_and_fills_with_zeros(size: int):
    augment, x, reach = Augment(geometry=("crop",)), images(size=size), size // 8
    draws, seen = draws_of(augment, size=size), set()
    for step in range(6):
        out = apply(augment, x, at(draws, step))
        for i in range(len(x)):
            shift = draws["affine"][step, i, :, 2] * size / 2
            right, down = (round(float(s)) for s in shift)
            padded = F.pad(x[i], (reach,) * 4)
            expected = padded[:, reach + down:reach + down + size, reach + right:reach + right + size]
            torch.testing.assert_close(out[i], expected, atol=2e-5, rtol=1e-5)
    seen = {round(float(s)) for s in (draws["affine"][..., 2] * size / 2).flatten()}
    assert seen == set(range(-reach, reach + 1))


def test_scale_and_rotation_stay_in_their_ranges():
    scale = draws_of(Augment(geometry=("scale",)))["affine"]
    factors = scale[..., [0, 1], [0, 1]]
    assert 1 / 1.2 <= float(factors.min()) < 0.85 and 1.18 < float(factors.max()) <= 1.2
    assert not torch.equal(factors[..., 0], factors[..., 1])
    turn = draws_of(Augment(geometry=("rotate",)))["affine"]
    angle = torch.atan2(turn[..., 1, 0], turn[..., 0, 0]) * 180 / math.pi
    assert -15 <= float(angle.min()) < -14 and 14 < float(angle.max()) <= 15
    torch.testing.assert_close(torch.linalg.det(turn[..., :2]), torch.ones(64, 6))


def test_one_kind_of_geometry_is_drawn_for_each_batch():
    affine = draws_of(augmentation("cifar").but(flip=False))["affine"]
    linear, shift = affine[..., :2], affine[..., 2]
    shifted = shift.abs().sum((1, 2)) > 0
    scaled = (linear[..., 0, 0] != linear[..., 1, 1]).any(1)
    turned = (linear[..., 0, 1] != 0).any(1)
    assert (shifted.int() + scaled.int() + turned.int() == 1).all()
    assert all(10 < int(kind.sum()) < 35 for kind in (shifted, scaled, turned))


def test_all_kinds_of_geometry_are_composed_without_one_of():
    affine = draws_of(Augment(geometry=("crop", "rotate"), one_of=False))["affine"]
    assert bool((affine[..., 0, 1] != 0).all()) and float((affine[..., 2] != 0).float().mean()) > 0.5


@given(st.integers(0, 99))
def test_compose_is_one_map_after_the_other(seed: int):
    outer, inner = torch.randn(2, 2, 3, generator=seeded(seed)).double()
    point = torch.randn(2, generator=seeded("point", seed)).double()

    def go(m, p):
        return m[:, :2] @ p + m[:, 2]
    torch.testing.assert_close(go(compose(outer, inner), point), go(outer, go(inner, point)))


def test_colour_follows_the_formulas_of_dsa():
    augment, x = Augment(colour=True), images()
    draws = at(draws_of(augment), 0)
    out = apply(augment, x, draws)
    for i, (b, s, c) in enumerate(draws["colour"].tolist()):
        y = x[i] + (b - 0.5)
        grey = y.mean(0)
        y = (y - grey) * (2 * s) + grey
        y = (y - y.mean()) * (c + 0.5) + y.mean()
        torch.testing.assert_close(out[i], y, atol=1e-5, rtol=1e-5)


def test_cutout_blanks_one_square_of_half_the_side_at_most():
    augment, x = Augment(cutout=True), torch.ones(6, 3, 16, 16)
    draws, areas = draws_of(augment), set()
    for step in range(20):
        out = apply(augment, x, at(draws, step))
        for i, (top, left) in enumerate(draws["cutout"][step].tolist()):
            expected = torch.ones(16, 16)
            expected[max(0, top):max(0, top + 8), max(0, left):max(0, left + 8)] = 0
            assert torch.equal(out[i], expected.expand(3, 16, 16))
            areas.add(int((expected == 0).sum()))
    assert max(areas) == 64 and min(areas) >= 0
    assert draws["cutout"].min() == -4 and draws["cutout"].max() == 12


def test_a_shared_draw_is_the_same_for_all_images():
    augment = AUGMENTS["match"]
    draws = draws_of(augment)
    assert {n: t.shape[1] for n, t in draws.items()} == {"affine": 1, "colour": 1, "cutout": 1}
    x = images(1).expand(6, 3, 16, 16)
    out = apply(augment, x, at(draws, 0))
    assert bool((out == out[:1]).all())
    assert not torch.equal(out[0], x[0])


def test_images_of_an_unshared_batch_are_changed_each_in_its_own_way():
    x = images(1).expand(6, 3, 16, 16)
    out = apply(AUGMENTS["dsa"], x, at(draws_of(AUGMENTS["dsa"]), 0))
    assert len({float(o.sum()) for o in out}) == 6


def test_single_takes_one_family_at_a_time_and_each_as_often():
    augment = AUGMENTS["dsa_matching"]
    draws = draws_of(augment, steps=600)
    affine, colour, cutout = draws["affine"][:, 0], draws["colour"][:, 0], draws["cutout"][:, 0]
    families = torch.stack([(colour != 0.5).any(1), (cutout > -16).any(1), affine[:, 0, 0] == -1,
                            affine[:, :, 2].abs().sum(1) > 0, affine[:, 0, 1] != 0,
                            (affine[:, 0, 0].abs() != affine[:, 1, 1])
                            & (affine[:, 0, 0] != -1)], 1)  # last: scale (a rotation has equal cosines)
    counts = families.sum(0).tolist()
    assert int(families.sum(1).max()) == 1
    assert [60 < c < 140 for c in (counts[0], counts[1], counts[4], counts[5])] == [True] * 4
    assert 30 < counts[2] < 70  # half of the flips mirror
    assert 50 < counts[3] < 140  # a few of the crops are by nothing


def test_a_neutral_draw_leaves_the_pixels():
    x = images()
    neutral = {"affine": EYE[None], "colour": torch.full((1, 3), 0.5), "cutout": torch.full((1, 2), -16)}
    torch.testing.assert_close(apply(AUGMENTS["dsa_matching"], x, neutral), x, atol=2e-5, rtol=1e-5)


def test_cutmix_swaps_a_box_whose_area_is_what_is_not_kept():
    augment, x = Augment(cutmix=1.0), images()
    draws, mixed = draws_of(augment), 0
    for step in range(30):
        d = at(draws, step)
        top, bottom, left, right = d["box"].tolist()
        expected = x.clone()
        expected[:, :, top:bottom, left:right] = x[d["partner"]][:, :, top:bottom, left:right]
        assert torch.equal(apply(augment, x, d), expected)
        assert float(d["kept"]) == pytest.approx(1 - (bottom - top) * (right - left) / 256)
        assert sorted(d["partner"].tolist()) == list(range(6))
        mixed += bottom > top
    assert mixed > 20
    assert len(draws["partner"].unique(dim=0)) > 40


@pytest.mark.parametrize("probability", [0.0, 0.25, 1.0])
def test_cutmix_happens_as_often_as_it_should(probability: float):
    draws = draws_of(Augment(flip=True, cutmix=probability), steps=800, size=32)
    if not probability:
        assert "box" not in draws
        return
    share = float((draws["kept"] < 1).float().mean())
    assert abs(share - probability) < 0.06  # a box of almost no area counts as none


@pytest.mark.parametrize("name", sorted(AUGMENTS))
def test_one_seed_draws_the_same_and_another_does_not(name: str):
    augment = augmentation(name, 0.5)
    first, again, other = (draws_of(augment, seed=s) for s in (0, 0, 1))
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert not any(torch.equal(first[n], other[n]) for n in first)


@pytest.mark.parametrize("name", sorted(AUGMENTS))
def test_images_keep_their_shape_type_and_finiteness_and_the_input_its_values(name: str):
    augment, x = augmentation(name, 0.5), images(channels=1, size=8)
    before = x.clone()
    out = apply(augment, x, at(draws_of(augment, size=8), 0))
    assert out.shape == x.shape and out.dtype == x.dtype and bool(out.isfinite().all())
    assert torch.equal(x, before)


def test_drawing_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    draws_of(augmentation("dsa", 0.5))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_new_kinds_of_augmentation_leave_the_draws_of_the_others_as_they_were():
    """Stored results depend on them."""
    draws = draw(augmentation("dsa", 0.5), 3, 4, 16, seeded("draws"))
    sums = {n: round(float(t.double().sum()), 3) for n, t in draws.items()}
    assert sums == {"affine": 13.795, "colour": 15.487, "cutout": 81, "partner": 18, "box": 77, "kept": 2.344}


@pytest.mark.parametrize("size", [8, 28, 32])
def test_moving_whole_pixels_is_the_bilinear_look_up(size: int):
    """Flips and shifts are read by index; the general warp with the same matrix gives the same images."""
    from lmcnb.kernel.augment import _moved, _warped

    augment, x = Augment(flip=True, geometry=("crop",)), images(size=size)
    for affine in draws_of(augment, size=size)["affine"]:
        affine = affine[:1].expand(len(x), 2, 3) if len(affine) != len(x) else affine
        assert torch.allclose(_moved(x, affine), _warped(x, affine), atol=1e-5)
    assert augment.whole_pixels and not AUGMENTS["dsa"].whole_pixels
