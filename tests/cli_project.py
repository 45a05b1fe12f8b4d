"""A made-up project, and the command line called on it."""

from pathlib import Path

import nbformat
import pytest
import yaml
from click.testing import CliRunner, Result
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lmcnb import places
from lmcnb.cli import main

PARAMETERS = """
profile = "smoke"  # which settings these are
rounds = 2  # number of rounds, e.g. rounds = 9  # see §2
rate: float = 0.2
flag = True
widths: list[int] | None = None  # None = the paper's
names = ["a",
         "b"]  # over two lines
"""
PLAN = """
from pathlib import Path
if dataset and not Path(dataset).exists():
    raise FileNotFoundError(f"no data set at {dataset}: unpack it there, or set LMCNB_DATA")
plan = [("trained", r) for r in range(rounds)]
"""
FIRST = [
    new_markdown_cell("# The first\n\nIt shows *one* [thing](x.md) of `two`. And more."),
    new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
    new_code_cell("plan = [rounds]", metadata={"tags": ["plan"]}),
    new_code_cell("print(profile, rounds, rate, flag, widths, names)"),
]
SECOND = [
    new_markdown_cell("# The second"),
    new_code_cell('dataset = ""  # a path\nrounds = 1\n', metadata={"tags": ["parameters"]}),
    new_code_cell(PLAN, metadata={"tags": ["plan"]}),
    new_code_cell("if rounds > 5:\n    raise RuntimeError('round 6')"),
]


def made_up_project(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of two notebooks with the profiles smoke and laptop; the environment names it."""
    notebooks = root / "notebooks"
    (notebooks / "profiles").mkdir(parents=True)
    write(notebooks, "00_first", FIRST)
    write(notebooks, "03_second", SECOND)
    profiles = {
        "smoke": {"00_first": {}, "03_second": None},
        "laptop": {"00_first": {"rounds": 4, "rate": 1}, "03_second": {"rounds": 3}},
    }
    for name, sections in profiles.items():
        (notebooks / "profiles" / f"{name}.yaml").write_text(yaml.safe_dump(sections))
    for name in places.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LMCNB_PROJECT", str(root))
    return root


def write(folder: Path, stem: str, cells: list) -> None:
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), folder / f"{stem}.ipynb")


def call(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def printed(path: Path) -> list[str]:
    cells = nbformat.read(path, as_version=4).cells
    return [o["text"] for cell in cells if cell.cell_type == "code" for o in cell.outputs if "text" in o]


def refused(result: Result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    assert all(word in result.output for word in words), result.output
