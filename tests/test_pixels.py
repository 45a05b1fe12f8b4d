"""A batch augmented in one pass is what :func:`apply` makes of the same draws, up to bfloat16's rounding."""

import pytest
import torch
from helpers import BATCHNORM, QUICK, made_up, start
from torch import nn

from lmcnb import Net, Networks, Train
from lmcnb.data import normalise
from lmcnb.kernel import step
from lmcnb.kernel.augment import AUGMENTS, Augment, apply, augmentation, draw
from lmcnb.kernel.fused import library
from lmcnb.kernel.layers import fuses
from lmcnb.kernel.pixels import at_once, augmented
from lmcnb.kernel.recipe import seeded
from lmcnb.kernel.training import fit
from lmcnb.lab.keys import execution

pytestmark = pytest.mark.skipif(library() is None, reason="no C++ compiler")
EVERY = Augment(flip=True, colour=True, strength=0.5, geometry=("crop", "scale", "rotate", "window"), one_of=False)
BATCH, MEAN, STD = 9, torch.tensor([0.49, 0.48, 0.45]), torch.tensor([0.25, 0.24, 0.26])


def images(side: int, channels: int, dtype: torch.dtype) -> torch.Tensor:
    pixels = torch.randint(0, 256, (20, channels, side, side), generator=seeded(side), dtype=torch.uint8)
    return pixels if dtype == torch.uint8 else pixels.float() / 255


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=["uint8", "float32"])
@pytest.mark.parametrize(("side", "channels"), [(32, 3), (33, 3), (7, 1), (1, 1)])
@pytest.mark.parametrize("name", ["none", "flip_crop", "colour_crop", "cifar", "window", "every"])
def test_it_is_what_apply_makes_of_the_same_draws(name: str, side: int, channels: int, dtype: torch.dtype) -> None:
    x, mean, std = images(side, channels, dtype), MEAN[:channels], STD[:channels]
    kind = (EVERY if name == "every" else augmentation(name)).but(cutmix=0.7)
    for step_draws in draws_of(kind, side):
        index = torch.randint(0, len(x), (BATCH,), generator=seeded("index"))
        expected = apply(kind, normalise(x[index], mean, std), step_draws)
        found = augmented(kind, x, index, mean, std, step_draws)
        assert found.dtype == torch.bfloat16 and found.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(found.float(), expected, rtol=2 ** -8, atol=2e-5)


def draws_of(kind: Augment, side: int, steps: int = 4):
    drawn = draw(kind, steps, BATCH, side, seeded("draws", kind))
    return [{n: t[s] for n, t in drawn.items()} for s in range(steps)]


def test_parts_of_a_batch_are_the_whole() -> None:
    x, kind = images(12, 3, torch.uint8), augmentation("cifar", 1.0)
    (drawn, *_), index, before = draws_of(kind, 12), torch.arange(BATCH), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        whole = augmented(kind, x, index, MEAN, STD, drawn)
        torch.set_num_threads(3)
        assert torch.equal(whole, augmented(kind, x, index, MEAN, STD, drawn))
    finally:
        torch.set_num_threads(before)


def test_what_it_cannot_do_it_does_not_claim() -> None:
    net = Net(name="convnet1", channels=1, size=8, width=8)
    known = {name for name in AUGMENTS if at_once(net, QUICK.but(precision="bf16", augment=name))}
    assert known == {"none", "flip_crop", "colour_crop", "cifar", "window"}
    assert not at_once(net, QUICK) and not at_once(BATCHNORM, QUICK.but(precision="bf16"))


def test_a_network_of_ones_own_gets_its_images_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Networks.of([convnet()], made_up(64, 10)).net
    assert fuses(mine) and not at_once(mine, QUICK.but(precision="bf16"))
    held = execution(Train(net=mine, recipe=QUICK.but(precision="bf16")), torch.device("cpu"))
    assert held["precision"] == "bf16, plain attention"


def convnet() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.GroupNorm(8, 8), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(),
                         nn.Linear(8 * 16, 10))


def test_numbers_of_another_kind_and_order_are_read_as_what_they_are() -> None:
    kind, x = augmentation("cifar", 1.0), images(12, 3, torch.uint8)
    (drawn, *_), index = draws_of(kind, 12), torch.arange(BATCH)
    expected = augmented(kind, x, index, MEAN, STD, drawn)
    wide = {n: t.double() if t.is_floating_point() else t for n, t in drawn.items()}
    apart = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert torch.equal(expected, augmented(kind, apart, index, MEAN.double(), STD.double(), wide))


def test_trainings_in_bfloat16_of_networks_that_are_fused_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(step, "augmented", lambda *given: (calls.append(1), augmented(*given))[1])
    net = Net(name="convnet1", channels=1, size=8, width=8)
    params, data = start(net, 0)[0], made_up(64, 10)
    for precision, augment, fast in (("bf16", "cifar", True), ("bf16", "dsa", False), ("float32", "cifar", False)):
        calls.clear()
        recipe = QUICK.but(precision=precision, augment=augment)
        fit(net, params, {}, data, recipe, [0], strategy="fused")
        held = execution(Train(net=net, recipe=recipe), torch.device("cpu"))["precision"]
        assert (bool(calls), held) == (fast, precision + ", augmented at once" * fast)
