"""Notebooks executed as a user does it: complete, failed and interrupted ones, and where their figures go."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
import yaml
from cli_project import call, made_up_project, printed, refused, write
from click.testing import CliRunner
from nbformat.v4 import new_code_cell, new_markdown_cell
from papermill.cli import papermill
from processes import begun, ended

from lmcnb import places
from lmcnb.cli import main

forked = pytest.mark.usefixtures("forked_kernels")  # for what is no matter of how a kernel starts


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return made_up_project(tmp_path, monkeypatch)


def test_run_as_a_user_does_it(project: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "lmcnb",
        "run",
        "--profile",
        "laptop",
        "-s",
        "flag=false",
        "--set",
        "rate=1e-3",
    ]
    environment = os.environ | {"PYTHONPATH": str(Path(places.__file__).parents[1])}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "[1/2] 00_first, profile laptop" in done.stdout
    assert printed(project / "executed" / "00_first.ipynb") == ["laptop 4 0.001 False None ['a', 'b']\n"]
    assert (project / "executed" / "03_second.ipynb").exists()
    assert not [word for word in ("unknown", "encrypt", "IPKernelApp") if word.lower() in done.stderr.lower()]
    assert "profile laptop but rate=0.001, flag=False: figures go to" in done.stdout


def test_a_run_does_not_overwrite_its_notebooks(project: Path) -> None:
    refused(call("run", "03", "--executed", project / "notebooks"), "holds the notebooks themselves")


@forked
def test_papermill_alone_gives_the_same(project: Path) -> None:
    assert call("run", "00", "--profile", "laptop").exit_code == 0
    values = project / "values.yaml"
    values.write_text(yaml.safe_dump({"profile": "laptop", "rounds": 4, "rate": 1}))
    out = project / "out.ipynb"
    source = project / "notebooks" / "00_first.ipynb"
    done = CliRunner().invoke(papermill, [str(source), str(out), "-f", str(values)])
    assert done.exit_code == 0, done.output
    assert printed(out) == printed(project / "executed" / "00_first.ipynb") != []


@forked
def test_a_failing_cell_is_named_and_ends_the_run(project: Path) -> None:
    write(project / "notebooks", "05_third", [new_code_cell("print('never')")])
    result = call("run", "03", "05", "--set", "rounds=6", "--executed", project / "elsewhere")
    assert result.exit_code == 1
    assert "03_second: failed in cell 4 of 4 (In [4]): RuntimeError: round 6" in result.output
    executed = nbformat.read(project / "elsewhere" / "03_second.failed.ipynb", as_version=4)
    assert any(o.output_type == "error" for c in executed.cells if c.cell_type == "code" for o in c.outputs)
    assert not (project / "elsewhere" / "05_third.ipynb").exists()


@forked
def test_a_failed_run_leaves_the_last_complete_copy_until_the_next(project: Path) -> None:
    executed = project / "executed"
    assert call("run", "03").exit_code == 0
    good = (executed / "03_second.ipynb").read_bytes()
    result = call("run", "03", "--set", "rounds=6")
    assert f"left as it was, from an earlier run: {executed / '03_second.ipynb'}" in result.output
    assert (executed / "03_second.ipynb").read_bytes() == good
    assert call("report").exit_code == 0
    index = (project / "report" / "index.html").read_text()
    assert '<a href="03_second.html">' in index
    assert '<a href="03_second.failed.html">a later run</a>: failed in cell 4 of 4' in index
    assert call("run", "03").exit_code == 0
    assert [path.name for path in executed.glob("03*")] == ["03_second.ipynb"]


def test_a_dead_kernel_is_a_failure(project: Path) -> None:
    write(project / "notebooks", "05_third", [new_code_cell("1"), new_code_cell("import os; os._exit(1)")])
    result = call("run", "05")
    assert result.exit_code == 1 and "05_third: the kernel died in cell 2 of 2" in result.output
    assert "not complete: the kernel died" in (project / "executed" / "05_third.failed.ipynb").read_text()


WAITING = [
    new_markdown_cell("# The third"),
    new_code_cell("seconds = 0.0", metadata={"tags": ["parameters"]}),
    new_code_cell("print('first')"),
    new_code_cell("import os, time\nprint(os.getpid(), file=open('pid', 'w'), flush=True)\ntime.sleep(seconds)"),
    new_code_cell("print('last')"),
]


def run_waiting(out: Path, err: Path) -> None:
    """A run in a process of its own, which says what it says into two files and does not ignore Ctrl-C."""
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main(["run", "05", "--set", "seconds=300"])


def interrupted(project: Path, number: signal.Signals) -> tuple[str, str, int]:
    """What a run says that gets a signal in its fourth cell, and the process of its kernel."""
    pid, out, err = project / "notebooks" / "pid", project / "out", project / "err"
    pid.unlink(missing_ok=True)
    process = begun(run_waiting, out, err)
    while not (pid.exists() and pid.read_text()):
        assert not process.done(), (process.error(), err.read_text())
        time.sleep(0.05)
    os.kill(process.process.pid, number)
    assert str(ended(process)).endswith(f"with exit status {128 + number}"), err.read_text()
    return out.read_text(), err.read_text(), int(pid.read_text())


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_ends_a_run_in_words_and_leaves_the_complete_copy(project: Path, number: signal.Signals) -> None:
    write(project / "notebooks", "05_third", WAITING)
    profile = project / "notebooks" / "profiles" / "smoke.yaml"
    profile.write_text(profile.read_text() + "05_third: {}\n")
    assert call("run", "05").exit_code == 0
    good = (project / "executed" / "05_third.ipynb").read_bytes()
    out, err, kernel = interrupted(project, number)
    words = "interrupted in cell 4 of 5; what is stored is kept: the same command goes on"
    assert f"05_third: {words}" in err and "Traceback" not in err + out
    with pytest.raises(ProcessLookupError):
        os.kill(kernel, 0)
    assert (project / "executed" / "05_third.ipynb").read_bytes() == good
    kept = nbformat.read(project / "executed" / "05_third.interrupted.ipynb", as_version=4)
    assert words in kept.cells[0].source
    states = [cell.metadata.papermill.status for cell in kept.cells[1:]]
    assert states == ["completed"] * 4 + ["interrupted", "pending"]  # one of them is injected
    assert call("report").exit_code == 0
    index = (project / "report" / "index.html").read_text()
    assert f'<a href="05_third.interrupted.html">a later run</a>: {words}' in index
    assert words in (project / "report" / "05_third.interrupted.html").read_text()


@forked
def test_a_run_that_was_killed_is_no_complete_one(project: Path) -> None:
    assert call("run", "03").exit_code == 0
    (project / "executed" / "03_second.ipynb").rename(project / "executed" / "03_second.running.ipynb")
    assert call("report").exit_code == 0
    index = (project / "report" / "index.html").read_text()
    assert ">this run</a>: still running, or cut off" in index


DRAWING = [
    new_code_cell('profile = "smoke"\nrounds = 1', metadata={"tags": ["parameters"]}),
    new_code_cell("plan = [rounds]", metadata={"tags": ["plan"]}),
    new_code_cell("import lmcnb\nfrom lmcnb.tables import Table\nfrom matplotlib import pyplot as plt\n"
                  "lmcnb.figures.save(plt.figure(figsize=(1, 1)), 'fig05_third', profile, Table.of([{'value': 1.0}]))"),
]


@forked
def test_only_an_exact_profile_writes_its_figures(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project / "notebooks", "05_third", DRAWING)
    for name, section in {"smoke": "{}", "laptop": "{rounds: 3}"}.items():
        with (project / "notebooks" / "profiles" / f"{name}.yaml").open("a") as file:
            file.write(f"05_third: {section}\n")
    monkeypatch.setenv("PYTHONPATH", str(Path(places.__file__).parents[1]))
    figures = project / "figures"
    assert call("run", "05", "--profile", "laptop", "--set", "rounds=4").exit_code == 0
    assert [path.name for path in figures.iterdir()] == ["custom"]
    assert call("report").exit_code == 0
    assert "profile laptop but rounds 4" in (project / "report" / "index.html").read_text()
    assert (project / "report" / "fig05_third.png").exists()
    values = project / "values.yaml"
    values.write_text(call("params", "05", "--profile", "laptop", "--yaml").output)
    source, out = project / "notebooks" / "05_third.ipynb", project / "out.ipynb"
    done = CliRunner().invoke(papermill, [str(source), str(out), "-f", str(values)])
    assert done.exit_code == 0, done.output
    record = json.loads((figures / "laptop" / "fig05_third.json").read_text())["record"]
    assert record["parameters"] == {"profile": "laptop", "rounds": 3} and record["overrides"] == {}


@forked
def test_relative_places_mean_the_same_in_the_kernel(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = new_code_cell("import os; print(os.environ['LMCNB_STORE'], os.environ['LMCNB_PROJECT'])")
    write(project / "notebooks", "05_third", [cell])
    monkeypatch.chdir(project)
    monkeypatch.setenv("LMCNB_STORE", "here/store")
    assert call("run", "05").exit_code == 0
    assert printed(project / "executed" / "05_third.ipynb") == [f"{project / 'here' / 'store'} {project}\n"]
    assert os.environ["LMCNB_STORE"] == "here/store"


@forked
@pytest.mark.parametrize("value", ['__import__("os").system("touch CANARY")', "\\\"); open('CANARY', 'w'); (\""])
def test_a_value_that_looks_like_code_stays_a_text(project: Path, value: str) -> None:
    canary = project / "canary"
    value = value.replace("CANARY", str(canary))
    assert call("run", "00", "--set", f"widths={json.dumps(value)}").exit_code == 0
    assert value in printed(project / "executed" / "00_first.ipynb")[0]
    refused(call("run", "03", "--set", f"dataset={json.dumps(value)}"), "no data set at")
    assert not canary.exists()
