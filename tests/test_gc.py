"""`lmcnb store gc`: nothing that is needed goes, nor what another process is at."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from filled_store import ALL, GLOBAL, PATH, PLANE, age, call, damage, files, folder, keep, stored
from helpers import IMP, TRAIN, another
from nbformat.v4 import new_code_cell, new_notebook

from lmcnb import Lab, places
from lmcnb.lab import inventory, upkeep
from lmcnb.lab.stage import closure


def test_gc_removes_nothing_without_a_figure_or_profile(shelf: Lab):
    (places.figures_dir("smoke").parent).mkdir()
    before = files(shelf)
    assert "no profile is named: all would go" in call("gc", "--yes", code=2)
    path = places.figures_dir("smoke").parent / "fig01.json"
    path.write_text(json.dumps({"keys": ["c" * 64]}))
    assert "and all would go" in call("gc", "--yes", "--older", "--damaged", code=2)
    path.write_text("{")
    assert f"{path} is no JSON" in call("gc", "--yes", code=2)
    assert files(shelf) == before


def test_gc_keeps_what_figures_list_and_what_that_is_made_from(shelf: Lab):
    keep(shelf, PATH)
    keep(shelf, PLANE, name="smoke/deeper/fig05")
    before = files(shelf)
    text = call("gc")
    needed = closure([PATH, PLANE])
    assert f"--yes removes {len(ALL) - len(needed)}" in text and files(shelf) == before
    assert f"removed: {len(ALL) - len(needed)} of" in call("gc", "--yes")
    assert stored(shelf) == {shelf.key(s) for s in needed}
    assert {n: before[n] for n in files(shelf)} == files(shelf)
    assert "nothing else is there" in call("gc", "--yes")


def test_gc_keeps_upstream_also_where_an_entry_between_is_missing(shelf: Lab):
    keep(shelf, PATH)
    for spec in (PATH.a, PATH.b):
        shutil.rmtree(folder(shelf, spec))
    call("gc", "--yes")
    assert stored(shelf) == {shelf.key(s) for s in (PATH, IMP, IMP.at(2))}


def test_gc_knows_the_upstream_of_what_another_device_computed(shelf: Lab):
    """Its keys are not those that this machine would give: the same settings on that device count."""
    cuda = {}
    for k, spec in enumerate([PATH.a, IMP, IMP.at(2), TRAIN.but(seed=2)]):
        entry = shelf.get(spec)
        meta = entry.meta | {"execution": entry.meta["execution"] | {"device": "cuda"}}
        cuda[spec] = "abcd"[k] * 64
        shelf.store.put(entry.stage, cuda[spec], spec.canonical(), entry.result, entry.tensors, meta)
    path = places.figures_dir("smoke").parent / "fig.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"keys": [cuda[PATH.a]]}))
    call("gc", "--yes")
    assert stored(shelf) == {cuda[s] for s in (PATH.a, IMP, IMP.at(2))}


def test_gc_keeps_what_a_profile_asks_for(shelf: Lab, tmp_path: Path, monkeypatch):
    notebooks = tmp_path / "notebooks"
    (notebooks / "profiles").mkdir(parents=True)
    (notebooks / "profiles" / "smoke.yaml").write_text("{00_first: {seed: 1}}")
    cells = [new_code_cell("seed = 0", metadata={"tags": ["parameters"]}),
             new_code_cell("from helpers import TRAIN\nplan = [TRAIN.but(seed=seed)]", metadata={"tags": ["plan"]})]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), notebooks / "00_first.ipynb")
    monkeypatch.setenv("LMCNB_PROJECT", str(tmp_path))
    call("gc", "--profile", "smoke", "--yes")
    assert stored(shelf) == {shelf.key(TRAIN.but(seed=1))}


def test_gc_removes_leftovers_and_keeps_what_is_on_the_way(shelf: Lab):
    keep(shelf, PATH, TRAIN.but(seed=77))
    root = shelf.store.root
    wanted, done, unwanted = shelf.key(TRAIN.but(seed=77)), shelf.key(PATH), "b" * 64
    for key in (wanted, done, unwanted):
        shelf.store.save_checkpoint(key, {}, {"step": "1"})
    left = [root / "checkpoints" / f"{wanted}.1234.partial", root / "aside" / f"{unwanted}-12" / "spec.json",
            root / "damaged" / "Train-x" / "spec.json"]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    damage(shelf, GLOBAL)
    old = age(shelf, TRAIN, "a")
    call("gc", "--yes")
    assert [p.name for p in (root / "checkpoints").iterdir()] == [f"{wanted}.ckpt"]
    assert not list((root / "aside").iterdir()) and left[2].exists() and folder(shelf, GLOBAL).exists() and old.exists()
    call("gc", "--yes", "--older")
    assert not old.exists() and left[2].exists() and folder(shelf, GLOBAL).exists()
    call("gc", "--yes", "--damaged")
    assert not left[2].parent.exists() and not folder(shelf, GLOBAL).exists()
    assert stored(shelf) == {shelf.key(s) for s in closure([PATH])}


@pytest.fixture
def ended() -> int:
    """The id of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_gc_leaves_what_another_process_computes(shelf: Lab, ended: int):
    keep(shelf, PATH)
    gone = [TRAIN.but(seed=2), GLOBAL, PLANE]
    leases, here = shelf.store.root / "leases", socket.gethostname()
    holders = {TRAIN.but(seed=2): (here, os.getpid()), GLOBAL: (here, ended), PLANE: ("elsewhere", ended)}
    for spec, (host, pid) in holders.items():
        (leases / f"{shelf.key(spec)}.1").write_text(json.dumps({"host": host, "pid": pid}))
        shelf.store.save_checkpoint(shelf.key(spec), {}, {})
    (leases / "ffff.1").write_text(json.dumps({"host": here, "pid": ended}))
    text = call("gc", "--yes")
    others = len(ALL) - len(closure([PATH])) - 2  # two entries are left; one checkpoint and two leases are left over
    assert "from here: 2" in text and f"removed: {others + 3} of {others + 3}," in text
    assert [folder(shelf, s).exists() for s in gone] == [True, False, True]
    assert {p.stem for p in (shelf.store.root / "checkpoints").iterdir()} == {shelf.key(gone[0]), shelf.key(gone[2])}
    assert {p.stem for p in leases.iterdir()} == {shelf.key(gone[0]), shelf.key(gone[2])}


def test_what_is_begun_after_it_was_listed_stays(shelf: Lab):
    found = inventory.items(shelf.store)
    left = upkeep.waste(shelf.store, found, {shelf.key(PATH)})
    other = another(shelf)
    assert other.store.leases.acquire([shelf.key(GLOBAL)])
    gone = upkeep.remove(shelf.store, left)
    assert len(gone) == len(left) - 1 == len(ALL) - 2 and folder(shelf, GLOBAL).exists()
    other.store.leases.release([shelf.key(GLOBAL)])


def test_gc_touches_no_folder_that_is_not_the_stores(shelf: Lab):
    keep(shelf, PATH)
    strange = [shelf.store.root / "photos" / "2025" / "a.png", shelf.store.root / "photos" / ("e" * 64) / "a.png",
               shelf.store.root / "Train" / "notes" / "a.txt"]
    for path in strange:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    call("gc", "--yes", "--older", "--damaged")
    assert all(path.read_text() == "mine" for path in strange)


def test_a_lab_that_is_open_notices_what_was_removed(shelf: Lab):
    [entry] = shelf.map(TRAIN)
    shutil.rmtree(entry.folder)
    assert shelf.missing(TRAIN) == [TRAIN] and not shelf.has(TRAIN)


def test_a_lease_of_a_machine_that_is_gone_for_good_ends(shelf: Lab):
    path = shelf.store.root / "leases" / f"{'a' * 64}.1"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"host": "node17", "pid": 1, "since": 0}))
    assert upkeep.held(shelf.store) == {"a" * 64}
    old = path.stat().st_mtime - 2 * upkeep.FORGOTTEN
    os.utime(path, (old, old))
    assert upkeep.held(shelf.store) == set()
