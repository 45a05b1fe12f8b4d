"""Folders of pictures as arrays: ``PATH/<split>/<class>/*``, and ImageNet-10's."""
from __future__ import annotations

import hashlib
import logging
import os
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..places import data_root, project_root
from .untrusted import PICTURES, Damaged, bounded, open_image, read_image, read_npz, shown

log = logging.getLogger(__name__)

IMAGENET10 = ("n02869837", "n01749939", "n02488291", "n02107142", "n13037406",
              "n02091831", "n04517823", "n04589890", "n03062245", "n01773797")
GENERATED = "generated.json"  # lies in folders that lmcnb.generate_images wrote
IGNORED = ("thumbs.db", "desktop.ini", "__macosx")  # what systems leave in folders, besides hidden files
LARGEST = 1024  # side of a decoded image


def located(path: str | Path) -> Path:
    """A relative path from the current folder, else from LMCNB_DATA, else from the project: notebooks run elsewhere."""
    path = Path(path)
    if path.is_absolute() or path.exists():
        return path
    if (data_root() / path).exists():
        return data_root() / path
    try:
        return project_root() / path
    except FileNotFoundError:
        return path


def sha256_of(file: Path) -> str:
    """Of a file's content, hexadecimal."""
    with open(file, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def of_digest(sha256: str) -> Path | None:
    """The file of this content in LMCNB_DATA, or None."""
    files = sorted(data_root().glob("*")) if sha256 else []
    return next((f for f in files if f.is_file() and known_sha256(f, f.stat().st_mtime_ns) == sha256), None)


@cache
def known_sha256(file: Path, _: int) -> str:
    """Of a file as it was at that time, in nanoseconds."""
    return sha256_of(file)


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, by name, without what systems and notebooks leave there (.DS_Store, Thumbs.db, …)."""
    return sorted(p for p in folder.iterdir() if not p.name.startswith(".") and p.name.lower() not in IGNORED)


def read_folder(root: Path) -> dict[str, np.ndarray]:
    """x_train, x_test uint8 [N, H, W, 3] and y_train, y_test of PATH/train/<class>/* and PATH/test (or val).

    Raises:
        FileNotFoundError: no such folder. ValueError: the splits do not fit, or an image cannot be read.
    """
    splits = {"train": root / "train", "test": root / "test" if (root / "test").is_dir() else root / "val"}
    for folder in splits.values():
        if not folder.is_dir():
            raise FileNotFoundError(f"no folder {shown(folder)}: folder:PATH needs PATH/train/<class>/* and "
                                    f"PATH/test/<class>/* (or PATH/val/<class>/*)")
    if splits["train"].samefile(splits["test"]):
        raise ValueError(f"{shown(splits['test'])} is the training folder: nothing would be tested on unseen images")
    classes = {split: _class_folders(folder) for split, folder in splits.items()}
    if list(classes["test"]) != list(classes["train"]):
        raise ValueError(f"{shown(splits['test'])} has classes {list(classes['test'])}, the training folder has "
                         f"{list(classes['train'])}")
    arrays = {}
    for split, folder in splits.items():
        x, y = _read_split(folder, list(classes[split].values()))
        # Folders come class by class; a fixed shuffle makes "the first n images" a fair sample, as in CIFAR.
        order = np.random.default_rng(0).permutation(len(y))
        arrays |= {f"x_{split}": x[order], f"y_{split}": y[order]}
    return arrays


def _class_folders(folder: Path) -> dict[str, Path]:
    """By name in composed Unicode: systems write one é in two ways."""
    found = [p for p in entries(folder) if p.is_dir()]
    names = {unicodedata.normalize("NFC", p.name): p for p in found}
    if not found or len(names) != len(found):
        raise ValueError(f"{shown(folder)} needs a folder for each class, of names that differ: "
                         f"{', '.join(ascii(p.name) for p in found) or 'it has none'}")
    return dict(sorted(names.items()))


def _read_split(folder: Path, classes: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    files = [(p, label) for label, one in enumerate(classes) for p in entries(one) if not p.is_dir()]
    if not files:
        raise ValueError(f"{shown(folder)} holds no image: copy some into its class folders")
    sizes = set()
    for path, _ in files:
        with open_image(path) as image:
            sizes.add(image.size)
    if len(sizes) != 1:
        raise ValueError(f"{shown(folder)}: all images must have one size, found "
                         f"{', '.join(f'{w} × {h}' for w, h in sorted(sizes)[:4])}; resize them first")
    ((wide, high),) = sizes
    try:
        bounded(len(files) * high * wide * 3, sum(p.stat().st_size for p, _ in files), "its images", PICTURES)
    except Damaged as error:
        raise ValueError(f"{shown(folder)} cannot be read: {error}") from None
    x = np.empty((len(files), high, wide, 3), np.uint8)
    for k, (path, _) in enumerate(files):
        x[k] = read_image(path)
    return x, np.array([label for _, label in files])


def read_imagenet10(root: Path, size: int) -> dict[str, np.ndarray]:
    """x_train, x_test uint8 [N, 3, SIZE, SIZE] and their labels: from the pack beside ``root`` if it is of these files.

    Raises:
        FileNotFoundError, ValueError: see :func:`lmcnb.load`.
    """
    files = {name: _imagenet_files(root, split) for name, split in (("train", "train"), ("test", "val"))}
    listing = _listing(root, files, size)
    cache = root.with_name(f"{root.name}_{size}.npz")
    arrays = _cached(cache, listing, files, size)
    if arrays is None:
        arrays = _decoded(files["train"], "train", size) | _decoded(files["test"], "test", size)
        _cache(cache, arrays | {"listing": np.array(listing)})
    return arrays


def decoding_size(size: int | str) -> int:
    """A side of images for ImageNet's networks. Raises ValueError unless it is a multiple of 32 from 64 to 1024."""
    pixels = int(size) if str(size).isdecimal() and len(str(size)) < 9 else 0
    if not 64 <= pixels <= LARGEST or pixels % 32:
        raise ValueError(f"imagenet10:SIZE needs a multiple of 32 from 64 to {LARGEST} (the paper: 224); got {size!r}")
    return pixels


def _imagenet_files(root: Path, split: str) -> list[tuple[Path, int]]:
    """Image files and labels of one split, in a fixed shuffle, after checking that the classes are the ten."""
    folder = root / split
    if not folder.is_dir():
        raise FileNotFoundError(
            f"ImageNet-10 is not here: no folder {folder}. ImageNet's images need a licence (non-commercial research): "
            f"register at https://image-net.org, download ILSVRC 2012, and copy the class folders "
            f"{' '.join(IMAGENET10)} to {root / 'train'} and, sorted by class, of the validation images to "
            f"{root / 'val'}. Without a licence, lmcnb.generate_images() writes a stand-in of this layout")
    found = {p.name for p in entries(folder) if p.is_dir()}
    missing, more = [c for c in IMAGENET10 if c not in found], sorted(found - set(IMAGENET10))
    if missing or more:
        raise ValueError(f"{folder} must hold ImageNet-10's ten class folders and no other; "
                         f"missing: {' '.join(missing) or 'none'}; additional: {' '.join(more) or 'none'}. Copy the "
                         f"missing ones from ImageNet and move the additional ones elsewhere")
    files = [[(p, label) for p in entries(folder / c) if p.suffix.lower() in (".jpeg", ".jpg", ".png")]
             for label, c in enumerate(IMAGENET10)]
    empty = [c for c, f in zip(IMAGENET10, files) if not f]
    if empty:
        raise ValueError(f"{folder}: no .jpeg, .jpg or .png file in {' '.join(empty)}; copy the images there")
    flat = sum(files, [])
    return [flat[i] for i in np.random.default_rng(0).permutation(len(flat))]  # as in read_folder


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
        aside.unlink(missing_ok=True)


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

    image = read_image(path, formats=("JPEG", "PNG"))
    wide, high = (int(size * side / min(image.size)) for side in image.size)
    if wide * high > Image.MAX_IMAGE_PIXELS:  # pyright: ignore[reportOperatorIssue]  # None: nobody lifts the limit
        raise ValueError(f"{shown(path)} is {image.width} × {image.height}, too narrow to be resized: crop it")
    left, top = round((wide - size) / 2), round((high - size) / 2)
    return np.asarray(image.resize((wide, high), Image.Resampling.BILINEAR))[top:top + size, left:left + size]
