"""Data sets: what is in them, and what is said when they are not there or not well."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import made_up
from PIL import Image

from lmcnb import Dataset, Images, Net, generate_images, load
from lmcnb.data import CIFAR10_MEAN, CIFAR10_STD, IMAGENET10, IMAGENET_MEAN, IMAGENET_STD, folders, normalise


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


def test_a_data_set_measures_mean_and_std_on_the_training_images():
    values = arrays()
    packed = Dataset.from_arrays("mine", **values)
    pixels = values["x_train"].astype(float) / 255
    np.testing.assert_allclose(packed.test.mean, pixels.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(packed.test.std, pixels.std((0, 1, 2), ddof=1), rtol=1e-6)


def write_folder(root: Path, test: str = "test", sizes: tuple[int, ...] = (6, 6)) -> None:
    for split in ("train", test):
        for label, name in enumerate(("cat", "dog")):
            (root / split / name).mkdir(parents=True)
            for i, size in enumerate(sizes):
                pixels = np.full((size, size, 3), 100 * label + i, np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")


@pytest.mark.parametrize("test", ["test", "val"])
def test_a_folder_of_pictures_is_a_data_set(tmp_path: Path, test: str):
    write_folder(tmp_path, test)
    data = load(f"folder:{tmp_path}")
    assert data.train.shape == (3, 6, 6)
    assert sorted(data.train.y.tolist()) == [0, 0, 1, 1] == sorted(data.test.y.tolist())
    pairs = dict(zip(data.train.x[:, 0, 0, 0].tolist(), data.train.y.tolist()))
    assert pairs == {0: 0, 1: 0, 100: 1, 101: 1}


def test_a_folder_is_shuffled_the_same_way_every_time(tmp_path: Path):
    write_folder(tmp_path)
    first, second = load(f"folder:{tmp_path}").train, load(f"folder:{tmp_path}").train
    assert first.fingerprint == second.fingerprint
    assert first.x[:, 0, 0, 0].tolist() != [0, 1, 100, 101]  # not class by class


def test_a_folder_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="train"):
        load(f"folder:{tmp_path}")


def test_pictures_of_several_sizes_are_refused(tmp_path: Path):
    write_folder(tmp_path, sizes=(6, 7))
    with pytest.raises(ValueError, match="one size"):
        load(f"folder:{tmp_path}")


def test_other_classes_in_the_test_folder_are_refused(tmp_path: Path):
    write_folder(tmp_path)
    (tmp_path / "test" / "dog").rename(tmp_path / "test" / "fox")
    with pytest.raises(ValueError, match="fox.*cat.*dog"):
        load(f"folder:{tmp_path}")


@pytest.fixture
def imagenet10(tmp_path: Path, monkeypatch) -> Path:
    """LMCNB_DATA with an imagenet10 folder: three oblong pictures a class, of one red level each; one is a JPEG."""
    monkeypatch.setenv("LMCNB_DATA", str(tmp_path))
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for label, wnid in enumerate(IMAGENET10):
            folder = tmp_path / "imagenet10" / split / wnid
            folder.mkdir(parents=True)
            for k, suffix in enumerate((".png", ".PNG", ".JPEG")):
                pixels = rng.integers(0, 256, (80 + 7 * k, 131, 3), np.uint8)
                pixels[..., slice(0, 3 if suffix == ".JPEG" else 1)] = 20 * label + 5 + k  # flat, JPEG keeps it
                Image.fromarray(pixels).save(folder / f"{k}{suffix}")
    return tmp_path / "imagenet10"


def counted(monkeypatch) -> list[Path]:
    """The files decoded from now on."""
    seen, decode = [], folders._square
    monkeypatch.setattr(folders, "_square", lambda path, size: (seen.append(path), decode(path, size))[1])
    return seen


def test_imagenet10_has_its_classes_in_the_papers_order_and_imagenets_normalisation(imagenet10: Path):
    data = load("imagenet10:64")
    assert data.train.x.dtype == torch.uint8 and data.train.shape == (3, 64, 64) and data.classes == 10
    assert (len(data.train), len(data.test), data.note) == (30, 30, "")
    assert [len(i) for i in data.test.by_class] == [3] * 10
    red = data.train.x[:, 0].float().mean((1, 2)) / 20
    assert torch.equal(red.floor().long(), data.train.y)  # by name, not by the names' alphabet
    assert list(IMAGENET10) != sorted(IMAGENET10)
    assert data.train.y.tolist() != sorted(data.train.y.tolist())
    torch.testing.assert_close(data.test.mean, torch.tensor(IMAGENET_MEAN))
    torch.testing.assert_close(data.test.std, torch.tensor(IMAGENET_STD))


@pytest.mark.parametrize("size", [64, 96])  # below and above the pictures' shorter side
def test_pictures_are_resized_and_cropped_as_torchvision_does(imagenet10: Path, size: int):
    from torchvision.transforms import CenterCrop, Compose, Resize

    path = imagenet10 / "train" / IMAGENET10[0] / "0.png"
    expected = np.asarray(Compose([Resize(size), CenterCrop(size)])(Image.open(path)))
    data = load(f"imagenet10:{size}")
    assert any(np.array_equal(x.permute(1, 2, 0), expected) for x in data.train.x[data.train.by_class[0]])


def test_without_a_size_imagenet10_has_224_pixels(imagenet10: Path):
    data = load("imagenet10")
    assert data.train.shape == (3, 224, 224) and data.name == "imagenet10"
    assert load("imagenet10:224").fingerprint == data.fingerprint


def test_the_second_load_decodes_nothing_and_is_the_same(imagenet10: Path, monkeypatch):
    first, seen = load("imagenet10:64"), counted(monkeypatch)
    again = load("imagenet10:64")
    assert not seen and again.fingerprint == first.fingerprint and again.train.x.is_contiguous()
    assert (imagenet10.parent / "imagenet10_64.npz").exists()
    load("imagenet10:96")
    assert len(seen) == 60  # another size is another cache
    seen.clear()
    load("imagenet10:64")
    assert not seen


def test_a_changed_folder_is_decoded_anew(imagenet10: Path, monkeypatch):
    first, seen = load("imagenet10:64"), counted(monkeypatch)
    folder = imagenet10 / "val" / IMAGENET10[3]
    (folder / "0.png").rename(folder / "9.png")
    load("imagenet10:64")
    assert len(seen) == 60
    Image.fromarray(np.zeros((80, 131, 3), np.uint8)).save(folder / "9.png")
    changed = load("imagenet10:64")
    assert len(seen) == 120 and changed.test.fingerprint != first.test.fingerprint
    (folder / "9.png").unlink()
    assert len(load("imagenet10:64").test) == 29
    (folder / "notes.txt").write_text("no picture")
    seen.clear()
    load("imagenet10:64")
    assert not seen


@pytest.mark.parametrize("keep", [0, 100, -200], ids=["empty", "header", "tail cut"])
def test_a_damaged_cache_is_decoded_anew(imagenet10: Path, monkeypatch, keep: int):
    first, cache = load("imagenet10:64"), imagenet10.parent / "imagenet10_64.npz"
    cache.write_bytes(cache.read_bytes()[:keep])
    seen = counted(monkeypatch)
    assert load("imagenet10:64").fingerprint == first.fingerprint
    assert len(seen) == 60 and cache.stat().st_size > 100_000


def test_a_cache_that_cannot_be_written_is_no_error(imagenet10: Path, monkeypatch, caplog):
    def full(*_, **__):
        raise OSError("disk full")
    monkeypatch.setattr("numpy.savez", full)
    assert len(load("imagenet10:64").train) == 30
    assert "disk full" in caplog.text and not list(imagenet10.parent.glob("*.npz"))


def test_absent_imagenet10_says_licence_folders_and_place(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("LMCNB_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError) as error:
        load("imagenet10")
    told = str(error.value)
    assert all(part in told for part in ("licence", "image-net.org", str(tmp_path / "imagenet10" / "train"), "val",
                                         "generate_images", *IMAGENET10))


def test_missing_and_additional_classes_are_listed(imagenet10: Path):
    (imagenet10 / "train" / IMAGENET10[4]).rename(imagenet10 / "train" / "n00000001")
    with pytest.raises(ValueError, match=f"missing: {IMAGENET10[4]}; additional: n00000001. Copy"):
        load("imagenet10:64")
    (imagenet10 / "train" / "n00000001").rename(imagenet10 / "train" / IMAGENET10[4])
    (imagenet10 / "val" / "n00000002").mkdir()
    with pytest.raises(ValueError, match="val must hold.*missing: none; additional: n00000002"):
        load("imagenet10:64")


def test_an_empty_class_and_a_broken_picture_are_named(imagenet10: Path):
    broken = imagenet10 / "train" / IMAGENET10[2] / "0.png"
    broken.write_bytes(broken.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"0\.png is not a readable image"):
        load("imagenet10:64")
    for path in broken.parent.iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=f"no .jpeg.* file in {IMAGENET10[2]}"):
        load("imagenet10:64")


@pytest.mark.parametrize("size", ["32", "65", "0", "-64", "6e1", "big", "64.0"])
def test_a_size_the_networks_cannot_take_is_refused(size: str):
    with pytest.raises(ValueError, match="multiple of 32"):
        load(f"imagenet10:{size}")


def test_generated_images_are_a_data_set_that_says_what_it_is(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("LMCNB_DATA", str(tmp_path))
    name = generate_images(size=64, train=3, test=2)
    data = load(name)
    assert name == "imagenet10:64:generated-64px-3-2-seed0" and name in data.name
    assert (len(data.train), len(data.test), data.classes, data.train.shape) == (30, 20, 10, (3, 64, 64))
    assert data.note == "generated images, not ImageNet"
    assert not list(tmp_path.glob(".*"))  # nothing half-written
    assert load(generate_images(str(tmp_path / "mine"), train=3, test=2)).fingerprint == data.fingerprint


def test_a_seed_generates_the_same_images_and_another_seed_others(tmp_path: Path, monkeypatch):
    prints = []
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        monkeypatch.setenv("LMCNB_DATA", str(tmp_path / folder))
        prints.append(load(generate_images(train=2, test=2, seed=seed)).fingerprint)
    assert prints[0] == prints[1] != prints[2]


def test_the_first_generated_images_do_not_depend_on_how_many_there_are(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("LMCNB_DATA", str(tmp_path))
    few, more = (generate_images(train=n, test=1).split(":")[2] for n in (1, 2))
    path = Path("train") / IMAGENET10[5] / f"{IMAGENET10[5]}_00000.png"
    assert (tmp_path / few / path).read_bytes() == (tmp_path / more / path).read_bytes()


def test_generated_images_are_written_once_and_never_over_anything_else(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("LMCNB_DATA", str(tmp_path))
    folder = generate_images(train=1, test=1).split(":")[2]
    times = [p.stat().st_mtime_ns for p in sorted((tmp_path / folder).rglob("*"))]
    generate_images(train=1, test=1)
    assert times == [p.stat().st_mtime_ns for p in sorted((tmp_path / folder).rglob("*"))]
    with pytest.raises(ValueError, match="delete it.*another folder"):
        generate_images(folder, train=2, test=1)
    (tmp_path / "imagenet10").mkdir()
    with pytest.raises(ValueError, match="delete it.*another folder"):
        generate_images("imagenet10", train=1, test=1)
    assert not list((tmp_path / "imagenet10").iterdir())


@pytest.mark.parametrize(("settings", "message"), [
    ({"train": 0}, r"train must be .*; got 0"), ({"size": 48}, "multiple of 32"), ({"seed": -1}, "seed must"),
    ({"test": "few"}, "test must"), ({"size": 32_000}, "size must"),
])
def test_generator_settings_out_of_range_are_refused(settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        generate_images(**settings)


def test_generated_classes_differ_and_vary():
    """A plain classifier on a few colour and edge statistics beats chance by far and stays far from perfect."""
    from lmcnb.data.generated import picture

    def about(label: int, k: int) -> np.ndarray:
        x = picture(label, 64, np.random.default_rng([7, label, k]))[:64, :64] / 255.0
        return np.concatenate([x[16:48, 16:48].mean((0, 1)), x.std((0, 1)), abs(np.diff(x, axis=0)).mean((0, 1))])
    from sklearn.neighbors import KNeighborsClassifier

    labels = np.repeat(np.arange(10), 30)
    x = np.array([about(label, k) for label in range(10) for k in range(30)])
    x = (x - x.mean(0)) / x.std(0)
    train = np.arange(len(x)) % 30 < 20
    accuracy = KNeighborsClassifier(5).fit(x[train], labels[train]).score(x[~train], labels[~train])
    assert 0.2 < accuracy < 0.9


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


@pytest.mark.parametrize("left", [".DS_Store", "Thumbs.db", "desktop.ini", "._0.png", ".hidden"])
def test_what_systems_leave_in_folders_is_neither_class_nor_image(tmp_path: Path, left: str):
    write_folder(tmp_path)
    clean = load(f"folder:{tmp_path}").fingerprint
    for split in ("train", "test"):
        for place in (tmp_path / split, tmp_path / split / "cat"):
            (place / left).write_bytes(b"no picture")
        for place in (tmp_path / split, tmp_path / split / "dog"):  # a notebook opened there, an unpacked archive
            for name in (".ipynb_checkpoints", "__MACOSX"):
                (place / name).mkdir()
                Image.fromarray(np.zeros((6, 6, 3), np.uint8)).save(place / name / "0-checkpoint.png")
    assert load(f"folder:{tmp_path}").fingerprint == clean


def test_one_name_written_in_two_forms_of_unicode_is_one_class(tmp_path: Path):
    write_folder(tmp_path)
    (tmp_path / "train" / "cat").rename(tmp_path / "train" / "caf\u00e9")
    (tmp_path / "test" / "cat").rename(tmp_path / "test" / "cafe\u0301")
    assert load(f"folder:{tmp_path}").classes == 2


def test_links_to_pictures_elsewhere_are_followed(tmp_path: Path):
    write_folder(tmp_path / "real")
    (tmp_path / "linked").mkdir()
    for split in ("train", "test"):
        (tmp_path / "linked" / split).symlink_to(tmp_path / "real" / split)
    assert load(f"folder:{tmp_path / 'linked'}").fingerprint == load(f"folder:{tmp_path / 'real'}").fingerprint


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


def test_a_long_narrow_picture_is_refused_before_it_fills_the_memory(imagenet10: Path):
    Image.new("RGB", (200_000, 1)).save(imagenet10 / "train" / IMAGENET10[0] / "0.png")
    with pytest.raises(ValueError, match=r"0\.png is 200000 × 1, too narrow"):
        load("imagenet10:64")


@pytest.mark.parametrize("change", [{"x_train": np.zeros((30, 3, 64, 32), np.uint8)}, {"y_test": np.zeros(30, int)},
                                    {"x_test": np.zeros((30, 3, 64, 64))}, {"y_train": np.array([{}], object)}])
def test_a_pack_that_does_not_hold_these_pictures_is_decoded_anew(imagenet10: Path, monkeypatch, change: dict):
    first, cache = load("imagenet10:64"), imagenet10.parent / "imagenet10_64.npz"
    with np.load(cache) as packed:
        np.savez(cache, **(dict(packed) | change))
    seen = counted(monkeypatch)
    assert load("imagenet10:64").fingerprint == first.fingerprint and len(seen) == 60
