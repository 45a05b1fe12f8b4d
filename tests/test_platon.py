"""PLATON, against a plain loop written from the paper."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from lmcnb import Dataset, Images, Net, Networks, Recipe
from lmcnb.kernel.recipe import order
from lmcnb.kernel.training import fit
from lmcnb.prune.platon import Platon, PlatonPruner, largest, ranked

RECIPE = Recipe(epochs=10, batch=32, lr=2e-3, momentum=0.9, weight_decay=0.01, schedule="constant",
                optimiser="adamw", augment="none", cutmix=0)
PLATON = Platon(ratio=0.2, window=5, begin=0.1, end=0.2)
SEED = "train/0/0"


@pytest.fixture(scope="module")
def start(digits: Dataset) -> Networks:
    return Networks.initialise(Net.of(digits.train, "convnet2", width=4), seeds=[0, 1])


def pruned(start: Networks, few: Images, platon: Platon = PLATON, recipe: Recipe = RECIPE, **options):
    pruner = PlatonPruner.on(platon, start.net)
    seeds = [f"train/0/{k}" for k in range(len(start))]
    return fit(start.net, start.params, start.buffers, few, recipe, seeds, pruner=pruner, **options)


def by_hand(start: Networks, few: Images, platon: Platon, optimiser) -> dict[str, torch.Tensor]:
    """The algorithm of the paper, with the counts of :meth:`Platon.kept_ratio`, on a plain module."""
    module, steps = start.modules()[0].train(), RECIPE.steps(len(few))
    own = {n: p for n, p in module.named_parameters() if n in start.net.prunable}
    update = optimiser(module.parameters())
    window, mean, spread = ({n: torch.zeros_like(p) for n, p in own.items()} for _ in range(3))
    for t, index in enumerate(order(SEED, 0, steps, len(few), RECIPE.batch)):
        update.zero_grad()
        cross_entropy(module(few.normalised(index)), few.y[index]).backward()
        update.step()
        with torch.no_grad():
            for n, p in own.items():
                now = (p * p.grad).abs()
                if t % platon.window == 0:
                    mean[n] = platon.beta1 * mean[n] + (1 - platon.beta1) * window[n]
                    spread[n] = platon.beta2 * spread[n] + (1 - platon.beta2) * (window[n] - mean[n]).abs()
                    window[n] = now
                else:
                    window[n] = (window[n] * (t % platon.window) + now) / (t % platon.window + 1)
            if platon.masks_at(t, steps):
                scores = torch.cat([(mean[n] * (spread[n] if platon.beta2 < 1 else 1)).flatten() if
                                    platon.score == "platon" else p.abs().flatten() for n, p in own.items()])
                count = round(len(scores) * platon.kept_ratio(t, steps))
                dropped = scores.argsort(descending=True)[count:]
                flags = torch.ones(len(scores), dtype=torch.bool)
                flags[dropped] = False
                for p, flag in zip(own.values(), flags.split([p.numel() for p in own.values()])):
                    p *= flag.view_as(p)
    return {n: p.detach() for n, p in own.items()}


@pytest.mark.parametrize("platon", [PLATON, PLATON.but(beta2=1.0), PLATON.but(score="magnitude")],
                         ids=["platon", "importance alone", "magnitude"])
def test_it_is_the_papers_algorithm(start: Networks, few: Images, platon: Platon) -> None:
    found = pruned(start[:1], few, platon, RECIPE.but(optimiser="sgd", momentum=0.0, weight_decay=0.0, lr=0.05))
    expected = by_hand(start[:1], few, platon, lambda p: torch.optim.SGD(p, lr=0.05))
    count = sum(p.numel() for p in expected.values())
    assert sum(int((p != 0).sum()) for p in expected.values()) == round(0.2 * count)
    for n, p in expected.items():
        assert torch.equal(found.params[n][0] != 0, p != 0), f"{n} is masked elsewhere"
        torch.testing.assert_close(found.params[n][0], p, rtol=1e-3, atol=1e-5)


def test_stacked_alone_and_resumed_are_one(start: Networks, few: Images) -> None:
    together, alone = pruned(start, few), pruned(start[:1], few)
    vmapped = pruned(start, few, strategy="vmap")
    half = pruned(start, few, stop=23)
    resumed = pruned(start, few, state=half)
    for n, p in together.params.items():
        assert torch.equal(p[0], alone.params[n][0]) and torch.equal(p, resumed.params[n])
    same = [(together.params[n] != 0) == (vmapped.params[n] != 0) for n in start.net.prunable]
    assert sum(float(s.float().sum()) for s in same) / sum(s.numel() for s in same) > 0.97
    for name in ("flips", "removed"):
        assert torch.equal(together.momentum[name], resumed.momentum[name])
        assert (together.momentum[name] > 0).any(1).all() and together.momentum[name].shape[1] == 8 + 11


def test_the_kept_ratio_falls_as_a_cubic_between_begin_and_end() -> None:
    steps = 100
    ratios = [PLATON.kept_ratio(t, steps) for t in range(steps)]
    assert ratios[:11] == [1.0] * 11 and ratios[81:] == [0.2] * 19
    assert ratios[45] == pytest.approx(0.2 + 0.8 * 0.5 ** 3)
    assert all(a >= b for a, b in zip(ratios, ratios[1:]))
    masks = [t for t in range(steps) if PLATON.masks_at(t, steps)]
    assert masks == [*range(15, 81, 5), *range(81, 100)]


def test_counts_are_exact_with_ties() -> None:
    scores = {"a": torch.tensor([[0.0, 0, 2], [1, 1, 3]]), "b": torch.tensor([1.0, 0, 1])}
    for keep in range(10):
        found, stacked = largest(scores, keep), ranked(scores, torch.tensor(keep))
        assert sum(int(m.sum()) for m in found.values()) == keep
        assert all(torch.equal(found[n], stacked[n]) for n in scores)
    assert all(m.all() for m in ranked(scores, torch.tensor(-1)).values())


@pytest.mark.parametrize(("changes", "message"), [
    ({"ratio": 0.0}, "ratio"), ({"ratio": 1.5}, "ratio"), ({"begin": 0.5, "end": 0.5}, "leave some of it between"),
])
def test_bad_settings_are_named(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Platon(**changes)


def test_a_window_longer_than_the_training_is_refused() -> None:
    with pytest.raises(ValueError, match="window is 50 steps, and of 60 only 42"):
        Platon(window=50, begin=0.1, end=0.2).check(60)
    Platon(window=42, begin=0.1, end=0.2).check(60)
