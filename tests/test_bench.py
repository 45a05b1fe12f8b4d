"""`lmcnb bench` on made-up benchmarks."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from lmcnb.cli import main

SWEEP = """
from benchmarks._shared import RATIO

def run(quick):
    return {"title": "A sweep", "rows": [{"size": 1, "ratio": RATIO}, {"size": quick}]}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "notebooks" / "profiles").mkdir(parents=True)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "_shared.py").write_text("RATIO = 2.0")
    (tmp_path / "benchmarks" / "sweep.py").write_text(SWEEP)
    monkeypatch.setenv("LMCNB_PROJECT", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)  # undone afterwards, unlike what the command adds
    real = forget_benchmarks()
    yield tmp_path
    forget_benchmarks()
    sys.modules.update(real)


def forget_benchmarks() -> dict:
    """Take the imported modules of a folder `benchmarks` out of the interpreter."""
    names = [name for name in sys.modules if name.partition(".")[0] == "benchmarks"]
    return {name: sys.modules.pop(name) for name in names}


def test_prints_a_table_and_writes_json(project: Path) -> None:
    out = project / "new" / "out.json"
    result = CliRunner().invoke(main, ["bench", "--quick", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert [line.split() for line in result.output.splitlines()] == [
        ["A", "sweep"],
        ["size", "ratio"],
        ["────", "─────"],
        ["1", "2"],
        ["True"],
        [],
    ]
    written = json.loads(out.read_text())
    assert written["quick"] is True
    assert written["benchmarks"]["sweep"]["rows"] == [{"size": 1, "ratio": 2.0}, {"size": True}]


def test_unknown_names_list_the_known(project: Path) -> None:
    result = CliRunner().invoke(main, ["bench", "swep"])
    assert result.exit_code == 2
    assert "unknown benchmark `swep`, did you mean `sweep`? Known: sweep" in result.output


def test_a_module_without_run_is_refused(project: Path) -> None:
    (project / "benchmarks" / "empty.py").write_text("")
    result = CliRunner().invoke(main, ["bench", "empty"])
    assert result.exit_code == 2
    assert "empty.py defines no `run(quick: bool) -> dict`" in result.output


def test_writes_its_table_between_the_marks_of_a_page(project: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench sweep -->\nold\n<!-- /bench sweep -->\nafter\n")
    result = CliRunner().invoke(main, ["bench", "sweep", "--write", str(page)])
    assert result.exit_code == 0, result.output
    lines = page.read_text().splitlines()
    assert lines[0] == "before" and lines[-1] == "after" and "old" not in lines
    assert "| size | ratio |" in lines and "| 1 | 2 |" in lines
    page.write_text("no marks")
    refused = CliRunner().invoke(main, ["bench", "sweep", "--write", str(page)])
    assert refused.exit_code and "<!-- bench sweep -->" in refused.output
