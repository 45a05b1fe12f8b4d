"""A result knows the code that made it: an edited network, method or data set is another one, a new comment not."""

import enum
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import RECIPE, another
from torch import nn

import lmcnb
from lmcnb import Lab, Net, register_model
from lmcnb.data import DATASETS
from lmcnb.distill import METHODS
from lmcnb.models import MODELS, initialise
from lmcnb.sources import code_digest, is_ours, is_user
from lmcnb.spec import SettingError
from lmcnb.stages import Distill, Train

Kind = enum.Enum("Kind", "FIRST SECOND", module="enum")  # as installed ones are
SMALL = {"channels": 1, "size": 8}
NETWORK = """
from torch import nn
import torch
WIDTH = 8
def activation():
    return nn.ReLU()
class Mine(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, WIDTH), activation(), nn.Linear(WIDTH, classes))
    def forward(self, x):
        return self.body(x)
build = lambda net: Mine(net.classes)
"""


def run(source: str, name: str = "build", **given):
    space = {"__name__": "__main__", **given}
    exec(source, space)
    return space[name]


@pytest.mark.parametrize(("old", "new"), [
    ("nn.ReLU()", "nn.GELU()"), ("WIDTH = 8", "WIDTH = 9"), ("(WIDTH, classes)", "(WIDTH, classes, False)"),
    ("self.body(x)", "self.body(2 * x)"), ("Mine(net.classes)", "Mine(net.classes).float()"),
    ("class Mine(nn.Module)", "class Mine(nn.Sequential)")])
def test_what_a_network_does_is_in_its_digest_however_deep(old: str, new: str):
    assert old in NETWORK and code_digest(run(NETWORK)) != code_digest(run(NETWORK.replace(old, new)))


@pytest.mark.parametrize(("old", "new"), [
    ("return nn.ReLU()", "return nn.ReLU()  # as in the paper"), ("WIDTH = 8", "\n\nWIDTH = 8"),
    ("import torch\n", "import torch\nUNUSED = 3\n"), ("activation():\n", 'activation():\n    "Of every layer."\n')])
def test_what_changes_nothing_is_not(old: str, new: str):
    assert code_digest(run(NETWORK)) == code_digest(run(NETWORK.replace(old, new)))


def test_a_digest_is_the_same_in_every_process(tmp_path: Path):
    """Sets of texts come in another order in each."""
    code = NETWORK + "\nKNOWN = set('abcdefghijklmnop')\nbuild = lambda net: Mine(len(KNOWN & {'a', 'x', 'y'}))\n"
    child = f"from lmcnb.sources import code_digest\n{code}\nprint(code_digest(build), *KNOWN)"
    seen = subprocess.run([sys.executable, "-c", child], env=os.environ | {"PYTHONHASHSEED": "1"}, check=True,
                          capture_output=True, text=True).stdout.split()
    assert seen[0] == code_digest(run(code)) and len(seen[0]) == 64
    here = [*run(code, "KNOWN")]
    assert sorted(seen[1:]) == sorted(here) and seen[1:] != here, "the orders must differ to tell"


def test_closures_defaults_partials_methods_and_tensors_count():
    def made(held, default=1):
        def build(net, value=default):
            return held, value
        return build
    distinct = [made(1), made(2), made(1, 2), made(torch.zeros(2)), made(torch.ones(2)), made({"a": 1}), made({"a": 2})]
    distinct += [*map(made, (range(2), range(4), slice(3), torch.float16, torch.bfloat16, torch.relu, torch.tanh,
                             Kind.FIRST, Kind.SECOND, Path("a"), Path("b")))]
    assert len({code_digest(b) for b in distinct}) == len(distinct)
    assert code_digest(made(torch.ones(2))) == code_digest(made(torch.ones(2)))


def test_what_a_set_or_a_key_stands_for_counts_and_no_address():
    def held(*layers):
        kinds = set(layers)
        return code_digest(lambda: kinds), code_digest(lambda: dict.fromkeys(kinds, 1))
    first, again, other = (run(NETWORK.replace("ReLU", kind), "Mine") for kind in ("ReLU", "ReLU", "GELU"))
    assert held(first, print) == held(print, again) and not set(held(first, print)) & set(held(other, print))


def test_whose_code_it_is():
    assert is_ours(Net) and not any(map(is_user, (Net, nn.Linear, Path, pytest.fixture, torch, print)))
    assert is_user(run) and is_user(run(NETWORK, "Mine")) and not is_ours(run)


@pytest.fixture
def models(monkeypatch):
    """Registrations that end with the test."""
    monkeypatch.setattr("lmcnb.models.net.MODELS", dict(MODELS))


def test_an_edited_network_is_computed_anew_and_its_old_result_is_kept(lab: Lab, models):
    register_model("mine", run(NETWORK))
    spec = Train(net=Net(name="mine", **SMALL), recipe=RECIPE)
    first = lab.get(spec)
    register_model("mine", run(NETWORK))  # the cell is run again
    assert lab.get(spec).key == first.key
    register_model("mine", run(NETWORK.replace("ReLU", "GELU")))
    edited = lab.get(spec)
    assert edited.key != first.key and not torch.equal(edited.tensors["params/body.3.bias"],
                                                       first.tensors["params/body.3.bias"])
    register_model("mine", run(NETWORK))
    assert another(lab).get(spec).key == first.key


def test_editing_only_the_class_behind_a_registered_network_is_noticed(lab: Lab, models):
    space: dict = {"__name__": "__main__"}
    exec(NETWORK, space)
    register_model("mine", space["build"])
    spec = Train(net=Net(name="mine", **SMALL), recipe=RECIPE)
    first = lab.get(spec)
    exec(NETWORK.replace("ReLU", "GELU").replace("build = ", "other = "), space)
    assert lab.get(spec).key != first.key


def test_a_built_in_network_cannot_be_replaced(models):
    with pytest.raises(ValueError, match="convnet3' is built in; choose another name"):
        register_model("convnet3", run(NETWORK))


METHOD = """
from typing import Literal
import torch
class Bright(lmcnb.RandomReal):
    kind: Literal["bright"] = "bright"
    def distill(self, data, net, seed, **_):
        found = super().distill(data, net, seed)
        return self.result(data, (found.images * 0.5).unflatten(0, (data.classes, self.ipc)), 0)
"""


@pytest.fixture
def methods():
    before = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(before)


def test_an_edited_method_is_another_one(lab: Lab, methods):
    def key(source: str) -> str:
        method = run(source, "Bright", lmcnb=lmcnb)
        return lab.key(Distill(net=Net(name="convnet1", **SMALL), method=method(ipc=1)))
    assert key(METHOD) == key(METHOD) != key(METHOD.replace("0.5", "0.25"))


@pytest.mark.parametrize(("base", "kind", "words"), [
    ("RandomReal", "", "Bright needs a kind of its own"), ("IDC", "", "Bright needs a kind of its own"),
    ("Method", "", "Bright needs a kind of its own"), ("IDC", 'kind: Literal["dm"] = "dm"', "DM's: choose another"),
    ("Method", 'kind: str = "idc"', "IDC's: choose another")])
def test_a_method_without_a_kind_of_its_own_is_refused_when_it_is_defined(base: str, kind: str, words: str, methods):
    source = f"from typing import Literal\nclass Bright(lmcnb.{base}):\n    {kind or 'outer: int = 3'}\n"
    with pytest.raises(SettingError, match=words):
        run(source, "Bright", lmcnb=lmcnb)


def test_settings_of_a_subclass_are_in_the_key(lab: Lab):
    class Deep(Net):
        depth: int = 1

    class Wide(Net):
        depth: int = 1
    shared = {"name": "convnet1", **SMALL}
    nets = Net(**shared), Deep(**shared), Deep(**shared, depth=2), Wide(**shared)
    assert len({lab.key(Train(net=net, recipe=RECIPE)) for net in nets}) == 4


def test_a_module_keeps_its_own_initialisation_and_its_buffers(models):
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.out = nn.InstanceNorm2d(1, affine=True), nn.Linear(64, 10)
            nn.init.zeros_(self.out.weight)
            self.register_buffer("position", torch.arange(64.0))

        def forward(self, x):
            return self.out(self.norm(x).flatten(1) + self.position)
    register_model("mine", lambda net: Head())
    params, buffers = initialise(Net(name="mine", **SMALL), 3)
    assert not params["out.weight"].any() and bool((params["norm.weight"] == 1).all())
    assert torch.equal(buffers["position"], torch.arange(64.0))
    before = torch.random.get_rng_state()
    other = initialise(Net(name="mine", **SMALL), 4)[0]
    assert torch.equal(before, torch.random.get_rng_state()) and not torch.equal(other["out.bias"], params["out.bias"])


def test_a_data_set_that_is_registered_again_is_another_one(lab: Lab, digits, monkeypatch):
    spec = Train(dataset="mine", net=Net(name="convnet1", **SMALL), recipe=RECIPE)
    monkeypatch.setitem(DATASETS, "mine", lambda: digits)
    key = lab.key(spec)
    fewer = type(digits)("mine", digits.train.subset(slice(0, 640)), digits.test)
    DATASETS["mine"] = lambda: fewer
    assert lab.status([spec])[0].remaining == 1 and lab.key(spec) != key
    assert lab.dataset("mine") is not digits


def test_what_is_installed_anywhere_is_not_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Of a user's, a cluster's or a system's site-packages that lies outside the interpreter's own."""
    folder = tmp_path / "python3.11" / "site-packages" / "elsewhere"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("def f(): return 1")
    (tmp_path / "own_of_a_test.py").write_text("def f(): return 1")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(folder.parent)
    assert not is_user(importlib.import_module("elsewhere").f)
    assert is_user(importlib.import_module("own_of_a_test").f)


def test_an_installed_package_is_no_commit_of_the_repository_around_it(tmp_path: Path, monkeypatch):
    inside = tmp_path / "venv" / "lmcnb" / "lab" / "provenance.py"
    inside.parent.mkdir(parents=True)
    for words in (["init", "-q"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x", "--allow-empty"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    provenance = importlib.import_module("lmcnb.lab.provenance")
    monkeypatch.setattr(provenance, "__file__", str(inside))
    assert provenance.commit.__wrapped__() == "unknown"
