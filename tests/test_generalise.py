"""The lab's stages of generalisation: what they keep is what the kernels say, and keys cover the data they read."""

import copy
import shutil
from collections.abc import Callable

import pytest
import torch
from helpers import RECIPE, another, made_up

from lmcnb import Dataset, Lab, Net, Probe, Recipe, Robustness, Train, register_model
from lmcnb.data import DATASETS
from lmcnb.kernel.training import evaluate
from lmcnb.lab import shelf
from lmcnb.measure.corruptions import corrupt, spoilt
from lmcnb.measure.probe import fitted, probe

NET = Net(name="convnet2", channels=1, size=8, width=8)
TRAIN = Train(net=NET, recipe=Recipe(epochs=2, batch=32, lr=0.1, augment="none", cutmix=0))  # learns most digits
KINDS = ("gaussian_noise", "gaussian_blur")
ROBUST = Robustness(net=NET, model=TRAIN, corruptions=KINDS, severities=(1, 5), images=100)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """One store for all tests: they share a training."""
    return Lab("cpu", tmp_path_factory.mktemp("store"), progress=False)


def colours(seed: int = 0) -> Dataset:
    """Three classes of 12 × 12 RGB noise, each with a brighter channel of its own."""
    splits = [made_up(60, classes=3, channels=3, size=12, seed=s) for s in (seed, seed + 100)]
    for images in splits:
        images.x[torch.arange(60), images.y] |= 128
    return Dataset("colours", *splits)


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], str]:
    """Registers a data set of that seed under one name."""
    def register(seed: int = 0) -> str:
        monkeypatch.setitem(DATASETS, "colours-for-test", lambda: colours(seed))
        return "colours-for-test"
    return register


def test_robustness_is_the_accuracy_on_corrupted_images(lab: Lab):
    entry = lab.get(ROBUST)
    network = lab.load(TRAIN)
    test = lab.dataset("digits").test.subset(slice(0, 100))
    clean = evaluate(NET, network.params, network.buffers, test)
    assert entry.result["clean"] == {"accuracy": float(clean.accuracy[0]), "loss": float(clean.loss[0])}
    found = copy.deepcopy(entry.result["accuracy"])
    for name in KINDS:
        for severity in (1, 5):
            expected = evaluate(NET, network.params, network.buffers, corrupt(test, name, severity))
            assert found[name].pop(str(severity)) == float(expected.accuracy[0])
    assert found == {name: {} for name in KINDS}, "nothing else was measured"


def test_the_mean_is_over_severities_then_corruptions_and_all_images_are_the_default(lab: Lab):
    result = lab.get(ROBUST.but(images=None)).result
    assert result["clean"]["accuracy"] == lab.get(TRAIN).result["test_accuracy"]
    cells = [a for each in result["accuracy"].values() for a in each.values()]
    assert len(cells) == 4 and result["mean_accuracy"] == pytest.approx(sum(cells) / 4)
    blur = result["accuracy"]["gaussian_blur"]
    assert blur["5"] < blur["1"] - 0.05 < result["clean"]["accuracy"], "a strong blur must cost something"


def test_what_is_read_back_is_what_was_computed(lab: Lab):
    spec = ROBUST.but(images=50)
    assert lab.get(spec).result == another(lab).get(spec).result


def test_a_corrupted_test_set_is_made_once_for_all_models(lab: Lab, monkeypatch: pytest.MonkeyPatch):
    made = []
    monkeypatch.setattr(shelf, "spoilt", lambda *args: made.append(args[1:4]) or spoilt(*args))
    models = (TRAIN, TRAIN.but(recipe=RECIPE), TRAIN.but(recipe=RECIPE, init=1))
    specs = [ROBUST.but(model=m, seed=987) for m in models]
    one_by_one = Lab("cpu", lab.store.root, stack=1, progress=False)
    for spec in specs:
        one_by_one.get(spec)
    assert made == [(name, severity, 987) for name in KINDS for severity in (1, 5)]


def test_models_are_evaluated_as_one_stack(lab: Lab, tmp_path):
    specs = [ROBUST.but(model=m, seed=5) for m in (TRAIN, TRAIN.but(recipe=RECIPE, init=1))]
    assert len({s.group() for s in specs}) == 1 and specs[0].group() != specs[0].but(seed=1).group()
    together = [e.result for e in lab.map(specs)]
    assert together[0] != together[1]
    shutil.copytree(lab.store.root / "Train", tmp_path / "Train")
    alone = Lab("cpu", tmp_path, stack=1, progress=False)
    for spec, found in zip(specs, together):
        expected = alone.get(spec).result
        assert found["accuracy"] == expected["accuracy"]
        assert found["clean"]["loss"] == pytest.approx(expected["clean"]["loss"], rel=1e-5)


def test_models_at_any_step_are_one_stack(lab: Lab, tmp_path):
    shutil.copytree(lab.store.root / "Train", tmp_path / "Train", dirs_exist_ok=True)
    specs = [ROBUST.but(model=m, seed=6, images=20) for m in (TRAIN.at(1), TRAIN)]
    first, last = Lab("cpu", tmp_path, stack=4, progress=False).map(specs)
    assert first.result["clean"]["accuracy"] < last.result["clean"]["accuracy"]


def test_a_network_without_features_is_refused_before_it_is_trained(lab: Lab, tmp_path):
    net = register_and_make()
    with pytest.raises(ValueError, match="features are the input of a network's last linear layer"):
        Lab("cpu", tmp_path, progress=False).get(Probe(net=net, model=Train(net=net, recipe=RECIPE), target="digits"))
    assert not (tmp_path / "Train").exists()


def register_and_make() -> Net:
    @register_model("no-linear-layer")
    def build(net: Net):
        return torch.nn.Sequential(torch.nn.Conv2d(1, 10, 8), torch.nn.Flatten())
    return Net(name="no-linear-layer", channels=1, size=8)


def test_a_probe_is_that_of_the_fitted_target(lab: Lab, target):
    name = target()
    entry = lab.get(Probe(net=NET, model=TRAIN, target=name, train_images=50, test_images=40))
    data, source = colours(), lab.dataset("digits").train
    train, test = (fitted(images.subset(slice(0, n)), 1, 8, source=source)
                   for images, n in ((data.train, 50), (data.test, 40)))
    assert entry.result == {"accuracy": probe(lab.load(TRAIN), train, test), "classes": 3, "images": 50,
                            "test_images": 40}
    assert entry.result["accuracy"] > 0.4, "better than a guess among three"


def test_a_probes_key_covers_the_targets_data(lab: Lab, target):
    spec = Probe(net=NET, model=TRAIN, target=target(0))
    before = lab.key(spec)
    target(1)
    assert another(lab).key(spec) != before
    target(0)
    assert another(lab).key(spec) == before


def test_work_is_counted_in_forward_passes(lab: Lab, target):
    assert ROBUST.cost(lab.dataset) == pytest.approx(5 * 100 / 3)
    probed = Probe(net=NET, model=TRAIN, target=target(), test_images=30)
    assert probed.cost(lab.dataset) == pytest.approx((60 + 30) / 3)


@pytest.mark.parametrize(("stage", "changes", "message"), [
    (Robustness, {"corruptions": ("rain",)}, "unknown corruption 'rain'; known: brightness"),
    (Robustness, {"corruptions": ("saturate",)}, "saturate needs RGB images"),
    (Robustness, {"corruptions": ()}, "at least 1 value"),
    (Robustness, {"corruptions": KINDS, "severities": (0,)}, "severity must be one of 1, 2, 3, 4, 5; got 0"),
    (Robustness, {"corruptions": KINDS, "net": NET.but(width=5)}, "give both the same net and dataset"),
    (Probe, {"target": "digits", "net": NET.but(width=5)}, "give both the same net and dataset"),
    (Probe, {"target": "digits", "C": 0}, "greater than 0"),
])
def test_bad_settings_fail_before_any_work(stage: type, changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        stage(**{"net": NET, "model": TRAIN, **changes})


def test_an_unknown_target_is_named_before_the_training(lab: Lab):
    untrained = TRAIN.but(init=7)
    with pytest.raises(ValueError, match="unknown data set 'nowhere'; known: "):
        lab.get(Probe(net=NET, model=untrained, target="nowhere"))
    assert not lab.store.has("Train", lab.key(untrained))
