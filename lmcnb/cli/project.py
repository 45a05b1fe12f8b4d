"""A project of one's own, for whoever installed the package: its notebooks, profiles and committed figures."""

from __future__ import annotations

import shutil
import site
import sysconfig
from pathlib import Path

import click

from lmcnb import places
from lmcnb.cli.text import Refused
from lmcnb.profiles import UNJUDGED, profile_files

# What of a checkout a project is made of, beneath its folder, pages that notebooks link to included; the wheel installs
# the same below share/lmcnb.
PARTS = ("notebooks/*.ipynb", "notebooks/profiles/*.yaml", "figures/predictions.yaml", "figures/*.gif",
         "figures/*/*.json", "figures/*/*.png", "figures/board.png", "README.md", "docs/*.md")


def root() -> Path:
    """The folder of the project. Raises Refused where there is none."""
    try:
        return places.project_root()
    except FileNotFoundError as error:
        raise Refused(str(error)) from error


def source() -> Path:
    """The checkout that this code is in, else what the wheel brought.

    Raises:
        Refused: neither is there.
    """
    brought = [Path(place) / "share" / "lmcnb" for place in (sysconfig.get_path("data"), site.getuserbase())]
    known = Path(__file__).absolute().parents[2], *brought
    found = next((place for place in known if (place / "notebooks" / "profiles").is_dir()), None)
    if found is None:
        raise Refused(f"no notebooks beside the package, none in {brought[0]}: install lmcnb again, from its wheel or "
                      f"from a checkout")
    return found


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def init(folder: Path) -> None:
    """Make a project of your own in FOLDER: all notebooks, their profiles, and the committed figures.

    Go there, and `lmcnb run 00`, `lmcnb claims` and JupyterLab find them. FOLDER must be empty, or not there yet.
    """
    if folder.exists() and any(folder.iterdir()):
        raise Refused(f"{folder} is not empty: name a folder that is not there yet")
    here = source()
    files = [path for part in PARTS for path in sorted(here.glob(part))]
    judging = profile_files(here).keys() - {UNJUDGED}  # whose figures are results; what else was drawn stays
    files = [path for path in files if path.parent.parent.name != "figures" or path.parent.name in judging]
    for path in files:
        target = folder / path.relative_to(here)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    count = len(list(folder.glob("notebooks/*.ipynb")))
    click.echo(f"{folder}: {count} notebooks. Now: cd {folder} && lmcnb run 00")
