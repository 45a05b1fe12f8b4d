"""However a stack is executed, the result is the same."""

import pytest
import torch
from helpers import BATCHNORM, NET, QUICK, apart, double, identical, made_up, random_masks, start

from lmcnb import Images, Net
from lmcnb.kernel import compiling, fused, strategies
from lmcnb.kernel.augment import AUGMENTS
from lmcnb.kernel.sizes import stack_size
from lmcnb.kernel.step import State
from lmcnb.kernel.strategies import STRATEGIES, settled, tiny
from lmcnb.kernel.training import evaluate, fit
from lmcnb.params import select

DATA = made_up(64, 10)


def both(net: Net, augment: str, exact: bool, sparse: bool, steps: int) -> tuple[State, State]:
    params, buffers = start(net, 0, 1, 2)
    data, masks = DATA, random_masks(net, params) if sparse else None
    if exact:
        data, params, buffers = double(data), double(params), double(buffers)
    recipe = QUICK.but(augment=augment, cutmix=0.7, epochs=10)
    return tuple(fit(net, params, buffers, data, recipe, [3, 4, 5], masks, strategy=s, stop=steps)
                 for s in ("loop", "vmap"))


@pytest.mark.parametrize(("net", "augment"), [*((NET, a) for a in sorted(AUGMENTS)),
                                              *((BATCHNORM, a) for a in ("dsa", "imagenet"))],
                         ids=lambda given: getattr(given, "name", given))
def test_stacked_equals_looped_in_float64(net: Net, augment: str):
    loop, vmap = both(net, augment, exact=True, sparse=True, steps=3)
    for part in ("params", "buffers", "momentum"):
        assert apart(getattr(loop, part), getattr(vmap, part)) < 1e-10
    torch.testing.assert_close(loop.losses, vmap.losses, rtol=0, atol=1e-6)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "masked"])
@pytest.mark.parametrize("net", [NET, BATCHNORM], ids=lambda n: n.name)
def test_stacked_equals_looped_in_float32(net: Net, sparse: bool):
    loop, vmap = both(net, "cifar", exact=False, sparse=sparse, steps=4)
    for part in ("params", "buffers"):
        assert apart(getattr(loop, part), getattr(vmap, part)) < 1e-5
    assert apart(loop.params, start(net, 0, 1, 2)[0]) > 1e-3


@pytest.mark.parametrize("strategy", ["loop", "vmap"])
def test_a_model_in_a_stack_ends_as_it_would_alone(strategy: str):
    params, buffers = double(start(NET, 0, 1, 2)[0]), {}
    together = fit(NET, params, buffers, double(DATA), QUICK, ["a", "b", "c"], strategy=strategy)
    alone = fit(NET, select(params, [1]), buffers, double(DATA), QUICK, ["b"], strategy=strategy)
    assert apart(select(together.params, [1]), alone.params) < 1e-12
    if strategy == "loop":
        assert identical(select(together.params, [1]), alone.params)


def test_models_with_one_init_and_two_seeds_part_and_with_one_seed_do_not():
    state = fit(NET, *start(NET, 0, 0, 0), DATA, QUICK, [1, 1, 2], strategy="vmap")
    assert apart(select(state.params, 0), select(state.params, 1)) < 1e-6
    assert apart(select(state.params, 0), select(state.params, 2)) > 1e-3


@pytest.mark.parametrize("net", [NET, BATCHNORM], ids=lambda n: n.name)
def test_evaluation_is_the_same_looped_and_stacked(net: Net):
    params, buffers = start(net, 0, 1)
    loop, vmap = (evaluate(net, params, buffers, DATA, strategy=s, batch=48) for s in ("loop", "vmap"))
    torch.testing.assert_close(loop.loss, vmap.loss, rtol=1e-6, atol=1e-6)
    assert torch.equal(loop.error, vmap.error)
    assert not torch.equal(loop.loss[0], loop.loss[1])


def test_the_compiled_step_equals_the_loop():
    net = Net(name="convnet1", channels=1, size=8, width=16)  # wide enough for our own convolution
    params, buffers = start(net, 0)
    masks = random_masks(net, params)
    recipe = QUICK.but(augment="flip_crop")
    loop, compiled = (fit(net, params, buffers, DATA, recipe, [0], masks, strategy=s)
                      for s in ("loop", "compiled"))
    assert apart(loop.params, compiled.params) < 1e-5 and apart(loop.momentum, compiled.momentum) < 1e-5
    assert all((compiled.params[n][~m] == 0).all() for n, m in masks.items())


def test_recipes_that_differ_in_length_rate_and_schedule_share_one_step(few: Images):
    strategies._step.cache_clear()
    for recipe in (QUICK, QUICK.but(epochs=3, lr=0.01, schedule="constant"), QUICK.but(momentum=0.5)):
        fit(NET, *start(NET, 0), few, recipe, [0], strategy="loop", stop=1)
    assert strategies._step.cache_info().misses == 2


def test_the_rule_asks_for_device_network_and_work_alone(monkeypatch):
    cpu, wide = torch.device("cpu"), Net(name="resnet10", width=4)
    monkeypatch.setattr(strategies, "can_compile", lambda: True)
    assert [settled(wide, cpu, steps) for steps in (10, 100_000)] == ["loop", "compiled"]
    assert settled(wide, cpu, 100, batch=64_000) == "compiled"
    small = Net(name="resnet10", width=1, size=8)
    assert settled(small, cpu, 10**9) == "loop"  # tiny: no training repays compiling it
    assert settled(NET, torch.device("cuda"), 1) == "graph"
    monkeypatch.setattr(strategies, "can_compile", lambda: False)
    assert settled(wide, cpu, 100_000) == "loop"
    for there in (True, False):
        monkeypatch.setattr(strategies, "fuses", lambda _, there=there: there)
        assert settled(Net(width=32), cpu, 1) == ("fused" if there else "loop")


def test_a_compiler_that_works_is_asked_once_a_machine_and_one_that_does_not_every_time(monkeypatch, tmp_path):
    asked, works = [], []
    monkeypatch.setattr(fused, "cache_root", lambda: tmp_path)

    def compiled(function):
        asked.append(function)
        return function if works else 1 / 0
    monkeypatch.setattr(compiling, "compiled", compiled)
    monkeypatch.setenv("CXX", "c++")
    try:
        for there, times in ((False, 1), (False, 2), (True, 3), (True, 3)):
            works[:] = [1] * there
            strategies.can_compile.cache_clear()  # as in a new process
            assert strategies.can_compile() is there and len(asked) == times
        monkeypatch.setenv("CXX", "another")
        strategies.can_compile.cache_clear()
        assert strategies.can_compile() and len(asked) == 4
    finally:
        strategies.can_compile.cache_clear()


def test_a_training_that_is_stopped_or_resumed_is_executed_as_the_whole_one(few: Images, monkeypatch):
    asked, rule = [], strategies.settled
    monkeypatch.setattr(strategies, "settled", lambda *a: asked.append(a) or rule(*a))
    state = fit(NET, *start(NET, 0), few, QUICK, [0], stop=2)
    fit(NET, *start(NET, 0), few, QUICK, [0], state=state)
    assert len(asked) == 2 and len(set(asked)) == 1


def test_operations_of_a_forward_pass():
    net = Net(name="convnet1", channels=1, size=8, width=4, classes=10)
    assert strategies.operations(net) == 2 * (4 * 9 * 64 + 4 * 16 * 10)


def test_masks_on_other_layers_are_another_step():
    params, _ = start(NET, 0)
    masks = random_masks(NET, params)
    one = dict(list(masks.items())[:1])
    shapes = {strategies._shape(DATA, params, m) for m in ({}, one, masks)}
    assert len(shapes) == 3


def test_evaluation_refuses_an_unknown_strategy():
    with pytest.raises(ValueError, match="unknown strategy 'fast'; known: auto, loop, fused, vmap, compiled"):
        evaluate(NET, *start(NET, 0), DATA, strategy="fast")


def test_a_gpu_takes_stacks_and_a_cpu_one_model_at_a_time():
    assert tiny(NET) and not tiny(Net())
    assert stack_size(torch.device("cpu"), NET, 64) == 1 and stack_size(torch.device("cuda"), NET, 64) > 1
    assert set(STRATEGIES) == {"loop", "fused", "vmap", "compiled", "graph"}
