"""What distillation does differently off the CPU, and that it comes to the same."""
import pytest
import torch
from helpers import NET, made_up

from lmcnb import DC, DSA, IDC, Dataset
from lmcnb.kernel.recipe import seeded
from lmcnb.models import initialise

DATA = Dataset("made up", made_up(40, 5), made_up(40, 5))
IDC_TINY = IDC(ipc=1, outer=1, inner=1, real_batch=6, synthetic_batch=4)
METHODS = [IDC_TINY, DC(ipc=1, iterations=1, outer=1, real_batch=6), DSA(ipc=1, iterations=1, outer=1, real_batch=6)]


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.kind)
def test_any_number_of_classes_at_once_gives_one_gradient(method, monkeypatch):
    train, asked, found = DATA.train, [], []
    params = initialise(NET.but(classes=5), 0)[0]
    x = torch.rand(5, 1, 1, 8, 8, generator=seeded(0))
    for at_once in (1, 2, 5):
        monkeypatch.setattr(f"lmcnb.distill.{'idc' if method.kind == 'idc' else 'dc'}.classes_at_once",
                            lambda net, device, classes, images, n=at_once: asked.append((classes, images)) or n)
        found.append(method.sweep(train, NET.but(classes=5), params, x, seeded(1)))
    assert set(asked) == {(5, 6)}
    for grads, losses in found[1:]:
        torch.testing.assert_close(grads, found[0][0], rtol=1e-4, atol=1e-5 * float(grads.abs().max()))
        torch.testing.assert_close(losses, found[0][1], rtol=1e-4, atol=1e-6)
