"""What users get wrong is told in words that name it, before anything is computed."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lmcnb
from lmcnb.distill import METHODS
from lmcnb.lab.store import StoreError
from lmcnb.profiles import parse_yaml
from lmcnb.tables import Table

DATA = lmcnb.load("digits").first(train=64, test=50)
START = lmcnb.Networks.initialise(lmcnb.Net.of(DATA, "convnet2", width=4), 0)
RECIPE = lmcnb.Recipe(epochs=1, batch=32)
ANY: Any = None
X, Y = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8), np.arange(20) % 4


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.sub_(0.1).flatten(1))


class Bytes(lmcnb.Method):
    kind: str = "bytes, in a test"
    shape: tuple[int, ...] = (10, 1, 1, 8, 8)
    scale: float = 255.0

    def distill(self, data, net, seed, **_):
        return self.result(data, self.scale * torch.rand(self.shape), data_points=0)


METHODS.pop("bytes, in a test")  # which lists of methods elsewhere need not have


def arrays(**other: Any) -> lmcnb.Dataset:
    return lmcnb.Dataset.from_arrays("mine", **{"x_train": X, "y_train": Y, "x_test": X[:8], "y_test": Y[:8]} | other)


def distilled(**settings: Any) -> object:
    return Bytes(ipc=1, **settings).distill(DATA, START.net, 0)


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "trained already": (lambda: lmcnb.instability(START.train(DATA, RECIPE), DATA, RECIPE), "at step 2, the end"),
    "trained already, sanity": (
        lambda: lmcnb.sanity(START.train(DATA, RECIPE), {n: torch.rand(m.shape) > 0.5 for n, m in START.masks.items()},
                             DATA, RECIPE, checks=["shuffled"]), "at step 2, the end"),
    "three seeds": (lambda: lmcnb.instability(START, DATA, RECIPE, seeds=ANY or (0, 1, 2)), "seeds must be two"),
    "one seed": (lambda: lmcnb.instability(START, DATA, RECIPE, seeds=ANY or 2), "seeds must be two"),
    "rounds": (lambda: lmcnb.instability(ANY or [START, START], DATA, RECIPE), r"take one of them, as rounds\[-1\]"),
    "modules": (lambda: lmcnb.path(ANY or START.modules()[0], START, DATA), "a must be Networks; got a .*Networks.of"),
    "files": (lambda: lmcnb.Networks.of(ANY or ["a.pt"], net=START.net), "got str: read a file with torch.load"),
    "evaluated on a data set": (lambda: START.evaluate(ANY or DATA), "give data.test or data.train"),
    "a set": (lambda: lmcnb.prune_iteratively(START, ANY or lmcnb.RandomReal(ipc=1).distill(DATA, START.net, 0),
                                              RECIPE), "got a Distilled: give its .decoded()"),
    "rounds below 0": (lambda: lmcnb.prune_iteratively(START, DATA, RECIPE, rounds=-1), "rounds must be a whole"),
    "half a round": (lambda: lmcnb.prune_iteratively(START, DATA, RECIPE, rounds=ANY or 1.5), "rounds must be a whole"),
    "all pruned": (lambda: lmcnb.prune_iteratively(START, DATA, RECIPE, sparsity=1.0), "sparsity must lie"),
    "after rounds below 0": (lambda: lmcnb.sparsity_after(-1), "rounds must be 0 or more"),
    "channels first": (lambda: arrays(x_train=X.transpose(0, 3, 1, 2)), r"give x.transpose\(0, 2, 3, 1\)"),
    "labels from 1": (lambda: arrays(y_train=Y + 1, y_test=Y[:8] + 1), "no image has label 0, the first is 1"),
    "a flat channel": (lambda: DATA.normalised_by([0], [0]), "std must be above 0"),
    "by truth": (lambda: START[ANY or [True]], "by their positions"),
    "rate and sparsity": (lambda: lmcnb.prune_iteratively(START, DATA, RECIPE, rate=0.5, sparsity=0.9), "not both"),
    "two sizes": (lambda: arrays(x_test=X[:8, :6, :6]), "training images of 3 × 8 × 8 and test images of 3 × 6 × 6"),
    "a loader": (lambda: lmcnb.Dataset.from_torch("mine", torch.utils.data.DataLoader(ANY or [1]), []),
                 "train is a DataLoader"),
    "samples by name": (lambda: lmcnb.Dataset.from_torch("mine", [{"image": 1}], []), "must hold pairs.*got a dict"),
    "a folder": (lambda: lmcnb.load("."), "write 'folder:.'"),
    "bytes": (distilled, "pixels must be in units of 0…1.*divide them by 255"),
    "stacked": (lambda: distilled(shape=(20, 1, 8, 8), scale=1.0), r"pixels must be \[classes, ipc, C, H, W\]"),
    "claimed": (lambda: lmcnb.claim("A", "…", [1.0, 2.0], claimed=ANY or "smaller"), "known: below, above"),
    "paths without names": (
        lambda: Table.of_path(lmcnb.path(START, START, DATA, [0, 1]), [{}, {}]), "1 paths need as many names; got 2"),
    "no such column": (lambda: Table.of([{"quantity": "x", "value": 1.0}]).intervals(), "unknown column 'method'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_words(case: str):
    make, words = REFUSED[case]
    with pytest.raises(ValueError, match=words):
        make()


def test_a_store_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="is a file: name a folder"):
        lmcnb.Lab(store=tmp_path / "file")


@pytest.mark.parametrize("inference", [False, True])
def test_a_network_that_changes_its_input_does_not_change_that_of_the_next(inference: bool):
    lmcnb.register_model("in place, in a test", lambda net: InPlace())
    module = InPlace()
    with torch.inference_mode(inference):
        own = lmcnb.Networks.of([module, module], DATA)
        registered = lmcnb.Networks.initialise(lmcnb.Net.of(DATA, "in place, in a test"), [0, 1])
        for networks in (own, registered):
            alone = [float(one.evaluate(DATA.test).loss) for one in networks]
            assert networks.evaluate(DATA.test).loss.tolist() == alone
        expected = nn.functional.cross_entropy(module(DATA.test.normalised()), DATA.test.y)
        assert own.evaluate(DATA.test).loss.tolist() == pytest.approx([float(expected)] * 2, rel=1e-5)


def test_tensors_and_lists_are_arrays():
    given = arrays(x_train=torch.from_numpy(X), y_train=torch.from_numpy(Y), y_test=Y[:8].tolist())
    assert given.fingerprint == arrays().fingerprint


def test_what_is_shown_is_short():
    path = lmcnb.path(START, START, DATA, [0, 1])
    assert repr(path) == "LinearPath(1 × 2 α, test error rises by 0.0 points)"
    assert repr(DATA) == "Dataset(digits: 64 training and 50 test images of 1 × 8 × 8, 10 classes)"
    assert repr(DATA.test) == "Images(50 of 1 × 8 × 8, 10 classes)"
    distilled = lmcnb.RandomReal(ipc=1).distill(DATA, START.net, 0)
    assert repr(distilled) == "Distilled(10 images of 1 × 8 × 8, factor 1, 10 classes)"
    assert len(repr(replace(DATA, name="x" * 40))) < 120


def test_several_paths_of_one_label_are_one_entry_of_the_legend():
    from matplotlib import pyplot as plt

    path = lmcnb.path(lmcnb.Networks.join([START, START]), lmcnb.Networks.join([START, START]), DATA, [0, 1])
    ax = path.plot(label="mine", color="C1", ax=plt.figure().add_subplot())
    assert ax.get_legend_handles_labels()[1] == ["mine"] and {line.get_color() for line in ax.lines} == {"C1"}
    plt.close("all")


@pytest.mark.parametrize(("text", "value"), [("10", 10), ("-3", -3), ("0", 0), ("1_000", 1000), ("010", "010"),
                                             ("1:30", "1:30"), ("1:30.5", "1:30.5"),
                                             ("0x10", 16), ("1e-3", 0.001), ("1.5", 1.5), ("-.5e2", -50.0)])
def test_whole_numbers_are_those_of_python(text: str, value: object):
    assert parse_yaml(text, "a test") == value
