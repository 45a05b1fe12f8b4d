"""What every distillation method shares: the distilled set, its decoding, its starting images."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import BaseModel, Field, model_validator
from torch import Tensor

from ..data import Dataset, Images
from ..kernel.recipe import seeded
from ..kernel.warp import by_matrices, enlarged
from ..models import Net
from ..params import Params
from ..spec import SettingError, Spec
from .experts import Experts

Progress = Callable[[int, int], None]

BYTES = 16  # beyond it pixels that are none below 0 are in units of 0…255; learned ones may leave 0…1


@dataclass(frozen=True, repr=False)
class Distilled:
    """A distilled set with all that is needed to use it.

    Attributes:
        images: float32 [N, C, H, W], not normalised, in units of 0…1, which pixels that were learned may leave;
            N = classes · ipc, class by class, where lmcnb made it.
        labels: int64 [N], or soft: float32 [N, classes] probabilities; or one for each decoded image [N · factor², …].
        mean, std: float32 [C] of the data set it stands for.
        factor: each image holds factor² smaller ones (1: none); :meth:`decoded` unfolds them.
        data_points: training images the method itself looked at (0 for a choice made without training).
        lr: the step size of SGD that was learned with the set, or None.
        zca: the ε of the ZCA whitening under which it was made, or None. The images are ordinary pixels all the same:
            whitening is undone.

    Raises:
        ValueError: images and labels do not fit each other, or labels leave 0…classes − 1.
    """

    images: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor
    classes: int
    factor: int = 1
    data_points: int = 0
    lr: float | None = None
    zca: float | None = None

    def __post_init__(self):
        stored, decoded = len(self.images), len(self.images) * self.factor ** 2
        if self.images.ndim != 4 or len(self.labels) not in (stored, decoded):
            raise ValueError(f"a distilled set is images [N, C, H, W] and a label each (or one for each of the N · "
                             f"factor² decoded images); got {tuple(self.images.shape)} and {len(self.labels)} labels")
        if self.labels.ndim == 2 and self.labels.shape[1] != self.classes:
            raise ValueError(f"soft labels are probabilities [N, {self.classes}]; got {tuple(self.labels.shape)}")
        self.decoded()  # the checks of Images: channels, range of labels

    def __repr__(self) -> str:
        shape = " × ".join(map(str, self.images.shape[1:]))
        return f"Distilled({len(self.images)} images of {shape}, factor {self.factor}, {self.classes} classes)"

    @property
    def ipc(self) -> int:
        """Stored images per class (rounded down where classes differ, as in sets of others)."""
        return len(self.images) // self.classes

    def decoded(self) -> Images:
        """The images to train on: N · factor² of them."""
        times = 1 if len(self.labels) != len(self.images) else self.factor ** 2
        labels = self.labels.repeat(times, *[1] * (self.labels.ndim - 1))
        return Images(decode(self.images, self.factor), labels, self.mean, self.std, self.classes)

    def tensors(self) -> Params:
        return {"images": self.images, "labels": self.labels, "mean": self.mean, "std": self.std}


def decode(images: Tensor, factor: int) -> Tensor:
    """[N, C, H, W] → [factor² · N, C, H, W]: each tile up-sampled bilinearly, all images' first tiles first.

    Sides that factor does not divide are padded with mid-grey (0.5) first, as IDC does. Differentiable.

    >>> import torch
    >>> image = torch.zeros(1, 1, 8, 8)
    >>> image[..., :4, 4:] = 1  # top right
    >>> assert [float(tile.mean()) for tile in decode(image, factor=2)] == [0, 1, 0, 0]
    """
    if factor == 1:
        return images
    size = images.shape[-1]
    missing = -size % factor
    padded = F.pad(images, (0, missing, 0, missing), value=0.5) if missing else images
    side = padded.shape[-1] // factor
    tiles = [padded[..., r * side:(r + 1) * side, c * side:(c + 1) * side]
             for r in range(factor) for c in range(factor)]
    if by_matrices(images, turned=False):
        return enlarged(torch.cat(tiles), size)
    return F.interpolate(torch.cat(tiles), size=(size, size), mode="bilinear", align_corners=False)


METHODS: dict[str, type[Method]] = {}


class Method(Spec):
    """Settings of a distillation method; a subclass implements :meth:`distill`.

    Defining a subclass registers it in :data:`METHODS` under its ``kind``, which it must have of its own (a cell may be
    run again). What it does is part of the key of every set that it makes.

    Args:
        ipc: stored images per class. factor: each holds factor² smaller ones.
    """

    if TYPE_CHECKING:
        kind: str

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        kind = cls.model_fields["kind"].default if "kind" in cls.model_fields else None
        inherited = {b.model_fields["kind"].default for b in cls.__mro__[1:]
                     if issubclass(b, BaseModel) and "kind" in b.model_fields}
        if not isinstance(kind, str) or kind in inherited:
            raise SettingError(f"{cls.__name__} needs a kind of its own, which keys and profiles know it by: "
                               f"kind: Literal['my-method'] = 'my-method'")
        other = METHODS.get(kind, cls)
        if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            raise SettingError(f"{cls.__name__}.kind is {kind!r}, which is {other.__qualname__}'s: choose another")
        METHODS[kind] = cls

    @model_validator(mode="after")
    def _of_its_kind(self):
        if self.kind != (own := type(self).model_fields["kind"].default):  # another method's results would be served
            raise ValueError(f"kind of a {type(self).__name__} is {own!r}; got {self.kind!r}")
        return self

    reads: ClassVar[Callable[[Net], Any]] = staticmethod(lambda net: None)  # of a network; raises where that cannot be
    length: ClassVar[str] = ""  # the setting that counts its iterations; none where a set is just chosen
    normalised: ClassVar[bool] = False  # whether what it matches are normalised pixels, among which 0.5 is no mid-grey

    ipc: int = Field(default=10, ge=1)
    factor: int = Field(default=1, ge=1, le=3)

    def images(self, classes: int) -> int:
        """Decoded images of a set: what a network is trained on."""
        return self.ipc * classes * self.factor ** 2

    def shortened(self, share: float) -> Method:
        """The same method stopped after that share of its iterations; itself where it has none."""
        return self.but(**{self.length: max(1, round(share * getattr(self, self.length)))}) if self.length else self

    def check(self, data: Dataset, net: Net) -> None:
        """Raises ValueError when the data are too few or too small for ipc and factor, or the network is unfit.

        A lab asks before any work begins.
        """
        self.reads(net)
        tile_spans(size := data.train.shape[-1], self.factor)
        if self.normalised and size % self.factor:
            raise ValueError(f"factor {self.factor} does not divide the {size} pixels of {data.name}, and what "
                             f"{self.kind} pads would have another grey than where the set is used: take a factor that "
                             f"divides them")
        need, smallest = self.ipc * self.factor ** 2, min(len(i) for i in data.train.by_class)
        if need > smallest:
            raise ValueError(f"ipc {self.ipc} at factor {self.factor} needs {need} images per class; the smallest "
                             f"class of {data.name} has {smallest}: lower ipc or factor")

    def distill(self, data: Dataset, net: Net, seed: int, *, state: Params | None = None,
                checkpoint: Callable[[Params], None] | None = None, progress: Progress | None = None) -> Distilled:
        """Distills ``data.train``; the same seed gives the same set.

        ``checkpoint`` receives tensors from which a later call with ``state`` goes on to the same result. A method
        with :attr:`experts` also takes ``trajectories``, a function from an expert's number to its course.
        """
        raise NotImplementedError

    @property
    def experts(self) -> Experts | None:
        """The trainings on real data whose course the method follows (see :mod:`.experts`), or None."""
        return None

    def work(self, data: Dataset) -> int:
        """Images the method puts through a network, roughly: for progress bars and estimates."""
        return 1

    def finite(self, pixels: Tensor, where: str) -> Tensor:
        """The pixels. Raises FloatingPointError when some are NaN or infinite."""
        if not bool(torch.isfinite(pixels).all()):
            hint = f": lower lr_image (now {rate})" if (rate := getattr(self, "lr_image", None)) is not None else ""
            raise FloatingPointError(f"distilled pixels are no longer finite {where}{hint}")
        return pixels

    def result(self, data: Dataset, pixels: Tensor, data_points: int, **more) -> Distilled:
        """Wraps float32 pixels [classes, ipc, C, H, W] in units of 0…1 as a :class:`Distilled`; ``more``: lr and zca.

        Raises:
            ValueError: pixels of another shape, or in units of 0…255.
        """
        if pixels.ndim != 5 or pixels.shape[:2] != (data.classes, self.ipc):
            raise ValueError(f"{type(self).__name__}: pixels must be [classes, ipc, C, H, W] = [{data.classes}, "
                             f"{self.ipc}, …]; got {list(pixels.shape)}")
        self.finite(pixels, "at the end")
        if float(pixels.min()) >= 0 and float(pixels.max()) > BYTES:
            raise ValueError(f"{type(self).__name__}: pixels must be in units of 0…1; got {float(pixels.min()):.0f}…"
                             f"{float(pixels.max()):.0f}: divide them by 255")
        labels = torch.arange(data.classes, device=pixels.device).repeat_interleave(self.ipc)
        train = data.train
        return Distilled(pixels.flatten(0, 1), labels, train.mean, train.std, data.classes, self.factor, data_points,
                         **more)


def choose_real(data: Images, per_class: int, generator: torch.Generator) -> Tensor:
    """Indices int64 [classes, per_class] of different random images of each class."""
    return torch.stack([i[torch.randperm(len(i), generator=generator)[:per_class].to(i.device)]
                        for i in data.by_class])


def real_pixels(data: Images, index: Tensor) -> Tensor:
    """float32 [..., C, H, W] in 0…1 of the images at ``index`` (any shape)."""
    x = data.x[index]
    return x.float() / 255 if x.dtype == torch.uint8 else x.clone()


def mix(data: Images, ipc: int, factor: int, seed: int) -> Tensor:
    """IDC's "mix" start: float32 [classes, ipc, C, H, W], each image tiled from factor² shrunken real ones.

    The tiles are those of :func:`decode`. Where factor does not divide the side, the last row and column of tiles are
    smaller, and the images in them are shrunk as much more.
    """
    index = choose_real(data, ipc * factor ** 2, seeded("start", seed))
    pixels = real_pixels(data, index)
    if factor == 1:
        return pixels
    spans = tile_spans(pixels.shape[-1], factor)
    grid = pixels.unflatten(1, (ipc, factor, factor)).movedim((2, 3), (0, 1))  # [row, column, classes, ipc, …]

    def shrunk(image: Tensor, rows: slice, columns: slice) -> Tensor:
        side = rows.stop - rows.start, columns.stop - columns.start
        return F.interpolate(image.flatten(0, 1), size=side, mode="nearest").unflatten(0, image.shape[:2])
    return torch.cat([torch.cat([shrunk(image, down, across) for image, across in zip(row, spans)], -1)
                      for row, down in zip(grid, spans)], -2)


def tile_spans(size: int, factor: int) -> list[slice]:
    """Where the tiles of :func:`decode` begin and end along a side of ``size`` pixels.

    Raises:
        ValueError: the last one would be empty.
    """
    side = -(-size // factor)
    if side * (factor - 1) >= size:
        raise ValueError(f"images of {size} pixels do not hold {factor} × {factor} smaller ones: lower factor")
    return [slice(k * side, min((k + 1) * side, size)) for k in range(factor)]
