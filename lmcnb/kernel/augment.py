"""Seeded, batched augmentation on the device, split in two: random numbers first, pixels later.

:func:`draw` makes every random number of a run of steps on the CPU, so one seed means the same augmentation on every
device and in every execution strategy. :func:`apply` turns pixels with them and has no randomness of its own. All
geometry of an image (flip, crop, scale, rotation) is one affine matrix, hence one bilinear look-up.

The transformations and their ranges are those of Differentiable Siamese Augmentation (Zhao & Bilen, 2021), which the
papers' code uses for training on CIFAR; CutMix is Yun et al. (2019). "imagenet" is that of IDC's code: torchvision's
RandomResizedCrop, colour jitter and AlexNet's PCA lighting.
"""
from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ..data import IMAGENET_MEAN, IMAGENET_STD
from ..spec import Spec, choose
from .warp import by_matrices, warped

Draws = dict[str, Tensor]

_LUMINANCE = (0.299, 0.587, 0.114)
_EIGENVALUES = (0.2175, 0.0188, 0.0045)  # of the covariance of ImageNet's colours (Krizhevsky et al., 2012)
_EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


class Augment(Spec):
    """What may happen to an image. Strengths are DSA's.

    Args:
        flip: mirror left and right with probability ½.
        colour: brightness ± 0.5, saturation × 0…2, contrast × 0.5…1.5, in units of the normalised image; all ranges
            are narrowed to the share ``strength``.
        geometry: any of "crop" (shift by up to 1/8 of the side, zero-filled), "scale" (1/1.2…1.2, each axis by
            itself), "rotate" (± 15°), "resized_crop" (half to all of the area, sides 3:4 to 4:3, made full size),
            "window" (a square of three quarters of the side, made full size). With ``one_of``, one of them is drawn
            for each batch, else all apply.
        cutout: blank a square of half the side.
        shared: one draw for the whole batch (gradient matching needs this) instead of one for each image.
        single: only one family (colour, crop, cutout, flip, scale or rotate), drawn for each batch: DSA's default.
        cutmix: probability that a batch is mixed.
        jitter: brightness, contrast and saturation × 1 ± jitter. lighting: standard deviation of a shift along the
            principal components of ImageNet's colours (RGB only). Both assume ImageNet's normalisation.
    """

    flip: bool = False
    colour: bool = False
    strength: float = Field(default=1.0, gt=0, le=1)
    geometry: tuple[Literal["crop", "scale", "rotate", "resized_crop", "window"], ...] = ()
    one_of: bool = True
    cutout: bool = False
    shared: bool = False
    single: bool = False
    cutmix: float = Field(default=0.0, ge=0, le=1)
    jitter: float = Field(default=0.0, ge=0, le=1)
    lighting: float = Field(default=0.0, ge=0)

    @property
    def warps(self) -> bool:
        return self.flip or bool(self.geometry)

    @property
    def whole_pixels(self) -> bool:
        """Whether every warp moves whole pixels, so that reading them needs no interpolation."""
        return set(self.geometry) <= {"crop"}

    @property
    def stays_inside(self) -> bool:
        """Whether no warp looks beyond the image, but for half a pixel of interpolation."""
        return bool(self.geometry) and set(self.geometry) <= {"resized_crop", "window"}


AUGMENTS: dict[str, Augment] = {
    "none": Augment(),
    "flip_crop": Augment(flip=True, geometry=("crop",)),
    "colour_crop": Augment(colour=True, geometry=("crop",)),
    "cifar": Augment(flip=True, colour=True, geometry=("crop", "scale", "rotate")),
    "dsa": Augment(flip=True, colour=True, geometry=("crop", "scale", "rotate"), cutout=True),
    "dsa_single": Augment(flip=True, colour=True, geometry=("crop", "scale", "rotate"), cutout=True, single=True),
    "none_matching": Augment(shared=True),
    "dsa_matching": Augment(flip=True, colour=True, geometry=("crop", "scale", "rotate"), cutout=True, shared=True,
                            single=True),
    "match": Augment(colour=True, geometry=("crop",), one_of=False, cutout=True, shared=True),
    "imagenet": Augment(flip=True, geometry=("resized_crop",), jitter=0.4, lighting=0.1),
    # Han & Zhu: a random 24 × 24 crop of 32 × 32 made full size, flip, colour. The strength of the latter is ours.
    "window": Augment(flip=True, colour=True, strength=0.4, geometry=("window",)),
}


def augmentation(name: str, cutmix: float = 0.0) -> Augment:
    """One of :data:`AUGMENTS`, with CutMix. The papers' are "cifar", "imagenet" and, for transformers, "window"."""
    return choose("augmentation", name, AUGMENTS).but(cutmix=cutmix)


def draw(augment: Augment, steps: int, batch: int, size: int, generator: torch.Generator) -> Draws:
    """Every random number of ``steps`` batches, on the CPU.

    Returns:
        affine float32 [steps, b, 2, 3], colour float32 [steps, b, 3], cutout int64 [steps, b, 2] (top left corner),
        jitter float32 [steps, b, 3] (factors of brightness, saturation, contrast), lighting float32 [steps, b, 3] (RGB
        shift of normalised pixels), and for CutMix: partner int64 [steps, batch], box int64 [steps, 4] (top, bottom,
        left, right), kept float32 [steps] (share of the pixels that stay); b is 1 when the draw is shared. Only what is
        needed is there.
    """
    b = 1 if augment.shared else batch
    draws: Draws = {}
    families = ["colour", "flip", "cutout", *augment.geometry]
    only = torch.randint(0, len(families), (steps,), generator=generator) if augment.single else None
    if augment.warps:
        draws["affine"] = _affine(augment, steps, b, size, generator, only)
    if augment.colour:
        draws["colour"] = torch.rand(steps, b, 3, generator=generator)
    if augment.cutout:
        side = size // 2
        draws["cutout"] = torch.randint(0, size + 1 - side % 2, (steps, b, 2), generator=generator) - side // 2
    if only is not None:  # neutral values where another family was drawn
        if augment.colour:
            draws["colour"][only != 0] = 0.5
        if augment.cutout:
            draws["cutout"][only != 2] = -size
    if augment.jitter:
        draws["jitter"] = 1 + augment.jitter * (2 * torch.rand(steps, b, 3, generator=generator) - 1)
    if augment.lighting:
        along = augment.lighting * torch.randn(steps, b, 3, generator=generator) * torch.tensor(_EIGENVALUES)
        draws["lighting"] = along @ torch.tensor(_EIGENVECTORS).T / torch.tensor(IMAGENET_STD)
    if augment.cutmix:
        draws |= _cutmix(augment.cutmix, steps, batch, size, generator)
    return draws


def _affine(augment: Augment, steps: int, b: int, size: int, generator: torch.Generator, only: Tensor | None
            ) -> Tensor:
    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(steps, b, *shape, generator=generator) * (high - low) + low

    affine = torch.eye(2, 3).expand(steps, b, 2, 3).clone()
    kinds = augment.geometry
    chosen = torch.randint(0, max(1, len(kinds)), (steps,), generator=generator) if only is None else only - 3
    for k, kind in enumerate(kinds):
        on = (chosen == k)[:, None] if augment.one_of else torch.ones(steps, 1, dtype=torch.bool)
        on = on[..., None, None]
        affine = torch.where(on, compose(affine, _GEOMETRY[kind](uniform, size)), affine)
    if augment.flip:
        mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
        if only is not None:
            mirror[only != 1] = 1.0
        affine[..., :, 0] *= mirror[..., None]
    return affine


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """The affine map x ↦ outer(inner(x)), both [..., 2, 3]."""
    linear = outer[..., :2] @ inner[..., :2]
    shift = outer[..., :2] @ inner[..., 2:] + outer[..., 2:]
    return torch.cat([linear, shift], -1)


def _crop(uniform, size: int) -> Tensor:
    reach = size // 8
    shift = torch.floor(uniform(-reach, reach + 1, 2)).clamp(-reach, reach) * (2 / size)
    return torch.cat([torch.eye(2).expand(*shift.shape, 2), shift[..., None]], -1)


def _scale(uniform, size: int) -> Tensor:
    return torch.cat([torch.diag_embed(uniform(1 / 1.2, 1.2, 2)), torch.zeros(1, 1, 2, 1).expand(
        *uniform(0, 1).shape, 2, 1)], -1)


def _rotate(uniform, size: int) -> Tensor:
    angle = uniform(-15, 15) * math.pi / 180
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return torch.stack([cos, -sin, zero, sin, cos, zero], -1).unflatten(-1, (2, 3))


def _resized_crop(uniform, size: int) -> Tensor:
    """torchvision's RandomResizedCrop: of ten boxes the first that fits, else all of the image."""
    area, ratio = uniform(0.5, 1, 10), uniform(math.log(3 / 4), math.log(4 / 3), 10).exp()
    sides = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], -1).mul(size).round()  # width, height
    fits = (sides <= size).all(-1)
    first = fits.int().argmax(-1)[..., None, None].expand(*fits.shape[:-1], 1, 2)
    sides = torch.where(fits.any(-1, keepdim=True), sides.gather(-2, first).squeeze(-2), float(size))
    low = torch.floor(uniform(0, 1, 2) * (size - sides + 1)).minimum(size - sides)  # left, top
    return torch.cat([torch.diag_embed(sides / size), ((2 * low + sides) / size - 1)[..., None]], -1)


def _window(uniform, size: int) -> Tensor:
    side = size * 3 // 4
    low = torch.floor(uniform(0, 1, 2) * (size - side + 1)).clamp(max=size - side)  # left, top
    return torch.cat([(side / size) * torch.eye(2).expand(*low.shape, 2), ((2 * low + side) / size - 1)[..., None]], -1)


_GEOMETRY = {"crop": _crop, "scale": _scale, "rotate": _rotate, "resized_crop": _resized_crop,
             "window": _window}


def _cutmix(probability: float, steps: int, batch: int, size: int, generator: torch.Generator) -> Draws:
    # Beta(1, 1) is uniform. A step without CutMix has an empty box, so every step runs the same operations.
    lam = torch.rand(steps, generator=generator)
    on = torch.rand(steps, generator=generator) < probability
    half = (size * (1 - lam).sqrt() / 2).floor().long()
    centre = torch.randint(0, size, (steps, 2), generator=generator)
    low = (centre - half[:, None]).clamp(0, size) * on[:, None]
    high = (centre + half[:, None]).clamp(0, size) * on[:, None]
    area = (high - low).prod(1).float()
    partner = torch.rand(steps, batch, generator=generator).argsort(1)
    box = torch.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], 1)
    return {"partner": partner, "box": box, "kept": 1 - area / size ** 2}


def apply(augment: Augment, x: Tensor, draws: Draws, *, differentiated: bool = False) -> Tensor:
    """Augmented images for one step's draws (no leading ``steps`` axis). x: normalised float32 [B, C, H, W].

    ``differentiated``: the pixels' gradient is wanted, and the same in every run (:mod:`.warp`).
    """
    if augment.colour:
        x = _colour(x, draws["colour"] if augment.strength == 1 else 0.5 + augment.strength * (draws["colour"] - 0.5))
    if augment.warps:
        affine = draws["affine"].to(x.dtype).expand(len(x), 2, 3)
        # A shared draw is for matching, which differentiates the pixels: a look-up by index is slow backwards.
        by_index = augment.whole_pixels and not augment.shared
        turned, inside = "rotate" in augment.geometry, augment.stays_inside
        if differentiated and by_matrices(x, turned):
            x = warped(x, affine, turned=turned, whole=augment.whole_pixels, border=inside)
        else:
            x = _moved(x, affine) if by_index else _warped(x, affine, "border" if inside else "zeros")
    if augment.jitter:
        x = _jittered(x, draws["jitter"])
    if augment.lighting and x.shape[1] == 3:
        x = x + draws["lighting"][:, :, None, None]
    if augment.cutout:
        x = x * ~_inside(draws["cutout"], draws["cutout"] + x.shape[-1] // 2, x.shape[-1])
    if augment.cutmix:
        low, high = draws["box"][None, 0::2], draws["box"][None, 1::2]
        x = torch.where(_inside(low, high, x.shape[-1]), x[draws["partner"]], x)
    return x


def _warped(x: Tensor, affine: Tensor, padding: str = "zeros") -> Tensor:
    grid = _grid(affine, *x.shape[-2:])
    return F.grid_sample(x, grid, mode="bilinear", padding_mode=padding, align_corners=False)


def _moved(x: Tensor, affine: Tensor) -> Tensor:
    """As :func:`_warped` for flips and shifts by whole pixels: each pixel is one look-up."""
    height, width = x.shape[-2:]
    down, right = ((affine[:, i, 2] * (n / 2)).round().long() for i, n in ((1, height), (0, width)))
    ys, xs = (torch.arange(n, device=x.device) for n in (height, width))
    rows = ys + down[:, None]
    columns = torch.where(affine[:, 0, :1] < 0, width - 1 - xs, xs) + right[:, None]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    image = torch.arange(len(x), device=x.device)
    found = x[image[:, None, None], :, rows[:, :, None], columns[:, None]]  # [B, H, W, C]
    return torch.where(inside[:, None], found.permute(0, 3, 1, 2), 0)


def _grid(affine: Tensor, height: int, width: int) -> Tensor:
    """F.affine_grid (align_corners=False) as one matrix product, which vmap can batch: [B, H, W, 2]."""
    ys, xs = ((2 * torch.arange(n, device=affine.device, dtype=affine.dtype) + 1) / n - 1 for n in (height, width))
    places = torch.stack([xs.expand(height, width), ys[:, None].expand(height, width),
                          torch.ones(height, width, device=affine.device, dtype=affine.dtype)], -1).flatten(0, 1)
    return (places @ affine.transpose(-1, -2)).unflatten(-2, (height, width))


def _colour(x: Tensor, u: Tensor) -> Tensor:
    brightness, saturation, contrast = (u[:, i, None, None, None] for i in range(3))
    x = x + (brightness - 0.5)
    grey = x.mean(1, keepdim=True)
    x = (x - grey) * (saturation * 2) + grey
    mean = x.mean((1, 2, 3), keepdim=True)
    return (x - mean) * (contrast + 0.5) + mean


def _jittered(x: Tensor, factors: Tensor) -> Tensor:
    """Brightness, saturation and contrast of pixels in 0…1, not clamped.

    All three are linear in the pixels and commute, so the random order in which IDC's code applies them is immaterial.
    """
    brightness, saturation, contrast = (factors[:, i, None, None] for i in range(3))
    rgb = x.shape[1] == 3  # written channel by channel: a constant tensor could not be captured in a CUDA graph
    mean, std, weights = (IMAGENET_MEAN, IMAGENET_STD, _LUMINANCE) if rgb else ((0.45,), (0.225,), (1.0,))
    if not rgb and x.shape[1] != 1:
        raise ValueError(f"colour jitter needs grey or RGB images; got {x.shape[1]} channels: set augment to another")
    raw = [c * s + m for c, m, s in zip(x.unbind(1), mean, std)]
    grey: Tensor = sum(w * r for w, r in zip(weights, raw))  # pyright: ignore[reportAssignmentType]  # three, or one
    rest = (1 - saturation) * contrast * grey + (1 - contrast) * grey.mean((1, 2), keepdim=True)
    out = [brightness * (saturation * contrast * r + rest) for r in raw]
    return torch.stack([(o - m) / s for o, m, s in zip(out, mean, std)], 1)


def _inside(low: Tensor, high: Tensor, size: int) -> Tensor:
    """bool [b, 1, H, W]: pixels in the boxes [low, high) given as int64 [b, 2] (row, column)."""
    at = torch.arange(size, device=low.device)
    rows, columns = ((at >= low[:, i, None]) & (at < high[:, i, None]) for i in (0, 1))
    return (rows[:, :, None] & columns[:, None, :])[:, None]
