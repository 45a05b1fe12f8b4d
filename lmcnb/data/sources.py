"""Data sets by name: where each comes from, and how others join them."""
from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from ..places import data_root, downloads
from ..sources import is_ours
from ..spec import choose
from .folders import located, read_folder
from .generated import shapes
from .imagenet import SUBSETS
from .images import CIFAR10_MEAN, CIFAR10_STD, Dataset
from .untrusted import Damaged, read_npz

_kept: ContextVar[dict[str, tuple[Any, Dataset]] | None] = ContextVar("kept", default=None)


def load(name: str = "digits", device: torch.device | str = "cpu") -> Dataset:
    """A data set by name: digits, shapes, cifar10, cifar100, imagenet10, imagenette or folder:PATH.

    digits (8 × 8, grey, 1,297 training and 500 test images; Alpaydin and Kaynak, 1998, CC BY 4.0, as scikit-learn has
    them) comes with this package; shapes (12 × 12, colour, 500 and 1,000 images) is drawn when it is asked for
    (:func:`.generated.shapes`). cifar10 and cifar100 are read from ``LMCNB_DATA/<name>.npz`` (x_train uint8
    [N, 32, 32, 3], y_train, x_test, y_test), else downloaded and packed there once by torchvision. ``folder:PATH``
    reads PATH/train/<class>/* and PATH/test/<class>/* (or ``val``), all of one size; hidden files and what systems
    leave in folders are no classes and no images.

    Images are normalised with their data set's own mean and deviation. The released codes of the papers normalise
    CIFAR-100 with CIFAR-10's: give :func:`lmcnb.import_set` the mean and std of the code that a set comes from.

    ``imagenet10[:SIZE[:FOLDER]]`` reads FOLDER/train/<wnid>/* and FOLDER/val/<wnid>/* (JPEG, PNG or WebP) of the ten
    classes of :data:`lmcnb.data.IMAGENET10`, in that order: shorter side to SIZE pixels (224), centre crop, packed once
    beside FOLDER and anew when its files change. FOLDER is ``imagenet10``; a relative one lies in LMCNB_DATA.
    ``imagenette[:SIZE[:FOLDER]]`` is the same of ten other classes, which may be passed on: torchvision downloads them
    (160 pixels, 94 MB; SIZE is 64 where none is given).

    Raises:
        ValueError: an unknown name (the message lists the known ones), a malformed file, or other classes.
        FileNotFoundError: neither a packed file nor a network, or no such folder (the message says how to get it).
    """
    kept = _kept.get()
    if kept is None or not isinstance(name, str):
        return _load(name).to(device)
    source, known = DATASETS.get(name), kept.get(name)
    if known is None or known[0] is not source:  # registered anew
        known = kept[name] = source, _load(name)
    return known[1].to(device)


@contextmanager
def loaded_once() -> Iterator[None]:
    """Within it a name is one object, however often it is loaded: for code that changes no pixels."""
    before = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(before)


def _load(name: str) -> Dataset:
    if not isinstance(name, str):
        raise ValueError(f"the data set's name must be text, such as 'cifar10' or 'folder:PATH'; got {name!r}")
    if name.startswith("folder:"):
        return _folder(located(Path(name.removeprefix("folder:")).expanduser()))
    if (subset := SUBSETS.get(name.partition(":")[0])) and ":" in name:
        return subset.load(name.partition(":")[2])
    if name and name not in DATASETS and os.path.isdir(os.path.expanduser(name)):
        raise ValueError(f"unknown data set {name!r}, which is a folder: write 'folder:{name}'")
    forms = ("folder:PATH", *(f"{subset}:SIZE:FOLDER" for subset in SUBSETS))
    return choose("data set", name, DATASETS | dict.fromkeys(forms))()


def _digits() -> Dataset:
    """Packed, as importing scikit-learn takes longer than many a training on them; a test makes them again by it."""
    with np.load(Path(__file__).with_name("digits.npz")) as arrays:
        return Dataset.from_arrays("digits", **arrays, note="scikit-learn's 8 × 8 digits: a data set to see the method "
                                   "work on, not to judge the claims by")


def _cifar(name: str) -> Dataset:
    path = data_root() / f"{name}.npz"
    if not path.exists():
        _download_cifar(name, path)
    try:
        arrays = cast("dict[str, Any]", read_npz(path))
    except (Damaged, OSError) as error:
        raise ValueError(f"{path} is not a readable npz ({error}); delete it and pack it again") from error
    if name == "cifar10":
        return Dataset.from_arrays(name, **arrays, mean=CIFAR10_MEAN, std=CIFAR10_STD)
    return Dataset.from_arrays(name, **arrays, note="normalised with its own mean and deviation; the papers' released "
                               "codes take CIFAR-10's, which import_set knows as "
                               "mean=lmcnb.data.CIFAR10_MEAN, std=lmcnb.data.CIFAR10_STD")


def _download_cifar(name: str, path: Path) -> None:
    from torchvision.datasets import CIFAR10, CIFAR100

    source = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    if not downloads.get():
        raise FileNotFoundError(f"{name} is not at {path}")
    try:
        parts = {s: source(path.parent / "download", train=s == "train", download=True) for s in ("train", "test")}
    except Exception as error:
        raise FileNotFoundError(
            f"{name} is not at {path} and could not be downloaded ({type(error).__name__}). Either set LMCNB_DATA to "
            f"a folder with {name}.npz (x_train uint8 [N, 32, 32, 3], y_train, x_test, y_test), or run once with a "
            f"network so that torchvision can fetch it") from error
    arrays = {}
    for split, part in parts.items():
        arrays |= {f"x_{split}": part.data, f"y_{split}": np.asarray(part.targets, np.uint8)}
    aside = path.with_suffix(f".{os.getpid()}.partial.npz")
    np.savez(aside, **arrays)
    os.replace(aside, path)


def _folder(root: Path) -> Dataset:
    return Dataset.from_arrays(f"folder:{root.name}", **cast("dict[str, Any]", read_folder(root)))


def register_dataset(name: str, make: Callable[[], Dataset] | None = None) -> Any:
    """Adds a data set: ``make()`` returns a :class:`Dataset`. Also a decorator; a cell that registers may be run again.

    Its images, not its name, are part of the key of every result.

    >>> import lmcnb
    >>> @lmcnb.register_dataset("few digits")
    ... def few() -> lmcnb.Dataset:
    ...     return lmcnb.load("digits").first(train=200)
    >>> assert len(lmcnb.load("few digits").train) == 200

    Raises:
        ValueError: the name is that of a built-in data set, or means a folder.
    """
    if make is None:
        return lambda function: register_dataset(name, function) or function
    if name in DATASETS and is_ours(DATASETS[name]) or ":" in name:
        raise ValueError(f"data set {name!r} is built in; choose another name, without a colon")
    DATASETS[name] = make
    return None


DATASETS: dict[str, Callable[[], Dataset]] = {
    "digits": _digits,
    "shapes": shapes,
    "cifar10": lambda: _cifar("cifar10"),
    "cifar100": lambda: _cifar("cifar100"),
    **{name: subset.load for name, subset in SUBSETS.items()},
}
