"""Folders of pictures as data sets, ImageNet's among them: read once, and refused by name where they are not well."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lmcnb import load
from lmcnb.data import IMAGENET10, IMAGENET_MEAN, IMAGENET_STD, IMAGENETTE, imagenet


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
    seen, decode = [], imagenet._square
    monkeypatch.setattr(imagenet, "_square", lambda path, size: (seen.append(path), decode(path, size))[1])
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


def write_imagenette(root: Path) -> None:
    """One picture a class and split, of one red level each."""
    for split in ("train", "val"):
        for label, wnid in enumerate(IMAGENETTE):
            (root / split / wnid).mkdir(parents=True)
            pixels = np.full((72, 80, 3), 20 * label + 5, np.uint8)
            Image.fromarray(pixels).save(root / split / wnid / "0.webp", lossless=True)


def test_imagenette_is_downloaded_once_into_its_folder(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("LMCNB_DATA", str(tmp_path))
    asked = []

    def fake(root: str, size: str, download: bool) -> None:
        asked.append((size, download))
        write_imagenette(Path(root) / "imagenette2-160")
        if len(asked) == 1:
            raise KeyboardInterrupt
    monkeypatch.setattr("torchvision.datasets.Imagenette", fake)
    with pytest.raises(KeyboardInterrupt):
        load("imagenette")
    assert not [*tmp_path.iterdir()], "a part of it is never taken for all"
    data = load("imagenette")
    assert data.train.shape == (3, 64, 64) and data.name == "imagenette" and "other ones than the papers'" in data.note
    assert torch.equal(data.train.x[:, 0, 0, 0] // 20, data.train.y) and data.classes == 10
    assert load("imagenette:64").fingerprint == data.fingerprint and load("imagenette:96").train.shape == (3, 96, 96)
    assert asked == [("160px", True)] * 2 and (tmp_path / "imagenette" / "val").is_dir()


def test_absent_imagenette_says_how_to_get_it(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("LMCNB_DATA", str(tmp_path))

    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")
    monkeypatch.setattr("torchvision.datasets.Imagenette", offline)
    with pytest.raises(FileNotFoundError) as error:
        load("imagenette:64")
    told = str(error.value)
    assert all(part in told for part in ("could not be downloaded (OSError)", "github.com/fastai/imagenette",
                                         str(tmp_path / "imagenette" / "train")))
    with pytest.raises(FileNotFoundError, match="no folder .*elsewhere.train. Download"):
        load("imagenette:64:elsewhere")


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
