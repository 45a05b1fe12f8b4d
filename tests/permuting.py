"""Networks of many kinds, and what changes the places of their units at random."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmcnb.models import PermutationSpec


def drawn(spec: PermutationSpec, seed: int = 0) -> dict[str, Tensor]:
    """A permutation of all that may move: blocks as wholes, and the units of each."""
    generator, found = torch.Generator().manual_seed(seed), {}
    for group in spec.groups:
        order = torch.randperm(len(spec.parts[group[0]]), generator=generator).tolist()
        for part in group:
            size = spec.parts[part].shape[1]
            found[part] = torch.cat([block * size + torch.randperm(size, generator=generator) for block in order])
    return found


def several(spec: PermutationSpec, *seeds: int) -> dict[str, Tensor]:
    """One a network, [K, units]."""
    each = [drawn(spec, s) for s in seeds]
    return {name: torch.stack([p[name] for p in each]) for name in spec.parts}


class Attention(nn.Module):
    """Under timm's names. ``fused`` takes torch's own attention, otherwise it is written out."""

    def __init__(self, dim: int, heads: int, fused: bool = True, out: int | None = None):
        super().__init__()
        self.heads, self.fused = heads, fused
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, out or dim)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        if self.fused:
            x = F.scaled_dot_product_attention(q, k, v)
        else:
            x = (q * (c // self.heads) ** -0.5 @ k.transpose(-2, -1)).softmax(dim=-1) @ v
        return self.proj(x.transpose(1, 2).reshape(b, n, c))


class Apart(Attention):
    """Queries, keys and values by a layer each, as Hugging Face writes them."""

    def __init__(self, dim: int, heads: int):
        super().__init__(dim, heads)
        del self.qkv
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        shape = (*x.shape[:2], self.heads, x.shape[2] // self.heads)
        q, k, v = (layer(x).view(shape).transpose(1, 2) for layer in (self.query, self.key, self.value))
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, attention: nn.Module, dim: int):
        super().__init__()
        self.norm1, self.attn, self.norm2 = nn.LayerNorm(dim), attention, nn.LayerNorm(dim)
        self.mlp = nn.Sequential()
        for name, part in (("fc1", nn.Linear(dim, 2 * dim)), ("act", nn.GELU()), ("fc2", nn.Linear(2 * dim, dim))):
            self.mlp.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """A small transformer under timm's names: 8 × 8 pixels in four patches."""

    def __init__(self, attention=Attention, dim: int = 6, heads: int = 2):
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(1, dim, 4, 4)
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.randn(1, 5, dim))
        self.blocks = nn.Sequential(*[Block(attention(dim, heads), dim) for _ in range(2)])
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed.proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


class Written(nn.Module):
    """A network whose forward is given; its layers have names, and four channels at the end."""

    def __init__(self, forward, **layers: nn.Module):
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.head, self.way = nn.Linear(4, 10), forward

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.way(self, x).mean((2, 3)))


def conv(into: int = 4, out: int = 4, kernel: int = 3, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(into, out, kernel, padding=kernel // 2, groups=groups)


def with_batchnorm() -> nn.Module:
    """Three layers, for 8 × 8 pixels."""
    return nn.Sequential(conv(1, 16), nn.BatchNorm2d(16), nn.ReLU(), nn.AvgPool2d(2), conv(16, 32), nn.BatchNorm2d(32),
                         nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(128, 10))


def built(kind: Callable[[], nn.Module], *seeds: int) -> list[nn.Module]:
    """Modules with their own initialisations, in eval mode."""
    found = []
    for seed in seeds:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            found.append(kind().eval())
    return found
