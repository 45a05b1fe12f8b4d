"""ImageNet's augmentation: boxes, colours and light as torchvision and the papers' code draw them."""

import pytest
import torch
from augmenting import at, draws_of, images

from lmcnb.kernel.augment import AUGMENTS, Augment, apply
from lmcnb.kernel.recipe import seeded


def imagenet_draws(size: int = 32, steps: int = 64, **changes) -> tuple[Augment, dict]:
    augment = AUGMENTS["imagenet"].but(**{"flip": False, "jitter": 0, "lighting": 0, **changes})
    return augment, draws_of(augment, steps=steps, size=size)


@pytest.mark.parametrize("size", [32, 64])
def test_a_resized_crop_is_torchvisions(size: int):
    """The same box through torchvision: equal inside; at the box's rim ours also sees the pixels just outside it."""
    from torchvision.transforms.functional import InterpolationMode, resized_crop

    augment, draws = imagenet_draws(size, steps=4)
    x = images(size=size)
    for step in range(4):
        out = apply(augment, x, at(draws, step))
        for i in range(len(x)):
            left, top, wide, high = box_of(draws["affine"][step, i], size)
            expected = resized_crop(x[i], top, left, high, wide, [size, size], InterpolationMode.BILINEAR, False)
            torch.testing.assert_close(out[i, :, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], atol=1e-4, rtol=1e-4)
            if left == 0:
                torch.testing.assert_close(out[i, :, 1:-1, 0], expected[:, 1:-1, 0], atol=1e-4, rtol=1e-4)


def box_of(affine: torch.Tensor, size: int) -> tuple[int, ...]:
    """left, top, width, height in pixels, which must be whole."""
    sides = affine[[0, 1], [0, 1]] * size
    low = ((affine[:, 2] + 1) * size - sides) / 2
    values = torch.cat([low, sides])
    torch.testing.assert_close(values, values.round(), atol=1e-3, rtol=0)
    return tuple(values.round().int().tolist())


def test_resized_crops_have_torchvisions_areas_ratios_and_places():
    size = 224
    affine = imagenet_draws(size, steps=400)[1]["affine"].flatten(0, 1)
    left, top, wide, high = torch.tensor([box_of(a, size) for a in affine]).double().T
    area, ratio = wide * high / size ** 2, wide / high
    assert bool((affine[:, 0, 1] == 0).all()) and bool((affine[:, 1, 0] == 0).all())
    assert 0.49 < float(area.min()) < 0.52 and float(area.max()) <= 1
    assert 0.74 < float(ratio.min()) < 0.78 and 1.28 < float(ratio.max()) < 1.35
    assert bool((left >= 0).all()) and bool((left + wide <= size).all())
    assert bool((top >= 0).all()) and bool((top + high <= size).all())
    assert abs(float((left / (size - wide).clamp(1)).mean()) - 0.5) < 0.03
    # torchvision's own draws have these means
    torch.manual_seed(0)
    from torchvision.transforms import RandomResizedCrop

    theirs = [RandomResizedCrop.get_params(torch.empty(1, size, size), (0.5, 1), (3 / 4, 4 / 3)) for _ in range(2400)]
    their_area = sum(h * w for _, _, h, w in theirs) / len(theirs) / size ** 2
    assert abs(float(area.mean()) - their_area) < 0.012


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_jitter_is_torchvisions_in_any_order(order: tuple[int, ...]):
    import torchvision.transforms.functional as V

    from lmcnb.data import IMAGENET_MEAN, IMAGENET_STD, normalise

    raw = 0.4 + 0.2 * torch.rand(6, 3, 16, 16, generator=seeded("raw"))  # nothing to clamp
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    augment = Augment(jitter=0.4)
    draws = at(draws_of(augment), 0)
    out = apply(augment, normalise(raw, mean, std), draws) * std[:, None, None] + mean[:, None, None]
    kinds = (V.adjust_brightness, V.adjust_saturation, V.adjust_contrast)
    for i, factors in enumerate(draws["jitter"].tolist()):
        expected = raw[i]
        for k in order:
            expected = kinds[k](expected, factors[k])
        torch.testing.assert_close(out[i], expected, atol=1e-3, rtol=0)  # its weights of grey have a digit more


def test_jitter_and_lighting_are_as_strong_as_they_say():
    draws = draws_of(AUGMENTS["imagenet"], steps=400)
    jitter, lighting = draws["jitter"], draws["lighting"]
    assert 0.6 <= float(jitter.min()) < 0.61 and 1.39 < float(jitter.max()) <= 1.4
    assert abs(float(jitter.mean()) - 1) < 0.01
    # the first component lights all three colours alike: 0.1 × 0.2175 × 0.57 in units of 0…1
    raw = lighting * torch.tensor((0.229, 0.224, 0.225))
    assert 0.011 < float(raw.std()) < 0.014 and abs(float(raw.mean())) < 0.001


def test_lighting_shifts_each_colour_of_an_image_and_leaves_grey_images():
    augment = Augment(lighting=0.1)
    draws = at(draws_of(augment), 0)
    x = images()
    moved = apply(augment, x, draws) - x
    torch.testing.assert_close(moved, draws["lighting"][:, :, None, None].expand_as(x), atol=1e-6, rtol=1e-5)
    assert torch.equal(apply(augment, x[:, :1], draws), x[:, :1])


def test_neutral_jitter_leaves_the_pixels_and_other_channels_are_refused():
    x, ones = images(), {"jitter": torch.ones(6, 3)}
    torch.testing.assert_close(apply(Augment(jitter=0.4), x, ones), x, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="2 channels"):
        apply(Augment(jitter=0.4), x[:, :2], ones)


def test_a_step_with_the_imagenet_augmentation_can_be_vmapped():
    augment, x = AUGMENTS["imagenet"], images(size=32)
    draws = draws_of(augment, steps=3, size=32)
    stacked = torch.vmap(lambda d: apply(augment, x, d))(draws)
    for step in range(3):
        torch.testing.assert_close(stacked[step], apply(augment, x, at(draws, step)), atol=1e-5, rtol=1e-5)
