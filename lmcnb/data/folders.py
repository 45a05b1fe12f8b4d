"""Folders of pictures as arrays: ``PATH/<split>/<class>/*``."""
from __future__ import annotations

import hashlib
import unicodedata
from functools import cache
from pathlib import Path

import numpy as np

from ..places import data_root, project_root
from .untrusted import PICTURES, Damaged, bounded, open_image, read_image, shown

IGNORED = ("thumbs.db", "desktop.ini", "__macosx")  # what systems leave in folders, besides hidden files


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
