"""The CUDA graph runner, on emulated graphs: a replayed segment is the launched one, and failing does no harm."""
import logging

import pytest
import torch
from cuda_emulation import Cuda, Graph
from helpers import BATCHNORM, NET, QUICK, apart, made_up, random_masks, start

from lmcnb import Net, Train
from lmcnb.kernel import graph, strategies
from lmcnb.kernel.capturable import capturable
from lmcnb.kernel.step import State
from lmcnb.kernel.training import fit
from lmcnb.models import MODELS, register_model

DATA = made_up(64, 10)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    found = Cuda()
    found.install(monkeypatch)
    return found


def fit_by_graph(monkeypatch, net, params, buffers, recipe, seeds, masks=None, most=16, **more) -> State:
    """:func:`fit` past the check for a CUDA device."""
    real = strategies._runner

    def run(net, recipe, data, state, masks, strategy, pruner=None):
        shape, inputs = strategies._shape(data, state.params, masks), (data.x, data.y, data.mean, data.std)
        neutral = strategies._neutral(recipe)
        return graph.replayed(strategies._step(net, neutral, "graph", shape), inputs, most, lambda: real(
            strategies._step(net, neutral, "loop", shape), "loop", torch.contiguous_format, inputs))
    with monkeypatch.context() as patch:
        patch.setattr("lmcnb.kernel.training.runner", run)
        return fit(net, params, buffers, DATA, recipe, seeds, masks, strategy="graph", **more)


@pytest.mark.parametrize(("net", "augment"), [
    *((NET, a) for a in ("none", "flip_crop", "cifar", "dsa_single", "imagenet")), (BATCHNORM, "cifar")],
    ids=lambda given: getattr(given, "name", given))
def test_a_replayed_segment_equals_the_launched_one(cuda: Cuda, monkeypatch, net: Net, augment: str):
    params, buffers = start(net, 0, 1)
    recipe = QUICK.but(augment=augment, cutmix=0.7, epochs=5, schedule="one_cycle")  # a rate of its own for every step
    masks = random_masks(net, params)
    real = fit(net, params, buffers, DATA, recipe, [3, 4], masks, strategy="loop", stop=4)
    found = fit_by_graph(monkeypatch, net, params, buffers, recipe, [3, 4], masks, stop=4)
    assert len(cuda.graphs) == 1 and cuda.graphs[0].replays == 4
    assert apart(real.params, found.params) < 1e-5 and apart(real.momentum, found.momentum) < 1e-5
    torch.testing.assert_close(real.losses, found.losses, rtol=1e-4, atol=1e-5)


def test_adamw_is_captured_too_and_asks_for_no_number(cuda: Cuda, monkeypatch):
    params, buffers = start(NET, 0, 1)
    recipe = QUICK.but(optimiser="adamw", lr=1e-3, epochs=3, schedule="linear", warmup=0.2)
    real = fit(NET, params, buffers, DATA, recipe, [3, 4], strategy="loop")
    found = fit_by_graph(monkeypatch, NET, params, buffers, recipe, [3, 4])
    assert len(cuda.graphs) == 1 and apart(real.params, found.params) < 1e-4
    torch.testing.assert_close(real.losses, found.losses, rtol=1e-3, atol=1e-4)


def test_nothing_is_copied_between_the_steps_of_a_segment(cuda: Cuda, monkeypatch):
    params, buffers = start(NET, 0)
    fit_by_graph(monkeypatch, NET, params, buffers, QUICK, [0])
    copied = []
    monkeypatch.setattr(graph, "_copy", lambda old, new: copied.append(len(old)))
    monkeypatch.setattr(Graph, "replay", lambda self: copied.append("replay"))
    fit_by_graph(monkeypatch, NET, params, buffers, QUICK, [0])
    assert copied.index("replay") == len(copied) - QUICK.steps(len(DATA))


def test_one_capture_serves_other_weights_masks_seeds_and_lengths(cuda: Cuda, monkeypatch):
    recipe = QUICK.but(epochs=5)
    for seeds, steps in (([1, 2], 4), ([5, 6], 2)):
        params, buffers = start(NET, *seeds)
        masks = random_masks(NET, params, seed=seeds[0])
        real = fit(NET, params, buffers, DATA, recipe, seeds, masks, strategy="loop", stop=steps)
        found = fit_by_graph(monkeypatch, NET, params, buffers, recipe, seeds, masks, stop=steps)
        assert apart(real.params, found.params) < 1e-5 and found.losses.shape == (2, steps)
    assert len(cuda.graphs) == 1


def test_a_capture_with_fewer_masked_layers_is_not_reused(cuda: Cuda, monkeypatch):
    params, buffers = start(NET, 0, 1)
    masks = random_masks(NET, params)
    fit_by_graph(monkeypatch, NET, params, buffers, QUICK, [0, 1], dict(list(masks.items())[:1]), stop=1)
    end = fit_by_graph(monkeypatch, NET, params, buffers, QUICK, [0, 1], masks, stop=1)
    assert all((end.params[n][~m] == 0).all() for n, m in masks.items())


def test_a_large_stack_is_trained_in_parts(cuda: Cuda, monkeypatch):
    params, buffers = start(BATCHNORM, 0, 1, 2)
    real = fit(BATCHNORM, params, buffers, DATA, QUICK, [0, 1, 2], strategy="loop")
    found = fit_by_graph(monkeypatch, BATCHNORM, params, buffers, QUICK, [0, 1, 2], most=2)
    assert apart(real.params, found.params) < 1e-5 and apart(real.buffers, found.buffers) < 1e-5
    torch.testing.assert_close(real.losses, found.losses, rtol=1e-4, atol=1e-5)
    assert len(cuda.graphs) == 2, "one of two networks and one of one"


def test_few_graphs_are_kept_and_share_one_pool(cuda: Cuda, monkeypatch):
    params, buffers = start(NET, 0)
    recipes = [QUICK.but(weight_decay=d) for d in (0, 1e-3, 1e-2)]
    for recipe in (*recipes, recipes[0]):
        real = fit(NET, params, buffers, DATA, recipe, [0], strategy="loop")
        assert apart(real.params, fit_by_graph(monkeypatch, NET, params, buffers, recipe, [0]).params) < 1e-5
    assert len(cuda.graphs) == 4 and len({id(g.shared) for g in cuda.graphs}) == 1
    assert [g.tape is None for g in cuda.graphs] == [True, True, False, False]


def test_a_failed_capture_leaves_the_stream_and_ends_capturing(cuda: Cuda, monkeypatch, caplog):
    """It is the last one of the process; the training goes on without."""
    monkeypatch.setattr(Graph, "capture_end", lambda self: self.__exit__(None, None, None) or 1 / 0)
    caplog.set_level(logging.WARNING)
    params, buffers = start(NET, 0, 1)
    for decay in (0, 1e-3):
        recipe = QUICK.but(weight_decay=decay)
        loop = fit(NET, params, buffers, DATA, recipe, [0, 1], strategy="loop")
        found = fit_by_graph(monkeypatch, NET, params, buffers, recipe, [0, 1])
        assert apart(loop.params, found.params) == 0
    assert cuda.streams == ["current"] and len(cuda.graphs) == 1
    assert "capturing a step as a CUDA graph failed (division by zero); its steps are launched one by" in caplog.text
    assert "a capture has failed in this process, so none is made (division by zero)" in caplog.text


def test_a_step_that_waits_for_the_device_is_not_captured(cuda: Cuda, monkeypatch, caplog):
    real = strategies._step

    def waiting(net, recipe, strategy, *rest):
        step = real(net, recipe, strategy, *rest)

        def run(params, *rest):
            if strategy == "graph":
                bool(next(iter(params.values())).sum() > 0)
            return step(params, *rest)
        return run
    monkeypatch.setattr(strategies, "_step", waiting)
    params, buffers = start(NET, 0)
    loop = fit(NET, params, buffers, DATA, QUICK, [0], strategy="loop")
    assert apart(loop.params, fit_by_graph(monkeypatch, NET, params, buffers, QUICK, [0]).params) == 0
    assert not cuda.graphs and not graph._failures and cuda.watch is None
    assert "a step cannot be captured as a CUDA graph (waits for the device: aten._local_scalar_dense" in caplog.text
    assert cuda.streams[0] == "current" and strategies.settled(NET, torch.device("cuda"), 1) == "graph"


def test_too_little_memory_is_told_before_a_capture(cuda: Cuda, monkeypatch):
    """By rule and not by free memory is what changes bits: it raises."""
    cuda.free, cuda.peak = 11 * 2 ** 30, 10 * 2 ** 30
    with pytest.raises(torch.OutOfMemoryError, match=r"12.0 GiB of GPU memory, and 11.0 are free.*Lab\(stack=…\)"):
        fit_by_graph(monkeypatch, NET, *start(NET, 0), QUICK, [0])
    assert not cuda.graphs and not graph._failures


class InPlace(torch.nn.Linear):
    def forward(self, x):
        found = torch.zeros(len(x), self.out_features, device=x.device)
        return found.add_(super().forward(x.flatten(1)))  # vmap has no place for the stack in it


class Constant(torch.nn.Linear):
    def forward(self, x):
        return super().forward(x.flatten(1)) * torch.linspace(1, 2, 10).to(x.device)


class Scalar(torch.nn.Linear):
    def forward(self, x):
        return super().forward(x.flatten(1)) * torch.tensor(2.0)  # a single number, which a launch carries


@pytest.mark.parametrize(("layer", "expected"), [(InPlace, False), (Constant, False), (Scalar, True)])
def test_what_can_be_captured_is_a_rule_of_the_network(layer, expected, monkeypatch):
    from lmcnb.lab.keys import execution

    monkeypatch.setattr("lmcnb.models.net.MODELS", dict(MODELS))
    register_model("mine", lambda net: layer(64, net.classes))
    mine, gpu = Net(name="mine", channels=1, size=8), torch.device("cuda")
    assert capturable(mine) is expected
    assert strategies.settled(mine, gpu, 1) == ("graph" if expected else "loop")
    assert execution(Train(net=mine, recipe=QUICK), gpu)["mode"] == ("graph" if expected else "eager")
    fit(mine, *start(mine, 0), DATA, QUICK, [0], strategy="loop", stop=1)


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"vit"}))  # which tests/test_vit.py holds
def test_every_network_of_the_package_can_be_captured(name: str):
    assert capturable(Net(name=name, size=64, width=4))
