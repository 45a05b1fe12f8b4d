"""Where the project, the store, the data and the figures are found."""

import os
from pathlib import Path

import pytest

from lmcnb import places


def test_a_text_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, link = tmp_path / "page.md", tmp_path / "link.md"
    link.symlink_to(page)
    places.put(link, "first")
    assert page.read_text() == "first" and link.is_symlink()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        places.put(page, "second")
    assert page.read_text() == "first" and sorted(tmp_path.iterdir()) == [link, page]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that is the only one: the package is made to lie outside the checkout."""
    root = tmp_path / "project"
    (root / "notebooks" / "profiles").mkdir(parents=True)
    for name in places.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(places, "__file__", str(tmp_path / "installed" / "lmcnb" / "places.py"))
    monkeypatch.chdir(tmp_path)
    return root


def test_the_project_is_found_from_any_folder_in_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project / "notebooks" / "profiles")
    assert places.project_root() == project


def test_the_environment_names_the_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMCNB_PROJECT", "project")
    assert places.project_root() == project


def test_a_checkout_is_the_project_of_its_package(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "__file__", str(project / "lmcnb" / "places.py"))
    assert places.project_root() == project


def test_no_project_is_an_error_that_names_the_fix(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match="set LMCNB_PROJECT to it"):
        places.project_root()
    monkeypatch.setenv("LMCNB_PROJECT", "installed")
    with pytest.raises(
        FileNotFoundError, match="LMCNB_PROJECT is .*installed, which holds no notebooks/profiles"
    ):
        places.figures_dir("smoke")


def test_every_profile_has_a_folder_of_figures(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert places.figures_dir("paper") == project.parent / "figures" / "paper"
    monkeypatch.chdir(project)
    assert places.figures_dir("paper") == project / "figures" / "paper"
    monkeypatch.setenv("LMCNB_FIGURES", "drawn")
    assert places.figures_dir("paper") == project / "drawn" / "paper"
    assert places.figures_dir("smoke") == project / "drawn" / "smoke"


def test_store_and_data_default_to_the_cache(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert places.store_root().parts[-2:] == ("lmcnb", "store")
    assert places.data_root().parts[-2:] == ("lmcnb", "data")
    monkeypatch.setenv("LMCNB_STORE", "store")
    monkeypatch.setenv("LMCNB_DATA", "~/images")
    assert places.store_root() == project.parent / "store"
    assert places.data_root() == Path.home() / "images"


def test_pinned_places_are_absolute_for_a_while(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMCNB_STORE", "store")
    with places.pinned(project):
        assert os.environ["LMCNB_STORE"] == str(project.parent / "store")
        assert os.environ["LMCNB_PROJECT"] == str(project)
        assert "LMCNB_DATA" not in os.environ
    assert os.environ["LMCNB_STORE"] == "store"
    assert "LMCNB_PROJECT" not in os.environ
