"""A plan divided over real processes: of this machine, of Ray, of submitit; one of them is killed on the way."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner
from helpers import NET
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lmcnb import Lab, Recipe, places
from lmcnb.cli import main
from lmcnb.stages import Train

PARAMETERS = 'profile = "smoke"  # these settings\ntrainings = 6  # how many\nepochs = 2  # of each'
PLAN = f"""
import lmcnb
from lmcnb.stages import Train
net = lmcnb.Net(**{NET.model_dump()!r})
plan = [Train(net=net, recipe=lmcnb.Recipe(epochs=epochs, batch=32, lr=0.05), seed=s) for s in range(trainings)]
"""
CELLS = [new_markdown_cell("# Trainings"), new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
         new_code_cell(PLAN, metadata={"tags": ["plan"]}),
         new_code_cell("len(lmcnb.Lab(progress=False).map(plan))")]
SPECS = [Train(net=NET, recipe=Recipe(epochs=2, batch=32, lr=0.05), seed=s) for s in range(6)]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "notebooks" / "profiles").mkdir(parents=True)
    (tmp_path / "notebooks" / "profiles" / "smoke.yaml").write_text("00_trainings: {}\n")
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=CELLS, metadata=kernel), tmp_path / "notebooks" / "00_trainings.ipynb")
    return tmp_path


def command(project: Path, *words: str) -> subprocess.Popen:
    environment = {n: v for n, v in os.environ.items() if n not in places.VARIABLES} | {
        "LMCNB_PROJECT": str(project), "LMCNB_STORE": str(project / "store"), "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(places.__file__).parents[1]), "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    return subprocess.Popen([sys.executable, "-m", "lmcnb", *words], cwd=project, env=environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def holders(project: Path) -> list[int]:
    """The processes that compute something now."""
    found = set()
    for path in (project / "store" / "leases").glob("*.*"):
        try:
            found.add(json.loads(path.read_text())["pid"])
        except (OSError, ValueError):
            continue
    return sorted(found)


def killed(project: Path, over: Callable[[], bool]) -> int | None:
    """Kills one of two workers while both compute; None where they never did."""
    until = time.monotonic() + 240
    while not over() and time.monotonic() < until:
        if len(now := holders(project)) >= 2:
            os.kill(now[0], signal.SIGKILL)
            return now[0]
        time.sleep(0.02)
    return None


def computed(project: Path, *words: str) -> tuple[int, str, int | None]:
    """The plan by two workers, one of which is killed: how it ends, what it says, and who was."""
    process = command(project, "compute", "-j", "2", *words)
    victim = killed(project, lambda: process.poll() is not None)
    said, _ = process.communicate(timeout=400)
    return process.returncode, said, victim


def computed_here(project: Path) -> tuple[int, str, int | None]:
    """As :func:`computed`, asked for by this process."""
    over, victims = threading.Event(), []
    waiting = threading.Thread(target=lambda: victims.append(killed(project, over.is_set)))
    waiting.start()
    done = CliRunner().invoke(main, ["compute", "-j", "2"])
    over.set()
    waiting.join()
    return done.exit_code, done.output, *victims


def entries(store: Path) -> dict[str, tuple[bytes, bytes]]:
    """Results and tensors of every entry, by key."""
    return {f.name: ((f / "result.json").read_bytes(), (f / "tensors.safetensors").read_bytes())
            for f in (store / "Train").iterdir()}


@pytest.fixture
def here(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is in the project."""
    monkeypatch.setenv("LMCNB_PROJECT", str(project))
    monkeypatch.setenv("LMCNB_STORE", str(project / "store"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, bytes]]:
    """The same plan by one process."""
    store = tmp_path_factory.mktemp("alone")
    Lab("cpu", store, progress=False).map(SPECS)
    return entries(store)


EXECUTORS: dict[str, list[str]] = {"processes": [], "ray": ["--executor", "ray", "-o", "cpus=2"],
             "slurm": ["--executor", "slurm", "-o", "cluster=local", "-o", "gpus_per_node=0"]}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", ["processes", *(pytest.param(n, marks=pytest.mark.slow) for n in ("ray", "slurm"))])
def test_a_killed_worker_is_replaced_and_the_bytes_are_those_of_one_process(name: str, project: Path, alone: dict):
    if name != "processes":
        pytest.importorskip({"ray": "ray", "slurm": "submitit"}[name])
    code, said, victim = computed(project, *EXECUTORS[name]) if EXECUTORS[name] else computed_here(project)
    assert code == 0 and victim, said
    assert "is lost" in said and "6 results computed" in said
    assert entries(project / "store") == alone
    assert victim not in holders(project) and not list((project / "store" / "progress").glob("*"))


@pytest.mark.usefixtures("here")
def test_shards_on_one_store_make_the_whole(project: Path, alone: dict):
    def call(*words: str) -> str:
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
        return done.output
    for k in (1, 2):
        assert "3 results computed" in call("compute", "--shard", f"{k}/2")
    assert entries(project / "store") == alone
    said = call("run", "-j", "2")
    assert "everything is stored already" in said and "[1/1] 00_trainings, profile smoke" in said
    assert (project / "executed" / "00_trainings.ipynb").exists()
