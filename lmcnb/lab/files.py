"""What a store keeps, as the bytes of its files: the same bytes for the same content."""
from __future__ import annotations

import hashlib
import json
from typing import Any

from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from ..params import Params


def packed(tensors: Params, note: dict[str, str] | None = None) -> bytes:
    """Tensors as the bytes of a .safetensors file: the same bytes for the same tensors."""
    return save_tensors({n: t.detach().cpu().contiguous() for n, t in sorted(tensors.items())}, note)


def unpacked(data: bytes) -> Params:
    """Inverse of :func:`packed`, by name: the library's own order differs from call to call, and sums with it."""
    return dict(sorted(load_tensors(data).items()))


def dump(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode()


def note_of(data: bytes) -> dict[str, str]:
    """The note of a .safetensors file, whose header is JSON after eight bytes that hold its length."""
    return json.loads(data[8:8 + int.from_bytes(data[:8], "little")]).get("__metadata__", {})


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
