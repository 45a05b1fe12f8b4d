"""Shared fixtures: the bundled digits, and settings that make every run the same."""

import os
from pathlib import Path

import matplotlib
import pytest
import torch
from hypothesis import settings
from matplotlib import pyplot as plt

from lmcnb import Dataset, Images, Lab, figures, load

matplotlib.use("Agg")
settings.register_profile("lmcnb", deadline=None, derandomize=True, database=None, max_examples=30)
settings.load_profile("lmcnb")
torch.set_num_threads(1)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", "ignore:There is a performance drop")  # vmap's, of affine_grid


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture(scope="session")
def few(digits: Dataset) -> Images:
    """192 digits to train on: six batches of 32."""
    return digits.train.subset(slice(0, 192))


@pytest.fixture
def cifar10() -> Dataset:
    """The real CIFAR-10, where it is at hand."""
    root = os.environ.get("LMCNB_DATA")
    if not root or not (Path(root) / "cifar10.npz").exists():
        pytest.skip("no cifar10.npz in LMCNB_DATA")
    return load("cifar10")


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab("cpu", tmp_path / "store", progress=False)


@pytest.fixture
def figures_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where figures go, in the package's style; every figure is closed afterwards."""
    monkeypatch.setenv("LMCNB_FIGURES", str(tmp_path))
    figures.style()
    yield tmp_path
    plt.close("all")
