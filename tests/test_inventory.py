"""What a store holds, and how it is looked after: nothing is moved by looking, and nothing that is needed goes."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner, Result
from helpers import IMP, NET, RECIPE, STUDY, TRAIN, another
from nbformat.v4 import new_code_cell, new_notebook

from lmcnb import Lab, places
from lmcnb.cli import main
from lmcnb.lab import Stage, inventory, upkeep
from lmcnb.lab.stage import closure
from lmcnb.stages import Connect, Landscape, RandomMask, Ticket, Train

GLOBAL = RandomMask(net=NET, like=IMP, kind="global")
PLANE = Landscape(net=NET, models=tuple(TRAIN.but(seed=s) for s in (0, 1, 2)), points=3, train_images=50, kind="random")
PATH = STUDY.connect("imp", 0, 2)
PLAN = [PATH, GLOBAL, PLANE, TRAIN.but(recipe=RECIPE.but(lr=0.1)), IMP.at(1)]
ALL = closure(PLAN)


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with everything of the plan; not to be changed."""
    store = tmp_path_factory.mktemp("filled") / "store"
    Lab("cpu", store, progress=False).map(PLAN)
    return store


@pytest.fixture
def shelf(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A lab on a copy of that store, which is the command line's too; the figures' folder is empty."""
    shutil.copytree(filled, tmp_path / "store")
    monkeypatch.setenv("LMCNB_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("LMCNB_FIGURES", str(tmp_path / "figures"))
    return Lab("cpu", tmp_path / "store", progress=False)


@pytest.fixture(autouse=True)
def nothing_is_computed(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_):
        raise AssertionError("something was computed for the store")
    monkeypatch.setattr(Lab, "_work", refuse)


def folder(lab: Lab, spec: Stage) -> Path:
    return lab.store.folder(spec.stored, lab.key(spec))


def damage(lab: Lab, spec: Stage) -> None:
    with (folder(lab, spec) / "tensors.safetensors").open("ab") as file:
        file.write(b"x")


def age(lab: Lab, spec: Stage, name: str) -> Path:
    """Puts an entry of an older version, under another key."""
    old = folder(lab, spec).with_name(name * 64)
    shutil.copytree(folder(lab, spec), old)
    (old / "meta.json").write_text(json.dumps({"seconds": 1.0, "sha256": "abc", "date": "2025-01-01T00:00:00+00:00"}))
    return old


def rewritten(lab: Lab, spec: Stage, **changes) -> None:
    """Replaces an entry by a whole one with another result or provenance under its key."""
    entry = lab.store.read(spec.stored, lab.key(spec))
    values = {"result": entry.result, "tensors": entry.tensors, "meta": entry.meta} | changes
    shutil.rmtree(entry.folder)
    lab.store.put(entry.stage, entry.key, spec.canonical(), **values)


def files(lab: Lab) -> dict[str, bytes]:
    return {str(p.relative_to(lab.store.root)): p.read_bytes() for p in lab.store.root.rglob("*") if p.is_file()}


def keep(lab: Lab, *specs: Stage, name: str = "laptop/fig03") -> None:
    """A figure that lists these entries alone."""
    path = places.figures_dir("smoke").parent / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"figure": name, "runs": [{"run": {"keys": [lab.key(s) for s in specs]}}]}))


def call(*args: object, code: int = 0) -> str:
    result: Result = CliRunner().invoke(main, ["store", *map(str, args)])
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def stored(lab: Lab) -> set[str]:
    return {i.key for i in inventory.items(lab.store)}


def test_a_table_has_a_row_an_entry_and_the_settings_that_differ(shelf: Lab):
    table = shelf.inventory(Train)
    trains = [s for s in ALL if isinstance(s, Train)]
    assert set(table.key) == {shelf.key(s) for s in trains} and set(table.state) == {"whole"}
    settings = ["seed", "mask", "recipe.lr"]
    assert list(table.columns) == ["stage", "key", "state", *settings, "test_accuracy", "test_loss",
                                   "train_loss_last_steps", "MiB", "seconds", "date", "device"]
    rows = table.set_index("key")
    for spec in trains:
        entry, row = shelf.get(spec), rows.loc[shelf.key(spec)]
        assert (row["seed"], row["recipe.lr"], row["test_loss"]) == (spec.seed, spec.recipe.lr,
                                                                     entry.result["test_loss"])
        assert row["mask"] == "Ticket" if spec.mask else not isinstance(row["mask"], str)
        assert row["MiB"] == entry.size / 2 ** 20 and row["seconds"] == entry.meta["seconds"]
        assert row["date"].isoformat() == entry.meta["date"] and row["device"] == entry.meta["device"]


def test_a_table_of_a_plan_also_shows_what_is_missing(shelf: Lab):
    plan = [IMP, IMP.at(5), IMP.at(2), IMP]
    table = shelf.inventory(plan)
    assert list(table.state) == ["whole", "missing", "whole"] and list(table["round"]) == [1, 5, 2]
    assert list(table.key) == [shelf.key(s) for s in plan[:3]] and table.test_loss.isna().tolist() == [0, 1, 0]
    assert str(table["round"].dtype) == "Int64" and table.date.isna().tolist() == [0, 1, 0]


def test_a_table_of_everything_moves_and_computes_nothing(shelf: Lab):
    damage(shelf, IMP.at(2))
    (folder(shelf, GLOBAL) / "result.json").unlink()
    old = age(shelf, TRAIN, "a")
    before = files(shelf)
    states = shelf.inventory().set_index("key").state
    assert len(states) == len(ALL) + 1
    assert {k: s for k, s in states.items() if s != "whole"} == {
        shelf.key(IMP.at(2)): "damaged", shelf.key(GLOBAL): "damaged", old.name: "older version"}
    assert files(shelf) == before


def test_settings_that_repeat_another_are_left_out(shelf: Lab):
    pairs = [STUDY.connect(method, i, 2) for method in ("imp", "idc") for i in (0, 1)]
    settings = [n for n in shelf.inventory(pairs) if n.startswith(("a.", "b."))]
    assert settings == ["a.init", "a.mask.source", "a.mask.recipe.epochs"]  # not b's, not the mask's init


def test_a_result_does_not_take_the_place_of_a_setting(shelf: Lab):
    sets = [STUDY.distill("idc"), STUDY.distill("idc").but(seed=1)]
    for spec in sets:
        shelf.store.put("Distil", shelf.key(spec), spec.canonical(), {"seed": 7, "seconds": 8}, {}, {"seconds": 1.0})
    table = shelf.inventory(sets)
    assert list(table["seed"]) == [0, 1] and list(table["result.seed"]) == [7, 7]
    assert list(table["seconds"]) == [1, 1] and list(table["result.seconds"]) == [8, 8]


@pytest.mark.parametrize("what", ["Train", NET, [TRAIN, 3], 3])
def test_a_table_of_something_else_is_refused(shelf: Lab, what: object):
    with pytest.raises(ValueError, match=r"a list of specs"):
        shelf.inventory(what)


def test_every_stored_spec_is_rebuilt(shelf: Lab):
    """Those with a setting called kind too, which is not the stage's name then."""
    assert {i.spec for i in inventory.items(shelf.store)} == set(ALL) >= {GLOBAL, PLANE}
    assert [s for stage in (RandomMask, Landscape) for s, _ in shelf.recall(stage)] == [GLOBAL, PLANE]


def test_ls_lists_what_there_is_in_words(shelf: Lab):
    damage(shelf, IMP.at(2))
    lines = {line.split()[0]: line for line in call("ls").splitlines()[2:]}
    assert len(lines) == len(ALL) + 1
    line = lines[shelf.key(TRAIN.but(seed=1))[:12]]
    assert "Train" in line and "digits, convnet3, seed 1" in line and "KiB" in line and line.endswith("whole")
    assert lines[shelf.key(IMP.at(2))[:12]].endswith("damaged")
    assert call("ls", "Landscape").splitlines()[-1].endswith("1 whole")
    assert "holds no entry of Distil:" in call("ls", "Distill", code=2), "a class that was renamed"
    assert "did you mean `Train`?" in call("ls", "Trian", code=2)
    assert "holds no entry of Probe" in call("ls", "Probe", code=2)


def test_show_tells_all_of_one_entry(shelf: Lab):
    text = call("show", shelf.key(PATH)[:20])
    assert shelf.key(PATH) in text and "\nwhole\n" in text and "as a.mask\n" in text
    loss = shelf.get(PATH).result["barrier"]["test_loss"]["frankle"]
    for line in (("a.mask.round", "2"), ("barrier.test_loss.frankle", str(loss)), ("execution.mode", "eager")):
        assert list(line) in [shown.split() for shown in text.splitlines()]
    for upstream in (PATH.a, PATH.b):
        assert f"{shelf.key(upstream)[:12]}  Train, whole" in text
    assert "its data alone" in call("show", shelf.key(TRAIN))
    damage(shelf, PATH)
    shutil.rmtree(folder(shelf, PATH.a))
    text = call("show", shelf.key(PATH))
    assert "damaged: tensors.safetensors does not have the recorded sha256" in text and "Train, missing" in text


def test_show_asks_for_more_of_a_key_that_begins_several(shelf: Lab):
    age(shelf, TRAIN, "a")
    age(shelf, IMP, "a")
    text = call("show", "a" * 9, code=2)
    assert "2 entries' keys begin with aaaaaaaaa" in text and "(Train)" in text and "(Ticket)" in text
    assert "no entry's key begins with zz" in call("show", "zz", code=2)


def test_show_of_settings_that_mean_nothing_here_says_so(shelf: Lab):
    path = folder(shelf, TRAIN) / "spec.json"
    path.write_text(path.read_text().replace('"augment"', '"augmented"'))
    assert "cannot be told here: " in (text := call("show", shelf.key(TRAIN))) and "augmented" in text


def test_du_adds_up(shelf: Lab):
    age(shelf, TRAIN, "a")
    shelf.store.save_checkpoint("b" * 64, {}, {})
    rows = {line.split("  ")[0]: line.split() for line in call("du").splitlines()[2:]}
    trains = sum(isinstance(s, Train) for s in ALL)
    assert rows["Train"][1] == str(trains) and rows["Train, older version"][3] == "1"
    assert rows["checkpoints"][1] == "1" and rows["damaged"][1] == "0" and rows["all"][1] == str(len(ALL) + 1)
    total = sum(p.stat().st_size for p in shelf.store.root.rglob("*") if p.is_file())
    assert f"{total / 1024:.1f} KiB" in " ".join(rows["all"])


def test_a_store_that_is_not_there_or_empty_is_explained(shelf: Lab, monkeypatch, tmp_path: Path):
    for root, words in ((tmp_path / "none", "there is no store at"), (tmp_path, "holds no entry")):
        monkeypatch.setenv("LMCNB_STORE", str(root))
        for command in ("ls", "du", "verify", "gc", ("show", "a")):
            keep(shelf, TRAIN)
            text = call(*([command] if isinstance(command, str) else command), code=2)
            assert words in text and "LMCNB_STORE" in text and str(root) in text


def test_verify_of_what_is_as_computed(shelf: Lab):
    before = files(shelf)
    text = call("verify", "--all")
    assert text.count("the same bytes") == len(ALL) and f"{len(ALL)} whole" in text
    assert call("verify", "--sample", 1, "--seed", 3) == call("verify", "--sample", 1, "--seed", 3)
    assert len({call("verify", "--sample", 1, "--seed", s).splitlines()[-1] for s in range(5)}) > 1
    assert files(shelf) == before


def test_verify_finds_damage_and_moves_it_when_asked(shelf: Lab):
    damage(shelf, IMP.at(2))
    before = files(shelf)
    text = call("verify", "--sample", 0, code=1)
    assert f"damaged: Ticket {shelf.key(IMP.at(2))[:12]}: tensors.safetensors does not" in text
    assert files(shelf) == before and "computing 0 of" in text
    call("verify", "--sample", 0, "--set-aside", code=1)
    assert sorted(files(shelf).values()) == sorted(before.values()) and files(shelf).keys() != before.keys()
    assert call("verify", "--sample", 0)


def test_verify_computes_nothing_that_a_damaged_entry_is_needed_for(shelf: Lab):
    damage(shelf, IMP)
    before = files(shelf)
    text = call("verify", "--all", code=1)
    key = shelf.key(IMP)[:12]
    assert f"cannot be computed again: what it is made from is not there: Ticket {key}" in text
    assert files(shelf) == before


@pytest.mark.parametrize("field", ["result", "tensors"])
def test_verify_finds_a_whole_entry_with_another_content(shelf: Lab, field: str):
    entry = shelf.get(TRAIN)
    name = {"result": "test_loss", "tensors": "params/0.bias"}[field]
    values = getattr(entry, field)
    rewritten(shelf, TRAIN, **{field: values | {name: values[name] + 1}})
    text = call("verify", "--all", "--stage", "Train", code=1)
    assert f"differs in {name}, though device, processor and torch are the same" in text
    assert text.count("the same bytes") == sum(isinstance(s, Train) for s in ALL) - 1


def test_verify_explains_a_difference_to_another_machine(shelf: Lab):
    entry = shelf.get(TRAIN)
    rewritten(shelf, TRAIN, result=entry.result | {"test_loss": 9.0}, meta=entry.meta | {"torch": "1.0"})
    text = call("verify", "--all", "--stage", "Train")
    assert "differs in test_loss, as it may: computed with torch 1.0, here" in text


def test_verify_counts_what_cannot_be_computed_here(shelf: Lab, monkeypatch):
    entry = shelf.get(TRAIN)
    execution = entry.meta["execution"] | {"device": "cuda"}
    rewritten(shelf, TRAIN, meta=entry.meta | {"execution": execution})
    unknown = TRAIN.but(seed=8).canonical().replace("digits", "nowhere")
    shelf.store.put("Train", "d" * 64, unknown, {}, {}, entry.meta)
    text = call("verify", "--sample", 0, "--stage", "Train")
    assert "1 entry cannot be computed again here: computed on cuda, and this is cpu" in text
    assert "1 entry cannot be computed again here: unknown data set 'nowhere'" in text
    monkeypatch.setattr(Train, "version", 99)
    assert "of another version of its stage" in call("verify", "--sample", 0, "--stage", "Train")


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


def call_quietly(function: Callable[[], object]) -> bool:
    try:
        function()
    except LookupError:
        return False
    return True


def test_a_reader_neither_computes_nor_moves(shelf: Lab):
    reader = upkeep.Reader("cpu", shelf.store.root)
    damage(shelf, IMP)
    before = files(shelf)
    assert call_quietly(lambda: reader.get(TRAIN)) and not call_quietly(lambda: reader.get(IMP))
    assert not call_quietly(lambda: reader.recompute(IMP.at(2))) and files(shelf) == before
    assert {type(s) for s in ALL} == {Connect, Landscape, RandomMask, Ticket, Train}
