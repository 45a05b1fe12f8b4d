"""Results that travel with a project: what of them is kept, read, trusted, and computed again."""

import json
import logging
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from filled_store import ALL, PATH, PLAN
from helpers import IMP, NET, RECIPE, TRAIN

from lmcnb import DM, Distill, Lab, RandomReal, SoftLabels, cli, load, places
from lmcnb.cli import main, results, runner
from lmcnb.cli.text import Refused
from lmcnb.lab.entry import META, TENSORS
from lmcnb.lab.shipped import Archive, ship
from lmcnb.lab.stage import closure
from lmcnb.profiles import profile_files
from lmcnb.stages import Connect, Train


@pytest.fixture
def archive(shelf: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive of everything in the filled store, where a lab looks for it."""
    monkeypatch.setenv("LMCNB_RESULTS", str(tmp_path / "results"))
    path = tmp_path / "results" / "laptop" / "fig03_x.zip"
    assert not ship(path, [(s.stored, shelf.key(s)) for s in ALL], shelf.store, Archive(tmp_path / "nothing"))
    return path


def fresh(tmp_path: Path, **options) -> Lab:
    return Lab("cpu", tmp_path / "empty", progress=False, **options)


def test_weights_stay_and_everything_else_travels(archive: Path):
    names = zipfile.ZipFile(archive).namelist()
    with_tensors = {name.split("/")[0] for name in names if name.endswith(TENSORS)}
    assert {name.split("/")[0] for name in names} - with_tensors == {"Train", "RandomMask"}
    assert {"Ticket", "Connect", "Landscape"} == with_tensors


def test_equal_entries_are_equal_bytes_and_none_is_no_file(archive: Path, shelf: Lab, tmp_path: Path):
    before, places_ = archive.read_bytes(), [(s.stored, shelf.key(s)) for s in reversed(ALL)]
    assert not ship(archive, places_, shelf.store, Archive(tmp_path / "nothing")) and archive.read_bytes() == before
    again = tmp_path / "again.zip"
    assert not ship(again, places_, fresh(tmp_path).store, Archive(archive.parents[1])) and again.read_bytes() == before
    assert ship(again, [("Train", "0" * 64)], shelf.store, Archive(archive.parents[1])) == [("Train", "0" * 64)]
    assert again.read_bytes() == before, "nothing is written where something is missing"
    ship(again, [], shelf.store, Archive(tmp_path / "nothing"))
    assert not again.exists()


def test_a_table_needs_nothing_else(archive: Path, shelf: Lab, tmp_path: Path):
    there, here = shelf.table(PLAN), fresh(tmp_path).table(PLAN)
    assert there.to_columns() == here.to_columns()
    lab = fresh(tmp_path)
    assert lab.record(PLAN) == shelf.record(PLAN) and not (tmp_path / "empty").exists()
    assert all(row.remaining == 0 for row in lab.status(PLAN) if row.stage in ("Connect", "Landscape"))


def test_what_came_with_the_project_is_recalled(archive: Path, shelf: Lab, tmp_path: Path):
    for stage in (Train, Connect):
        found, known = fresh(tmp_path).recall(stage), dict(shelf.recall(stage))
        assert {spec: entry.result for spec, entry in found} == {s: e.result for s, e in known.items()} != {}
    assert not (tmp_path / "empty").exists() and fresh(tmp_path, shipped=False).recall(Train) == []
    both = Lab("cpu", shelf.store.root, progress=False)
    assert len(both.recall(Train)) == len(shelf.recall(Train)), "each once"


def test_what_is_of_data_that_are_not_at_hand_is_left_out_and_nothing_is_downloaded(tmp_path: Path, monkeypatch):
    import torchvision.datasets

    asked: list[str] = []
    for name in ("CIFAR10", "CIFAR100", "Imagenette"):
        monkeypatch.setattr(torchvision.datasets, name, lambda *_, **__: asked.append("a download"))
    monkeypatch.setenv("LMCNB_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("LMCNB_RESULTS", str(places.project_root() / "figures" / "results"))
    lab = fresh(tmp_path)
    monkeypatch.setattr("lmcnb.lab.engine.shelf.dataset", lambda name, device: load(name, device))  # nothing remembered
    found = {spec.dataset for spec, _ in lab.recall(Connect)}
    assert lab.shipped and any(lab.shipped.entries("Connect")) and "cifar10" not in found and not asked


def test_weights_are_trained_when_they_are_asked_for(archive: Path, filled: Path, tmp_path: Path, monkeypatch):
    monkeypatch.undo()  # this one may compute
    monkeypatch.setenv("LMCNB_RESULTS", str(archive.parents[1]))
    lab, stored = fresh(tmp_path), Lab("cpu", filled, progress=False, shipped=False)
    entry = lab.get(PATH.a)
    assert not entry.whole and lab.missing([PATH.a]) == [] and lab.missing([PATH.a], whole=True) == [PATH.a]
    weights, expected = entry.tensors, stored.get(PATH.a).tensors
    assert all(weights[n].equal(t) for n, t in expected.items()) and weights.keys() == expected.keys()
    assert lab.store.keys("Train") == [lab.key(PATH.a)] and not lab.store.keys("Ticket"), "the mask had travelled"
    longer = PATH.but(points=5)
    assert lab.missing([longer]) == [PATH.b, longer], "what it is made from must be whole, a is by now"
    assert lab.get(longer).result and lab.get(PATH.b).whole


def test_real_images_stay_and_learnt_ones_travel(tmp_path: Path, monkeypatch):
    """A chosen set is others' images: it is chosen again where it is asked for, to the same bytes."""
    monkeypatch.setenv("LMCNB_RESULTS", str(tmp_path / "results"))
    first = Lab("cpu", tmp_path / "first", progress=False)
    chosen, soft, learnt = (Distill(net=NET, method=method) for method in (
        RandomReal(ipc=2), SoftLabels(of=RandomReal(ipc=2), teacher=RECIPE), DM(ipc=1, iterations=2)))
    sets = {spec: first.get(spec).tensors for spec in (chosen, soft, learnt)}
    ship(tmp_path / "results" / "laptop" / "fig11.zip", [(s.stored, first.key(s)) for s in sets], first.store,
         Archive(tmp_path / "nothing"))
    here = fresh(tmp_path)
    assert [here.get(s).whole for s in sets] == [False, False, True] and not here.store.keys("Distil")
    for spec in (chosen, learnt):
        found = here.get(spec).tensors
        assert all(found[n].equal(t) for n, t in sets[spec].items()) and found.keys() == sets[spec].keys()
    assert here.store.keys("Distil") == [here.key(chosen)]


@pytest.mark.parametrize("how", ["a changed number", "cut off", "without its tensors", "under another key"])
def test_what_is_damaged_is_reported_and_never_trusted(archive: Path, shelf: Lab, tmp_path: Path, how: str, caplog):
    path, key = f"{IMP.stored}/{shelf.key(IMP)}", shelf.key(IMP)
    with zipfile.ZipFile(archive) as whole:
        files = {name: whole.read(name) for name in whole.namelist()}
    if how == "a changed number":
        files[f"{path}/result.json"] = files[f"{path}/result.json"].replace(b"0", b"1", 1)
    elif how == "without its tensors":
        del files[f"{path}/{TENSORS}"]
    elif how == "under another key":
        other = next(s for s in ALL if s.stored == IMP.stored and s != IMP)
        files |= {name.replace(shelf.key(other), key): data for name, data in files.items() if shelf.key(other) in name}
    with zipfile.ZipFile(archive, "w") as changed:
        for name, data in files.items():
            changed.writestr(name, data)
    if how == "cut off":
        archive.write_bytes(archive.read_bytes()[:200])
    lab = fresh(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert lab.missing([IMP])[-1] == IMP and lab.missing([IMP])[-1] == IMP
    assert len(caplog.records) == 1 and "counts as absent" in caplog.text
    if how != "cut off":
        assert lab.missing([PATH]) == [], "the others stay"


def test_a_lab_may_do_without(archive: Path, tmp_path: Path, monkeypatch):
    assert fresh(tmp_path, shipped=False).missing([TRAIN])
    with places.pinned(tmp_path, shipped=False):
        assert fresh(tmp_path).missing([PATH]) == closure([PATH])
    assert not fresh(tmp_path).missing([PATH])


def call(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, list(words))
    return done.exit_code, done.output


def test_verify_computes_a_sample_again(archive: Path, tmp_path: Path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("LMCNB_RESULTS", str(archive.parents[1]))
    monkeypatch.setenv("LMCNB_STORE", str(tmp_path / "other"))
    code, said = call("verify", "--sample", "3", "--seed", "1")
    assert code == 0 and said.count("the same bytes") == 3, said
    code, said = call("verify", "--stage", "Distill", "--sample", "0")
    assert code == 2 and "no results of Distil travel" in said, "a class's name is right, too"
    code, said = call("verify", "--stage", "Distll")
    assert code == 2 and "unknown stage `Distll`, did you mean `Distill`?" in said


def test_a_set_of_a_method_that_is_not_known_here_travels():
    assert not Distill.stays({"method": {"kind": "mine"}}) and Distill.stays({"method": {"kind": "random"}})


def test_verify_finds_a_result_that_is_not_what_is_computed(archive: Path, shelf: Lab, tmp_path: Path, monkeypatch):
    entry = shelf.store.get("Ticket", shelf.key(IMP))
    forged = Lab("cpu", tmp_path / "forged", progress=False).store
    forged.put("Ticket", entry.key, IMP.canonical(), entry.result | {"loss": 0.5}, entry.tensors,
               {n: v for n, v in entry.meta.items() if n not in ("sha256", "self")})
    assert not ship(archive, [("Ticket", entry.key)], forged, Archive(tmp_path / "nothing"))
    monkeypatch.undo()
    monkeypatch.setenv("LMCNB_RESULTS", str(archive.parents[1]))
    monkeypatch.setenv("LMCNB_STORE", str(tmp_path / "other"))
    code, said = call("verify")
    assert code == 1 and "differs in loss" in said and META not in said, said


@pytest.mark.parametrize("data", ["absent", "there"])
def test_a_committed_figure_is_drawn_again_where_its_results_are_not_at_hand(data: str, tmp_path: Path, monkeypatch):
    """Of a fresh clone, on a machine without the data or without the results: to the same bytes, and it is said why."""
    committed = places.figures_dir("laptop")
    name = "fig18_precision_cifar10"
    copy = tmp_path / "figures" / "laptop" / f"{name}.json"
    copy.parent.mkdir(parents=True)
    copy.write_bytes((committed / copy.name).read_bytes())
    variables = {"FIGURES": tmp_path / "figures", "STORE": tmp_path / "store"}
    variables |= {"DATA": tmp_path / "data"} if data == "absent" else {}
    for variable, value in variables.items():
        monkeypatch.setenv(f"LMCNB_{variable}", str(value))
    if data == "there" and not (places.data_root() / "cifar10.npz").exists():
        pytest.skip("no cifar10.npz in LMCNB_DATA")
    code, said = call("run", "18", "--profile", "laptop", "--executed", str(tmp_path / "executed"))
    assert code == 0, said
    assert copy.with_suffix(".png").read_bytes() == (committed / f"{name}.png").read_bytes()
    assert "from its own table" in said and "--recompute computes them" in said
    assert ("results are neither stored nor shipped" if data == "there" else "cifar10") in said
    assert not (tmp_path / "executed").exists() and not (tmp_path / "store").exists()


def test_a_figure_of_other_settings_is_not_drawn_again(tmp_path: Path, monkeypatch):
    job = runner.prepare(places.project_root(), ["18"], "laptop")[0]
    assert results.saved("laptop", job) == ("fig18_precision_cifar10",)
    changed = runner.prepare(places.project_root(), ["18"], "laptop", ["epochs=3"])[0]
    assert results.saved("laptop", changed) == ()
    assert not results.redraws([job], "smoke"), "which is always computed"


def test_every_committed_figure_is_that_of_its_profile_and_can_be_drawn_again():
    """Else `make figures` would compute it, for hours, in a fresh clone: a profile changes with its figure."""
    root = places.project_root()
    for profile in profile_files(root).keys() - {"smoke"}:
        again = {name for job in runner.prepare(root, [], profile) for name in results.saved(profile, job)}
        assert {path.stem for path in places.figures_dir(profile).glob("fig*.json")} == again, profile


def test_a_parameter_that_a_notebook_no_longer_has_does_not_make_its_figure_another(tmp_path: Path, monkeypatch):
    [job] = runner.prepare(places.project_root(), ["06"], "laptop")
    [name] = results.saved("laptop", job)
    figure = json.loads((places.figures_dir("laptop") / f"{name}.json").read_text())
    figure["record"]["parameters"]["retired"] = 1
    (tmp_path / f"{name}.json").write_text(json.dumps(figure))
    monkeypatch.setattr(places, "figures_dir", lambda _: tmp_path)
    assert results.saved("laptop", job) == (name,)
    figure["record"]["parameters"]["compared"] = [1]
    (tmp_path / f"{name}.json").write_text(json.dumps(figure))
    assert not results.saved("laptop", job)


def test_what_is_at_hand_comes_before_what_takes_hours(tmp_path: Path, monkeypatch):
    """On a fresh clone: first figures from their tables, then notebooks whose results are there, then the others."""
    root = places.project_root()
    jobs = {n: runner.prepare(root, [n], "laptop", [])[0] for n in ("01", "02", "03")}
    done: list[str] = []
    monkeypatch.setattr(results, "redraws", lambda jobs, profile: [
        results.Redraw(j, ("fig",), "why") for j in jobs if j.notebook.stem.startswith("02")])
    monkeypatch.setattr(results, "draw", lambda again, *_: done.extend(e.job.notebook.stem[:2] for e in again))
    monkeypatch.setattr(cli, "_one_by_one", lambda jobs, *_: done.extend(j.notebook.stem[:2] for j in jobs))
    monkeypatch.setattr(runner, "plans", lambda jobs: [[TRAIN] if j.notebook.stem < "02" else [] for j in jobs])
    monkeypatch.setattr(Lab, "missing", lambda lab, specs: specs)
    assert call("run", "01", "02", "03", "--profile", "laptop")[0] == 0
    assert done == ["02", "03", "01"]
    both = [jobs["01"], jobs["03"]]
    assert results.soonest(both, [[TRAIN], []], "smoke") == [(both, [[TRAIN], []])]
    assert not results.soonest([], [], "laptop")


def test_what_must_be_computed_may_be_left_out(monkeypatch):
    done: list[str] = []
    monkeypatch.setattr(results, "redraws", lambda *_: [])
    monkeypatch.setattr(cli, "_one_by_one", lambda jobs, *_: done.extend(j.notebook.stem[:2] for j in jobs))
    def plans(jobs: list) -> list:
        if any(j.notebook.stem.startswith("03") for j in jobs):
            raise Refused("03_stability_cifar10: cifar10 is not at hand")
        return [[] if j.notebook.stem < "01" else [TRAIN.but(init=int(j.notebook.stem[:2]))] for j in jobs]
    monkeypatch.setattr(runner, "plans", plans)
    monkeypatch.setattr(Lab, "missing", lambda lab, specs: [s for s in specs if s.init == 1])
    code, said = call("run", "00", "01", "02", "03", "--profile", "laptop", "--no-compute")
    assert code == 0 and done == ["02"]
    assert "01_distilled_pruning: left out, as 1 results are neither stored nor shipped" in said
    assert "00_quickstart: left out, as it computes as it goes" in said
    assert "03_stability_cifar10: left out (cifar10 is not at hand)" in said
    assert call("run", "01", "--no-compute", "--recompute")[0] == 2


def test_figures_are_drawn_again_side_by_side(tmp_path: Path, monkeypatch, capsys):
    """To the bytes of the committed pictures, in their order, in processes that know this one's folders."""
    names = "fig18_precision_cifar10", "fig06_stability_vs_performance_cifar10"
    committed, folder = places.figures_dir("laptop"), tmp_path / "figures" / "laptop"
    folder.mkdir(parents=True)
    for name in names:
        (folder / f"{name}.json").write_bytes((committed / f"{name}.json").read_bytes())
    monkeypatch.setenv("LMCNB_FIGURES", str(tmp_path / "figures"))
    [job] = runner.prepare(places.project_root(), ["18"], "laptop")
    results.draw([results.Redraw(job, (name,), "why") for name in names], "laptop", workers=2)
    assert all((folder / f"{name}.png").read_bytes() == (committed / f"{name}.png").read_bytes() for name in names)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("[1/2]") and names[0] in first and second.startswith("[2/2]") and names[1] in second


def test_what_a_user_sets_is_computed_and_checked(tmp_path: Path, monkeypatch):
    """A parameter that is younger than the committed figure counts, too."""
    monkeypatch.setenv("LMCNB_STORE", str(tmp_path / "store"))
    root = places.project_root()
    [job] = runner.prepare(root, ["04"], "laptop")
    assert results.saved("laptop", job) == ("fig04_stability_imagenet10_generated",)
    [other] = runner.prepare(root, ["04"], "laptop", ["methods=[imp, idc, random images]"])
    assert not results.saved("laptop", other) and not results.redraws([other], "laptop")
    code, said = call("run", "04", "--profile", "laptop", "--set", "methods=[imp, idc, foo]")
    assert code == 2 and "foo" in said and "known" in said
