"""Corruptions against Pillow's codec and filters, a plain convolution, matplotlib's HSV, and the moments of noise."""

from io import BytesIO

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import identical
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from PIL import Image
from torch import Tensor

from lmcnb import Images
from lmcnb.measure.corruptions import CORRUPTIONS, SEVERITIES, corrupt, levels

RANDOM = ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "glass_blur", "motion_blur", "snow", "fog",
          "elastic_transform")
# The others fade first and then exaggerate, or move pixels, and more of them is not further.
FURTHER = [n for n in CORRUPTIONS if n not in ("saturate", "glass_blur", "motion_blur", "elastic_transform")]
GREY = [n for n, c in CORRUPTIONS.items() if c.channels != (3,)]


def pictures(channels: int = 3, size: int = 32, count: int = 6) -> Images:
    """Smooth shapes with a little texture; the first one also has black, white and grey pixels."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, channels, 11, 11, generator=generator)
    smooth = F.interpolate(coarse, (size, size), mode="bilinear") + 0.05 * torch.randn(
        count, channels, size, size, generator=generator)
    x = levels(smooth.clamp(0, 1))
    x[0, :, 0, :3] = torch.tensor([0, 128, 255], dtype=torch.uint8)
    y = torch.arange(count) % 3
    return Images(x, y, torch.full((channels,), 0.4), torch.full((channels,), 0.2), 3)


def flat(value: float, count: int = 20) -> Images:
    """One brightness everywhere, as float images: what noise does is all that is seen."""
    return Images(torch.full((count, 3, 32, 32), value), torch.zeros(count, dtype=torch.long), torch.zeros(3),
                  torch.ones(3), 1)


def rows(x: Tensor) -> np.ndarray:
    """[N, H, W, C], as Pillow and matplotlib have images."""
    return x.permute(0, 2, 3, 1).numpy()


def each(constants: tuple) -> list[tuple]:
    """(severity, constant) of make_cifar_c.py."""
    return list(zip(SEVERITIES, constants))


def through_pillow(images: Images, change) -> Tensor:
    def one(row: np.ndarray) -> np.ndarray:
        image = Image.fromarray(row.squeeze(-1) if row.shape[-1] == 1 else row)
        return np.asarray(change(image)).reshape(row.shape)
    return torch.from_numpy(np.stack([one(r) for r in rows(images.x)])).permute(0, 3, 1, 2)


def apart(a: Tensor, b: Tensor) -> int:
    """Largest difference in levels."""
    return int((a.int() - b.int()).abs().max())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("severity", "quality"), each((80, 65, 58, 50, 40)))
def test_jpeg_is_pillows(channels: int, severity: int, quality: int):
    def code(image):
        kept = BytesIO()
        image.save(kept, "JPEG", quality=quality)
        return Image.open(kept)
    images = pictures(channels)
    assert torch.equal(corrupt(images, "jpeg", severity).x, through_pillow(images, code))


@pytest.mark.parametrize("size", [8, 32])
@pytest.mark.parametrize(("severity", "share"), each((0.95, 0.9, 0.85, 0.75, 0.65)))
def test_pixelate_is_pillows_box_filter(size: int, severity: int, share: float):
    images, small = pictures(3, size), (int(share * size),) * 2
    box = Image.Resampling.BOX
    expected = through_pillow(images, lambda i: i.resize(small, box).resize((size, size), box))
    found = corrupt(images, "pixelate", severity).x
    assert apart(found, expected) <= 1, "Pillow rounds twice, so one level is allowed"
    assert found[0, 0].unique().numel() < images.x[0, 0].unique().numel()


@pytest.mark.parametrize(("severity", "sigma"), each((0.4, 0.6, 0.7, 0.8, 1.0)))
def test_the_blur_is_a_gaussian_filter_with_repeated_edges(severity: int, sigma: float):
    reach = int(4 * sigma + 0.5)
    bell = torch.exp(-0.5 * (torch.arange(-reach, reach + 1).double() / sigma) ** 2)
    kernel = torch.outer(bell, bell) / bell.sum() ** 2
    for images in (pictures(3, 32), pictures(1, 8)):
        wide = F.pad(images.x.double(), [reach] * 4, mode="replicate").flatten(0, 1)[:, None]
        expected = F.conv2d(wide, kernel[None, None]).view_as(images.x)
        assert apart(corrupt(images, "gaussian_blur", severity).x, expected.round()) <= 1


@pytest.mark.parametrize(("severity", "factor"), each((0.75, 0.5, 0.4, 0.3, 0.15)))
def test_contrast_draws_each_channel_to_its_mean(severity: int, factor: float):
    for images in (pictures(3), pictures(1, 8)):
        x = images.x.double()
        mean = x.mean((2, 3), keepdim=True)
        assert apart(corrupt(images, "contrast", severity).x, ((x - mean) * factor + mean).round()) <= 1


@pytest.mark.parametrize(("severity", "more"), each((0.05, 0.1, 0.15, 0.2, 0.3)))
def test_brightness_adds_to_the_value(severity: int, more: float):
    images = pictures()
    hsv = rgb_to_hsv(rows(images.x) / 255)
    hsv[..., 2] = np.clip(hsv[..., 2] + more, 0, 1)
    expected = torch.from_numpy(hsv_to_rgb(hsv)).permute(0, 3, 1, 2)
    assert apart(corrupt(images, "brightness", severity).x, levels(expected)) <= 1
    grey = pictures(1, 8)
    assert apart(corrupt(grey, "brightness", severity).x, (grey.x + 255 * more).clamp(0, 255).round()) <= 1


@pytest.mark.parametrize(("severity", "constants"),
                         each(((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2))))
def test_saturate_is_that_of_hsv(severity: int, constants: tuple):
    images = pictures()
    hsv = rgb_to_hsv(rows(images.x) / 255)
    hsv[..., 1] = np.clip(hsv[..., 1] * constants[0] + constants[1], 0, 1)
    expected = torch.from_numpy(hsv_to_rgb(hsv)).permute(0, 3, 1, 2)
    assert apart(corrupt(images, "saturate", severity).x, levels(expected)) <= 1


@pytest.mark.parametrize(("severity", "std"), each((0.04, 0.06, 0.08, 0.09, 0.10)))
def test_gaussian_noise_has_its_standard_deviation(severity: int, std: float):
    noise = corrupt(flat(0.5), "gaussian_noise", severity).x - 0.5
    assert float(noise.std()) == pytest.approx(std, rel=0.02) and abs(float(noise.mean())) < std / 50
    neighbours = (noise[..., 1:] * noise[..., :-1]).mean() / noise.var()
    assert abs(float(neighbours)) < 0.02, "the noise must be white"


@pytest.mark.parametrize(("severity", "photons"), each((500, 250, 100, 75, 50)))
def test_shot_noise_grows_with_the_brightness(severity: int, photons: int):
    for value in (0.1, 0.5):
        seen = corrupt(flat(value), "shot_noise", severity).x
        assert float(seen.mean()) == pytest.approx(value, rel=0.01)
        assert float(seen.std()) == pytest.approx((value / photons) ** 0.5, rel=0.03)
    assert not corrupt(flat(0.0), "shot_noise", severity).x.any(), "no light, no noise"


@pytest.mark.parametrize(("severity", "std"), each((0.06, 0.1, 0.12, 0.16, 0.2)))
def test_speckle_noise_is_in_proportion_to_the_value(severity: int, std: float):
    for value in (0.2, 0.4):
        noise = corrupt(flat(value), "speckle_noise", severity).x - value
        assert float(noise.std()) == pytest.approx(value * std, rel=0.02)


@pytest.mark.parametrize(("severity", "share"), each((0.01, 0.02, 0.03, 0.05, 0.07)))
def test_impulse_noise_is_salt_and_pepper(severity: int, share: float):
    seen = corrupt(flat(0.5), "impulse_noise", severity).x
    salt, pepper = (float((seen == v).double().mean()) for v in (1, 0))
    assert salt == pytest.approx(share / 2, rel=0.2) and pepper == pytest.approx(share / 2, rel=0.2)
    assert float((seen == 0.5).double().mean()) == pytest.approx(1 - share, abs=0.003)
    assert (seen == 1).any(1).double().mean() > 1.5 * salt, "each channel is hit for itself"


@pytest.mark.parametrize("name", FURTHER)
def test_a_higher_severity_is_further_from_the_clean_image(name: str):
    images = pictures(count=30)
    away = [float((corrupt(images, name, s).x.double() - images.x.double()).square().mean()) for s in SEVERITIES]
    assert away[0] > 0 and all(a < b for a, b in zip(away, away[1:])), away


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize(("channels", "size"), [(3, 32), (1, 8), (1, 32)])
def test_kind_range_labels_and_the_input_itself_stay(name: str, channels: int, size: int):
    if channels == 1 and name not in GREY:
        pytest.skip("for RGB only")
    images = pictures(channels, size)
    before, state = images.x.clone(), torch.get_rng_state()
    found = corrupt(images, name, 3)
    assert found.x.dtype == torch.uint8 and found.x.shape == before.shape and not torch.equal(found.x, before)
    assert identical(images.x, before) and torch.equal(torch.get_rng_state(), state)
    assert all(getattr(found, n) is getattr(images, n) for n in ("y", "mean", "std")) and found.classes == 3
    as_float = Images(images.x / 255, images.y, images.mean, images.std, 3)
    floats = corrupt(as_float, name, 3).x
    assert floats.dtype == torch.float32 and float(floats.min()) >= 0 and float(floats.max()) <= 1
    assert apart(levels(floats), found.x) == 0, "a type's pixels are not another type's"


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_seed_means_the_same_pixels(name: str):
    images = pictures()
    first, again, other = (corrupt(images, name, 2, seed=s).x for s in (1, 1, 2))
    assert torch.equal(first, again) and torch.equal(first, other) == (name not in RANDOM)


def test_images_severities_and_kinds_of_noise_have_numbers_of_their_own():
    def noise(name: str = "gaussian_noise", severity: int = 1, **options) -> Tensor:
        found = corrupt(flat(0.5), name, severity, **options).x - 0.5
        return (found / found.std()).flatten(1)
    images = noise()
    assert abs(float((images[0] * images[1]).mean())) < 0.1
    assert abs(float((images * noise(severity=2)).mean())) < 0.02
    assert abs(float((images * noise("shot_noise")).mean())) < 0.02
    batched = noise(batch=4)
    assert float(torch.linalg.norm(batched[0] - batched[4])) > 1, "every batch has numbers of its own"


def test_bad_input_names_the_fix():
    images = pictures(1)
    with pytest.raises(ValueError, match="unknown corruption 'rain'; known: brightness, contrast, defocus_blur"):
        corrupt(images, "rain", 1)
    for severity in (0, 6, 1.5):
        with pytest.raises(ValueError, match="severity must be one of 1, 2, 3, 4, 5; got"):
            corrupt(images, "jpeg", severity)
    with pytest.raises(ValueError, match="saturate needs RGB images; these have 1 channel: leave saturate out"):
        corrupt(images, "saturate", 1)
    with pytest.raises(ValueError, match="jpeg needs grey or RGB images; these have 2 channels"):
        corrupt(pictures(2), "jpeg", 1)
