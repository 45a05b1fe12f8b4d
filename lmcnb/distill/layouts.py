"""What lies in the files of distilled sets: tensors by the names and layouts that public repositories use."""
from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ..data.folders import entries, located, sha256_of
from ..data.untrusted import (
    PICTURES,
    Damaged,
    bounded,
    open_image,
    read_image,
    read_pt,
    read_safetensors,
    shown,
    whole,
)
from ..spec import SettingError, Spec, digest

Space = Literal["pixels", "bytes", "normalised", "zca"]

IMAGES, LABELS = ("images", "image_syn", "data", "x"), ("labels", "label_syn", "targets", "y")
_TYPES = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16,
          torch.float32, torch.float64)


class Notes(Spec):
    """What is known of a set's numbers: said by a file of :func:`export_set`, or by whoever imports one of others."""

    space: Space | None = None
    factor: int | None = Field(default=None, ge=1, le=3)
    data_points: int | None = Field(default=None, ge=0)
    lr: float | None = Field(default=None, gt=0)
    zca: float | None = Field(default=None, gt=0)

    def known(self) -> dict[str, Any]:
        """Those that are given."""
        return {name: value for name, value in self if value is not None}


NOTES = tuple(Notes.model_fields)


class Found(NamedTuple):
    """A set as it is in its file: images [N, C, H, W] in whatever numbers, labels, and the notes of our own files."""

    images: Tensor
    labels: Tensor
    notes: dict[str, Any]


def read(path: str | Path, *, labels: str | Path | None = None, classes: Sequence[str] | None = None, which: int = 0
         ) -> Found:
    """Images and labels of a file or folder, before anything is known of a data set.

    The arguments are those of :func:`lmcnb.import_set`; its errors about files come from here.
    """
    file = _there(path)
    images, own, said = _read_pngs(file, classes) if file.is_dir() else _parts(path, _load(file), which)
    own = own if labels is None else _load(_there(labels))
    if own is None:
        raise ValueError(f"{path} holds images alone: pass labels=, the file with their labels")
    if not (isinstance(images, Tensor) and isinstance(own, Tensor) and images.ndim == 4 and images.numel()
            and own.ndim in (1, 2) and own.numel()):
        raise ValueError(f"{path} must hold a tensor of images [N, C, H, W] and one of labels: save it anew so")
    if not {images.dtype, own.dtype} <= set(_TYPES) or images.layout != torch.strided:
        raise ValueError(f"{path} holds images of {images.dtype} and labels of {own.dtype}: save them as float32 or "
                         f"uint8 images and int64 or float32 labels")
    images, own = _copied(images, file), _copied(own, file if labels is None else _there(labels))
    if not all(bool(torch.isfinite(t).all()) for t in (images, own)):
        raise ValueError(f"{path} holds numbers that are NaN or infinite: take a set that did not diverge")
    if own.ndim == 1 and float(own.min()) < 0:
        raise ValueError(f"{path} has labels below 0: number the classes 0, 1, …")
    return Found(images, own, _notes(path, said))


def _copied(tensor: Tensor, file: Path) -> Tensor:
    try:
        return tensor if file.is_dir() else whole(tensor, file)
    except Damaged as error:
        raise ValueError(f"{shown(file)} is damaged: {error}") from None


def _notes(path: str | Path, said: Any) -> dict[str, Any]:
    """A file's own notes, checked like anyone's. Raises ValueError."""
    if not isinstance(said, dict):
        raise ValueError(f"{path} has notes that are no dictionary of {', '.join(NOTES)}: save it anew")
    try:
        return Notes(**{name: value for name, value in said.items() if name in NOTES}).known()
    except SettingError as error:
        raise ValueError(f"{path} says of itself what cannot be: {error}") from None


def _json(text: str | Path, path: str | Path) -> Any:
    try:
        return json.loads(text.read_bytes() if isinstance(text, Path) else text)
    except (ValueError, RecursionError):
        raise ValueError(f"{path} has notes that are no JSON: save it anew") from None


def content(path: str | Path, labels: str | Path | None = None) -> str:
    """sha256 of a file; of a folder, or of a set in two files, over the sha256 of each file that is read."""
    file = _there(path)
    own = sha256_of(file) if not file.is_dir() else digest("".join(
        f"{f.relative_to(file).as_posix()} {sha256_of(f)}\n" for f in [*_pngs(file), file / "set.json"] if f.is_file()))
    return own if labels is None else digest(f"{own}\n{sha256_of(_there(labels))}")


def _there(path: str | Path) -> Path:
    file = located(Path(path).expanduser())
    if not (file.is_file() or file.is_dir()):
        raise FileNotFoundError(f"no file or folder {file}: a distilled set is NAME.pt, NAME.safetensors, or a folder "
                                f"with NAME/<class>/*.png; a relative path begins here, in LMCNB_DATA or at the "
                                f"project")
    return file


def _load(file: Path) -> Any:
    """What is in the file: tensors and plain values."""
    try:
        if file.suffix == ".safetensors":
            tensors, metadata = read_safetensors(file)
            return {"notes": _json(metadata["lmcnb"], file)} | tensors if "lmcnb" in metadata else tensors
        return read_pt(file)
    except Damaged as error:
        raise ValueError(f"{file} is damaged, or holds Python objects beside tensors and numbers ({error}); loading "
                         f"those could run any code, so it is refused. Where you trust it, load it elsewhere and save "
                         f"it with torch.save({{'images': …, 'labels': …}})") from error


def _parts(path: str | Path, value: Any, which: int) -> tuple[Any, Any, dict]:
    """Images, labels (or None) and notes in one of the layouts in use."""
    notes: dict[str, Any] = {}
    if isinstance(value, Tensor):  # MTT: the labels are in another file
        return value, None, notes
    if isinstance(value, dict):
        images, labels = (next((value[n] for n in names if n in value), None) for names in (IMAGES, LABELS))
        if images is None:
            held = ", ".join(shown(n) for n in value if isinstance(n, str))[:200]
            raise ValueError(f"{path} holds {held or 'nothing'}: name the images one of {', '.join(IMAGES)}, and the "
                             f"labels one of {', '.join(LABELS)}")
        if isinstance(images, (list, tuple)):  # DC: a pair for each experiment
            if not (isinstance(which, int) and 0 <= which < len(images)):
                raise ValueError(f"{path} holds {len(images)} sets: which must be below that, not {which!r}")
            return *_pair(path, images[which]), notes
        if "space" in value:  # in a file of others, a name like lr may mean anything
            notes = value
        return images, labels, value.get("notes", notes)
    return *_pair(path, value), notes


def _pair(path: str | Path, value: Any) -> tuple[Any, Any]:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError(f"{path} is none of: a dictionary with images and labels, a pair of them, images alone")
    return value[0], value[1]


def _pngs(folder: Path) -> list[Path]:
    files = [f for one in entries(folder) if one.is_dir() for f in entries(one) if f.suffix == ".png"]
    for file in files:
        if not file.is_file():  # a pipe would wait for ever
            raise ValueError(f"{shown(file)} is no file, or a link to nothing: delete it or copy the image there")
    return sorted(files, key=lambda f: (f.parent.name, len(f.name), f.name))


def _read_pngs(folder: Path, classes: Sequence[str] | None) -> tuple[Tensor, Tensor, dict]:
    """uint8 images, labels and the notes of set.json (if there is one)."""
    files = _pngs(folder)
    names = sorted({f.parent.name for f in files})
    if not files:
        raise ValueError(f"{folder} holds no {folder.name}/<class>/*.png")
    if classes is None and not all(n.isdecimal() and len(n) < 9 for n in names):
        raise ValueError(f"the class folders of {folder} are {', '.join(map(shown, names[:3]))}, …: pass classes=, "
                         f"their names in the order of the labels")
    if classes is not None and len(set(classes)) < len(classes):
        raise ValueError(f"classes names one of the folders of {folder} twice: {', '.join(map(str, classes))}")
    if classes is not None and not set(names) <= set(classes):
        raise ValueError(f"{folder} has the class folder {min(set(names) - set(classes))!r}: add it to classes")
    label = {n: int(n) if classes is None else list(classes).index(n) for n in names}
    files.sort(key=lambda f: label[f.parent.name])  # stable: the order within a class stays
    _check_pngs(folder, files)
    x = torch.from_numpy(np.stack([np.array(read_image(f, None, ("PNG",))) for f in files]))
    x = x[:, None] if x.ndim == 3 else x.permute(0, 3, 1, 2)
    said = folder / "set.json"
    notes = _json(said, said) if said.is_file() else {}
    return x.contiguous(), torch.tensor([label[f.parent.name] for f in files]), notes


def _check_pngs(folder: Path, files: list[Path]) -> None:
    """By their headers, before any is decoded. Raises ValueError unless they are of one kind and size."""
    found = set()
    for file in files:
        with open_image(file, ("PNG",)) as image:
            if image.mode not in ("L", "RGB"):
                raise ValueError(f"{shown(file)} is of mode {image.mode}, not 8-bit grey or RGB: convert it")
            found.add((image.mode, *image.size))
    if len(found) > 1:
        raise ValueError(f"the images of {folder} must be all grey or all RGB, and of one size: convert them")
    ((_, wide, high),) = found
    try:
        bounded(len(files) * wide * high * 3, sum(f.stat().st_size for f in files), "its images", PICTURES)
    except Damaged as error:
        raise ValueError(f"{folder} cannot be read: {error}") from None


def write_pngs(folder: Path, images: Tensor, labels: Tensor, notes: dict[str, Any]) -> None:
    """8-bit FOLDER/<class>/<index>.png, and the notes as FOLDER/set.json.

    Raises:
        ValueError: the folder exists, or PNGs cannot hold this set.
    """
    from PIL import Image

    if labels.ndim != 1 or len(labels) != len(images):
        raise ValueError("PNGs in class folders have one hard label each, this set has soft labels or one for each "
                         "decoded image: export it to .pt or .safetensors")
    if float(images.min()) < 0 or float(images.max()) > 1 or images.shape[1] not in (1, 3):
        raise ValueError(f"PNGs hold grey or RGB pixels in 0…1, this set has {images.shape[1]} channels in "
                         f"{float(images.min()):.3g}…{float(images.max()):.3g}: export it to .pt or .safetensors")
    if folder.exists():
        raise ValueError(f"{folder} exists, and a set must not be mixed with what lies there: name another folder")
    levels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).squeeze(-1).numpy()
    for label in labels.unique().tolist():
        (folder / str(label)).mkdir(parents=True)
        for k, i in enumerate(torch.nonzero(labels == label).flatten().tolist()):
            Image.fromarray(levels[i]).save(folder / str(label) / f"{k:04d}.png")
    (folder / "set.json").write_text(json.dumps(notes, indent=1) + "\n")
