"""Images and data sets: what is in them, and what is said when a file is not there or not well."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import made_up

from lmcnb import Dataset, Images, Net, load, register_dataset
from lmcnb.data import CIFAR10_MEAN, CIFAR10_STD, DATASETS, normalise


def arrays(train: int = 6, test: int = 4, size: int = 4, channels: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    counts = {"train": train, "test": test}
    pixels = {f"x_{s}": rng.integers(0, 256, (n, size, size, channels), np.uint8) for s, n in counts.items()}
    return pixels | {f"y_{s}": np.arange(n) % 2 for s, n in counts.items()}


def test_the_digits_come_with_their_shapes_classes_and_splits(digits: Dataset):
    assert (len(digits.train), len(digits.test), digits.classes) == (1297, 500, 10)
    assert digits.train.x.dtype == torch.uint8 and digits.train.shape == (1, 8, 8)
    assert int(digits.train.x.max()) == 255
    assert all(len(i) > 100 for i in digits.train.by_class)


def test_the_digits_are_those_of_scikit_learn(digits: Dataset):
    """As it would give them, and split by it, so that the class shares are alike."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    raw = load_digits()
    x = np.round(raw.images * (255 / 16)).astype(np.uint8)
    split = train_test_split(x, raw.target, test_size=500, random_state=0, stratify=raw.target)
    packed = digits.train.x[:, 0], digits.test.x[:, 0], digits.train.y, digits.test.y
    assert all(np.array_equal(mine, theirs) for mine, theirs in zip(packed, split, strict=True))


def test_the_digits_splits_share_no_mean_but_that_of_the_training_images(digits: Dataset):
    assert torch.equal(digits.test.mean, digits.train.mean)
    x = digits.train.normalised()
    assert abs(float(x.mean())) < 1e-5 and abs(float(x.std()) - 1) < 1e-5


def test_by_class_lists_each_image_once_under_its_label(digits: Dataset):
    index = torch.cat(digits.train.by_class)
    assert torch.equal(index.sort().values, torch.arange(len(digits.train)))
    assert all((digits.train.y[i] == c).all() for c, i in enumerate(digits.train.by_class))


def test_normalised_is_pixels_less_mean_over_std(digits: Dataset):
    some = digits.train.normalised(torch.tensor([3, 5]))
    by_hand = (digits.train.x[[3, 5]] / 255 - digits.train.mean.item()) / digits.train.std.item()
    torch.testing.assert_close(some, by_hand)


def test_float_pixels_are_not_divided_by_255():
    x = torch.rand(2, 1, 3, 3)
    torch.testing.assert_close(normalise(x, torch.tensor([0.5]), torch.tensor([0.25])), (x - 0.5) / 0.25)


def test_a_fingerprint_changes_with_one_pixel_one_label_and_the_normalisation():
    images = made_up()
    x, y = images.x.clone(), images.y.clone()
    x[7, 0, 3, 3] ^= 1
    y[7] ^= 1
    others = [Images(x, images.y, images.mean, images.std, 2),
              Images(images.x, y, images.mean, images.std, 2),
              Images(images.x, images.y, images.mean + 0.1, images.std, 2)]
    prints = {i.fingerprint for i in (images, *others)}
    assert len(prints) == 4
    assert made_up().fingerprint == images.fingerprint


def test_a_fingerprint_changes_with_the_shape_of_the_same_bytes():
    images = made_up(channels=1, size=8)
    turned = Images(images.x.view(40, 1, 4, 16), images.y, images.mean, images.std, 2)
    assert turned.fingerprint != images.fingerprint


def test_a_dataset_fingerprint_holds_both_splits():
    a, b = made_up(seed=0), made_up(seed=1)
    assert len({Dataset("x", *p).fingerprint for p in ((a, b), (b, a), (a, a))}) == 3


@pytest.mark.parametrize(("change", "message"), [
    ({"x": torch.zeros(4, 8, 8)}, r"\[N, C, H, W\]"),
    ({"y": torch.zeros(3, dtype=torch.int64)}, "4, 1, 8, 8.*3 labels"),
    ({"mean": torch.zeros(3)}, "1 channels.*mean has 3"),
    ({"y": torch.tensor([0, 1, 2, 3])}, r"labels must lie in 0…1; found 0…3"),
    ({"y": torch.tensor([0, 1, -1, 0])}, "labels must lie in 0…1"),
])
def test_images_that_do_not_fit_together_are_refused(change: dict, message: str):
    values = {"x": torch.zeros(4, 1, 8, 8), "y": torch.tensor([0, 1, 0, 1]), "mean": torch.zeros(1),
              "std": torch.ones(1), "classes": 2}
    with pytest.raises(ValueError, match=message):
        Images(**{**values, **change})


def test_soft_labels_count_their_likeliest_class():
    y = torch.tensor([[0.2, 0.8], [0.9, 0.1]])
    soft = Images(torch.zeros(2, 1, 8, 8), y, torch.zeros(1), torch.ones(1), 2)
    assert soft.hard.tolist() == [1, 0]
    assert [i.tolist() for i in soft.by_class] == [[1], [0]]


def test_an_unknown_data_set_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'cifar'; known: cifar10, cifar100, digits, folder:PATH"):
        load("cifar")


def test_without_file_and_network_cifar_says_both_ways_to_get_it(tmp_path: Path, monkeypatch):
    def offline(*_, **__):
        raise OSError("no network")
    monkeypatch.setattr("torchvision.datasets.CIFAR10", offline)
    monkeypatch.setenv("LMCNB_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"(?s)LMCNB_DATA.*cifar10\.npz.*network"):
        load("cifar10")
    assert not list(tmp_path.glob("*.npz"))


def test_a_download_is_packed_once_and_read_back(tmp_path: Path, monkeypatch):
    calls, source = [], arrays(10, 4, 32)

    class Part:
        def __init__(self, root, train, download):
            calls.append(train)
            split = "train" if train else "test"
            self.data, self.targets = source[f"x_{split}"], list(source[f"y_{split}"])
    monkeypatch.setattr("torchvision.datasets.CIFAR100", Part)
    monkeypatch.setenv("LMCNB_DATA", str(tmp_path))
    first, again = load("cifar100"), load("cifar100")
    assert calls == [True, False]
    assert first.fingerprint == again.fingerprint
    assert torch.equal(first.train.x, torch.from_numpy(source["x_train"].transpose(0, 3, 1, 2).copy()))
    assert first.test.y.tolist() == source["y_test"].tolist()


@pytest.mark.parametrize("keep", [0, 10, 200, -30], ids=["empty", "header", "half", "tail cut"])
def test_a_cut_npz_is_named(tmp_path: Path, monkeypatch, keep: int):
    path = tmp_path / "cifar10.npz"
    np.savez(path, **arrays())
    path.write_bytes(path.read_bytes()[:keep])
    monkeypatch.setenv("LMCNB_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"cifar10\.npz is not a readable npz"):
        load("cifar10")


def test_a_flipped_byte_in_an_npz_is_noticed(tmp_path: Path, monkeypatch):
    np.savez(tmp_path / "cifar10.npz", **arrays(50))
    raw = bytearray((tmp_path / "cifar10.npz").read_bytes())
    raw[600] ^= 255
    (tmp_path / "cifar10.npz").write_bytes(raw)
    monkeypatch.setenv("LMCNB_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"cifar10\.npz is not a readable npz"):
        load("cifar10")


@pytest.mark.parametrize(("change", "message"), [
    ({"x_train": None}, "x_train"), ({"x_train": np.zeros((6, 4, 4, 3), np.float32)}, "uint8.*float32"),
    ({"x_test": np.zeros((4, 16), np.uint8)}, "uint8"), ({"y_train": np.arange(5) % 2}, "5 labels"),
])
def test_wrong_arrays_are_refused(change: dict, message: str):
    values = {k: v for k, v in {**arrays(), **change}.items() if v is not None}
    with pytest.raises(ValueError, match=message):
        Dataset.from_arrays("mine", **values)


@pytest.mark.parametrize("kind", [np.array, torch.tensor, list])
def test_a_given_normalisation_is_float32_whatever_holds_it(kind):
    values = arrays()
    channels = values["x_train"].shape[-1]
    data = Dataset.from_arrays("mine", **values, mean=kind([0.0] * channels), std=kind([1.0] * channels))
    assert {t.dtype for t in (data.train.mean, data.test.std, data.train.normalised())} == {torch.float32}


def test_a_data_set_measures_mean_and_std_on_the_training_images():
    values = arrays()
    packed = Dataset.from_arrays("mine", **values)
    pixels = values["x_train"].astype(float) / 255
    np.testing.assert_allclose(packed.test.mean, pixels.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(packed.test.std, pixels.std((0, 1, 2), ddof=1), rtol=1e-6)


def test_a_network_is_fitted_to_images_and_refuses_oblong_ones():
    assert Net.of(made_up(channels=3, size=16), width=5) == Net(channels=3, size=16, classes=2, width=5)
    oblong = Images(torch.zeros(2, 1, 8, 9), torch.tensor([0, 1]), torch.zeros(1), torch.ones(1), 2)
    with pytest.raises(ValueError, match="square; got 8 × 9"):
        Net.of(oblong)


def test_real_cifar10_has_its_counts_and_the_papers_constants(cifar10: Dataset):
    assert (len(cifar10.train), len(cifar10.test), cifar10.classes) == (50_000, 10_000, 10)
    assert [len(i) for i in cifar10.train.by_class] == [5000] * 10
    pixels = cifar10.train.x.float().div(255)
    torch.testing.assert_close(pixels.mean((0, 2, 3)), torch.tensor(CIFAR10_MEAN), atol=1e-3, rtol=0)
    torch.testing.assert_close(cifar10.train.std, torch.tensor(CIFAR10_STD))
    assert torch.equal(cifar10.test.mean, torch.tensor(CIFAR10_MEAN))


def test_cifar100_says_how_it_is_normalised(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("LMCNB_DATA", str(tmp_path))
    np.savez(tmp_path / "cifar100.npz", **arrays(10, 4, 32))
    data = load("cifar100")
    assert "CIFAR10_MEAN" in data.note
    torch.testing.assert_close(data.train.mean, data.train.x.float().div(255).mean((0, 2, 3)))


@pytest.mark.parametrize(("change", "message"), [
    ({"y_train": np.arange(6) % 2 * 1.0}, "whole numbers"), ({"y_train": np.arange(6) * 10**12}, "0, 1, …; got 0…50"),
    ({"y_test": np.array([-1, 0, 1, 0])}, "got -1…1"), ({"x_train": np.zeros((6, 4, 4, 3), np.uint8)}, "must differ"),
    ({"y_train": np.full(6, 2**63, np.uint64)}, "number the classes"),
    ({"x_train": np.zeros((0, 4, 4, 3), "u1")}, "images must be"),
])
def test_labels_that_are_none_and_pixels_that_say_nothing_are_refused(change: dict, message: str):
    with pytest.raises(ValueError, match=message):
        Dataset.from_arrays("mine", **(arrays() | change))


def test_a_name_is_loaded_once_where_no_pixels_are_changed():
    from lmcnb.data.sources import loaded_once

    with loaded_once():
        assert load("digits") is load("digits")
        register_dataset("once, in a test", lambda: load("digits").first(9))
        first = load("once, in a test")
        register_dataset("once, in a test", lambda: load("digits").first(8))
        assert len(load("once, in a test").train) == 8 and len(first.train) == 9, "registered anew"
    assert load("digits") is not load("digits")
    del DATASETS["once, in a test"]
