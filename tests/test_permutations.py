"""What may change places: a permutation of it leaves a network's function, whoever wrote the network."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
import torchvision
from permuting import Apart, Attention, ViT, Written, conv, drawn
from torch import nn
from torch.func import functional_call

from lmcnb import Net, Networks
from lmcnb.models import MODELS, PermutationSpec, permutation_spec
from lmcnb.models import ViT as OurViT


def densely(net, x):
    x = net.a(x)
    return net.c(torch.cat([x, net.b(x).relu()], 1))


def padded(net, x):
    x = net.a(x)  # 2 channels
    return net.b(x) + nn.functional.pad(x, (0, 0, 0, 0, 1, 1))


def squeezed(net, x):
    x = net.a(x)
    return x * net.b(x.mean((2, 3), keepdim=True).relu()).sigmoid()


def gated(net, x):
    one, other = net.a(x).chunk(2, 1)
    return net.b(one * other.sigmoid())


def vgg() -> nn.Module:
    return nn.Sequential(conv(1, 4), nn.ReLU(), nn.MaxPool2d(2), conv(4, 6), nn.BatchNorm2d(6), nn.ReLU(),
                         nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 5), nn.Dropout(),
                         nn.Linear(5, 10))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 7), nn.ReLU(), nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 10))


def bottlenecks() -> nn.Module:
    return torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, [1, 1, 1, 1], 10)


def encoder() -> nn.Module:
    return torchvision.models.VisionTransformer(8, 4, 2, 2, 6, 12, num_classes=10)


def written(forward: Callable, **layers: tuple) -> Callable[[], nn.Module]:
    """Of layers by what makes them, and with what."""
    return lambda: Written(forward, **{name: kind(*args) for name, (kind, *args) in layers.items()})


def in_turn(net, x):
    for layer in list(net.children())[:-1]:
        x = layer(x)
    return x


VIT = 6 + 2 * (6 + 6 + 12)  # stream; of two blocks queries and keys, values, hidden units
# By name: what makes the module, or the network, and how many units of it may move in how many groups.
KINDS: dict[str, tuple[Callable[[], nn.Module] | Net, int, int]] = {
    "convnet": (Net(name="convnet2", channels=1, size=8, width=4), 8, 2),
    "resnet10": (Net(name="resnet10", channels=1, size=8, width=4), 2 * (4 + 8 + 16 + 32), 8),
    "resnetap10": (Net(name="resnetap10", channels=1, size=64, width=2), 2 * (2 + 4 + 8 + 16), 8),
    "mlp": (mlp, 12, 2),
    "vgg": (vgg, 15, 3),
    "torchvision's resnet": (bottlenecks, 2 * (64 + 128 + 256 + 512) + 256 + 512 + 1024 + 2048 + 64, 13),
    "torchvision's vit": (encoder, VIT, 5),
    "timm's vit": (ViT, VIT, 5),
    "timm's vit, written out": (partial(ViT, partial(Attention, fused=False)), VIT, 5),
    "the package's vit": (OurViT(channels=1, size=8, width=6, heads=2, patch=4, depth=2), 6 + 2 * (6 + 6 + 24), 5),
    "vit of three layers": (partial(ViT, Apart), VIT, 5),
    "vit of one head": (partial(ViT, heads=1), VIT, 7),
    "one convolution around which one goes": (written(lambda n, x: n.b(n.a(x)) + n.a(x), a=(conv, 1), b=(conv,)), 4, 1),
    "one layer twice": (written(lambda n, x: n.b(n.b(n.a(x)).relu()), a=(conv, 1), b=(conv,)), 4, 1),
    "dense": (written(densely, a=(conv, 1), b=(conv,), c=(conv, 8)), 4 + 4 + 4, 3),
    "depthwise": (written(in_turn, a=(conv, 1), b=(conv, 4, 4, 3, 4), c=(conv,)), 4 + 4, 2),
    "two from each channel": (written(in_turn, a=(conv, 1), b=(conv, 4, 8, 3, 4), c=(conv, 8)), 8, 2),
    "in groups": (written(in_turn, a=(conv, 1), b=(conv, 4, 4, 3, 2), c=(conv,)), 4, 1),
    "normalised in groups": (written(in_turn, a=(conv, 1), n=(nn.GroupNorm, 2, 4), b=(conv,)), 8, 2),
    "normalised in one group": (written(in_turn, a=(conv, 1), n=(nn.GroupNorm, 1, 4)), 4, 1),
    "padded with zeros": (written(padded, a=(conv, 1, 2), b=(conv, 2)), 4, 2),
    "squeezed and excited": (written(squeezed, a=(conv, 1), b=(conv, 4, 4, 1)), 4, 1),
    "gated": (written(gated, a=(conv, 1, 8), b=(conv,)), 8, 2),
    "slopes": (written(in_turn, a=(conv, 1), s=(nn.PReLU, 4)), 4, 1),
}
BLOCKED = {"normalised in groups": (2, 2), "timm's vit": (2, 3)}


def of(kind: Callable[[], nn.Module] | Net) -> tuple[Net, nn.Module]:
    """A network, of 8 × 8 pixels unless it says another size, and a module of it with numbers everywhere."""
    if isinstance(kind, Net):
        module, net = kind.module(), kind
    else:
        module = kind()
        first = next(m for m in module.modules() if isinstance(m, (nn.Conv2d, nn.Linear)))
        size = 32 if kind is bottlenecks else 8
        net = Networks.of(module).net.but(size=size, channels=getattr(first, "in_channels", 1))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.is_floating_point():  # variances, too: none may be negative
                tensor.copy_(0.1 + torch.rand(tensor.shape, generator=generator))
                tensor *= 1 if tensor.ndim < 2 else torch.randn(tensor.shape, generator=generator)
    return net, module.double().eval()


@pytest.fixture(params=KINDS, scope="module")
def kind(request) -> tuple[Net, nn.Module, PermutationSpec]:
    with torch.random.fork_rng():
        net, module = of(KINDS[request.param][0])
    return net, module, permutation_spec(net)


def test_a_permuted_network_computes_the_same(kind):
    net, module, spec = kind
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    x = torch.randn(3, net.channels, net.size, net.size, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        before = module(x)
        for seed in range(3):
            moved = spec.apply(tensors, drawn(spec, seed))
            assert any(not torch.equal(moved[n], t) for n, t in tensors.items())
            torch.testing.assert_close(functional_call(module, moved, (x,)), before, rtol=1e-9, atol=1e-9)
    assert float(before.std(0).max()) > 1e-3, "a network that tells images apart"


def test_all_that_may_move_is_found(kind, request):
    _, _, spec = kind
    name = request.node.callspec.params["kind"]
    units, groups = KINDS[name][1:]
    assert (sum(p.numel() for p in spec.parts.values()), len(spec.groups)) == (units, groups)
    assert spec.parts.keys() == {part for group in spec.groups for part in group}
    if name in BLOCKED:
        assert BLOCKED[name] in {tuple(p.shape) for p in spec.parts.values()}


def test_one_of_an_identity_and_back(kind):
    _, module, spec = kind
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    assert all(a is tensors[n] for n, a in spec.apply(tensors, spec.identity()).items())
    there = drawn(spec)
    back = spec.apply(spec.apply(tensors, there), {n: p.argsort() for n, p in there.items()})
    assert all(torch.equal(back[n], t) for n, t in tensors.items())


def test_a_specification_says_which_unit_each_index_is():
    spec = permutation_spec(of(vgg)[0])
    assert list(spec.parts) == ["0", "3", "9"] and spec.held == ()
    assert spec.axes["3.weight"][0].equal(spec.parts["3"].flatten()) and spec.axes["3.weight"][1].equal(
        spec.axes["0.weight"][0]) and spec.axes["3.weight"][2:] == (None, None)
    assert spec.axes["9.weight"][1].equal(spec.parts["3"].flatten().repeat_interleave(4)), "four pixels a channel"
    assert spec.axes["4.running_var"][0].equal(spec.parts["3"].flatten()) and "11.bias" not in spec.axes


def test_heads_move_as_blocks_with_what_is_inside():
    spec = permutation_spec(of(ViT)[0])
    pairs = [group for group in spec.groups if len(group) == 2]
    assert pairs == [("blocks.0.attn.qkv", "blocks.0.attn.qkv (2)"), ("blocks.1.attn.qkv", "blocks.1.attn.qkv (2)")]
    queries, values = (spec.parts[name] for name in pairs[0])
    out = spec.axes["blocks.0.attn.qkv.weight"][0].view(3, -1)
    assert out[0].equal(out[1]) and out[0].equal(queries.flatten()) and out[2].equal(values.flatten())
    assert spec.axes["blocks.0.attn.proj.weight"][1].equal(values.flatten())
    stream = spec.parts["patch_embed.proj"].flatten()
    for name, axis in (("cls_token", 2), ("pos_embed", 2), ("head.weight", 1), ("blocks.1.mlp.fc2.weight", 0)):
        assert spec.axes[name][axis].equal(stream)


def test_what_no_rule_knows_stays_and_is_named():
    def turned(net, x):
        x = torch.fft.fft(net.a(x), dim=1).real
        return net.b(net.c(x))
    spec = permutation_spec(of(written(turned, a=(conv, 1), c=(conv,), b=(conv,)))[0])
    assert list(spec.parts) == ["c", "b"] and spec.held == ("fft_fft",)
    with pytest.raises(ValueError, match="nothing in Written-.* is known to be exchangeable: its units pass through "
                                         "fft_fft; take align=None"):
        permutation_spec(of(written(lambda n, x: torch.fft.fft(n.a(x), dim=1).real, a=(conv, 1)))[0])


def test_mixed_tokens_stay():
    class Mixer(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.norm, self.tokens = nn.Conv2d(1, 4, 2, 2), nn.LayerNorm(4), nn.Linear(16, 16)
            self.hidden, self.head = nn.Linear(4, 6), nn.Linear(6, 10)

        def forward(self, x):
            x = self.embed(x).flatten(2).transpose(1, 2)
            x = x + self.tokens(self.norm(x).transpose(1, 2)).transpose(1, 2)
            return self.head(self.hidden(x).relu().mean(1))
    assert list(permutation_spec(of(Mixer)[0]).parts) == ["hidden"]


def test_a_network_that_cannot_be_followed_is_refused_in_a_sentence():
    def choosy(net, x):
        return net.a(x) if float(x.sum()) > 0 else net.a(-x)
    with pytest.raises(ValueError, match=r"could not be followed on an image of 1 × 8 × 8, so no permutation of it is"):
        permutation_spec(of(written(choosy, a=(conv, 1)))[0])


def test_every_network_of_the_package_has_one():
    for name in [n for n, build in MODELS.items() if build.__module__.startswith("lmcnb")]:
        if name.startswith(("convnet", "resnet")):
            assert permutation_spec(Net(name=name, size=64, width=4)).parts
