"""Leases: one holder at a time, taken over where the holder is gone, and never in the way of a result."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import TRAIN, another

from lmcnb import Lab
from lmcnb.lab import lease
from lmcnb.lab.lease import Leases


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "leases"


def test_a_key_has_one_holder_and_is_free_afterwards(root: Path):
    one, two = Leases(root), Leases(root)
    assert one.acquire(["a", "b"]) == ["a", "b"] and two.acquire(["a", "c"]) == ["c"]
    one.release(["a", "b"])
    two.release(["c"])
    assert not list(root.iterdir()) and two.acquire(["a"]) == ["a"]


def forged(root: Path, **changes) -> Path:
    """The lease of another process, which lives."""
    root.mkdir(exist_ok=True)
    owner = {"host": "elsewhere", "pid": 1, "since": 0.0} | changes
    (root / "a.1").write_text(json.dumps(owner))
    return root / "a.1"


def test_a_damaged_lease_is_in_nobodys_way_for_long(root: Path, monkeypatch: pytest.MonkeyPatch):
    forged(root).write_bytes(b'{"host": "\xff"}')
    leases = Leases(root)
    assert leases.acquire(["a"]) == []
    leases.sweep(["a"])
    monkeypatch.setattr(lease, "PATIENCE", 0.0)
    assert leases.acquire(["a"]) == ["a"]


def test_the_lease_of_a_process_that_has_ended_is_taken_over_at_once(root: Path):
    import socket

    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    forged(root, host=socket.gethostname(), pid=int(child.stdout))
    leases = Leases(root)
    assert leases.acquire(["a"]) == ["a"] and {p.name for p in root.iterdir()} == {"a.1", "a.2"}
    leases.release(["a"])
    assert not list(root.iterdir())


def test_a_lease_from_another_machine_is_taken_over_when_it_shows_no_sign_of_life(root: Path, monkeypatch):
    path, leases, now = forged(root), Leases(root), [0.0]
    monkeypatch.setattr(lease.time, "monotonic", lambda: now[0])
    assert leases.acquire(["a"]) == []
    now[0] += lease.PATIENCE - 1
    assert leases.acquire(["a"]) == []
    os.utime(path, ns=(1, 1))  # a sign of life, whatever its clock says
    now[0] += lease.PATIENCE - 1
    assert leases.acquire(["a"]) == []
    now[0] += lease.PATIENCE + 1
    assert leases.acquire(["a"]) == ["a"]
    assert Leases(root).acquire(["a"]) == []  # and is held again


def test_of_many_that_would_take_over_one_does(root: Path, monkeypatch):
    forged(root)
    monkeypatch.setattr(lease, "PATIENCE", -1.0)
    many = [Leases(root) for _ in range(5)]
    for each in many:
        each.acquire([])
        each._abandoned(root / "a.1")  # all have watched it for long enough
    taken = [each.acquire(["a"]) for each in many[:1]]
    monkeypatch.setattr(lease, "PATIENCE", 60.0)
    taken += [each.acquire(["a"]) for each in many[1:]]
    assert taken.count(["a"]) == 1


def test_a_holder_shows_signs_of_life(root: Path, monkeypatch):
    monkeypatch.setattr(lease, "HEARTBEAT", 0.02)
    leases = Leases(root)
    leases.acquire(["a"])
    os.utime(root / "a.1", ns=(1, 1))
    until = time.monotonic() + 5
    while (root / "a.1").stat().st_mtime_ns == 1 and time.monotonic() < until:
        time.sleep(0.01)
    assert (root / "a.1").stat().st_mtime_ns > 1
    leases.release(["a"])
    while leases._beating is not None and time.monotonic() < until:
        time.sleep(0.01)
    assert leases._beating is None and leases.acquire(["a"]) == ["a"] and leases._beating is not None


def test_a_lab_waits_for_what_another_computes_and_takes_its_result(lab: Lab, tmp_path: Path, monkeypatch):
    other, waited = another(lab), []
    assert other.store.leases.acquire([other.key(TRAIN)])

    def finished(_: float) -> None:  # the other is done while we wait
        waited.append(1)
        result = other.recompute(TRAIN)
        other.store.put("Train", other.key(TRAIN), TRAIN.canonical(), result.values, result.tensors,
                        {"seconds": 1.0, "cost": 1.0})
        other.store.leases.release([other.key(TRAIN)])
    monkeypatch.setattr("lmcnb.lab.engine.time", SimpleNamespace(sleep=finished))
    monkeypatch.setattr(lab, "_chunk", lambda specs: pytest.fail("computed twice"))
    assert lab.get(TRAIN).meta["cost"] == 1.0 and waited == [1]


def test_a_stage_that_fails_gives_its_lease_back(lab: Lab, monkeypatch):
    monkeypatch.setattr(lab, "_chunk", lambda specs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        lab.get(TRAIN)
    assert not list((lab.store.root / "leases").iterdir())


def test_what_a_killed_process_left_after_storing_its_result_is_swept(lab: Lab):
    import socket

    lab.get(TRAIN)
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    owners = {"gone": (socket.gethostname(), int(child.stdout)), "elsewhere": ("elsewhere", 1)}
    folder = lab.store.root / "leases"
    names = (f"{lab.key(TRAIN)}.1", f"{lab.key(TRAIN)}.2", "another.1")
    for name, (host, pid) in zip(names, (*owners.values(), owners["gone"]), strict=True):
        (folder / name).write_text(json.dumps({"host": host, "pid": pid, "since": 0.0}))
    another(lab).get(TRAIN)
    assert {p.name for p in folder.iterdir()} == {f"{lab.key(TRAIN)}.2", "another.1"}
