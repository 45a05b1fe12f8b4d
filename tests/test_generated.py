"""Generated images: the same for a seed, written once, and neither trivial nor impossible to tell apart."""

from pathlib import Path

import numpy as np
import pytest

from lmcnb import generate_images, load
from lmcnb.data import IMAGENET10


def test_generated_images_are_a_data_set_that_says_what_it_is(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("LMCNB_DATA", str(tmp_path))
    name = generate_images(size=64, train=3, test=2)
    data = load(name)
    assert name == "imagenet10:64:generated-64px-3-2-seed0" and name in data.name
    assert (len(data.train), len(data.test), data.classes, data.train.shape) == (30, 20, 10, (3, 64, 64))
    assert data.note == "generated images, not ImageNet"
    assert not list(tmp_path.glob(".*"))  # nothing half-written
    assert load(generate_images(str(tmp_path / "mine"), train=3, test=2)).fingerprint == data.fingerprint


def test_a_seed_generates_the_same_images_and_another_seed_others(tmp_path: Path, monkeypatch):
    prints = []
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        monkeypatch.setenv("LMCNB_DATA", str(tmp_path / folder))
        prints.append(load(generate_images(train=2, test=2, seed=seed)).fingerprint)
    assert prints[0] == prints[1] != prints[2]


def test_the_first_generated_images_do_not_depend_on_how_many_there_are(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("LMCNB_DATA", str(tmp_path))
    few, more = (generate_images(train=n, test=1).split(":")[2] for n in (1, 2))
    path = Path("train") / IMAGENET10[5] / f"{IMAGENET10[5]}_00000.png"
    assert (tmp_path / few / path).read_bytes() == (tmp_path / more / path).read_bytes()


def test_generated_images_are_written_once_and_never_over_anything_else(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("LMCNB_DATA", str(tmp_path))
    folder = generate_images(train=1, test=1).split(":")[2]
    times = [p.stat().st_mtime_ns for p in sorted((tmp_path / folder).rglob("*"))]
    generate_images(train=1, test=1)
    assert times == [p.stat().st_mtime_ns for p in sorted((tmp_path / folder).rglob("*"))]
    with pytest.raises(ValueError, match="delete it.*another folder"):
        generate_images(folder, train=2, test=1)
    (tmp_path / "imagenet10").mkdir()
    with pytest.raises(ValueError, match="delete it.*another folder"):
        generate_images("imagenet10", train=1, test=1)
    assert not list((tmp_path / "imagenet10").iterdir())


@pytest.mark.parametrize(("settings", "message"), [
    ({"train": 0}, r"train must be .*; got 0"), ({"size": 48}, "multiple of 32"), ({"seed": -1}, "seed must"),
    ({"test": "few"}, "test must"), ({"size": 32_000}, "size must"),
])
def test_generator_settings_out_of_range_are_refused(settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        generate_images(**settings)


def test_generated_classes_differ_and_vary():
    """A plain classifier on a few colour and edge statistics beats chance by far and stays far from perfect."""
    from lmcnb.data.generated import picture

    def about(label: int, k: int) -> np.ndarray:
        x = picture(label, 64, np.random.default_rng([7, label, k]))[:64, :64] / 255.0
        return np.concatenate([x[16:48, 16:48].mean((0, 1)), x.std((0, 1)), abs(np.diff(x, axis=0)).mean((0, 1))])
    from sklearn.neighbors import KNeighborsClassifier

    labels = np.repeat(np.arange(10), 30)
    x = np.array([about(label, k) for label in range(10) for k in range(30)])
    x = (x - x.mean(0)) / x.std(0)
    train = np.arange(len(x)) % 30 < 20
    accuracy = KNeighborsClassifier(5).fit(x[train], labels[train]).score(x[~train], labels[~train])
    assert 0.2 < accuracy < 0.9


def test_shapes_are_drawn_the_same_every_time_in_ten_balanced_classes():
    data = load("shapes")
    assert data.train.shape == (3, 12, 12) and data.classes == 10 and data.fingerprint == load("shapes").fingerprint
    assert data.train.y.bincount().tolist() == [50] * 10 and data.test.y.bincount().tolist() == [100] * 10
    seen = {x.numpy().tobytes() for x in data.train.x} | {x.numpy().tobytes() for x in data.test.x}
    assert len(seen) == 1500, "no picture is in both parts"


def test_two_trainings_of_a_dense_network_on_shapes_end_in_two_minima():
    """What the set is for: measured over four initialisations the rises were .30 to .40 nats."""
    import lmcnb

    data = load("shapes")
    recipe = lmcnb.Recipe(epochs=12, batch=16, lr=0.2, schedule="one_cycle", augment="none", cutmix=0)
    start = lmcnb.Networks.initialise(lmcnb.Net.of(data.train, "convnet2", 8), [0])
    path = lmcnb.instability(start, data, recipe, seeds=(0, 1))
    assert float(path.barrier("train_loss")) > 0.2 and float(path.test_error[0, 0]) < 0.7
