"""Data sets and what is derived from them, made once a process."""
from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

from ..data import DATASETS, Dataset, Images, load
from ..data.whitening import Whitening, zca
from ..measure.corruptions import digest, spoilt

# A cell that registers a data set may be run again: what is kept belongs to the function, not to its name.


def numbered(device: torch.device) -> torch.device:
    """The GPU that "cuda" is now, by its number: under two names the images would be kept twice."""
    if device.type == "cuda" and device.index is None and torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return device


def dataset(name: str, device: torch.device) -> Dataset:
    return _dataset(name, str(device), DATASETS.get(name))


def whitening(name: str, device: torch.device, eps: float) -> Whitening:
    return _whitening(name, str(device), DATASETS.get(name), eps)


def whitened(name: str, device: torch.device, eps: float) -> Images:
    return _whitened(name, str(device), DATASETS.get(name), eps)


def corrupted(name: str, device: torch.device, corruption: str, severity: int, seed: int, images: int | None) -> Images:
    files = digest(name, [corruption])  # which a user may exchange while the process runs
    return _corrupted(name, str(device), DATASETS.get(name), corruption, severity, seed, images, files)


@lru_cache(maxsize=4)
def _dataset(name: str, device: str, _: Any) -> Dataset:
    return load(name, device)


@lru_cache(maxsize=2)
def _whitening(name: str, device: str, source: Any, eps: float) -> Whitening:
    return zca(_dataset(name, device, source).train, eps)


@lru_cache(maxsize=1)
def _whitened(name: str, device: str, source: Any, eps: float) -> Images:
    return _whitening(name, device, source, eps).images(_dataset(name, device, source).train)


@lru_cache(maxsize=100)  # nineteen corruptions at five severities, and some
def _corrupted(name: str, device: str, source: Any, corruption: str, severity: int, seed: int, images: int | None,
               _: str) -> Images:
    return spoilt(_dataset(name, device, source), corruption, severity, seed, images)
