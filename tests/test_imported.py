"""A file in the place of a method: known by its content, wherever it lies."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import NET, RECIPE, another
from PIL import Image
from set_files import DATA, HARD, PIXELS, SOFT, a_set, same, saved

from lmcnb import Distill, Imported, Lab, SoftLabels, Study, Ticket, export_set, load
from lmcnb.distill import EvalProtocol
from lmcnb.spec import SettingError
from lmcnb.stages import Assess


def test_ipc_and_factor_are_the_files(tmp_path: Path):
    path = export_set(a_set(factor=2), tmp_path / "ours.pt")
    method = Imported(path=path)
    assert (method.ipc, method.factor) == (2, 2) == (method.but(lr=0.1).ipc, method.but(lr=0.1).factor)
    assert Imported(path=saved(tmp_path), factor=3).factor == 3
    study = Study(net=NET.but(classes=3), recipe=RECIPE, sets={"theirs": method}, reference="theirs")
    assert study.images("theirs") == len(method.distill(DATA, NET, 0).decoded()) == 24
    with pytest.raises(ValueError, match="factor is 2, not 3: leave factor out"):
        method.but(factor=3)
    with pytest.raises(ValueError, match="5 images of 3 classes, .*: use import_set and assess"):
        Imported(path=saved(tmp_path, PIXELS[:5], HARD[:5]))
    with pytest.raises(ValueError, match="4 images, 2 of each class it knows, and made up has 3 classes: load"):
        Imported(path=saved(tmp_path, PIXELS[:4], HARD[:4])).distill(DATA, NET, 0)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ""])
def test_a_moved_file_is_the_same_set_and_a_changed_one_is_not(tmp_path: Path, suffix: str, lab: Lab):
    path = export_set(a_set(), tmp_path / f"set{suffix}")
    method, moved = Imported(path=path), tmp_path / f"moved{suffix}"
    key = lab.key(Distill(net=NET, method=method))
    assert "path" not in SoftLabels(of=method).canonical() and "tmp" not in method.canonical()
    assert len(method.digest) == 64
    path.rename(moved)
    with pytest.raises(FileNotFoundError):
        method.distill(DATA, NET, 0)
    again = method.but(path=moved)
    assert again.key == method.key and lab.key(Distill(net=NET, method=again)) == key
    assert again.but(space="bytes").key != method.key
    assert Imported(path=export_set(a_set(), path)).key == method.key
    if suffix:
        export_set(a_set(images=1 - PIXELS), path)
    else:
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(path / "1" / "0000.png")
    assert Imported(path=path).key != method.key
    with pytest.raises(ValueError, match="it is another file, or it was changed. Leave digest out"):
        method.but(path=path)
    with pytest.raises(ValueError, match="it was changed"):
        method.distill(DATA, NET, 0)


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_labels_of_their_own_are_part_of_the_content(tmp_path: Path, folder: bool):
    images = (PIXELS * 255).round() / 255
    path = export_set(a_set(images=images), tmp_path / "set") if folder else saved(tmp_path, images, None)
    torch.save(SOFT[:6], tmp_path / "labels.pt")
    first = Imported(path=path, labels=tmp_path / "labels.pt")
    assert same(first.distill(DATA, NET, 0), a_set(images=images, labels=SOFT[:6]))
    torch.save(SOFT[:6].flip(0), tmp_path / "labels.pt")
    assert Imported(path=path, labels=tmp_path / "labels.pt").key != first.key


def test_a_relative_path_begins_here_or_at_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    saved(tmp_path)
    (tmp_path / "notebooks" / "profiles").mkdir(parents=True)
    monkeypatch.setenv("LMCNB_PROJECT", str(tmp_path))
    for folder in (tmp_path, tmp_path / "notebooks"):
        monkeypatch.chdir(folder)
        assert Imported(path="set.pt").ipc == 2


def test_an_imported_set_is_pruned_with_and_assessed(tmp_path: Path, lab: Lab):
    digits = load("digits").train
    chosen = torch.cat([i[:2] for i in digits.by_class])
    torch.save({"data": [[digits.normalised(chosen), digits.y[chosen]]]}, tmp_path / "res.pt")
    method = Imported(path=tmp_path / "res.pt", space="normalised")
    sets = {"theirs": method, "soft": SoftLabels(of=method, teacher=RECIPE)}
    study = Study(net=NET, recipe=RECIPE, prune_steps=4, sets=sets, reference="theirs")
    how = EvalProtocol(recipe=RECIPE)
    specs = [study.mask("theirs", 0, 1), study.assess("theirs", how, 2), study.assess("soft", how, 2)]
    entries = lab.map(specs)
    assert entries[0].result["sparsity"] == pytest.approx(0.2, abs=0.01)
    assert len(entries[1].result["accuracy"]) == 2 and entries[1].result["images"] == 20
    torch.testing.assert_close(lab.load(study.distill("theirs")).images, digits.x[chosen] / 255)
    (tmp_path / "res.pt").unlink()
    later = another(lab)
    assert later.map(specs[:2])[0].result == entries[0].result  # what is in the store needs no file
    for stage in (Distill, Ticket, Assess):  # but its settings alone do not say where it is
        assert later.recall(stage) == []
    with pytest.raises(SettingError, match="Imported.path is missing"):
        Distill(**{n: v for n, v in lab.get(study.distill("theirs")).spec.items() if n != "kind"})


def test_what_a_store_holds_of_it_is_rebuilt_where_the_file_lies_among_the_data(tmp_path: Path, monkeypatch):
    from lmcnb.lab.inventory import rebuilt

    path = export_set(a_set(), tmp_path / "theirs.pt")
    spec = Distill(net=NET, method=SoftLabels(of=Imported(path=path)))
    monkeypatch.setenv("LMCNB_DATA", str(tmp_path / "data"))
    with pytest.raises(ValueError, match="path is missing"):
        rebuilt("Distil", json.loads(spec.canonical()))
    (tmp_path / "data").mkdir()
    path.rename(tmp_path / "data" / "renamed.pt")
    assert rebuilt("Distil", json.loads(spec.canonical())).key == spec.key
