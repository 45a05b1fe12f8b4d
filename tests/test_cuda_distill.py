"""What distillation does differently off the CPU, and that it comes to the same."""
import pytest
import torch
import torch.nn.functional as F
from cuda_emulation import Names, meta_images
from helpers import NET, made_up

from lmcnb import DC, DM, DSA, IDC, MTT, Dataset, Net, Recipe
from lmcnb.kernel import augment, warp
from lmcnb.kernel.augment import AUGMENTS, Augment, draw
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


ADDED_ATOMICALLY = {"grid_sampler_2d_backward", "upsample_bilinear2d_backward", "scatter_add", "scatter_add_", "put_",
                    "upsample_nearest2d_backward", "index_add", "index_add_"}
EXPERT = Recipe(epochs=2, schedule="constant", augment="dsa_single", cutmix=0)
GRADIENTS = {
    "idc": lambda train, net, params: IDC(ipc=1, outer=1, inner=1).sweep(
        train, net, params, torch.empty(4, 1, 1, 32, 32, device="meta"), seeded(0)),
    "dsa": lambda train, net, params: DSA(ipc=1, factor=2, iterations=1).sweep(
        train, net, params, torch.empty(4, 1, 1, 32, 32, device="meta"), seeded(0)),
    "dm": lambda train, net, params: DM(ipc=1, factor=3, iterations=1).gradient(
        train, net, torch.empty(4, 1, 1, 32, 32, device="meta"), "0"),
    "mtt": lambda train, net, params: MTT(ipc=1, factor=2, steps=2, iterations=1, zca=None, max_start=1, ahead=1,
                                          expert=EXPERT).gradient(
        train, net, torch.empty(4, 1, 32, 32, device="meta"), torch.empty((), device="meta"),
        lambda _: {n: p.expand(3, *p.shape) for n, p in params.items()}, "0", None),
}


@pytest.mark.parametrize("method", GRADIENTS)
def test_no_gradient_of_pixels_is_added_in_the_order_of_threads(method: str):
    net = Net(channels=1, width=2, classes=4)
    params, _ = initialise(net, 0, "meta")
    with Names() as names:
        GRADIENTS[method](meta_images(net), net, params)
    assert "convolution_backward" in names.found and not names.found & ADDED_ATOMICALLY


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("kinds", [("crop",), ("scale",), ("rotate",), ("crop", "scale", "rotate"), ("resized_crop",)],
                         ids="+".join)
def test_a_product_of_matrices_warps_as_a_look_up_does(kinds, size: int):
    kind = Augment(flip=True, geometry=kinds, one_of=False)
    affine = draw(kind, 1, 7, size, seeded(0))["affine"][0].double()
    x = torch.rand(7, 2, size, size, generator=seeded(1), dtype=torch.float64, requires_grad=True)
    weights = torch.rand(7, 2, size, size, generator=seeded(2), dtype=torch.float64)
    looked_up = augment._warped(x, affine, "border" if kind.stays_inside else "zeros")
    product = warp.warped(x, affine, turned="rotate" in kinds, whole=kind.whole_pixels, border=kind.stays_inside)
    torch.testing.assert_close(product, looked_up, rtol=0, atol=1e-6)
    each = [torch.autograd.grad((found * weights).sum(), x)[0] for found in (looked_up, product)]
    torch.testing.assert_close(*each, rtol=0, atol=1e-6)


def test_a_shift_by_whole_pixels_moves_them_as_they_are():
    kind = AUGMENTS["match"]
    affine = draw(kind, 1, 20, 32, seeded(0))["affine"][0]
    x = torch.rand(20, 3, 32, 32, generator=seeded(1))
    assert torch.equal(warp.warped(x, affine, turned=False, whole=True, border=False), augment._moved(x, affine))


@pytest.mark.parametrize(("size", "side"), [(8, 4), (32, 11), (9, 3)])
def test_a_product_of_matrices_enlarges_as_interpolation_does(size: int, side: int):
    x = torch.rand(3, 2, side, side, generator=seeded(0), dtype=torch.float64)
    found = F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)
    torch.testing.assert_close(warp.enlarged(x, size), found, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.kind)
def test_a_method_has_the_same_gradient_by_matrices(method, monkeypatch):
    net, x = NET.but(classes=5), torch.rand(5, 1, 1, 8, 8, generator=seeded(0))
    params, found = initialise(net, 0)[0], []
    for there in (False, True):
        for place in ("lmcnb.distill.base", "lmcnb.kernel.augment"):
            monkeypatch.setattr(f"{place}.by_matrices", lambda *_, there=there, **__: there)
        found.append(method.sweep(DATA.train, net, params, x, seeded(1))[0])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5 * float(found[0].abs().max()))


def test_a_cpu_looks_up(monkeypatch):
    for place in ("distill.base.enlarged", "kernel.augment.warped"):
        monkeypatch.setattr(f"lmcnb.{place}", lambda *_, **__: pytest.fail("a CPU's bits have changed"))
    net, method = NET.but(classes=5), METHODS[0].but(factor=2)
    method.sweep(DATA.train, net, initialise(net, 0)[0], torch.rand(5, 1, 1, 8, 8), seeded(1))
