"""Vision transformers: networks like any other, and what timm would make of the same weights."""

import json
from pathlib import Path

import pytest
import torch
from helpers import apart, double, made_up, random_masks
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from lmcnb import Dataset, Images, Net, Networks, Recipe, Train, prune_iteratively
from lmcnb.kernel.capturable import capturable
from lmcnb.kernel.training import evaluate, fit
from lmcnb.measure.hessian import HessianOperator
from lmcnb.models import ViT
from lmcnb.params import select
from lmcnb.spec import SettingError

TINY = ViT(channels=1, size=8, classes=10, width=12, depth=2, heads=2, patch=4)
RECIPE = Recipe(epochs=1, batch=16, lr=1e-3, optimiser="adamw", weight_decay=0.05, augment="window", cutmix=0)
SEEDS = ["train/0/0", "train/0/1"]


@pytest.fixture(scope="module")
def images() -> Images:
    return made_up(64, 10)


def timms(net: ViT, side: int) -> nn.Module:
    return VisionTransformer(img_size=side, patch_size=net.patch, in_chans=net.channels, num_classes=net.classes,
                             embed_dim=net.width, depth=net.depth, num_heads=net.heads).eval()


def test_it_is_timms_network_on_enlarged_images_with_its_own_normalisation() -> None:
    net = TINY.but(resolution=16, mean=(0.3,), std=(0.2,))
    networks, peer = Networks.initialise(net), timms(net, 16)
    peer.load_state_dict(select(networks.params, 0))
    x = torch.rand(5, 1, 8, 8)
    seen = nn.functional.interpolate((x - 0.5) / 0.5, size=(16, 16), mode="bilinear")
    with torch.no_grad():
        torch.testing.assert_close(networks.modules()[0]((x - 0.3) / 0.2), peer(seen), rtol=1e-4, atol=1e-5)


def test_only_the_blocks_are_pruned_unless_all_is_asked_for() -> None:
    assert all(n.startswith("blocks.") and n.endswith("weight") for n in TINY.prunable) and len(TINY.prunable) == 8
    assert TINY.count() == 2 * (3 + 1 + 4 + 4) * 12 ** 2
    everything = TINY.but(pruned="all")
    assert set(everything.prunable) - set(TINY.prunable) == {"patch_embed.proj.weight", "head.weight"}


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "masked"])
def test_a_stack_is_trained_as_its_networks_alone(images: Images, sparse: bool) -> None:
    """In float64, where Adam's first steps do not amplify rounding."""
    start, data = Networks.initialise(TINY, [0, 1]), double(images)
    masks = random_masks(TINY, start.params) if sparse else None
    found = {s: fit(TINY, double(start.params), {}, data, RECIPE, SEEDS, masks, strategy=s) for s in ("loop", "vmap")}
    alone = fit(TINY, double(start[1:].params), {}, data, RECIPE, SEEDS[1:],
                masks and {n: m[1:] for n, m in masks.items()}, strategy="loop")
    assert apart(found["loop"].params, found["vmap"].params) < 1e-6
    assert apart(select(found["loop"].params, 1), select(alone.params, 0)) == 0
    for n, m in (masks or {}).items():
        assert (found["loop"].params[n][~m] == 0).all() and (found["loop"].params[n][m] != 0).all()


@pytest.mark.parametrize(("changes", "strategy", "near"), [
    ({"precision": "bf16"}, "loop", 0.05),
    pytest.param({}, "compiled", 1e-4, marks=pytest.mark.slow),  # half a minute to compile
], ids=["bf16", "compiled"])
def test_in_bfloat16_and_compiled_it_is_the_same_network(images: Images, changes: dict, strategy: str, near: float
                                                         ) -> None:
    start, recipe = Networks.initialise(TINY.but(depth=1)), RECIPE.but(optimiser="sgd", lr=0.05)
    plain = fit(start.net, start.params, {}, images, recipe, SEEDS[:1], strategy="loop")
    other = fit(start.net, start.params, {}, images, recipe.but(**changes), SEEDS[:1], strategy=strategy)
    assert 0 < apart(plain.params, other.params) < near


def test_hessian_products_go_through_attention(images: Images) -> None:
    network = Networks.initialise(TINY.but(depth=1, width=4, heads=1))
    H = HessianOperator(network, images.first(8))
    module, names = network.modules()[0], network.net.prunable
    weights = [module.get_parameter(n) for n in names]
    with nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH):
        loss = nn.functional.cross_entropy(module(images.first(8).normalised()), images.y[:8])
        grads = torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights, create_graph=True)])
        v = torch.randn(len(grads), generator=torch.Generator().manual_seed(0))
        expected = torch.cat([g.flatten() for g in torch.autograd.grad(grads @ v, weights)])
    torch.testing.assert_close(H @ v, expected, rtol=1e-3, atol=1e-5)


def test_rounds_rewind_it_exactly_and_it_is_scored_alike_in_any_stack(images: Images) -> None:
    start = Networks.initialise(TINY, [0, 1])
    first, _, last = prune_iteratively(start, images, RECIPE, rounds=2)
    assert float(last.sparsity[0]) == pytest.approx(0.36, abs=0.001)
    for n, p in last.params.items():
        kept = last.masks.get(n, torch.ones_like(p, dtype=torch.bool))
        assert torch.equal(p[kept], first.params[n][kept])
    assert evaluate(TINY, last.params, {}, images).loss[1] == evaluate(TINY, last[1:].params, {}, images).loss[0]


def test_a_gpu_could_capture_it() -> None:
    assert capturable(TINY)


def test_weights_come_from_a_file_and_a_seed_means_another_head(tmp_path: Path) -> None:
    peer = timms(TINY, 16)
    save_file({n: t.half() for n, t in peer.state_dict().items()}, tmp_path / "mine.safetensors")
    net = TINY.but(resolution=16, classes=3, weights=str(tmp_path / "mine.safetensors"))
    networks = Networks.initialise(net, [0, 1])
    for n, t in peer.named_parameters():
        found = networks.params[n]
        if n.startswith("head."):
            assert found.shape[1] == 3 and (n == "head.bias" or not torch.equal(found[0], found[1]))
        else:
            assert torch.equal(found[0], t.half().float()) and torch.equal(found[0], found[1])
    elsewhere = tmp_path / "moved.safetensors"
    elsewhere.write_bytes((tmp_path / "mine.safetensors").read_bytes())
    assert net.but(weights=str(elsewhere)).key == net.key != net.but(weights=None, digest="").key
    smaller = Networks.initialise(net.but(resolution=8))
    assert smaller.params["pos_embed"].shape == (1, 1, 5, 12), "resampled to four patches"


def test_the_pretrained_network_knows_what_it_learnt(cifar10: Dataset) -> None:
    """ImageNet's ViT-Ti/16 without training: images of one class lie nearer to each other than to others'."""
    try:
        net = ViT.of(cifar10.train, resolution=160, weights="vit_tiny_patch16_224.safetensors")
    except SettingError as error:
        pytest.skip(str(error))
    module, data = Networks.initialise(net).modules()[0], cifar10.test.first(100)
    module.head = nn.Identity()
    with torch.no_grad():
        features = nn.functional.normalize(module(data.normalised()), dim=1)
    similar = features @ features.T - 2 * torch.eye(len(features))
    right = float((data.y[similar.argmax(1)] == data.y).float().mean())
    assert right > 0.5, f"nearest neighbours share the class in {right:.0%}"


@pytest.mark.parametrize(("changes", "message"), [
    ({"patch": 3}, "patches of 3 pixels do not divide a resolution of 8"),
    ({"resolution": 10}, "do not divide a resolution of 10"),
    ({"heads": 5}, "heads must divide width"),
    ({"mean": (0.5,)}, "mean and std go together"),
    ({"weights": "nowhere.safetensors"}, "no file .*nowhere.safetensors; .*'timm' downloads them"),
    ({"digest": "abc"}, "digest is of weights"),
])
def test_bad_settings_are_named(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TINY.but(**changes)


def test_a_plain_net_is_no_transformer() -> None:
    with pytest.raises(ValueError, match="settings of its own"):
        Net(name="vit", size=16, channels=1)


def test_another_networks_weights_are_refused(tmp_path: Path) -> None:
    save_file(dict(timms(TINY.but(depth=1), 8).state_dict()), tmp_path / "small.safetensors")
    with pytest.raises(ValueError, match="does not hold the weights of this network"):
        Networks.initialise(TINY.but(weights=str(tmp_path / "small.safetensors")))


def test_plain_attention_trains_a_stack_in_bfloat16(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without :func:`rounded_attention` the formula mixes precisions, and torch finds no gradient."""
    from contextlib import nullcontext

    net, recipe = TINY.but(depth=1), RECIPE.but(precision="bf16")
    start = Networks.initialise(net, [0, 1])

    def losses(strategy: str) -> torch.Tensor:
        with torch.profiler.profile() as profile:
            found = fit(net, start.params, {}, images, recipe, SEEDS, strategy=strategy).losses
        assert not any("flash" in event.name for event in profile.events()), "whose gradient is slow"
        return found
    torch.testing.assert_close(losses("vmap"), losses("loop"), rtol=0.02, atol=0.02)
    monkeypatch.setattr("lmcnb.kernel.step.rounded_attention", nullcontext)
    with pytest.raises(RuntimeError, match="expected scalar type"):
        losses("vmap")


def test_what_a_store_holds_of_it_is_rebuilt_where_the_weights_lie_among_the_data(tmp_path: Path, monkeypatch) -> None:
    """A store knows weights by their digest alone; the network, by its settings."""
    from lmcnb.lab.inventory import rebuilt

    net = TINY
    file = tmp_path / "mine.safetensors"
    save_file({n: t.contiguous() for n, t in net.module().state_dict().items()}, file)
    train = Train(net=net.but(weights=str(file)), recipe=RECIPE, seed=1)
    settings = json.loads(train.canonical())
    assert rebuilt("Train", json.loads(train.but(net=net).canonical())) == train.but(net=net), "without weights"
    monkeypatch.setenv("LMCNB_DATA", str(tmp_path / "data"))
    with pytest.raises(ValueError, match="digest is of weights, and no file in LMCNB_DATA is of"):
        rebuilt("Train", settings)
    (tmp_path / "data").mkdir()
    file.rename(tmp_path / "data" / "renamed.safetensors")
    found = rebuilt("Train", settings)
    assert found.key == train.key and type(found.net) is ViT
    assert torch.equal(found.net.module().cls_token, Networks.initialise(found.net).params["cls_token"][0])
