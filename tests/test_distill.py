"""Distilled sets: how they are decoded, and whole methods resumed, seeded and refused."""

from functools import cache

import pytest
import torch
import torch.nn.functional as F
from helpers import apart, made_up
from tiny_methods import (
    CHOSEN,
    DATA,
    DC_TINY,
    DM_TINY,
    DSA_TINY,
    EARLY_TINY,
    IDC_TINY,
    KEPT,
    LEARNED,
    MTT_TINY,
    SOFT_TINY,
    THREE,
)

from lmcnb import (
    DC,
    DM,
    DSA,
    IDC,
    MTT,
    Dataset,
    Herding,
    Images,
    Net,
    RandomReal,
)
from lmcnb.distill import METHODS, Distilled, decode
from lmcnb.distill.base import Method, choose_real, mix
from lmcnb.kernel.recipe import seeded


@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("size", [8, 9])
def test_decoding_upsamples_each_tile_all_first_tiles_first(factor: int, size: int):
    images = torch.rand(4, 3, size, size)
    padded = F.pad(images, (0, -size % factor) * 2, value=0.5)
    side, expected = padded.shape[-1] // factor, []
    for row in range(factor):
        for column in range(factor):
            for image in padded:
                tile = image[:, row * side:(row + 1) * side, column * side:(column + 1) * side]
                expected.append(F.interpolate(tile[None], (size, size), mode="bilinear", align_corners=False)[0])
    torch.testing.assert_close(decode(images, factor), torch.stack(expected))


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_a_decoded_set_has_the_label_of_each_tile(factor: int):
    images = torch.arange(6.0).div(6).view(6, 1, 1, 1).expand(6, 1, 6, 6)  # two of each of three classes
    found = RandomReal(ipc=2, factor=factor).result(DATA, images.view(3, 2, 1, 6, 6), 0)
    decoded = found.decoded()
    assert len(decoded) == 6 * factor ** 2 and found.ipc == 2
    assert torch.equal((decoded.x[:, 0, 3, 3] * 6 + 0.01).long() // 2, decoded.y)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_mix_tiles_shrunken_real_images_of_the_class(factor: int):
    """8 pixels at factor 3 are tiles of 3, 3 and 2: the last ones too hold whole images, of which decoding is made."""
    pixels = mix(DATA.train, 2, factor, seed=0)
    assert pixels.shape == (3, 2, 1, 8, 8) and float(pixels.min()) >= 0 and float(pixels.max()) <= 1
    index, side = choose_real(DATA.train, 2 * factor ** 2, seeded("start", 0)), -(-8 // factor)
    decoded = decode(pixels.flatten(0, 1), factor).unflatten(0, (factor ** 2, 3, 2))
    assert (DATA.train.y[index] == torch.arange(3)[:, None]).all()
    assert all(len(set(row.tolist())) == 2 * factor ** 2 for row in index)
    for c in range(3):
        for i in range(2):
            canvas = torch.zeros(1, 8, 8)
            for t in range(factor ** 2):
                real = DATA.train.x[index[c, i * factor ** 2 + t]] / 255
                row, column = t // factor * side, t % factor * side
                high, wide = min(side, 8 - row), min(side, 8 - column)
                small = F.interpolate(real[None], (high, wide), mode="nearest")
                canvas[:, row:row + high, column:column + wide] = small[0]
                grey = F.pad(small, (0, side - wide, 0, side - high), value=0.5)
                whole = real if factor == 1 else F.interpolate(grey, (8, 8), mode="bilinear")[0]
                torch.testing.assert_close(decoded[t, c, i], whole)
            assert torch.equal(pixels[c, i], canvas)


def test_an_image_too_small_for_its_tiles_is_refused():
    tiny = Dataset("tiny", made_up(60, 3, size=4), made_up(30, 3, size=4))
    with pytest.raises(ValueError, match="images of 4 pixels do not hold 3 × 3 smaller ones: lower factor"):
        RandomReal(ipc=2, factor=3).check(tiny, THREE)


@pytest.mark.parametrize("method", [DC(factor=3), DSA(factor=3), DM(factor=3), MTT(factor=3, zca=None)],
                         ids=lambda m: m.kind)
def test_tiles_of_normalised_pixels_that_would_be_padded_are_refused(method: Method):
    with pytest.raises(ValueError, match=f"factor 3 does not divide the 8 pixels of .* {method.kind} pads"):
        method.but(ipc=1).check(DATA, THREE)
    method.but(ipc=1, factor=2).check(DATA, THREE)
    for other in (MTT(ipc=1, factor=3), IDC(ipc=1, factor=3), RandomReal(ipc=1, factor=3)):
        other.check(DATA, THREE)


RESUMED = {m.kind: m for m in LEARNED} | {"pretrained": IDC_TINY.but(pretrain_epochs=1)}


@cache
def whole(kind: str) -> tuple[Distilled, list[dict]]:
    """The set of a method of RESUMED, and its checkpoints."""
    kept = []
    made = RESUMED[kind].distill(DATA, THREE, 0,
                                 checkpoint=lambda t: kept.append({n: v.clone() for n, v in t.items()}))
    return made, kept


@pytest.mark.parametrize("kind", RESUMED)
def test_distillation_resumes_to_the_same_bytes(kind: str):
    made, kept = whole(kind)
    assert len(kept) == 3
    for state in kept:
        again = RESUMED[kind].distill(DATA, THREE, 0, state=state)
        assert torch.equal(again.images, made.images) and torch.equal(again.labels, made.labels)
        assert again.lr == made.lr
    if kind == "pretrained":  # the others are made again below
        torch.manual_seed(99)
        assert torch.equal(RESUMED[kind].distill(DATA, THREE, 0).images, made.images)


@pytest.mark.parametrize("method", [*LEARNED, *CHOSEN], ids=lambda m: m.kind)
def test_every_method_gives_a_set_of_its_size_that_depends_on_the_seed_alone(method: Method):
    first = whole(method.kind)[0] if method in LEARNED else method.distill(DATA, THREE, 0)
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    again, other = (method.distill(DATA, THREE, s) for s in (0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.images, again.images) and not torch.equal(first.images, other.images)
    assert first.images.shape == (6, 1, 8, 8) and first.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert first.images.dtype == torch.float32
    assert method.kind in KEPT or (float(first.images.min()) >= 0 and float(first.images.max()) <= 1)
    assert torch.equal(first.mean, DATA.train.mean) and first.factor == method.factor


def test_data_points_count_the_real_images_looked_at():
    assert IDC_TINY.data_points(3) == 3 * 2 * (3 * 6 + 3 * 8)
    assert RandomReal(ipc=2).distill(DATA, THREE, 0).data_points == 0
    assert DM_TINY.distill(DATA, THREE, 0).data_points == 5 * 6 * 3
    assert DSA_TINY.distill(DATA, THREE, 0).data_points == 3 * 2 * 6 * 3
    assert EARLY_TINY.distill(DATA, THREE, 0).data_points == 3 * 2 * 3 * 6 + 2 * 1 * 60
    assert MTT_TINY.distill(DATA, THREE, 0).data_points == 2 * 2 * 60
    assert SOFT_TINY.distill(DATA, THREE, 0).data_points == 64  # two steps of 32


@pytest.mark.parametrize("method", [IDC(ipc=6, factor=2), DM(ipc=21), RandomReal(ipc=21), Herding(ipc=21)],
                         ids=lambda m: m.kind)
def test_more_images_than_a_class_has_are_refused_by_name(method: Method):
    with pytest.raises(ValueError, match=rf"ipc {method.ipc} .*smallest class of made up has 20: lower ipc"):
        method.distill(DATA, THREE, 0)


def test_the_methods_are_listed_under_their_kind():
    assert {name: cls.model_fields["kind"].default for name, cls in METHODS.items()} == {n: n for n in METHODS}
    assert apart({"x": torch.ones(1)}, {"x": torch.zeros(1)}) == 1 and isinstance(DATA.train, Images)


def test_a_distillation_that_diverges_names_its_rate(digits):
    method = IDC(ipc=1, outer=1, inner=3, net_steps=1, lr_image=1e38)
    with pytest.raises(FloatingPointError, match="lr_image"):
        method.distill(digits, Net.of(digits.train, "convnet2", 4), 0)


def test_dc_starts_from_noise_and_dsa_from_real_images():
    for method, real in ((DC_TINY, False), (DSA_TINY, True)):
        found = method.but(iterations=1, outer=1, lr_image=1e-9).distill(DATA, THREE, 0).images
        near = torch.isclose(found, mix(DATA.train, 2, 1, 0).flatten(0, 1), atol=1e-5).all()
        assert bool(near) is real


def test_pixels_that_were_learned_normalised_are_kept_where_they_leave_the_range():
    kept = []
    found = DC_TINY.distill(DATA, THREE, 0, checkpoint=lambda t: kept.append(t["x"]))
    ends = kept[-1].flatten(0, 1) * 0.25 + 0.5  # of made_up data
    torch.testing.assert_close(found.images, ends)
    assert 0.01 < float(((found.images < 0) | (found.images > 1)).float().mean()) < 0.2
    train = found.decoded().normalised()
    torch.testing.assert_close(train, kept[-1].flatten(0, 1))


@pytest.mark.parametrize("factor", [1, 2])
def test_soft_labels_are_a_teachers_probabilities_of_each_decoded_image(factor: int):
    method = SOFT_TINY.but(of=RandomReal(ipc=2, factor=factor))
    found, hard = (m.distill(DATA, THREE, 0) for m in (method, method.of))
    decoded = found.decoded()
    assert method.factor == factor and method.ipc == 2 and torch.equal(found.images, hard.images)
    assert decoded.y.shape == (6 * factor ** 2, 3) and decoded.y.dtype == torch.float32
    torch.testing.assert_close(decoded.y.sum(1), torch.ones(len(decoded)))
    hot = method.but(temperature=1e6).distill(DATA, THREE, 0).decoded().y
    torch.testing.assert_close(hot, torch.full_like(hot, 1 / 3), atol=1e-4, rtol=0)
    assert (decoded.y - 1 / 3).abs().max() > 1e-3


def test_a_set_whose_labels_do_not_fit_is_refused():
    images, mean = torch.rand(4, 1, 8, 8), torch.full((1,), 0.5)
    with pytest.raises(ValueError, match=r"one for each of the N .* got \(4, 1, 8, 8\) and 3 labels"):
        Distilled(images, torch.zeros(3, dtype=torch.int64), mean, mean, 3)
    with pytest.raises(ValueError, match=r"soft labels are probabilities \[N, 3\]; got \(4, 2\)"):
        Distilled(images, torch.full((4, 2), 0.5), mean, mean, 3)
    with pytest.raises(ValueError, match="labels must lie in 0…2; found 0…5"):
        Distilled(images, torch.tensor([0, 1, 2, 5]), mean, mean, 3)
    with pytest.raises(ValueError, match="images have 1 channels"):
        Distilled(images, torch.zeros(4, dtype=torch.int64), mean.expand(3), mean.expand(3), 3)
