"""Image data sets as tensors that live on the device: one uint8 tensor a split, no DataLoader."""
from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

#: The channels of CIFAR-10 in units of 0…1, as the papers' released codes take them.
CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, repr=False)
class Images:
    """Labelled images on one device.

    Attributes:
        x: uint8 [N, C, H, W] in 0…255, or float32 [N, C, H, W] in 0…1 (distilled sets); never normalised.
        y: int64 [N] class indices, or float32 [N, classes] probabilities (soft labels).
        mean, std: float32 [C], in units of 0…1; :meth:`normalised` applies them.
        classes: number of classes.
    """

    x: Tensor
    y: Tensor
    mean: Tensor
    std: Tensor
    classes: int

    def __post_init__(self):
        if self.x.ndim != 4 or len(self.x) != len(self.y):
            raise ValueError(f"images must be [N, C, H, W] with one label each; got images {tuple(self.x.shape)} "
                             f"and {len(self.y)} labels")
        if not self.x.shape[1] == len(self.mean) == len(self.std):
            raise ValueError(f"images have {self.x.shape[1]} channels, the data set's mean has {len(self.mean)}, its "
                             f"std {len(self.std)}")
        if self.y.ndim == 1 and len(self.y) and not 0 <= int(self.y.min()) <= int(self.y.max()) < self.classes:
            raise ValueError(f"labels must lie in 0…{self.classes - 1}; "
                             f"found {int(self.y.min())}…{int(self.y.max())}")

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        return f"Images({len(self):,} of {sized(self)}, {self.classes} classes)"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        _, channels, height, width = self.x.shape
        return channels, height, width

    @property
    def hard(self) -> Tensor:
        """int64 [N]: the label, or the likeliest class of a soft label."""
        return self.y if self.y.ndim == 1 else self.y.argmax(1)

    @cached_property
    def by_class(self) -> list[Tensor]:
        """For each class, the int64 indices of its images, in order."""
        return [torch.nonzero(self.hard == c).flatten() for c in range(self.classes)]

    @cached_property
    def class_table(self) -> Tensor:
        """int64 [classes, most of one class]: :attr:`by_class` as one tensor, shorter rows filled up with 0."""
        return torch.nn.utils.rnn.pad_sequence(self.by_class, batch_first=True)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over pixels, labels and normalisation: what the store's keys are made of."""
        h = hashlib.sha256()
        for t in (self.x, self.y, self.mean, self.std):
            h.update(str((t.dtype, tuple(t.shape))).encode())
            h.update(t.cpu().contiguous().numpy().data.cast("B"))
        return h.hexdigest()

    def normalised(self, index: Tensor | slice | None = None) -> Tensor:
        """float32 [n, C, H, W]: (x − mean) / std of the chosen images."""
        return normalise(self.x if index is None else self.x[index], self.mean, self.std)

    def subset(self, index: Tensor | slice) -> Images:
        return replace(self, x=self.x[index], y=self.y[index])

    def first(self, count: int | None) -> Images:
        """The first ``count`` images; None: all."""
        return self if count is None or count >= len(self) else self.subset(slice(0, count))

    def to(self, device: torch.device | str) -> Images:
        """On another device; itself where it is there already."""
        if self.x.device == torch.device(device):
            return self
        return replace(self, **{n: getattr(self, n).to(device) for n in ("x", "y", "mean", "std")})


def normalise(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """float32 (x − mean) / std for uint8 (0…255) or float (0…1) images [..., C, H, W]."""
    x = x.float() / 255 if x.dtype == torch.uint8 else x
    return (x - mean[:, None, None]) / std[:, None, None]


def training(data: Dataset | Images) -> Images:
    """The training images of a data set, or the images themselves. Raises ValueError for anything else."""
    if not isinstance(data, (Dataset, Images)):
        hint = ": give its .decoded()" if hasattr(data, "decoded") else ""
        raise ValueError(f"data must be a Dataset or Images; got a {type(data).__name__}{hint}")
    return data.train if isinstance(data, Dataset) else data


@dataclass(frozen=True, repr=False)
class Dataset:
    """A named pair of splits; ``note`` says what a reader must know of it."""

    name: str
    train: Images
    test: Images
    note: str = field(default="")

    def __repr__(self) -> str:
        return (f"Dataset({self.name}: {len(self.train):,} training and {len(self.test):,} test images of "
                f"{sized(self.train)}, {self.classes} classes)")

    @classmethod
    def from_arrays(cls, name: str, *, mean: Sequence[float] | None = None, std: Sequence[float] | None = None,
                    note: str = "", **arrays: np.ndarray) -> Dataset:
        """A data set from arrays x_train, x_test (uint8 [N, H, W, C] or [N, H, W]) and y_train, y_test (integers [N]).

        Tensors will do, and lists of labels. ``mean`` and ``std`` are measured on the training images when they are not
        given.

        >>> import numpy as np, lmcnb
        >>> x, y = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8), np.arange(20) % 4
        >>> data = lmcnb.Dataset.from_arrays("mine", x_train=x, y_train=y, x_test=x[:8], y_test=y[:8])
        >>> assert data.train.shape == (3, 8, 8) and data.classes == 4

        Raises:
            ValueError: an array is missing or of another shape or type, or a channel is the same everywhere.
        """
        wanted = ("x_train", "y_train", "x_test", "y_test")
        if missing := [n for n in wanted if n not in arrays]:
            raise ValueError(f"{name}: arrays {', '.join(missing)} are missing")
        arrays = {n: np.asarray(a.cpu() if isinstance(a, Tensor) else a) for n, a in arrays.items()}
        x = {s: _chw(arrays[f"x_{s}"], name) for s in ("train", "test")}
        y = {s: _classes(arrays[f"y_{s}"], len(x["train"]), name) for s in x}
        if (least := min(int(labels.min()) for labels in y.values())) > 0:
            raise ValueError(f"{name}: labels must number the classes 0, 1, …; no image has label 0, the first is "
                             f"{least}: subtract it")
        if (mean is None) != (std is None):
            raise ValueError(f"{name}: give both mean and std, or neither")
        centre, spread = (_moments(x["train"]) if mean is None or std is None else
                          (torch.tensor([float(c) for c in v], dtype=torch.float32) for v in (mean, std)))
        if not bool((spread > 0).all() & spread.isfinite().all() & centre.isfinite().all()):
            raise ValueError(f"{name}: the pixels of each channel must differ, or nothing can be learned from them; "
                             f"got a standard deviation of {spread.tolist()}")
        classes = int(max(y["train"].max(), y["test"].max())) + 1
        train, test = (Images(x[s], y[s], centre, spread, classes) for s in ("train", "test"))
        if train.shape != test.shape:
            raise ValueError(f"{name}: training images of {sized(train)} and test images of {sized(test)}: make them "
                             f"of one size")
        return cls(name, train, test, note)

    @classmethod
    def from_torch(cls, name: str, train: Any, test: Any, **options: Any) -> Dataset:
        """A data set from two map-style torch data sets of (image, label), such as torchvision's, without transforms.

        Images are PIL, or tensors [C, H, W] of bytes or of numbers in 0…1; ``options`` are :meth:`from_arrays`'s.

        Raises:
            ValueError: images of different sizes, or numbers outside 0…1 (an image that is normalised already).
        """
        arrays: dict[str, np.ndarray] = {}
        for split, images in (("train", train), ("test", test)):
            if isinstance(images, torch.utils.data.DataLoader):
                raise ValueError(f"{name}: {split} is a DataLoader: give its data set, loader.dataset")
            found = [images[k] for k in range(len(images))]
            if others := [type(sample).__name__ for sample in found if not isinstance(sample, (tuple, list))]:
                raise ValueError(f"{name}: {split} must hold pairs (image, label); got a {others[0]}: wrap it in a "
                                 f"data set that returns them")
            pixels = [_bytes(image, name) for image, _ in found]
            if len({p.shape for p in pixels}) > 1:
                raise ValueError(f"{name}: images must be of one size; resize them in the data set's transform")
            arrays |= {f"x_{split}": np.stack(pixels), f"y_{split}": np.array([int(label) for _, label in found])}
        return cls.from_arrays(name, **arrays, **options)

    @property
    def classes(self) -> int:
        return self.train.classes

    def first(self, train: int | None = None, test: int | None = None) -> Dataset:
        """The first images of each split; None: all."""
        return replace(self, train=self.train.first(train), test=self.test.first(test))

    def normalised_by(self, mean: Sequence[float], std: Sequence[float]) -> Dataset:
        """The same images for networks that were trained with another normalisation: of each channel, units of 0…1.

        >>> import lmcnb
        >>> data = lmcnb.load("shapes").normalised_by(lmcnb.data.IMAGENET_MEAN, lmcnb.data.IMAGENET_STD)
        >>> assert torch.equal(data.test.mean, torch.tensor([0.485, 0.456, 0.406]))
        """
        own = {n: torch.tensor([float(c) for c in v], device=self.train.x.device)
               for n, v in (("mean", mean), ("std", std))}
        if not bool((own["std"] > 0).all()):
            raise ValueError(f"std must be above 0; got {list(std)}")
        return replace(self, train=replace(self.train, **own), test=replace(self.test, **own))

    def to(self, device: torch.device | str) -> Dataset:
        """On another device; itself where it is there already."""
        if self.train.x.device == torch.device(device):
            return self
        return replace(self, train=self.train.to(device), test=self.test.to(device))

    @cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256((self.train.fingerprint + self.test.fingerprint).encode()).hexdigest()


def sized(images: Images) -> str:
    """"3 × 32 × 32"."""
    return " × ".join(map(str, images.shape))


def _bytes(image: Any, name: str) -> np.ndarray:
    """uint8 [H, W, C] or [H, W] of a PIL image or a tensor [C, H, W]."""
    if not isinstance(image, Tensor):
        return np.asarray(image)
    if image.is_floating_point():
        if float(image.min()) < 0 or float(image.max()) > 1:
            raise ValueError(f"{name}: pixels must lie in 0…1; take normalising out of the data set's transform, as "
                             f"lmcnb normalises itself")
        image = (image * 255).round().to(torch.uint8)
    return image.permute(1, 2, 0).cpu().numpy()


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, in units of 0…1, without a float copy of all images."""
    counts = torch.stack([torch.bincount(x[:, c].flatten(), minlength=256) for c in range(x.shape[1])]).double()
    levels, n = torch.arange(256, dtype=torch.float64) / 255, counts.sum(1)
    mean = (counts @ levels) / n
    variance = (counts * (levels - mean[:, None]).square()).sum(1) / (n - 1)
    return mean.float(), variance.sqrt().float()


def _classes(y: np.ndarray, images: int, name: str) -> Tensor:
    """int64 [N] labels 0, 1, …, of no more classes than there are training images."""
    if y.dtype.kind not in "iu" or not y.size:
        raise ValueError(f"{name}: labels must be whole numbers [N]; got {y.dtype} {y.shape}")
    if y.min() < 0 or y.max() >= images:
        raise ValueError(f"{name}: labels must number the classes 0, 1, …; got {y.min()}…{y.max()} for {images} "
                         f"training images")
    return torch.from_numpy(np.ascontiguousarray(y).astype(np.int64)).flatten()


def _chw(x: np.ndarray, name: str) -> Tensor:
    if x.dtype != np.uint8 or x.ndim not in (3, 4) or not x.size:
        raise ValueError(f"{name}: images must be uint8 [N, H, W, C]; got {x.dtype} {x.shape}")
    if x.ndim == 4 and x.shape[1] in (1, 3) and x.shape[2] == x.shape[3] and x.shape[3] not in (1, 3, 4):
        raise ValueError(f"{name}: images must be [N, H, W, C]; {x.shape} looks like [N, C, H, W]: give "
                         f"x.transpose(0, 2, 3, 1)")
    x = x[..., None] if x.ndim == 3 else x
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
