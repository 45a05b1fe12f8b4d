"""`lmcnb publish`: what travels with the project's figures, and that nothing that travelled is lost."""

import json
import os
import zipfile
from pathlib import Path

from click.testing import CliRunner
from filled_store import PATH
from helpers import IMP

from lmcnb import Lab, places
from lmcnb.cli import main, results, runner
from lmcnb.cli.workers import stages
from lmcnb.lab.shipped import Archive
from lmcnb.lab.stage import closure


def fresh(tmp_path: Path, **options) -> Lab:
    return Lab("cpu", tmp_path / "empty", progress=False, **options)


def call(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, list(words))
    return done.exit_code, done.output


def figure(folder: Path, name: str, keys: list[str], weights: list[str] | None = None, **record) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps({
        "figure": name, "profile": folder.name, "record": {"keys": keys} | record, "run": {"weights": weights or []}}))


def test_publish_ships_each_result_once_and_keeps_what_it_cannot_replace(shelf: Lab, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("LMCNB_RESULTS", str(tmp_path / "results"))
    folder, keys = tmp_path / "figures" / "laptop", [shelf.key(s) for s in closure([PATH])]
    figure(folder, "fig03", keys)
    figure(folder, "fig05", [*keys, shelf.key(IMP.at(1))])
    figure(folder, "fig08", ["0" * 64])
    code, said = call("publish")
    assert code == 0 and "fig08: 1 of 1 results are not in the store: left as it was" in said, said
    shipped = Archive(tmp_path / "results")
    second = {shelf.key(IMP.at(1))} - {*keys}  # what the first figure lists is there
    found = {name: {key for (_, key), path in shipped.places.items() if path.stem == name}
             for name in ("fig03", "fig05")}
    assert found == {"fig03": {*keys}, "fig05": second} and not (tmp_path / "results" / "laptop" / "fig08.zip").exists()
    before = {p: p.read_bytes() for p in (tmp_path / "results").rglob("*.zip")}
    monkeypatch.setenv("LMCNB_STORE", str(tmp_path / "gone"))
    assert call("publish")[0] == 0 and {p: p.read_bytes() for p in before} == before, "from what was shipped"


def test_an_archive_of_the_same_results_keeps_its_bytes(shelf: Lab, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("LMCNB_RESULTS", str(tmp_path / "results"))
    figure(tmp_path / "figures" / "laptop", "fig03", [shelf.key(s) for s in closure([PATH])])
    assert call("publish")[0] == 0
    path = tmp_path / "results" / "laptop" / "fig03.zip"
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    before = path.read_bytes()
    assert call("publish")[0] == 0 and path.read_bytes() == before, "a repository does not grow by another compression"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in list(files.items())[1:]:
            archive.writestr(name, content)
    assert call("publish")[0] == 0 and len(zipfile.ZipFile(path).namelist()) == len(files)


def test_large_files_are_compressed_more(tmp_path: Path):
    from lmcnb.lab.shipped import LARGE, write

    files = {"small": b"a" * (LARGE - 1), "large": b"a" * LARGE}
    write(tmp_path / "a.zip", files)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert {n: archive.read(n) for n in files} == files
        assert archive.getinfo("large").compress_type == zipfile.ZIP_LZMA != archive.getinfo("small").compress_type


def test_one_damaged_result_takes_no_other_with_it(shelf: Lab, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("LMCNB_RESULTS", str(tmp_path / "results"))
    keys = [shelf.key(s) for s in closure([PATH])]
    figure(tmp_path / "figures" / "laptop", "fig03", keys)
    assert call("publish")[0] == 0
    path = tmp_path / "results" / "laptop" / "fig03.zip"
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    [spoilt] = [name for name in files if name == f"Connect/{shelf.key(PATH)}/result.json"]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, b"{}" if name == spoilt else content)
    monkeypatch.setenv("LMCNB_STORE", str(tmp_path / "gone"))
    code, said = call("publish")
    assert code == 0 and f"fig03: 1 of {len(keys)} results are not in the store" in said, said
    assert {key for _, key in Archive(tmp_path / "results").places} == {*keys} - {shelf.key(PATH)}


def test_weights_that_a_notebook_looks_at_travel(shelf: Lab, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("LMCNB_RESULTS", str(tmp_path / "results"))
    folder, record = tmp_path / "figures" / "laptop", shelf.record([PATH], weights=[PATH.a])
    assert record["weights"] == [shelf.key(PATH.a)] and "weights" not in shelf.record([PATH])
    figure(folder, "fig03", record["keys"])  # lists the same trainings, and looks at none
    figure(folder, "fig19", record["keys"], record["weights"])
    assert call("publish")[0] == 0
    lab = fresh(tmp_path)
    assert lab.get(PATH.a).whole and not lab.get(PATH.b).whole
    theirs, ours = lab.load(PATH.a).params, shelf.load(PATH.a).params
    assert all(theirs[n].equal(p) for n, p in ours.items()) and not (tmp_path / "empty").exists(), "nothing is trained"
    monkeypatch.setenv("LMCNB_STORE", str(tmp_path / "gone"))
    figure(folder, "fig03", record["keys"], [shelf.key(PATH.b)])
    code, said = call("publish")
    assert code == 0 and "fig03: 1 of" in said, "weights that are neither stored nor shipped"


def test_results_of_a_notebook_travel_before_its_figure_stands(shelf: Lab, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("LMCNB_RESULTS", str(tmp_path / "results"))
    folder, keys = tmp_path / "figures" / "laptop", [shelf.key(s) for s in closure([PATH])]
    monkeypatch.setattr(results, "_so_far", lambda notebooks, *_: dict.fromkeys(notebooks, keys[:2]))
    assert call("publish", "16_layers")[0] == 0
    early = tmp_path / "results" / "laptop" / "16_layers.zip"
    assert {key for _, key in Archive(tmp_path / "results").places} == {*keys[:2]} and early.exists()
    figure(folder, "fig16_layers_x", ["0" * 64])
    assert call("publish")[0] == 0 and early.exists(), "the figure's results are not there yet"
    figure(folder, "fig16_layers_x", keys)
    assert call("publish")[0] == 0 and not early.exists()
    assert {key for _, key in Archive(tmp_path / "results").places} == {*keys}


def test_publish_ships_no_more_than_a_clone_should_carry(shelf: Lab, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("LMCNB_RESULTS", str(tmp_path / "results"))
    figure(tmp_path / "figures" / "laptop", "fig03", [shelf.key(IMP.at(1))])
    assert call("publish")[0] == 0
    archive = tmp_path / "results" / "laptop" / "fig03.zip"
    before = archive.read_bytes()
    figure(tmp_path / "figures" / "laptop", "fig03", [shelf.key(s) for s in closure([PATH])])
    monkeypatch.setattr(results, "MOST", len(before) + 1)
    code, said = call("publish")
    assert code == 1 and "all archives together would have" in said and "left as they were" in said
    assert archive.read_bytes() == before and list(archive.parent.iterdir()) == [archive]
    figure(tmp_path / "figures" / "laptop", "fig03", [shelf.key(IMP.at(1))])
    figure(tmp_path / "figures" / "laptop", "fig08_x", [shelf.key(s) for s in closure([PATH])])
    assert "--without NN" in call("publish")[1]
    code, said = call("publish", "--without", "08")
    assert code == 0 and "fig08_x" not in said and archive.read_bytes() == before, said
    code, said = call("publish", "--without", "8")
    assert code == 2 and "--without 8: there is no such figure" in said


def test_results_that_move_to_another_archive_are_weighed_once(shelf: Lab, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("LMCNB_RESULTS", str(tmp_path / "results"))
    folder, keys = tmp_path / "figures" / "laptop", [shelf.key(s) for s in closure([PATH])]
    figure(folder, "fig17", keys)
    assert call("publish")[0] == 0
    size = (tmp_path / "results" / "laptop" / "fig17.zip").stat().st_size
    figure(folder, "fig16", keys)  # comes first, and wants the same
    monkeypatch.setattr(results, "MOST", size + 10)
    code, said = call("publish")
    assert code == 0, said
    assert [path.name for path in (tmp_path / "results" / "laptop").iterdir()] == ["fig16.zip"]
    assert {key for _, key in Archive(tmp_path / "results").places} == {*keys}


def test_what_there_is_of_a_notebooks_plan_is_found(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("LMCNB_STORE", str(tmp_path / "store"))
    [job] = runner.prepare(places.project_root(), ["18"], "smoke")
    chosen = next(s for s in closure(stages(runner.plans([job]))) if s.stored == "Distil")
    lab = Lab("cpu", progress=False, shipped=False)
    assert results._so_far(["18"], "smoke", lab) == {"18_precision": []}
    lab.get(chosen)
    assert results._so_far(["18"], "smoke", lab) == {"18_precision": [lab.key(chosen)]}


def test_what_was_shipped_stays_shipped(shelf: Lab, tmp_path: Path, monkeypatch):
    """Of a notebook with two figures, and of one that lists what another's archive used to hold."""
    monkeypatch.setenv("LMCNB_RESULTS", str(tmp_path / "results"))
    folder, keys = tmp_path / "figures" / "laptop", [shelf.key(s) for s in closure([PATH])]
    monkeypatch.setattr(results, "_so_far", lambda notebooks, *_: dict.fromkeys(notebooks, keys[1:]))
    figure(folder, "fig04_generated", keys[:1])
    assert call("publish", "04_stability")[0] == 0 and call("publish")[0] == 0
    assert {key for _, key in Archive(tmp_path / "results").places} == {*keys}, "its second figure does not stand yet"
    figure(folder, "fig04_real", keys)
    assert call("publish")[0] == 0 and not (tmp_path / "results" / "laptop" / "04_stability.zip").exists()
    monkeypatch.setenv("LMCNB_STORE", str(tmp_path / "gone"))
    figure(folder, "fig04_real", [*keys, "0" * 64])
    figure(folder, "fig04_generated", [])
    assert call("publish")[0] == 0
    assert {key for _, key in Archive(tmp_path / "results").places} == {*keys}, "although fig04_real is not whole"


def test_a_publication_that_ends_anywhere_loses_nothing(shelf: Lab, tmp_path: Path, monkeypatch):
    """A result moves from one archive to another, and only what was shipped has it."""
    monkeypatch.setenv("LMCNB_RESULTS", str(tmp_path / "results"))
    folder, keys = tmp_path / "figures" / "laptop", [shelf.key(s) for s in closure([PATH])]
    figure(folder, "fig02", keys)
    assert call("publish")[0] == 0
    monkeypatch.setenv("LMCNB_STORE", str(tmp_path / "gone"))
    figure(folder, "fig02", keys[:1])
    figure(folder, "fig03", keys[1:])
    replace = os.replace
    for allowed in range(4):
        left = iter(range(allowed))

        def some(a, b, left=left):
            if next(left, None) is None:
                raise KeyboardInterrupt
            replace(a, b)
        monkeypatch.setattr(os, "replace", some)
        assert call("publish")[0] != 0
        assert {key for _, key in Archive(tmp_path / "results").places} == {*keys}, allowed
    monkeypatch.setattr(os, "replace", replace)
    code, said = call("publish")
    assert code == 0, said
    assert {p.name for p in (tmp_path / "results" / "laptop").iterdir()} == {"fig02.zip", "fig03.zip"}
    assert {key for _, key in Archive(tmp_path / "results").places} == {*keys}


def test_of_two_results_of_one_key_the_figures_own_travels(shelf: Lab, tmp_path: Path, monkeypatch):
    """Another figure's run may have trained a network again, at a commit that the figure's record does not name."""
    monkeypatch.setenv("LMCNB_RESULTS", str(tmp_path / "results"))
    record = shelf.record([IMP])
    folder = tmp_path / "figures" / "laptop"
    figure(folder, "fig03", record["keys"], commit=record["commit"])
    assert call("publish")[0] == 0
    archive = tmp_path / "results" / "laptop" / "fig03.zip"
    before, entry = archive.read_bytes(), shelf.store.get(IMP.stored, shelf.key(IMP))
    assert entry is not None
    meta = {n: v for n, v in entry.meta.items() if n not in ("sha256", "self")} | {"commit": "f" * 40}
    Lab("cpu", tmp_path / "other", progress=False).store.put(
        IMP.stored, entry.key, IMP.canonical(), entry.result, entry.tensors, meta)
    monkeypatch.setenv("LMCNB_STORE", str(tmp_path / "other"))
    assert call("publish")[0] == 0 and archive.read_bytes() == before
    figure(folder, "fig03", record["keys"], commit=["f" * 40])
    assert call("publish")[0] == 0 and archive.read_bytes() != before
