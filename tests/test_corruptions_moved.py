"""Blurs, displacements and weather against SciPy and plain loops, and the two corruptions that are read from files."""
import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from test_corruptions import pictures, rows

from lmcnb import Net, Recipe, Robustness, Train
from lmcnb.data import Dataset
from lmcnb.measure import blurs, corrupt, spoilt, weather
from lmcnb.measure.corruptions import CORRUPTIONS, PUBLISHED

SIZES = pytest.mark.parametrize("size", [8, 32])


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def close(found: torch.Tensor, expected: np.ndarray, levels: float = 0.01) -> bool:
    """Of images [n, C, H, W] and rows [n, H, W, C]."""
    return float(np.abs(rows(found.double()) - expected).max()) * 255 < levels


@SIZES
@pytest.mark.parametrize("constant", CORRUPTIONS["defocus_blur"].constants)
def test_defocus_is_a_disk_between_mirrors(size: int, constant: tuple):
    x, (radius, sigma) = pictures(3, size).x / 255, constant
    y, across = np.mgrid[-8:9, -8:9]
    disk = (y ** 2 + across ** 2 <= radius ** 2) / 1.0
    bell = np.exp(-0.5 * (np.arange(-1, 2) / sigma) ** 2)
    kernel = ndimage.convolve(disk / disk.sum(), np.outer(bell, bell) / bell.sum() ** 2, mode="constant")
    expected = ndimage.convolve(rows(x).astype(float), kernel[None, :, :, None], mode="mirror")
    assert close(blurs.defocus_blur(x, constant, generator()), expected)


def test_glass_takes_a_pixel_from_above_or_left_of_it():
    """As the loop of the benchmark's code does, whose swap is a copy; of the first two rows and columns, none."""
    x = torch.arange(2 * 3 * 8 * 8.0).view(2, 3, 8, 8) / 400
    down, across = (torch.randint(-1, 1, (2, 8, 8), generator=g) for g in [generator()] for _ in range(2))
    expected = rows(x).copy()
    for n in range(2):
        for h in range(7, 1, -1):
            for w in range(7, 1, -1):
                there = h + int(down[n, h, w]), w + int(across[n, h, w])
                expected[n, h, w], expected[n][there] = expected[n][there], expected[n, h, w]
    assert close(blurs.glass_blur(x, (1e-9, 1), generator()), expected)


@SIZES
@pytest.mark.parametrize("degrees", [-135.0, -45.0, 0.0, 30.0])
def test_motion_is_half_a_gaussian_along_an_angle(size: int, degrees: float):
    x, (radius, sigma) = pictures(3, size).x / 255, (3, 2.0)
    weights, expected = [math.exp(-0.5 * (i / sigma) ** 2) for i in range(7)], np.zeros_like(rows(x))
    for i, weight in enumerate(weights):
        down, across = (math.ceil(i * f(math.radians(degrees)) - 0.5) for f in (math.sin, math.cos))
        at = [np.clip(np.arange(size) + shift, 0, size - 1) for shift in (down, across)]
        expected += weight / sum(weights) * rows(x)[:, at[0]][:, :, at[1]]
    assert close(blurs.smeared(x, (radius, sigma), torch.full((len(x),), degrees)), expected)


@SIZES
@pytest.mark.parametrize("factor", [1.0, 1.01, 1.25, 2.25])
def test_zoom_is_scipys_of_the_middle(size: int, factor: float):
    x = pictures(3, size).x / 255
    kept = math.ceil(size / factor)
    start = (size - kept) // 2
    middle = rows(x)[:, start:start + kept, start:start + kept]
    large = ndimage.zoom(middle.astype(float), (1, factor, factor, 1), order=1)
    trim = (large.shape[1] - size) // 2
    assert close(blurs.zoomed(x, factor), large[:, trim:trim + size, trim:trim + size])
    one = blurs.zoom_blur(x, 1.001, generator())
    assert torch.allclose(one, x, atol=1e-6), "one enlargement, by 1"


@SIZES
def test_elastic_moves_pixels_as_scipys_map_coordinates(size: int, monkeypatch):
    x, constant, drawn = pictures(3, size).x / 255, CORRUPTIONS["elastic_transform"].constants[3], []
    draw = torch.rand
    monkeypatch.setattr(torch, "rand", lambda *s, **k: drawn.append(draw(*s, **k)) or drawn[-1])
    found = blurs.elastic_transform(x, constant, generator())
    points, shifts = (2 * d.double().numpy() - 1 for d in drawn)
    most, sigma, move = (c * size for c in constant)
    y, across = np.mgrid[:size, :size].astype(float)
    three = size // 2 + size // 3 * np.array([[1, 1], [1, -1], [-1, -1]])
    expected = []
    for image, p, s in zip(rows(x).astype(float), points, shifts):
        forward = np.linalg.solve(np.c_[three, np.ones(3)], three + move * p)  # of the three to the moved ones
        back = np.linalg.inv(np.c_[forward, [0, 0, 1]])
        at = np.stack([across, y, np.ones_like(y)], -1) @ back
        by = [most * ndimage.gaussian_filter(part, sigma, truncate=3) for part in s]
        for places, mode in (((at[..., 1], at[..., 0]), "mirror"), ((y + by[1], across + by[0]), "reflect")):
            image = np.stack([ndimage.map_coordinates(c, places, order=1, mode=mode) for c in image.transpose(2, 0, 1)],
                             -1)
        expected.append(image)
    assert close(found, np.stack(expected), 0.05)


@pytest.mark.parametrize("size", [8, 32, 64])
def test_clouds_fill_their_range_and_are_smooth(size: int):
    clouds = weather.plasma(20, size, 2.0, generator())
    assert clouds.shape == (20, size, size) and bool(clouds.isfinite().all())
    assert torch.equal(clouds.amin((1, 2)), torch.zeros(20)) and torch.equal(clouds.amax((1, 2)), torch.ones(20))
    steps = [float(weather.plasma(20, size, decay, generator()).diff(dim=2).std()) for decay in (1.5, 2.0, 3.0)]
    assert steps == sorted(steps, reverse=True), "the faster the wobble decays, the smoother"
    assert len({tuple(c.flatten().tolist()) for c in clouds}) == 20, "each image has its own"


@pytest.mark.parametrize("size", [8, 20, 32])
def test_fog_keeps_the_brightest_value_and_hides_contrast(size: int):
    x = pictures(3, size).x / 255
    spreads = [float(weather.fog(x, c, generator()).std((2, 3)).mean()) for c in ((0, 3), (100.0, 3))]
    assert spreads[0] == pytest.approx(float(x.std((2, 3)).mean()), rel=1e-6), "none"
    thick = weather.fog(x, (1e6, 3.0), generator())
    assert torch.allclose(thick.amax((1, 2, 3)), x.amax((1, 2, 3)), atol=1e-4) and float(thick.std((2, 3)).min()) > 0


def test_snow_adds_flakes_to_a_whitened_image_in_both_directions():
    x = torch.full((4, 3, 32, 32), 0.2)
    found = weather.snow(x, (0.1, 0.2, 1, 0.6, 8, 3, 0.95), generator())
    flakes = found - (0.95 * 0.2 + 0.05 * (0.5 + 1.5 * 0.2))
    assert torch.allclose(flakes, flakes.rot90(2, (2, 3)), atol=1e-6) and float(flakes.min()) > -1e-6
    assert 0.001 < float(flakes.mean()) < 0.1 and not torch.equal(flakes[0], flakes[1])
    none = weather.snow(x, (0.1, 0.2, 1, 9.0, 8, 3, 0.9), generator())
    assert torch.allclose(none, torch.full_like(x, 0.9 * 0.2 + 0.1 * 0.8)), "nothing is above the threshold"


@pytest.fixture
def benchmark(tmp_path, monkeypatch):
    """A folder as the benchmark's archive makes it: severity s of image i is a picture of the level s + i.

    Of the first 200 images, that is.
    """
    monkeypatch.setenv("LMCNB_DATA", str(tmp_path))
    folder = tmp_path / "CIFAR-10-C"
    folder.mkdir()
    frost = np.lib.format.open_memmap(folder / "frost.npy", "w+", np.uint8, (50_000, 32, 32, 3))
    for severity in range(5):  # the others stay a hole in the file, which takes no time to write
        frost[10_000 * severity:][:200] = (severity + np.arange(200))[:, None, None, None]
    frost.flush()
    np.save(folder / "labels.npy", (np.arange(50_000) % 10_000 % 10).astype(np.uint8))
    return folder


def cifar(count: int = 30) -> Dataset:
    images = pictures(count=count)
    test = type(images)(images.x, torch.arange(count) % 10, images.mean, images.std, 10)
    return Dataset("cifar10", images, test)


def test_frost_is_read_from_the_benchmarks_file(benchmark):
    for severity in (1, 5):
        found = spoilt(cifar(), "frost", severity, images=7)
        assert len(found) == 7 and found.x[3].unique().tolist() == [severity - 1 + 3]
        assert torch.equal(found.y, cifar().test.y[:7]) and found.x.shape == (7, 3, 32, 32)
    made = spoilt(cifar(), "fog", 2, seed=3, images=7)
    assert torch.equal(made.x, corrupt(cifar().test.first(7), "fog", 2, 3).x)


def test_a_file_that_is_missing_or_not_the_benchmarks_is_refused_in_words(benchmark):
    with pytest.raises(FileNotFoundError, match=r"unpack CIFAR-10-C.tar \(https://zenodo.org/records/2535967\) to .*, "
                                                "or leave spatter out"):
        spoilt(cifar(), "spatter", 1)
    np.save(benchmark / "spatter.npy", np.zeros((10_000, 32, 32, 3), np.uint8))
    with pytest.raises(ValueError, match=r"spatter.npy holds uint8 \[10000, 32, 32, 3\], not uint8 \[50000"):
        spoilt(cifar(), "spatter", 1)
    np.save(benchmark / "labels.npy", np.zeros(50_000, np.uint8))
    with pytest.raises(ValueError, match="the labels in .*CIFAR-10-C are not those of cifar10's test images"):
        spoilt(cifar(), "frost", 1)
    with pytest.raises(ValueError, match="take lmcnb.measure.spoilt"):
        corrupt(pictures(), "frost", 1)
    for severity in (0, 6, -1):
        with pytest.raises(ValueError, match="severity must be one of 1, 2, 3, 4, 5"):
            spoilt(cifar(), "frost", severity)
    (benchmark / "labels.npy").unlink()
    with pytest.raises(FileNotFoundError, match="labels is read .* or leave frost and spatter out"):
        robust("cifar10", "frost")


def test_other_files_are_another_key_and_a_changed_one_is_told(benchmark):
    before = robust("cifar10", "frost")
    assert before.files and not robust("cifar10", "fog").files and before == robust("cifar10", "frost")
    np.save(benchmark / "frost.npy", np.zeros((50_000, 32, 32, 3), np.uint8))
    after = robust("cifar10", "frost")
    assert after.canonical() != before.canonical()
    with pytest.raises(ValueError, match="files of the benchmark have the digest .*: they were changed"):
        before.but(seed=1)


def robust(dataset: str, name: str) -> Robustness:
    net = Net(size=32, channels=3, classes=10)
    return Robustness(dataset=dataset, net=net, model=Train(dataset=dataset, net=net, recipe=Recipe(epochs=1)),
                      corruptions=["fog", name] if name != "fog" else ["fog"])


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_plan_fails_before_any_work_where_a_file_is_missing(name: str, tmp_path, monkeypatch):
    monkeypatch.setenv("LMCNB_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"{name} is read from the benchmark's file"):
        robust("cifar10", name)
    with pytest.raises(ValueError, match="which are of cifar10 and cifar100, not of shapes: leave"):
        robust("shapes", name)
