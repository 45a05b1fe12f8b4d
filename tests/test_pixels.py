"""A batch augmented in one pass is what :func:`apply` makes of the same draws, up to bfloat16's rounding."""

import pytest
import torch
from helpers import QUICK, made_up, start

from lmcnb import Net, Train
from lmcnb.data import normalise
from lmcnb.kernel import step
from lmcnb.kernel.augment import AUGMENTS, Augment, apply, augmentation, draw
from lmcnb.kernel.fused import library
from lmcnb.kernel.pixels import augmented, serves
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
    known = {name for name, kind in AUGMENTS.items() if serves(kind)}
    assert known == {"none", "flip_crop", "colour_crop", "cifar", "window"}


def test_trainings_in_bfloat16_of_networks_that_are_fused_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(step, "augmented", lambda *given: (calls.append(1), augmented(*given))[1])
    net = Net(name="convnet1", channels=1, size=8, width=8)
    params, data = start(net, 0)[0], made_up(64, 10)
    for precision, at_once in (("bf16", True), ("float32", False)):
        calls.clear()
        recipe = QUICK.but(precision=precision, augment="cifar", weight_decay=0.1 + at_once)  # no step made before
        fit(net, params, {}, data, recipe, [0], strategy="fused")
        assert bool(calls) is at_once
        held = execution(Train(net=net, recipe=recipe), torch.device("cpu"))["precision"]
        assert held == ("bf16, augmented at once" if at_once else "float32")
