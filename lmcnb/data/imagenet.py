"""Ten classes of ImageNet, ``FOLDER/train/<wnid>/*`` and ``FOLDER/val/<wnid>/*``: decoded to squares, packed once."""
from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np

from ..places import data_root, downloads
from .folders import entries
from .images import IMAGENET_MEAN, IMAGENET_STD, Dataset
from .untrusted import Damaged, read_image, read_npz, shown

log = logging.getLogger(__name__)

GENERATED = "generated.json"  # lies in folders that lmcnb.generate_images wrote
LARGEST = 1024  # side of a decoded image
ENDINGS = (".jpeg", ".jpg", ".png", ".webp")
# WordNet ids, in the order of the labels: the papers' ten classes, and those of https://github.com/fastai/imagenette.
IMAGENET10 = ("n02869837", "n01749939", "n02488291", "n02107142", "n13037406",
              "n02091831", "n04517823", "n04589890", "n03062245", "n01773797")
IMAGENETTE = ("n01440764", "n02102040", "n02979186", "n03000684", "n03028079",
              "n03394916", "n03417042", "n03425413", "n03445777", "n03888257")


@dataclass(frozen=True)
class Subset:
    """Classes of ImageNet that go by one name.

    Attributes:
        name: of the data set, and of its folder in LMCNB_DATA. title: what people call it.
        classes: the folders' names, in the order of the labels. size: pixels, where none are asked for.
        how: how its images are come by; {train} and {val} stand for the folders, {classes} for the ids.
        note: what a figure of it must say. fetch: downloads its folder, where it may be passed on.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    size: int
    how: str
    note: str = ""
    fetch: Callable[[Path], None] | None = None

    def load(self, options: str = "") -> Dataset:
        """The data set of ``SIZE:FOLDER``, each of which may be absent."""
        size, _, folder = options.partition(":")
        pixels, root = _side(self, size), data_root() / Path(folder or self.name).expanduser()
        arrays = cast("dict[str, Any]", _read(self, root, pixels))
        # Kept as [N, C, H, W], which from_arrays's transposition turns back without a copy of some gigabytes.
        arrays |= {n: arrays[n].transpose(0, 2, 3, 1) for n in ("x_train", "x_test")}
        name = f"{self.name}:{pixels}" + (f":{root.name}" if folder else "") if options else self.name
        note = "generated images, not ImageNet" if (root / GENERATED).is_file() else self.note
        return Dataset.from_arrays(name, **arrays, mean=IMAGENET_MEAN, std=IMAGENET_STD, note=note)


def _fetch_imagenette(root: Path) -> None:
    """Of 160 pixels, the shorter side; 94 MB. Its folder appears when all of it is there."""
    from torchvision.datasets import Imagenette

    root.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=root.parent, prefix=".imagenette-") as aside:
        Imagenette(aside, size="160px", download=True)
        with suppress(OSError):  # another process was faster
            os.rename(Path(aside) / "imagenette2-160", root)


SUBSETS = {subset.name: subset for subset in (Subset(
    "imagenet10", "ImageNet-10", IMAGENET10, 224,
    "ImageNet's images need a licence (non-commercial research): register at https://image-net.org, download ILSVRC "
    "2012, and copy the class folders {classes} to {train} and, sorted by class, of the validation images to {val}. "
    "Without a licence, lmcnb.load('imagenette') has ten other classes of ImageNet, and lmcnb.generate_images() writes "
    "a stand-in of this layout",
), Subset(
    "imagenette", "imagenette", IMAGENETTE, 64,
    "Download imagenette2-160 from https://github.com/fastai/imagenette, and put its class folders into {train} and "
    "{val}; with a network torchvision does it", "ten classes of ImageNet, other ones than the papers'",
    _fetch_imagenette,
))}


def _read(subset: Subset, root: Path, size: int) -> dict[str, np.ndarray]:
    """x_train, x_test uint8 [N, 3, SIZE, SIZE] and their labels: from the pack beside ``root`` if it is of these files.

    Raises:
        FileNotFoundError, ValueError: see :func:`lmcnb.load`.
    """
    why = ""
    if subset.fetch and downloads.get() and root == data_root() / subset.name and not root.exists():
        try:
            subset.fetch(root)
        except Exception as error:
            why = f", and could not be downloaded ({type(error).__name__})"
    files = {name: _files(subset, root, split, why) for name, split in (("train", "train"), ("test", "val"))}
    listing = _listing(root, files, size)
    cache = root.with_name(f"{root.name}_{size}.npz")
    arrays = _cached(cache, listing, files, size)
    if arrays is None:
        arrays = _decoded(files["train"], "train", size) | _decoded(files["test"], "test", size)
        _cache(cache, arrays | {"listing": np.array(listing)})
    return arrays


def _side(subset: Subset, size: str) -> int:
    """Pixels of an image's side. Raises ValueError unless it is a multiple of 32 from 64 to 1024."""
    pixels = int(size) if size.isdecimal() and len(size) < 9 else 0 if size else subset.size
    if not 64 <= pixels <= LARGEST or pixels % 32:
        raise ValueError(f"{subset.name}:SIZE needs a multiple of 32 from 64 to {LARGEST} (the papers: 224); "
                         f"got {size!r}")
    return pixels


def _files(subset: Subset, root: Path, split: str, why: str = "") -> list[tuple[Path, int]]:
    """Image files and labels of one split, in a fixed shuffle, after checking that the classes are the ten."""
    folder, classes = root / split, subset.classes
    if not folder.is_dir():
        how = subset.how.format(classes=" ".join(classes), train=root / "train", val=root / "val")
        raise FileNotFoundError(f"{subset.title} is not here: no folder {folder}{why}. {how}")
    found = {p.name for p in entries(folder) if p.is_dir()}
    missing, more = [c for c in classes if c not in found], sorted(found - {*classes})
    if missing or more:
        raise ValueError(f"{folder} must hold {subset.title}'s ten class folders and no other; "
                         f"missing: {' '.join(missing) or 'none'}; additional: {' '.join(more) or 'none'}. Copy the "
                         f"missing ones from ImageNet and move the additional ones elsewhere")
    files = [[(p, label) for p in entries(folder / c) if p.suffix.lower() in ENDINGS]
             for label, c in enumerate(classes)]
    empty = [c for c, f in zip(classes, files) if not f]
    if empty:
        raise ValueError(f"{folder}: no {', '.join(ENDINGS)} file in {' '.join(empty)}; copy the images there")
    flat = sum(files, [])
    return [flat[i] for i in np.random.default_rng(0).permutation(len(flat))]  # as in a folder's


def _listing(root: Path, files: dict[str, list[tuple[Path, int]]], size: int) -> str:
    """sha256 over names, lengths and times of all files: changes when the folder does."""
    rows = [f"decoder 1, {size} px"]
    for path in sorted(p for part in files.values() for p, _ in part):
        if not path.is_file():
            raise ValueError(f"{shown(path)} is no file, or a link to nothing: delete it or copy the image there")
        about = path.stat()
        rows.append(f"{path.relative_to(root).as_posix()} {about.st_size} {about.st_mtime_ns}")
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _cached(path: Path, listing: str, files: dict, size: int) -> dict[str, np.ndarray] | None:
    """The packed arrays, if they were made from these files; None if they must be decoded (again)."""
    try:
        arrays = read_npz(path)
        whole = str(arrays.pop("listing")) == listing and all(
            arrays[f"x_{s}"].dtype == np.uint8 and arrays[f"x_{s}"].shape == (len(its), 3, size, size)
            and np.array_equal(arrays[f"y_{s}"], [label for _, label in its]) for s, its in files.items())
        return arrays if whole else None
    except (Damaged, OSError, KeyError):
        return None


def _cache(path: Path, arrays: dict[str, Any]) -> None:
    aside = path.with_name(f"{path.stem}.{os.getpid()}.partial.npz")
    try:
        np.savez(aside, **arrays)
        os.replace(aside, path)
    except OSError as error:  # a read-only or full disk costs time in the next run, no more
        log.warning("%s could not be written (%s): the images are decoded anew each time", path, error)
    finally:
        with suppress(OSError):  # it was renamed, or nothing can be written there
            aside.unlink()


def _decoded(files: list[tuple[Path, int]], split: str, size: int) -> dict[str, np.ndarray]:
    """x uint8 [N, 3, size, size] and y of one split."""
    x = np.empty((len(files), 3, size, size), np.uint8)

    def put(k: int) -> None:
        x[k] = _square(files[k][0], size).transpose(2, 0, 1)
    with ThreadPoolExecutor() as pool:  # decoding and resizing release Python's lock
        for _ in pool.map(put, range(len(files))):
            pass
    return {f"x_{split}": x, f"y_{split}": np.array([label for _, label in files])}


def _square(path: Path, size: int) -> np.ndarray:
    """uint8 [size, size, 3]: shorter side resized (bilinear, antialiased), then the centre, as torchvision does."""
    from PIL import Image

    image = read_image(path, formats=("JPEG", "PNG", "WEBP"))
    wide, high = (int(size * side / min(image.size)) for side in image.size)
    if wide * high > Image.MAX_IMAGE_PIXELS:  # pyright: ignore[reportOperatorIssue]  # None: nobody lifts the limit
        raise ValueError(f"{shown(path)} is {image.width} × {image.height}, too narrow to be resized: crop it")
    left, top = round((wide - size) / 2), round((high - size) / 2)
    return np.asarray(image.resize((wide, high), Image.Resampling.BILINEAR))[top:top + size, left:left + size]
