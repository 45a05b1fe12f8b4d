"""A stand-in for ImageNet-10: procedurally drawn pictures in its folder layout, for those without its licence."""
from __future__ import annotations

import colorsys
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from ..places import data_root
from ..spec import Spec
from .imagenet import GENERATED, IMAGENET10, LARGEST
from .images import Dataset

VERSION = 1  # of the pictures: rises when the same settings draw others


class GeneratedImages(Spec):
    """The settings of :func:`generate_images`."""

    version: Literal[1] = VERSION
    size: int = Field(default=64, ge=64, le=LARGEST, multiple_of=32)
    train: int = Field(default=32, ge=1, le=10_000)
    test: int = Field(default=32, ge=1, le=10_000)
    seed: int = Field(default=0, ge=0, lt=2 ** 63)


def generate_images(folder: str | Path | None = None, *, size: int = 64, train: int = 32, test: int = 32, seed: int = 0
                    ) -> str:
    """Writes a small image folder with ImageNet-10's class names and layout, unless it is there already.

    A class is one of five shapes before one of two textures, with colours that only tend to differ. Position, scale,
    angle, colours, contrast and noise vary within it. The pictures are no photographs: results on them show that the
    code for ImageNet works, nothing about ImageNet.

    Args:
        folder: where to write; a relative one lies in LMCNB_DATA. By default a name made of the settings.
        size: shorter side in pixels, a multiple of 32 from 64 to 1024. train, test: images per class. seed: of
            everything.
    Returns:
        The data set's name for :func:`lmcnb.load`, ``imagenet10:SIZE:FOLDER``.
    Raises:
        ValueError: a setting out of range, or a folder with anything but these very images.
    """
    settings = GeneratedImages(size=size, train=train, test=test, seed=seed).settings()
    name = str(folder or "generated-{size}px-{train}-{test}-seed{seed}".format(**settings))
    root = data_root() / Path(name).expanduser()
    if not root.exists():
        _write(root, settings)
    if _settings(root) != settings:
        raise ValueError(f"{root} exists and does not hold images generated with {settings}: delete it if it can go, "
                         f"or name another folder")
    return f"imagenet10:{settings['size']}:{name}"


def _settings(root: Path) -> dict | None:
    try:
        return json.loads((root / GENERATED).read_text())
    except (OSError, ValueError, RecursionError):
        return None


def _write(root: Path, settings: dict) -> None:
    """Written aside, then renamed: the folder is whole or absent."""
    from PIL import Image

    aside = root.with_name(f".{root.name}.{os.getpid()}")
    try:
        for s, (split, count) in enumerate((("train", settings["train"]), ("val", settings["test"]))):
            for label, wnid in enumerate(IMAGENET10):
                (aside / split / wnid).mkdir(parents=True)
                for k in range(count):
                    pixels = picture(label, settings["size"], np.random.default_rng([settings["seed"], s, label, k]))
                    Image.fromarray(pixels).save(aside / split / wnid / f"{wnid}_{k:05d}.png", compress_level=1)
        (aside / GENERATED).write_text(json.dumps(settings) + "\n")
        os.rename(aside, root)
    except OSError:
        if not root.exists():  # else another process was faster
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def picture(label: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """One picture of a class: uint8 [height, width, 3], the shorter side ``size``, the other up to 1.4 times that."""
    long = round(size * rng.uniform(1, 1.4))
    height, width = (size, long) if rng.random() < 0.5 else (long, size)
    return _painted(label, height, width, size, rng, periods=(6, 10))


def _painted(label: int, height: int, width: int, size: int, rng: np.random.Generator, periods: tuple[float, float]
             ) -> np.ndarray:
    """A shape before a texture: uint8 [height, width, 3]. Lengths are in units of ``size``; ``periods``: of stripes."""
    x, y = np.meshgrid(*((np.arange(n) + 0.5 - n / 2) / size for n in (width, height)))
    texture = (_clouds(rng, x, y) if label < 5 else _wave(rng, x, y, *periods))[..., None]
    dark, light = (_rgb(rng.random(), rng.uniform(0.1, 0.6), v) for v in rng.uniform((0.15, 0.45), (0.5, 0.95)))
    pixels = dark + (light - dark) * texture
    inside = _placed(rng, SHAPES[label % 5], x, y)[..., None]
    own = _rgb(label / 10 + rng.normal(0, 0.12), rng.uniform(0.4, 1), rng.uniform(0.4, 1))
    pixels = np.where(inside, own * rng.uniform(0.85, 1) + 0.15 * texture, pixels)
    pixels = rng.uniform(0.6, 1.1) * pixels + rng.normal(0, rng.uniform(0.02, 0.08), pixels.shape)
    return np.round(255 * pixels.clip(0, 1)).astype(np.uint8)


def shapes(train: int = 500, test: int = 1000, size: int = 12) -> Dataset:
    """Small colour pictures of ten classes, drawn anew, the same every time: a set on which SGD noise matters.

    The pictures are those of :func:`generate_images`. Two trainings of a small dense network on them end in two minima,
    half a minute's work that digits do not show: they are too easy.

    >>> from lmcnb.data.generated import shapes
    >>> assert shapes(train=20, test=10).train.x.shape == (20, 3, 12, 12)
    """
    arrays = {}
    for part, (split, count) in enumerate((("train", train), ("test", test))):
        labels = np.arange(count) % 10
        drawn = [_painted(int(label), size, size, size, np.random.default_rng([part, k]), periods=(2.5, 4))
                 for k, label in enumerate(labels)]
        arrays |= {f"x_{split}": np.stack(drawn), f"y_{split}": labels.astype(np.uint8)}
    return Dataset.from_arrays("shapes", **arrays, note="generated pictures: a data set to see the method work on, not "
                               "to judge the claims by")


def _rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value))


def _clouds(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Smooth, in 0…1: six slow waves in random directions."""
    return np.asarray(sum(_wave(rng, x, y, 0.5, 3) for _ in range(6))) / 6


def _wave(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, slowest: float, fastest: float) -> np.ndarray:
    """In 0…1; ``slowest`` to ``fastest`` periods along the shorter side."""
    angle, phase = rng.uniform(0, 2 * np.pi, 2)
    along = x * np.cos(angle) + y * np.sin(angle)
    return 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(slowest, fastest) * along + phase)


def _placed(rng: np.random.Generator, shape: Callable, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """bool: the pixels inside a shape somewhere near the middle, turned and scaled at random."""
    angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.38)
    x, y = ((c - rng.uniform(-0.12, 0.12)) / radius for c in (x, y))
    return shape(x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle))


SHAPES = (  # of radius about 1 around the origin
    lambda u, v: np.hypot(u, v) < 1,
    lambda u, v: np.maximum(abs(u), abs(v)) < 0.85,
    lambda u, v: np.maximum(-v, 0.866 * abs(u) + 0.5 * v) < 0.6,
    lambda u, v: abs(np.hypot(u, v) - 0.8) < 0.25,
    lambda u, v: (np.minimum(abs(u), abs(v)) < 0.3) & (np.maximum(abs(u), abs(v)) < 1),
)
