"""Sanity checks of masks: what each destroys, and what is found where the answer is known."""
import pytest
import torch
from helpers import identical
from torch import nn

import lmcnb
from lmcnb import Dataset, Images, Net, Networks, Recipe
from lmcnb.kernel import masks as _masks
from lmcnb.measure import overlap
from lmcnb.measure.sanity import CHECKS, GIVEN, Sanity

RECIPE = Recipe(epochs=2, batch=32, augment="none", cutmix=0)


def told_by_pixels(images: int, seed: int) -> Images:
    """Noise, in which the brightest of the first four pixels is the class."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 200, (images, 1, 4, 4), generator=draw, dtype=torch.uint8)
    y = torch.randint(0, 4, (images,), generator=draw)
    x.view(images, -1)[torch.arange(images), y] = 255
    return Images(x, y, torch.tensor([0.4]), torch.tensor([0.25]), 4)


DATA = Dataset("told by pixels", told_by_pixels(256, 0), told_by_pixels(300, 1))


@pytest.fixture(scope="module")
def linear() -> Networks:
    lmcnb.register_model("one layer", lambda net: nn.Sequential(nn.Flatten(), nn.Linear(net.size ** 2, net.classes)))
    return Networks.initialise(Net(name="one layer", channels=1, size=4, classes=4), seeds=range(5))


@pytest.fixture(scope="module")
def telling() -> dict[str, torch.Tensor]:
    """The weights from the pixels that tell the class to the classes."""
    return {"1.weight": torch.cat([torch.ones(4, 4), torch.zeros(4, 12)], 1) > 0}


@pytest.fixture(scope="module")
def found(linear: Networks, telling) -> Sanity:
    return lmcnb.sanity(linear, telling, DATA, RECIPE.but(epochs=4, lr=0.3))


def test_what_carries_the_information_matters_and_the_initialisation_does_not(found: Sanity):
    lines = dict(zip(CHECKS, found.verdict().splitlines()))
    assert all(line.startswith(check) and says in line for (check, says), line in zip(CHECKS.items(), lines.values()))
    assert ": matters, +" in lines["shuffled"] and ": matters, +" in lines["random labels"]
    assert "does not matter" in lines["re-initialised"].split(";")[0]
    assert found.difference("shuffled").low > 0.1 and found.difference("found again").mean < 0.05


def test_another_finding_on_true_labels_overlaps_and_one_on_random_labels_does_not(found: Sanity):
    shared = {check: values["overlap"].tolist() for check, values in found.found.items()}
    assert shared[GIVEN] == shared["re-initialised"] == [1] * 5
    assert min(shared["found again"]) > 0.5 > max(shared["random labels"])


def test_each_variant_is_what_plain_code_makes_of_it(linear: Networks, telling):
    found = lmcnb.sanity(linear, telling, DATA, RECIPE, checks=["random labels", "shuffled"], seeds=(3, 4),
                         alphas=[0, 1])
    assert list(found.found) == [GIVEN, "shuffled", "random labels"] and found.labels == tuple(range(5))
    given = linear.masked(telling)
    a, b = (given.train(DATA, RECIPE, seed).evaluate(DATA.test).error for seed in (3, 4))
    assert torch.allclose(found.found[GIVEN]["accuracy"], 1 - (a + b) / 2)
    assert torch.equal(found.found[GIVEN]["untrained"], 1 - given.evaluate(DATA.test).error)
    assert torch.equal(found.found[GIVEN]["rise"], torch.maximum(a, b) - (a + b) / 2), "of a path of its ends alone"


def test_a_finder_is_given_permuted_labels_one_permutation_a_network(linear: Networks, telling):
    seen = []

    def find(start: Networks, images: Images, seed: str) -> Networks:
        seen.append((start.labels, images, seed))
        return start.masked(telling)
    found = lmcnb.sanity(linear, telling, DATA, RECIPE, find=find, checks=["random labels", "found again"])
    assert [labels for labels, *_ in seen] == [*((k,) for k in range(5)), tuple(range(5))]
    permuted = [images for _, images, seed in seen if seed == "random labels"]
    for images in permuted:
        assert torch.equal(images.x, DATA.train.x) and not torch.equal(images.y, DATA.train.y)
        assert torch.equal(images.y.bincount(), DATA.train.y.bincount())
    assert not torch.equal(permuted[0].y, permuted[1].y) and torch.equal(seen[-1][1].y, DATA.train.y)
    assert all(torch.equal(v["accuracy"], found.found[GIVEN]["accuracy"]) for v in found.found.values())


def test_a_shuffled_mask_keeps_the_densities_of_its_layers(few: Images):
    start = Networks.initialise(Net.of(few, "convnet2", width=4), seeds=[0, 1])
    seen = {}

    def find(networks: Networks, images: Images, seed: str) -> Networks:
        return seen.setdefault(seed, lmcnb.prune_iteratively(networks, images, RECIPE, rounds=3, seed=seed)[-1])
    mine = find(start, few, "mine").masks
    found = lmcnb.sanity(start, mine, Dataset("few", few, few), RECIPE, find=find, checks=["shuffled", "found again"])
    assert torch.equal(found.found["found again"]["overlap"], overlap(mine, seen["found again"].masks))
    shuffled = found.found["shuffled"]["overlap"]
    assert shuffled.abs().max() < 0.25 and not identical(mine, seen["found again"].masks)


def test_chance_knows_the_densities_of_layers():
    draw = torch.Generator().manual_seed(0)
    like = {"a": torch.rand(50, 4000, generator=draw) < 0.9, "b": torch.rand(50, 4000, generator=draw) < 0.1}
    generators = [torch.Generator().manual_seed(k) for k in range(50)]
    shuffled = _masks.random_layerwise(like, generators)
    assert abs(float(overlap(like, shuffled).mean())) < 0.01, "by chance, though they share most weights of layer a"
    assert float(_masks.jaccard(like, shuffled).mean()) > 0.5


def test_by_default_masks_are_found_by_pruning_to_their_sparsity(linear: Networks, telling):
    found = lmcnb.sanity(linear, telling, DATA, RECIPE, checks=["found again"])
    again = lmcnb.prune_iteratively(linear, DATA, RECIPE, rounds=6, seed="found again", rate=1 - 0.25 ** (1 / 6))[-1]
    assert torch.equal(found.found["found again"]["overlap"], overlap(linear.masked(telling).masks, again.masks))
    assert again.sparsity.tolist() == [0.75] * 5


def test_modules_of_ones_own_start_anew_by_their_layers():
    torch.manual_seed(0)
    mine = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 4))
    start = Networks.of(mine, DATA)
    masks = {n: torch.rand_like(start.params[n]) < 0.5 for n in start.masks}
    state = torch.random.get_rng_state()
    found = lmcnb.sanity(start, masks, DATA, RECIPE, checks=["re-initialised"])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.equal(found.found["re-initialised"]["untrained"], found.found[GIVEN]["untrained"])
    again = lmcnb.sanity(start, masks, DATA, RECIPE, checks=["re-initialised"])
    assert torch.equal(found.found["re-initialised"]["accuracy"], again.found["re-initialised"]["accuracy"])


class Scaled(nn.Module):
    """A linear classifier with a weight that belongs to no layer."""

    def __init__(self):
        super().__init__()
        self.scale, self.layer = nn.Parameter(torch.ones(())), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * self.layer(x.flatten(1))


def test_what_cannot_start_anew_is_named_and_given():
    start, fresh = (Networks.of(Scaled(), DATA) for _ in range(2))
    masks = {"layer.weight": torch.arange(64).view(4, 16) % 2 > 0}
    with pytest.raises(ValueError, match=r"no layer can start anew \(scale\): give fresh"):
        lmcnb.sanity(start, masks, DATA, RECIPE)
    found = lmcnb.sanity(start, masks, DATA, RECIPE, checks=["re-initialised"], fresh=fresh)
    ends = [fresh.masked(masks).train(DATA, RECIPE, seed).evaluate(DATA.test).error for seed in (0, 1)]
    assert torch.allclose(found.found["re-initialised"]["accuracy"], 1 - sum(ends) / 2)
    assert "too close to call, +" in found.verdict() or "too close to call, -" in found.verdict(), "one network"


@pytest.mark.parametrize("options, says", [
    ({"checks": []}, "checks must be some of shuffled, re-initialised, random labels, found again; got none"),
    ({"checks": ["luck"]}, "got luck"),
    ({"seeds": (1, 1)}, "seeds must be two different ones")])
def test_bad_settings_are_named_before_anything_is_found(linear: Networks, telling, options: dict, says: str):
    def find(*_):
        raise AssertionError("long work")
    with pytest.raises(ValueError, match=says):
        lmcnb.sanity(linear, telling, DATA, RECIPE, find=find, **options)


@pytest.mark.parametrize("value, says", [(True, "must prune something"), (False, "must keep something")])
def test_masks_that_prune_nothing_or_everything_are_refused(linear: Networks, value: bool, says: str):
    with pytest.raises(ValueError, match=says):
        lmcnb.sanity(linear, {"1.weight": torch.full((4, 16), value)}, DATA, RECIPE)


def test_points_and_means_are_drawn(found: Sanity):
    from matplotlib import pyplot as plt

    ax = found.plot("rise", plt.figure().add_subplot())
    assert [t.get_text() for t in ax.get_yticklabels()] == [GIVEN, *CHECKS]
    drawn = [line.get_xdata() for line in ax.get_lines()]
    for points, mean, values in zip(drawn[::2], drawn[1::2], found.found.values()):
        assert list(points) == values["rise"].tolist() and mean.item() == pytest.approx(float(values["rise"].mean()))
    plt.close(ax.figure)
