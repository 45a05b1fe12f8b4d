"""Vision transformers: timm's, from scratch or with weights that were trained before."""
from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ..data import Dataset, Images, located, training
from ..data.folders import known_sha256, of_digest
from ..data.untrusted import Damaged, read_pt, read_safetensors
from ..spec import SettingError
from .net import MODELS, Net

TIMM = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"  # which ViT-Ti/16 timm has weights for


class ViT(Net):
    """A vision transformer (Dosovitskiy et al., 2021) as timm builds and names it: by default ViT-Ti/16.

    Images of ``size`` pixels are enlarged (bilinear) to ``resolution`` inside the network, so that data, augmentation
    and store keep the size of the data set. Without dropout and stochastic depth.

    Args:
        width: of the tokens (192). depth, heads, patch: blocks, attention heads, pixels of a patch's side.
        resolution: pixels that the patches are cut from; None: those of the images.
        weights: "timm", or a file of a state dict in timm's names (safetensors or .pt; a relative path begins here, in
            LMCNB_DATA or at the project). All but the head are taken from it, position embeddings resampled to the
            resolution, and a seed of initialisation means a new head. None: from scratch.
        digest: of the weights, filled in: it is in the key of every result, where the file lies is not.
        mean, std: of the images' normalisation, which is undone: pretrained weights want (x − ½) / ½. None: as is.
        pruned: which weights pruning may touch: "blocks" (qkv, projection, fc1, fc2: PLATON's), or "all" linear
            layers and convolutions.
    """

    name: str = "vit"
    width: int | None = Field(default=192, ge=1)
    depth: int = Field(default=12, ge=1)
    heads: int = Field(default=3, ge=1)
    patch: int = Field(default=16, ge=1)
    resolution: int | None = Field(default=None, ge=1)
    weights: str | None = Field(default=None, exclude=True)
    digest: str = ""
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    pruned: Literal["blocks", "all"] = "blocks"

    @classmethod
    def of(cls, data: Dataset | Images, name: str = "vit", width: int | None = 192, **settings: Any) -> ViT:
        """The network for these images: channels, size, classes and normalisation are theirs. Raises ValueError."""
        images = training(data)
        base = Net.of(images, "convnet1")
        pixels: dict[str, Any] = {n: tuple(round(float(v), 6) for v in getattr(images, n)) for n in ("mean", "std")}
        return cls(name=name, channels=base.channels, size=base.size, classes=base.classes, width=width,
                   **pixels | settings)

    def model_post_init(self, _) -> None:
        if self.weights is not None:
            now = _digest(self.weights)
            if self.digest not in ("", now):
                raise SettingError(f"weights {self.weights} have the digest {now[:12]}…, not {self.digest[:12]}…: the "
                                   f"file is another one, or was changed. Leave digest out to take it as it is")
            object.__setattr__(self, "digest", now)
        elif self.digest:
            if (found := _found(self.digest)) is None:
                raise SettingError(f"digest is of weights, and no file in LMCNB_DATA is of {self.digest[:12]}…: say "
                                   f"where they are")
            object.__setattr__(self, "weights", found)

    @property
    def prunable(self) -> tuple[str, ...]:
        names = super().prunable
        return tuple(n for n in names if n.startswith("blocks.")) if self.pruned == "blocks" else names


def _vit(net: Net) -> nn.Module:
    if not isinstance(net, ViT):
        raise ValueError("a vision transformer has settings of its own: make it with lmcnb.models.ViT(…) or ViT.of(…)")
    _check(net)
    module = _transformer()(net)
    if net.weights is not None and not module.cls_token.is_meta:
        _load(module, net.weights, net.digest)
    return module


def _check(net: ViT) -> None:
    side = net.resolution or net.size
    if side % net.patch:
        raise ValueError(f"patches of {net.patch} pixels do not divide a resolution of {side}: choose one that is a "
                         f"multiple of {net.patch}, or another patch")
    if (net.width or 192) % net.heads:
        raise ValueError(f"heads must divide width: got {net.heads} heads and a width of {net.width}")
    if (net.mean is None) != (net.std is None):
        raise ValueError("mean and std go together: give both, or neither")
    if net.mean and net.std and not len(net.mean) == len(net.std) == net.channels:
        raise ValueError(f"mean and std need a number for each of {net.channels} channels; got {len(net.mean)} and "
                         f"{len(net.std)}")


class _Patches(nn.Conv2d):
    """A convolution whose kernels lie side by side; in bfloat16 on a CPU a matrix product, three times as fast."""

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        side = self.kernel_size[0]
        patches = x.unflatten(3, (-1, side)).unflatten(2, (-1, side)).permute(0, 2, 4, 1, 3, 5)  # B, rows, columns, …
        return F.linear(patches.flatten(3), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


@cache
def _transformer() -> type[nn.Module]:
    """timm is large: it is loaded where it is needed."""
    from timm.models.vision_transformer import VisionTransformer

    class Transformer(VisionTransformer):
        """timm's, of images that it enlarges and whose normalisation it changes first."""

        def __init__(self, net: ViT):
            side = net.resolution or net.size
            super().__init__(img_size=side, patch_size=net.patch, in_chans=net.channels, num_classes=net.classes,
                             embed_dim=net.width or 192, depth=net.depth, num_heads=net.heads,
                             weight_init="skip" if torch.get_default_device().type == "meta" else "")
            self.side, self.mean, self.std = side, net.mean, net.std
            self.patch_embed.proj.__class__ = _Patches

        def forward(self, x: Tensor, *_: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
            if self.mean is not None and self.std is not None:  # channel by channel: a graph holds no constant tensor
                parts = [c * (2 * s) + (2 * m - 1) for c, m, s in zip(x.unbind(1), self.mean, self.std)]
                x = torch.stack(parts, 1)
            if self.side != x.shape[-1]:
                x = F.interpolate(x, size=(self.side, self.side), mode="bilinear", align_corners=False)
            return super().forward(x)
    return Transformer


def _load(module: nn.Module, weights: str, digest: str) -> None:
    from timm.models.vision_transformer import checkpoint_filter_fn

    own = module.state_dict()
    filtering: Callable[..., Any] = checkpoint_filter_fn
    there = filtering(dict(_read(weights, digest)), module)
    found = {n: t.float() for n, t in there.items() if not n.startswith("head.")}
    missing = [n for n in own if not n.startswith("head.") and (n not in found or found[n].shape != own[n].shape)]
    if missing:
        raise ValueError(f"{weights} does not hold the weights of this network (first {missing[0]}): set width, depth, "
                         f"heads, patch and channels to those of the file")
    module.load_state_dict(own | {n: t for n, t in found.items() if n in own})


@lru_cache(maxsize=2)
def _read(weights: str, digest: str) -> dict[str, Tensor]:
    """The state dict of a file with that digest, or timm's own after a download."""
    if weights == "timm":
        return _downloaded()
    path = located(weights)
    if _digest(weights) != digest:
        raise ValueError(f"{weights} was changed since the network was made of it: make the network anew")
    try:
        return read_safetensors(path)[0] if path.suffix == ".safetensors" else read_pt(path)
    except Damaged as error:
        raise ValueError(f"{weights} is no readable state dict: {error}") from None


def _downloaded() -> dict[str, Tensor]:
    import timm

    try:
        return timm.create_model(TIMM, pretrained=True).state_dict()
    except Exception as error:  # whatever a network or a hub raises
        raise FileNotFoundError(
            f"timm could not download {TIMM} ({type(error).__name__}). Run once with a network, or name a file of "
            f"these weights: weights='NAME.safetensors', here or in LMCNB_DATA") from error


def _digest(weights: str) -> str:
    if weights == "timm":
        return f"timm:{TIMM}"
    path = located(weights)
    if not path.is_file():
        raise SettingError(f"weights: no file {path}; a relative path begins here, in LMCNB_DATA or at the project, "
                           f"and 'timm' downloads them")
    return known_sha256(path, path.stat().st_mtime_ns)


def _found(digest: str) -> str | None:
    """Weights that are known by their digest alone, as a store knows them."""
    path = of_digest(digest)
    return "timm" if digest == _digest("timm") else str(path) if path else None


MODELS["vit"] = _vit
