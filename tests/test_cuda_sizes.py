"""What goes through a network at once off the CPU: rules of the network, and what they come to at full size."""
import pytest
import torch
from helpers import BATCHNORM, NET, identical, made_up, start

from lmcnb import Lab, Net
from lmcnb.kernel import sizes, strategies
from lmcnb.kernel.sizes import _Sizes, activations, classes_at_once, portion, stack_size
from lmcnb.kernel.training import evaluate
from lmcnb.lab.schedule import tasks
from lmcnb.params import select

CPU, GPU = torch.device("cpu"), torch.device("cuda")
FULL = [Net(), Net(name="resnet18"), Net(name="resnet10-imagenet", size=224), Net(name="resnetap10", size=224),
        Net(name="convnet5", size=224)]


def test_activations_of_a_forward_pass():
    net = Net(name="convnet1", channels=1, size=8, width=4)  # convolution, norm, ReLU, pooling, logits
    largest, kept = activations(net)
    assert largest == 4 * 4 * 64 and kept > 4 * (64 + 3 * 4 * 64 + 4 * 16 + 10)


def test_a_cpu_keeps_to_what_it_is_asked_for():
    large = Net(name="resnetap10", size=224)
    assert portion(large, CPU, 64, 500) == (64, 500)
    assert stack_size(CPU, NET, 64) == 1 == classes_at_once(NET, CPU, 10, 8)


@pytest.mark.parametrize("net", FULL, ids=lambda n: n.name)
@pytest.mark.parametrize("models", [1, 11, 64])
def test_no_activation_of_an_evaluation_is_larger_than_a_gibibyte(net: Net, models: int):
    many, images = portion(net, GPU, models, 500)
    params, buffers = ({n: t.expand(many, *t.shape) for n, t in named}
                       for named in (net.build().named_parameters(), net.build().named_buffers()))
    with torch.device("meta"), torch.no_grad(), _Sizes() as seen:
        strategies._score(net, "vmap", ())(params, buffers, torch.empty(images, net.channels, net.size, net.size),
                                           torch.empty(images, dtype=torch.int64))
    assert sizes.LARGEST / 4 < 4 * max(seen.found) <= sizes.LARGEST or (many, images) == (models, 500)


def test_a_stack_keeps_what_a_gpu_can_hold():
    assert [stack_size(GPU, net, 64) for net in (NET, *FULL)] == [16, 16, 16, 5, 2, 1]
    assert stack_size(GPU, Net(), 1024) < stack_size(GPU, Net(), 64)


def test_classes_are_matched_at_once_where_their_gradients_fit():
    assert [classes_at_once(net, GPU, 10, 90) for net in FULL] == [10, 10, 9, 2, 1]
    for net in FULL:
        taken = 12 * classes_at_once(net, GPU, 10, 90) * 90 * activations(net)[0]
        assert taken <= sizes.MATCHING or classes_at_once(net, GPU, 10, 90) == 1


@pytest.mark.parametrize("net", [NET, BATCHNORM], ids=lambda n: n.name)
def test_an_evaluation_in_portions_gives_the_same(net: Net, monkeypatch):
    data, (params, buffers) = made_up(70, 10), start(net, 0, 1, 2)
    whole = evaluate(net, params, buffers, data, batch=30)
    monkeypatch.setattr("lmcnb.kernel.training.portion", lambda net, device, models, images: (min(models, 2), 30))
    parts = evaluate(net, params, buffers, data, batch=500)
    assert identical(whole.loss, parts.loss) and identical(whole.error, parts.error)
    assert parts.loss[2] == evaluate(net, select(params, [2]), select(buffers, [2]), data).loss


def test_a_lab_stacks_by_what_a_step_holds(lab: Lab, monkeypatch):
    from helpers import TRAIN

    asked, specs = [], [TRAIN.but(seed=k) for k in range(5)]

    def sizes(lab: Lab) -> list[int]:
        return [len(stack) for stack in lab._stacks(tasks(specs, lab.key, lab.cost))]
    monkeypatch.setattr("lmcnb.lab.engine.stack_size", lambda *of: asked.append(of) or 2)
    assert sizes(lab) == [2, 2, 1]
    assert set(asked) == {(lab.device, TRAIN.net, TRAIN.recipe.batch)}
    assert sizes(Lab("cpu", lab.store.root, stack=5)) == [5]
    assert sizes(Lab("cpu", lab.store.root, stack=5, workers=2)) == [3, 2]
