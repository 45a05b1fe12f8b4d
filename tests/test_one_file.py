"""What a lab of its own adds is one new file each: a figure, a measurement, a method, a network, a data set."""

import importlib.util
import shutil
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from cli_project import call
from helpers import STUDY, TRAIN
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import lmcnb
from lmcnb import Lab, figures
from lmcnb.data import DATASETS
from lmcnb.distill import METHODS
from lmcnb.lab import STAGES
from lmcnb.models import MODELS

ROOT = Path(__file__).parents[1]
FIGURE = [
    new_markdown_cell("# 99 · A toy\n\nDoes the barrier fall with pruning?"),
    new_code_cell('profile = "smoke"\ndataset = "digits"\nwidth = 4\nepochs = 0.5\nrounds = [1, 2]\ninits = [0, 1]\n',
                  metadata={"tags": ["parameters"]}),
    new_code_cell("""
import matplotlib.pyplot as plt

import lmcnb

data = lmcnb.load(dataset)
recipe = lmcnb.Recipe(epochs=epochs, lr=0.05, augment="none", cutmix=0)
study = lmcnb.Study(dataset=dataset, net=lmcnb.Net.of(data.train, "convnet2", width), recipe=recipe, sets={}, points=3,
                    train_images=100, test_images=100)
plan = [study.connect("dense" if r == 0 else "imp", i, r) for r in [0, *rounds] for i in inits]
""", metadata={"tags": ["plan"]}),
    new_code_cell("lmcnb.figures.style()\nlab = lmcnb.Lab(progress=False)\ntable = lab.table(plan)\nnote = profile"),
    new_code_cell("""
figure, ax = plt.subplots(figsize=(4, 2))
lmcnb.figures.dots(ax, table.barriers("train_loss"), "barrier (nats)")
plt.show()
""", metadata={"tags": ["figure"]}),
    new_code_cell("""
low = table.barriers().contrast(("imp", rounds[-1]), ("dense", 0))
claims = [lmcnb.claim("T1", "pruning lowers the barrier", low, unit="nats", note=note)]
lmcnb.figures.save(figure, "fig99_toy", profile, table, claims, note=note, run=lab.record(plan))
"""),
]
MEASUREMENT = '''
from lmcnb import Train
from lmcnb.lab import Result, Stage


class Norm(Stage):
    """The Euclidean norm of a trained network's weights."""

    model: Train

    def upstream(self):
        return [self.model]

    @classmethod
    def compute(cls, job, specs):
        (spec,) = specs
        network = spec.model.load(job.lab)
        return [Result({"norm": float(sum(p.square().sum() for p in network.params.values()) ** 0.5)})]
'''
METHOD = '''
from typing import Literal

from lmcnb import Method


class Firsts(Method):
    kind: Literal["firsts"] = "firsts"

    def distill(self, data, net, seed, **_):
        pixels = [data.train.x[index[:self.ipc]].float() / 255 for index in data.train.by_class]
        import torch
        return self.result(data, torch.stack(pixels), data_points=0)
'''
NETWORK = '''
import torch
import lmcnb


@lmcnb.register_model("one layer")
def one_layer(net):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(net.channels * net.size ** 2, net.classes))
'''
DATASET = '''
import lmcnb


@lmcnb.register_dataset("few digits")
def few():
    return lmcnb.load("digits").first(train=200, test=100)
'''


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab("cpu", tmp_path / "store", progress=False)


def written(tmp_path: Path, name: str, source: str):
    """The module of one new file."""
    path = tmp_path / f"{name}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.usefixtures("forked_kernels")
def test_a_figure_is_one_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Dropped into a copy of the project it is run, counted, reported, judged and drawn again; no profile names it."""
    project = tmp_path / "project"
    shutil.copytree(ROOT / "notebooks", project / "notebooks")
    before = {p.relative_to(project) for p in project.rglob("*")}
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=FIGURE, metadata=kernel), project / "notebooks" / "99_toy.ipynb")
    assert {p.relative_to(project) for p in project.rglob("*")} - before == {Path("notebooks/99_toy.ipynb")}
    monkeypatch.setenv("LMCNB_PROJECT", str(project))
    monkeypatch.setenv("LMCNB_STORE", str(tmp_path / "store"))
    # Of the shared settings of gpu a toy takes none but what is small.
    (project / "notebooks" / "profiles" / "gpu.yaml").write_text("shared: {epochs: 1.0}\n")
    monkeypatch.delenv("LMCNB_FIGURES", raising=False)
    assert "Remaining" in call("status", "99", "--profile", "gpu").output
    result = call("run", "99", "--profile", "gpu")
    assert result.exit_code == 0, result.output
    assert "Everything is computed." in call("status", "99", "--profile", "gpu").output
    found = figures.read("fig99_toy", "gpu")
    assert found.parameters["epochs"] == 1.0 and len(found.table.barriers()) == 6
    assert figures.png(found.draw()) == (project / "figures" / "gpu" / "fig99_toy.png").read_bytes()
    assert "T1" in call("claims", "--profile", "gpu").output
    assert call("report").exit_code == 0
    assert "99_toy.html" in (project / "report" / "index.html").read_text()


def test_a_measurement_is_one_file(tmp_path: Path, lab: Lab):
    try:
        norm = written(tmp_path, "norms", MEASUREMENT).Norm(net=TRAIN.net, model=TRAIN)
        table = lab.table([norm])
        assert table["quantity"].tolist() == ["norm"] and table["method"].tolist() == ["dense"]
        assert table["value"][0] == lab.get(norm).result["norm"] > 0
        assert lab.inventory([norm])["state"].tolist() == ["whole"]
        assert [row.remaining for row in lab.status([norm])] == [0, 0]
        key = lab.key(norm)
        again = written(tmp_path, "norms", MEASUREMENT.replace("0.5)", "0.25)")).Norm(net=TRAIN.net, model=TRAIN)
        assert lab.key(again) != key  # its code is in the key
    finally:
        STAGES.pop("Norm", None)


def test_a_method_is_one_file(tmp_path: Path, lab: Lab):
    try:
        method = written(tmp_path, "firsts", METHOD).Firsts(ipc=2)
        study = STUDY.but(sets={"firsts": method}, reference="firsts")
        table = lab.table([study.connect("firsts", 0, 1), study.distill("firsts")], study.sets)
        assert set(table["method"]) == {"firsts"} and np.isfinite(table.barriers()["value"]).all()
    finally:
        METHODS.pop("firsts", None)


def test_a_network_and_a_data_set_are_one_file_each(tmp_path: Path, lab: Lab):
    try:
        written(tmp_path, "layer", NETWORK), written(tmp_path, "few", DATASET)
        data = lmcnb.load("few digits")
        net = lmcnb.Net.of(data.train, "one layer")
        study = STUDY.but(dataset="few digits", net=net)
        table = lab.table([study.connect("imp", i, 1) for i in (0, 1)], study.sets)
        assert len(table.barriers()) == 2 and lab.load(study.mask("imp", 0, 1)).sparsity.item() == pytest.approx(0.2)
    finally:
        MODELS.pop("one layer", None), DATASETS.pop("few digits", None)
