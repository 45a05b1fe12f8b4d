"""Distilled sets in files: ours come back whole, others' as they are published, and nothing that could be wrong."""

import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import NET
from PIL import Image
from safetensors.torch import save_file
from set_files import COLOUR, DATA, HARD, PIXELS, SOFT, a_set, same, saved

from lmcnb import Dataset, Imported, export_set, import_set
from lmcnb.data import normalise, zca

SETS = {"plain": a_set(), "factor 2": a_set(factor=2, data_points=70), "soft": a_set(factor=2, labels=SOFT),
        "zca": a_set(images=PIXELS * 8 - 4, zca=0.1, lr=0.0123456789), "colour": a_set(COLOUR, lr=1e-3)}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("name", SETS)
def test_a_set_comes_back_whole_from_a_file(tmp_path: Path, name: str, suffix: str):
    path = export_set(SETS[name], tmp_path / "new" / f"set{suffix}")
    assert same(import_set(path, COLOUR if name == "colour" else DATA), SETS[name])


@pytest.mark.parametrize("data", [DATA, COLOUR], ids=lambda d: d.name)
def test_a_set_comes_back_from_a_folder_of_pngs_in_bytes(tmp_path: Path, data: Dataset):
    bytes_alone = (a_set(data).images * 255).round() / 255
    expected = a_set(data, images=bytes_alone, factor=2, data_points=5)
    path = export_set(expected, tmp_path / "set")
    assert sorted(p.name for p in path.iterdir()) == ["0", "1", "2", "set.json"]
    assert same(import_set(str(path), data.train), expected)
    with pytest.raises(ValueError, match="name another folder"):
        export_set(expected, path)


def test_images_out_of_order_come_back_class_by_class_from_a_folder(tmp_path: Path):
    order = torch.tensor([4, 0, 2, 5, 1, 3])
    found = import_set(export_set(a_set(images=(PIXELS[order] * 255).round() / 255, labels=HARD[order]),
                                  tmp_path / "set"), DATA)
    assert torch.equal(found.labels, HARD) and torch.equal(found.images, (PIXELS * 255).round() / 255)


@pytest.mark.parametrize("name", ["soft", "zca"])
def test_what_pngs_cannot_hold_is_refused_with_the_formats_that_can(tmp_path: Path, name: str):
    with pytest.raises(ValueError, match="export it to .pt or .safetensors"):
        export_set(SETS[name], tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_other_suffixes_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"set.npz: end the name in .pt or .safetensors"):
        export_set(a_set(), tmp_path / "set.npz")


# What public repositories publish, by hand.

def test_idcs_pair_of_pixels_and_targets(tmp_path: Path):
    torch.save([torch.nn.Parameter(PIXELS), HARD], tmp_path / "data.pt")
    assert same(import_set(tmp_path / "data.pt", DATA, factor=2), a_set(factor=2))


def test_dcs_list_of_experiments_in_normalised_pixels(tmp_path: Path):
    x = normalise(PIXELS, DATA.train.mean, DATA.train.std)
    others = [torch.randn_like(x), HARD]
    torch.save({"data": [others, [x, HARD]], "accs_all_exps": {"ConvNet": [np.float64(0.5), np.float32(0.25)]}},
               tmp_path / "res.pt")
    found = import_set(tmp_path / "res.pt", DATA, space="normalised", which=1)
    torch.testing.assert_close(found.images, PIXELS)
    assert torch.equal(found.labels, HARD)
    own = import_set(tmp_path / "res.pt", DATA, space="normalised", mean=[0.1], std=[2.0], which=1)
    torch.testing.assert_close(own.images, x * 2 + 0.1)
    with pytest.raises(ValueError, match="holds 2 sets: which must be below that, not 2"):
        import_set(tmp_path / "res.pt", DATA, space="normalised", which=2)


def test_mtts_two_files_of_whitened_images_and_labels(tmp_path: Path):
    space = zca(DATA.train, 0.1)
    torch.save(space.whiten(PIXELS).requires_grad_(), tmp_path / "images_best.pt")
    torch.save(HARD, tmp_path / "labels_best.pt")
    found = import_set(tmp_path / "images_best.pt", DATA, space="zca", zca=0.1, lr=0.02,
                       labels=tmp_path / "labels_best.pt")
    torch.testing.assert_close(found.images, PIXELS, atol=1e-4, rtol=1e-4)
    assert torch.equal(found.labels, HARD) and (found.zca, found.lr) == (0.1, 0.02)
    with pytest.raises(ValueError, match="images alone: pass labels="):
        import_set(tmp_path / "images_best.pt", DATA, space="zca", zca=0.1)


@pytest.mark.parametrize("names", [("images", "labels"), ("image_syn", "label_syn"), ("data", "targets")])
def test_a_dictionary_by_any_common_names(tmp_path: Path, names: tuple[str, str]):
    torch.save(OrderedDict(zip(names, (PIXELS.double(), HARD.float()), strict=True)), tmp_path / "set.pt")
    save_file(dict(zip(names, (PIXELS, HARD.int()), strict=True)), tmp_path / "set.safetensors")
    for suffix in (".pt", ".safetensors"):
        assert same(import_set(tmp_path / f"set{suffix}", DATA), a_set())


def test_bytes_as_integers_or_floats(tmp_path: Path):
    levels = (PIXELS * 255).round()
    torch.save((levels.to(torch.uint8), HARD), tmp_path / "integers.pt")
    torch.save((levels, HARD), tmp_path / "floats.pt")
    for name in ("integers", "floats"):
        torch.testing.assert_close(import_set(tmp_path / f"{name}.pt", DATA, space="bytes").images, levels / 255)


def test_class_folders_with_names_need_their_order(tmp_path: Path):
    for k, name in enumerate(("zebra", "ant", "mouse")):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in (2, 10):  # not in the order of text
            Image.fromarray(np.full((8, 8), 20 * k + i, np.uint8)).save(tmp_path / "set" / name / f"{i}.png")
    found = import_set(tmp_path / "set", DATA, classes=("zebra", "ant", "mouse"))
    assert (found.images[:, 0, 0, 0] * 255).round().tolist() == [2, 10, 22, 30, 42, 50]
    assert torch.equal(found.labels, HARD)
    with pytest.raises(ValueError, match="ant, mouse, zebra, …: pass classes="):
        import_set(tmp_path / "set", DATA)
    with pytest.raises(ValueError, match="class folder 'zebra': add it to classes"):
        import_set(tmp_path / "set", DATA, classes=("ant", "mouse"))


class Harmful:
    def __reduce__(self):
        return os.system, ("false",)


@pytest.mark.parametrize("content", [Harmful(), DATA.train, {"images": PIXELS, "labels": HARD, "by": Path("x")}],
                         ids=["code", "a class", "an object beside tensors"])
def test_a_file_that_needs_unpickling_is_refused(tmp_path: Path, content, monkeypatch: pytest.MonkeyPatch):
    torch.save(content, tmp_path / "new.pt")
    (tmp_path / "old.pt").write_bytes(pickle.dumps(content, protocol=2))
    monkeypatch.setattr(os, "system", lambda _: pytest.fail("code of the file ran"))
    for name in ("new", "old"):
        with pytest.raises(ValueError, match=r"refused. Where you trust it, load it elsewhere and save it with torch"):
            import_set(tmp_path / f"{name}.pt", DATA)


@pytest.mark.parametrize("name", ["set.pt", "set.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no tensors", b"\x80\x02}"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: bytes):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} is damaged, or"):
        import_set(tmp_path / name, DATA)


NAN, X = torch.where(PIXELS > 0.5, torch.nan, PIXELS), normalise(PIXELS, *(torch.tensor([v]) for v in (0.3, 0.2)))
WRONG = {
    "another size": (PIXELS[..., :6], HARD, {}, r"shape \(1, 8, 6\), the data set's are \(1, 8, 8\): load the data"),
    "colour": (PIXELS.expand(-1, 3, -1, -1), HARD, {}, r"shape \(3, 8, 8\), .* load the data set"),
    "no images": (PIXELS[0], HARD, {}, r"must hold a tensor of images \[N, C, H, W\]"),
    "labels missing": (PIXELS, None, {}, "images alone: pass labels="),
    "too few labels": (PIXELS, HARD[:4], {}, "6 images and 4 labels: pass the labels of these very images"),
    "labels of another factor": (PIXELS, SOFT, {"factor": 3}, "6 images and 24 labels: .* or the factor"),
    "labels out of range": (PIXELS, HARD + 1, {}, r"labels 1…3, the data set has classes 0…2: load the data set"),
    "broken labels": (PIXELS, HARD + 0.5, {}, "labels .* of whole numbers"),
    "soft labels of another width": (PIXELS, SOFT[:6, :2], {}, "soft labels of 2 classes, the data set has 3: load"),
    "logits": (PIXELS, SOFT[:6].log(), {}, "no probabilities: save their softmax"),
    "diverged": (NAN, HARD, {}, "NaN or infinite: take a set that did not diverge"),
    "normalised as pixels": (X, HARD, {}, r"cannot be 'pixels': they look like normalised or zca"),
    "bytes as pixels": (PIXELS * 255, HARD, {}, "cannot be 'pixels': they look like bytes"),
    "pixels as bytes": (PIXELS, HARD, {"space": "bytes"}, "cannot be 'bytes': they look like pixels"),
    "pixels as normalised": (PIXELS, HARD, {"space": "normalised"}, "'normalised': they look like pixels"),
    "bytes as whitened": (PIXELS * 255, HARD, {"space": "zca", "zca": 0.1}, "'zca': they look like bytes"),
    "whitened with no ε": (X, HARD, {"space": "zca"}, r"zca= \(MTT: 0.1\) goes with space='zca'"),
    "ε of no whitening": (PIXELS, HARD, {"zca": 0.1}, "goes with space='zca', .* now space is 'pixels'"),
    "moments of no space": (PIXELS, HARD, {"mean": [0.5], "std": [1.0]}, "go with space='normalised'|goes with space"),
    "half the moments": (X, HARD, {"space": "normalised", "mean": [0.5]}, "a mean and a std above 0 for each of the 1"),
    "a deviation of 0": (X, HARD, {"space": "normalised", "mean": [0.5], "std": [0]}, "a mean and a std above 0"),
    "a mean of text": (X, HARD, {"space": "normalised", "mean": ["x"], "std": [1]}, "finite numbers, one for"),
    "an infinite mean": (X, HARD, {"space": "normalised", "mean": [np.inf], "std": [1.0]}, "must be finite numbers"),
    "a factor too large": (PIXELS, HARD, {"factor": 7}, "factor must be less than or equal to 3; got 7"),
    "a rate of 0": (PIXELS, HARD, {"lr": 0}, "lr must be greater than 0; got 0"),
    "unknown space": (X, HARD, {"space": "zac"}, r"space must be .pixels., .bytes., .normalised. or .zca.; got .zac."),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused_with_what_would(tmp_path: Path, name: str):
    images, labels, options, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        import_set(saved(tmp_path, images, labels), DATA, **options)


def test_unknown_layouts_and_missing_files_are_named(tmp_path: Path):
    torch.save({"syn": PIXELS}, tmp_path / "a.pt")
    torch.save((PIXELS, HARD, HARD), tmp_path / "b.pt")
    (tmp_path / "empty").mkdir()
    for name, message in {"a.pt": "holds syn: name the images one of", "b.pt": "is none of",
                          "empty": "holds no empty/<class>"}.items():
        with pytest.raises(ValueError, match=message):
            import_set(tmp_path / name, DATA)
    with pytest.raises(FileNotFoundError, match="no file or folder .*missing.pt: a distilled set is NAME.pt"):
        import_set(tmp_path / "missing.pt", DATA)


def test_pngs_of_other_kinds_are_refused(tmp_path: Path):
    folder = export_set(a_set(), tmp_path / "set")
    Image.fromarray(np.zeros((8, 8), np.uint8)).convert("P").save(folder / "1" / "0000.png")
    with pytest.raises(ValueError, match="0000.png is of mode P, not 8-bit grey or RGB: convert it"):
        import_set(folder, DATA)
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(folder / "1" / "0000.png")
    with pytest.raises(ValueError, match="of one size: convert them"):
        import_set(folder, DATA)


def test_what_our_files_say_of_themselves_cannot_be_contradicted(tmp_path: Path):
    path = export_set(a_set(factor=2, lr=0.5), tmp_path / "set.safetensors")
    assert import_set(path, DATA, factor=2, lr=0.5).factor == 2
    for options in ({"factor": 3}, {"lr": 0.4}, {"space": "normalised"}):
        name = next(iter(options))
        with pytest.raises(ValueError, match=f"says that its {name} is .*: leave {name} out"):
            import_set(path, DATA, **options)


def test_a_negative_place_among_several_sets_is_refused(tmp_path: Path):
    torch.save({"data": [[PIXELS, HARD], [PIXELS, HARD]]}, tmp_path / "res.pt")
    with pytest.raises(ValueError, match="which must be below that, not -1"):
        import_set(tmp_path / "res.pt", DATA, which=-1)


def test_what_systems_leave_in_folders_is_no_image(tmp_path: Path):
    clean = export_set(a_set(images=(PIXELS * 255).round() / 255), tmp_path / "set")
    before = Imported(path=clean).digest
    for place in (clean, clean / "1"):
        (place / "._0000.png").write_bytes(b"resources")
        (place / "Thumbs.db").write_bytes(b"thumbnails")
        (place / ".ipynb_checkpoints").mkdir()
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(place / ".ipynb_checkpoints" / "0-checkpoint.png")
    assert Imported(path=clean).digest == before and len(import_set(clean, DATA).images) == 6


def test_a_set_of_cifar100_takes_the_constants_that_its_code_normalised_with(tmp_path: Path):
    """The released codes normalise CIFAR-100 with CIFAR-10's constants."""
    from lmcnb.data import CIFAR10_MEAN, CIFAR10_STD

    pixels = PIXELS.expand(-1, 3, -1, -1)
    coded = normalise(pixels, torch.tensor(CIFAR10_MEAN), torch.tensor(CIFAR10_STD))
    path = saved(tmp_path, coded)
    found = import_set(path, COLOUR, space="normalised", mean=CIFAR10_MEAN, std=CIFAR10_STD)
    torch.testing.assert_close(found.images, pixels)
    torch.testing.assert_close(found.mean, COLOUR.train.mean)  # networks see the data set's own normalisation
    method = Imported(path=path, space="normalised", mean=CIFAR10_MEAN, std=CIFAR10_STD)
    torch.testing.assert_close(method.distill(COLOUR, NET, 0).images, pixels)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(import_set(path, COLOUR, space="normalised").images, pixels)
