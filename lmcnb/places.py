"""Where things live: the project, the store, the data and the figures.

Each place has one environment variable and one default, so that a notebook finds the same files from
JupyterLab, papermill, nbval and the command line, whatever folder it was started in.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from platformdirs import user_cache_path

VARIABLES = ("LMCNB_PROJECT", "LMCNB_STORE", "LMCNB_DATA", "LMCNB_FIGURES", "LMCNB_RESULTS")


def project_root() -> Path:
    """The folder that holds `notebooks/profiles`.

    `LMCNB_PROJECT` if it is set, else the nearest such folder from the current one upwards, else the checkout
    that the package was installed from.

    Raises:
        FileNotFoundError: there is none; the message says how to name one.
    """
    root = _find_project()
    if root is None:
        raise FileNotFoundError(
            f"no project here: neither {Path.cwd()} nor a folder above it holds notebooks/profiles. "
            "Change to the project's folder, or set LMCNB_PROJECT to it."
        )
    return root


def store_root() -> Path:
    """Where computed results are kept: `LMCNB_STORE`, else the user's cache."""
    return _from_environment("LMCNB_STORE") or cache_root() / "store"


def data_root() -> Path:
    """Where packed data sets are kept: `LMCNB_DATA`, else the user's cache."""
    return _from_environment("LMCNB_DATA") or cache_root() / "data"


def figures_dir(profile: str) -> Path:
    """Where the figures of a profile go: a folder of its name in `LMCNB_FIGURES`, else in `figures` of the project.

    Outside a project that is `./figures`. A minute's run thus never replaces a real figure.
    """
    base = _from_environment("LMCNB_FIGURES") or (_find_project() or Path.cwd()) / "figures"
    return base / profile


def results_root() -> Path:
    """Where the results that travel with the project are: `LMCNB_RESULTS`, else `results` beside its figures.

    A folder that does not exist, such as /dev/null, is none.
    """
    return _from_environment("LMCNB_RESULTS") or figures_dir("results")


def put(path: Path, text: str) -> None:
    """Writes a text in one step: a full disk, or a kill, leaves what was there."""
    path = path.resolve()  # a link stays one
    aside = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def pinned(root: Path, shipped: bool = True) -> Iterator[None]:
    """Make every place absolute in the environment for a while, and the project `root`.

    A kernel inherits the environment but runs in the notebook's folder, where a relative path means another
    place. Not `shipped`: as if no results had come with it.
    """
    before = {name: os.environ.get(name) for name in VARIABLES}
    os.environ |= {name: str(path) for name in VARIABLES if (path := _from_environment(name))}
    os.environ["LMCNB_PROJECT"] = str(root)
    if not shipped:
        os.environ["LMCNB_RESULTS"] = os.devnull
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _find_project() -> Path | None:
    named = _from_environment("LMCNB_PROJECT")
    if named and not _is_project(named):
        raise FileNotFoundError(f"LMCNB_PROJECT is {named}, which holds no notebooks/profiles")
    here = Path.cwd()
    candidates = [named] if named else [here, *here.parents, Path(__file__).absolute().parent.parent]
    return next(filter(_is_project, candidates), None)


def _is_project(folder: Path) -> bool:
    return (folder / "notebooks" / "profiles").is_dir()


def _from_environment(name: str) -> Path | None:
    value = os.environ.get(name)
    return Path(value).expanduser().absolute() if value else None


def cache_root() -> Path:
    """The user's cache: what can be made again."""
    return user_cache_path("lmcnb", appauthor=False)


downloads: ContextVar[bool] = ContextVar("downloads", default=True)


@contextmanager
def offline() -> Iterator[None]:
    """Within, data that are not at hand are missing, and nothing is downloaded."""
    token = downloads.set(False)
    try:
        yield
    finally:
        downloads.reset(token)
