"""Distilled sets of others, and ours for others.

A file is data. Nothing in it is executed, and nothing about it is guessed: whoever imports it says what its numbers
are, and is told where that cannot be.
"""
from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..data import Dataset, Images, training, whitening
from ..spec import SettingError
from .base import Distilled
from .layouts import NOTES, Notes, Space, read, write_pngs


def export_set(found: Distilled, path: str | Path) -> Path:
    """Writes a set to NAME.pt, NAME.safetensors, or a folder NAME of 8-bit NAME/<class>/<index>.png and set.json.

    The files hold pixels (float32, 0…1) and everything else of the set, so that :func:`import_set` gives it back
    without being told more; a folder's pixels are rounded to bytes and its images in the order of their classes.

    Raises:
        ValueError: another suffix; or a set that PNGs cannot hold (soft labels, pixels that leave 0…1).
    """
    path = Path(path).expanduser()
    if path.suffix not in (".pt", ".safetensors", ""):
        raise ValueError(f"{path}: end the name in .pt or .safetensors, or in no suffix for a folder of PNGs")
    tensors = {n: t.detach().cpu().clone(memory_format=torch.contiguous_format) for n, t in found.tensors().items()}
    notes = {"space": "pixels"} | {n: v for n in NOTES if (v := getattr(found, n, None)) is not None}
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".pt":
        with path.open("wb") as file:  # torch would write the file's name into it, and equal sets would differ
            torch.save(tensors | notes, file)
    elif path.suffix == ".safetensors":
        save_file(tensors, path, {"lmcnb": json.dumps(notes)})  # one text: several would come in any order
    else:
        moments = {n: tensors[n].tolist() for n in ("mean", "std")}
        write_pngs(path, tensors["images"], tensors["labels"], notes | moments)
    return path


def import_set(path: str | Path, data: Dataset | Images, *, space: Space = "pixels", factor: int | None = None,
               classes: Sequence[str] | None = None, mean: Sequence[float] | None = None,
               std: Sequence[float] | None = None, zca: float | None = None, lr: float | None = None,
               labels: str | Path | None = None, which: int = 0) -> Distilled:
    """A set from a file or folder, to use with the data set (or training split) ``data``, whose moments it takes.

    Read are ``.pt`` files (only with ``weights_only=True``) with a dictionary of images and labels, a pair of them
    (IDC), DC's list of pairs, or images alone (MTT); ``.safetensors``; a folder ``<class>/*.png``. Pixels are not
    clamped.

    Args:
        space: what the numbers are: "pixels" (0…1; IDC), "bytes" (0…255), "normalised" with ``mean`` and ``std`` (by
            default the data set's; DC, DSA, DM), or "zca": whitened on the training images with ε = ``zca`` (MTT: 0.1).
            The released codes of DC, DSA and DM normalise CIFAR-100 as CIFAR-10: give their sets of CIFAR-100
            ``mean=lmcnb.data.CIFAR10_MEAN, std=lmcnb.data.CIFAR10_STD``.
        factor: each image holds factor² smaller ones (IDC: 2 or 3). lr: the step size learned with the set (MTT).
            Files by :func:`export_set` say their factor, zca and lr themselves.
        classes: names of class folders in the order of the labels; folders 0, 1, … need none.
        labels: the file with the labels, where they have their own (MTT). which: of the sets in DC's file.
    Raises:
        FileNotFoundError: no such file. ValueError: unsafe or damaged; not a set of this data set; not in ``space``.
    """
    train = training(data)
    try:
        own = Notes(space=space, factor=factor, zca=zca, lr=lr).known()
    except SettingError as error:
        raise ValueError(f"{path} cannot be imported so: {error}") from None
    images, given, notes = read(path, labels=labels, classes=classes, which=which)
    if (space == "zca") != (zca is not None) or (space != "normalised" and mean is not None):
        raise ValueError(f"{path}: zca= (MTT: 0.1) goes with space='zca', mean= and std= with space='normalised'; now "
                         f"space is {space!r}")
    notes = agreed(path, notes, own)
    if tuple(images.shape[1:]) != train.shape:
        raise ValueError(f"{path} holds images of shape {tuple(images.shape[1:])}, the data set's are {train.shape}: "
                         f"load the data set that it was made for")
    if len(given) not in (len(images), len(images) * notes.get("factor", 1) ** 2):
        raise ValueError(f"{path} has {len(images)} images and {len(given)} labels: pass the labels of these very "
                         f"images, or the factor if each decoded image has its own")
    device, kept = train.x.device, {n: v for n, v in notes.items() if n != "space"}
    pixels = _pixels(path, images.to(device), space, train, (mean, std), notes.get("zca"))
    return Distilled(pixels, _labels(path, given, train.classes).to(device), train.mean, train.std, train.classes,
                     **kept)


def agreed(path: str | Path, notes: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The file's notes and what is given beside it. Raises ValueError where they contradict each other."""
    for name, value in given.items():
        if value is not None and notes.get(name, value) != value:
            raise ValueError(f"{path} says that its {name} is {notes[name]!r}, not {value!r}: leave {name} out")
    return notes | {n: v for n, v in given.items() if v is not None}


def _pixels(path: str | Path, images: Tensor, space: Space, train: Images, moments: tuple, eps: float | None) -> Tensor:
    """float32 pixels in units of 0…1. Raises ValueError when the numbers cannot be in the space they are said to be."""
    mean, std = (_moment(path, own, images) if own is not None else its
                 for own, its in zip(moments, (train.mean, train.std)))
    if moments.count(None) == 1 or not len(mean) == len(std) == images.shape[1] or not bool((std > 0).all()):
        raise ValueError(f"{path}: give a mean and a std above 0 for each of the {images.shape[1]} channels, or "
                         f"neither")
    if images.dtype == torch.uint8 and space in ("pixels", "bytes"):
        return images.float() / 255
    x = images.float()
    _check_space(path, x, space, whitened=eps is not None)
    if space == "bytes":
        return x / 255
    if space == "normalised":
        return x * std[:, None, None] + mean[:, None, None]
    return whitening.zca(train, cast(float, eps)).restore(x) if space == "zca" else x


def _moment(path: str | Path, given: Sequence[float], images: Tensor) -> Tensor:
    """float32 [C] on the images' device."""
    try:
        found = torch.as_tensor(given, dtype=torch.float32, device=images.device)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        found = torch.tensor(torch.nan)
    if found.ndim != 1 or not bool(found.isfinite().all()):
        raise ValueError(f"{path}: mean and std must be finite numbers, one for each channel; got {given!r}")
    return found


def _check_space(path: str | Path, x: Tensor, space: Space, whitened: bool) -> None:
    low, high = float(x.min()), float(x.max())
    # Sets that were learned in normalised or whitened pixels leave 0…1 here and there; most of their pixels do not.
    far = float(((x < -0.5) | (x > 1.5)).float().mean())
    fits = {"pixels": whitened or far < 0.05, "bytes": low >= 0 and 1 < high <= 255}
    if not fits.get(space, low < 0):
        likely = "pixels" if far < 0.05 else "bytes" if low >= 0 and high <= 255 else "normalised or zca"
        raise ValueError(f"{path} holds numbers in {low:.3g}…{high:.3g}, which cannot be {space!r}: they look like "
                         f"{likely}, so pass that as space")


def _labels(path: str | Path, given: Tensor, classes: int) -> Tensor:
    """int64 [N] class indices, or float32 [N, classes] probabilities."""
    if given.ndim == 2:
        soft = given.float()
        if soft.shape[1] != classes:
            raise ValueError(f"{path} has soft labels of {soft.shape[1]} classes, the data set has {classes}: load the "
                             f"data set that it was made for")
        if float(soft.min()) < 0 or float((soft.sum(1) - 1).abs().max()) > 1e-3:
            raise ValueError(f"{path} has soft labels that are no probabilities: save their softmax")
        return soft
    hard = given.long()
    if given.ndim != 1 or not torch.equal(hard.to(given.dtype), given):
        raise ValueError(f"{path} must hold labels [N] of whole numbers, or probabilities [N, {classes}]; got "
                         f"{given.dtype} {tuple(given.shape)}")
    if int(hard.min()) < 0 or int(hard.max()) >= classes:
        raise ValueError(f"{path} has labels {int(hard.min())}…{int(hard.max())}, the data set has classes "
                         f"0…{classes - 1}: load the data set that it was made for")
    return hard
