"""What many tests need: tiny networks, a stack of them, and ways to compare."""

import torch
from torch import Tensor, nn

from lmcnb import IDC, Images, Lab, Net, Networks, RandomReal, Recipe, Study
from lmcnb.models import MODELS, initialise
from lmcnb.params import Params, stack
from lmcnb.stages import Ticket, Train

NET = Net(name="convnet3", channels=1, size=8, width=4)
BATCHNORM = Net(name="resnet10", channels=1, size=8, width=4)
QUICK = Recipe(epochs=1, batch=32, lr=0.05, augment="flip_crop", cutmix=0.5)
RECIPE = Recipe(epochs=0.5, batch=64, lr=0.05, augment="flip_crop")  # ten steps of the digits
SETS = {"idc": IDC(ipc=2, outer=2, inner=2, net_steps=2, real_batch=8, synthetic_batch=8),
        "random images": RandomReal(ipc=2, factor=2)}
STUDY = Study(net=NET, recipe=RECIPE, prune_steps=10, sets=SETS, points=3, train_images=200, test_images=100)
TRAIN = Train(net=NET, recipe=RECIPE)
IMP = Ticket(net=NET, recipe=RECIPE, round=1)


def another(lab: Lab, **options) -> Lab:
    """A new session on the same store."""
    return Lab("cpu", lab.store.root, progress=False, **options)


def start(net: Net, *seeds: int) -> tuple[Params, Params]:
    """Stacked parameters and buffers of freshly initialised networks."""
    params, buffers = zip(*[initialise(net, s) for s in seeds], strict=True)
    return stack(params), stack(buffers)


def networks(net: Net, *seeds: int) -> Networks:
    """Freshly initialised networks."""
    return Networks.initialise(net, seeds)


def double(values):
    """float64 copy of images or of a dictionary of tensors; integers stay."""
    if isinstance(values, Images):
        x = values.x.double() / 255 if values.x.dtype == torch.uint8 else values.x.double()
        return Images(x, values.y, values.mean.double(), values.std.double(), values.classes)
    return {n: t.double() if t.is_floating_point() else t for n, t in values.items()}


def module(net: Net, params: Params, buffers: Params) -> nn.Module:
    """A plain module with these numbers (no model axis)."""
    built = MODELS[net.name](net).to(next(iter(params.values())).dtype)
    built.load_state_dict({**params, **buffers})
    return built


def random_masks(net: Net, params: Params, seed: int = 0, density: float = 0.5) -> Params:
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.rand(params[n].shape, generator=generator) < density for n in net.prunable}


def apart(a: Params, b: Params) -> float:
    """Largest difference between two dictionaries of tensors with the same names."""
    assert a.keys() == b.keys()
    return max((float((a[n].double() - b[n].double()).abs().max()) for n in a), default=0.0)


def identical(a: Params | Tensor, b: Params | Tensor) -> bool:
    """Whether all bytes are the same."""
    if isinstance(a, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    return a.keys() == b.keys() and all(identical(a[n], b[n]) for n in a)


def made_up(count: int = 40, classes: int = 2, channels: int = 1, size: int = 8, seed: int = 0) -> Images:
    """Noise with labels, ``count`` images, classes in turn."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 256, (count, channels, size, size), generator=generator, dtype=torch.uint8)
    mean, std = torch.full((channels,), 0.5), torch.full((channels,), 0.25)
    return Images(x, torch.arange(count) % classes, mean, std, classes)
