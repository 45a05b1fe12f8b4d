"""What a run says while it computes: files of the processes, and one line of all."""

import io
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import IMP, TRAIN, another

from lmcnb import Lab
from lmcnb.cli import live
from lmcnb.cli.live import Live
from lmcnb.lab import progress
from lmcnb.lab.progress import Doing, doing


@pytest.fixture
def written(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Doing]:
    """Everything that a lab says on the way to two results."""
    folder, said = tmp_path / "progress", []
    folder.mkdir()
    monkeypatch.setenv("LMCNB_PROGRESS", str(folder))
    monkeypatch.setattr(progress, "SECONDS", -1.0)
    replace = progress.os.replace

    def kept(aside: Path, path: Path) -> None:
        replace(aside, path)
        said.extend(doing(folder))
    monkeypatch.setattr(progress.os, "replace", kept)
    another(lab)
    Lab("cpu", lab.store.root).map([IMP, TRAIN])
    assert not list(folder.iterdir()), "nothing is left"
    return said


def test_a_lab_says_what_it_does(lab: Lab, written: list[Doing]):
    total = lab.cost(IMP) + lab.cost(TRAIN)
    ours = [each for each in written if each.entries == 2]
    assert {(each.stage, each.networks) for each in ours} == {("Ticket", 1), ("Train", 1)}
    assert {each.cost for each in ours} == {total} and ours[-1].finished == total and ours[-1].stored == 2
    shares = [each.finished + each.within for each in ours]
    assert shares == sorted(shares) and 0 < shares[1] < total, "it moves within a training"


def test_no_file_and_no_bar_where_no_progress_is_wanted(lab: Lab, tmp_path: Path, monkeypatch, capfd):
    monkeypatch.setenv("LMCNB_PROGRESS", str(tmp_path / "nowhere"))  # not even a folder: nothing fails
    Lab("cpu", lab.store.root).map([TRAIN])
    assert capfd.readouterr() == ("", "")


def say(folder: Path, name: str, **values) -> None:
    (folder / f"{name}.json").write_text(json.dumps(values))


def gone() -> int:
    """The number of a process that has ended."""
    return int(subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True).stdout)


def test_the_line_adds_up_what_several_do(tmp_path: Path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: now[0])
    line = Live("03_stability", tmp_path, io.StringIO())
    assert line.words() == "03_stability: 0 s passed"
    say(tmp_path, "a", stage="Train", networks=4, entries=20, stored=5, cost=1000.0, finished=200.0, within=50.0)
    say(tmp_path, "b", stage="", entries=20, stored=6, cost=1000.0, finished=250.0)
    (tmp_path / "c.json").write_text('{"stage')  # half written
    say(tmp_path, "d", host=socket.gethostname(), pid=gone(), stage="Train", entries=20, cost=1000.0, within=900.0)
    assert line.words() == "03_stability: 30%, 6 of 20 results, Train × 4, waiting; 0 s passed"
    now[0] = 50.0
    say(tmp_path, "a", stage="Train", networks=4, entries=20, stored=8, cost=1000.0, finished=200.0, within=51.0)
    assert line.words().endswith("30%, 8 of 20 results, Train × 4, waiting; 50 s passed"), "too early to say more"
    now[0] = 100.0
    say(tmp_path, "a", stage="Train", networks=4, entries=20, stored=9, cost=1000.0, finished=400.0, within=100.0)
    assert line.words().endswith("50%, 9 of 20 results, Train × 4, waiting; 1 min 40 s passed, 4 min 10 s left")


def test_a_log_gets_a_line_now_and_then_and_a_terminal_one_line(tmp_path: Path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True
    now = [0.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: now[0])
    log, terminal = io.StringIO(), Terminal()
    lines = [Live("title", tmp_path, file) for file in (log, terminal)]
    for second in range(0, 100, 10):
        now[0] = float(second)
        for line in lines:
            line._show()
    assert log.getvalue().splitlines() == ["title: 40 s passed", "title: 1 min 20 s passed"]
    assert "\n" not in terminal.getvalue() and terminal.getvalue().endswith("\r\x1b[Ktitle: 1 min 30 s passed")
    lines[1].clear()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_the_environment_is_as_before(monkeypatch):
    monkeypatch.setenv("LMCNB_PROGRESS", "before")
    with live.live("title") as line:
        assert live.os.environ["LMCNB_PROGRESS"] == str(line.folder) and line.folder.is_dir()
    assert live.os.environ["LMCNB_PROGRESS"] == "before" and not line.folder.exists()
