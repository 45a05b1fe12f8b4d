"""What a store holds, as tables and in words: nothing is moved or computed by looking."""

import shutil
from pathlib import Path

import pytest
import torch
from filled_store import ALL, GLOBAL, PATH, PLANE, age, call, damage, files, folder, keep
from helpers import IMP, NET, STUDY, TRAIN

from lmcnb import Lab
from lmcnb.lab import inventory
from lmcnb.lab.keys import execution
from lmcnb.stages import Landscape, RandomMask, Train


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
        assert row["MiB"] == sum(f.stat().st_size for f in entry.folder.iterdir()) / 2 ** 20
        assert row["seconds"] == entry.meta["seconds"]
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
    mode = execution(PATH, torch.device("cpu"))["mode"]
    for line in (("a.mask.round", "2"), ("barrier.test_loss.frankle", str(loss)), ("execution.mode", mode)):
        assert " ".join(line).split() in [shown.split() for shown in text.splitlines()]
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


def test_an_entry_whose_files_are_not_here_is_listed_all_the_same(shelf: Lab, monkeypatch):
    def absent(*_):
        raise FileNotFoundError("frost is read from the benchmark's file")
    monkeypatch.setattr(inventory, "rebuilt", absent)
    assert len(call("ls").splitlines()) > len(ALL) and "Train" in call("ls", "Train")


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
