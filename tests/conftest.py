"""Shared fixtures: the bundled digits, and settings that make every run the same."""

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import pytest
import torch
from filled_store import PLAN
from hypothesis import settings
from matplotlib import pyplot as plt

from lmcnb import Dataset, Images, Lab, figures, load

os.environ["LMCNB_RESULTS"] = os.devnull  # what travels with the project is left out, but where a test names it
matplotlib.use("Agg")
settings.register_profile("lmcnb", deadline=None, derandomize=True, database=None, max_examples=30)
settings.load_profile("lmcnb")
torch.set_num_threads(1)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", "ignore:There is a performance drop")  # vmap's, of affine_grid


# What forks a server that has imported all. First and side by side: one worker starts the server, and what takes long
# is not what the others wait for at the end.
FORKING = {"test_scale", "test_execution", "test_kernels", "test_cuda_exact", "test_same_bytes", "test_curvature",
           "test_verify", "test_shipped", "test_cli", "test_resume", "test_one_file", "test_executors", "test_soak",
           "test_memory", "test_store", "test_benchmarks_quick"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in FORKING)


def pytest_collection_finish() -> None:
    """What is imported by now stays: the collector need not look through it again and again."""
    gc.collect()
    gc.freeze()


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


@pytest.fixture(autouse=True)
def no_figure_is_left() -> Iterator[None]:
    """What one test draws is not the current axes of another."""
    yield
    plt.close("all")


@pytest.fixture
def figures_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where figures go, in the package's style."""
    monkeypatch.setenv("LMCNB_FIGURES", str(tmp_path))
    figures.style()
    yield tmp_path


@pytest.fixture
def forked_kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kernels that this process starts are forks. Jupyter reads once a process how it starts them, so it forgets."""
    from jupyter_client.provisioning import KernelProvisionerFactory

    from lmcnb.cli import kernels

    for name, value in kernels.CHOICE.items():
        monkeypatch.setenv(name, value)
    KernelProvisionerFactory.clear_instance()
    yield
    KernelProvisionerFactory.clear_instance()


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with everything of the plan; not to be changed."""
    store = tmp_path_factory.mktemp("filled") / "store"
    Lab("cpu", store, progress=False).map(PLAN)
    return store


@pytest.fixture
def shelf(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A lab on a copy of that store, which is the command line's too; the figures' folder is empty.

    It computes nothing, nor does any other lab.
    """
    def refuse(*_):
        raise AssertionError("something was computed for the store")
    monkeypatch.setattr(Lab, "_work", refuse)
    shutil.copytree(filled, tmp_path / "store")
    monkeypatch.setenv("LMCNB_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("LMCNB_FIGURES", str(tmp_path / "figures"))
    return Lab("cpu", tmp_path / "store", progress=False)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium, where Playwright and one are installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install 'lmcnb[browser]'")
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if not found:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()
