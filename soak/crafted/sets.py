"""Distilled sets, each as folder/set.pt, folder/set.safetensors or the folder set."""
from __future__ import annotations

import io
import json
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save

from . import CANARY, Maker, code, made
from .pictures import spoil_picture

SHAPE, COUNT = (1, 8, 8), 6
SETS: dict[str, Maker] = {}


def images() -> torch.Tensor:
    return torch.rand(COUNT, *SHAPE)


def labels() -> torch.Tensor:
    return torch.tensor([0, 0, 1, 1, 2, 2])


def suffix(rng: Random) -> str:
    return rng.choice([".pt", ".safetensors"])


def write(folder: Path, kind: str, tensors: dict, **metadata: str) -> Path:
    path = folder / f"set{kind}"
    if kind == ".pt":
        torch.save(tensors, path)
    else:
        path.write_bytes(save(tensors, metadata or None))
    return path


def rezipped(path: Path, change: Callable[[str, bytes], bytes], compress: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path) as old:
        parts = {n: old.read(n) for n in old.namelist()}
    with zipfile.ZipFile(path, "w", compress) as new:
        for name, content in parts.items():
            new.writestr(name, change(name, content))


@made(SETS)
def pickled_code(rng: Random, folder: Path) -> None:
    value = code(rng, folder)
    value = rng.choice([value, [value], {"images": images(), "labels": value}, (value, labels())])
    if rng.random() < 0.5:
        (folder / "set.pt").write_bytes(pickle.dumps(value, protocol=rng.randrange(6)))
    else:
        torch.save(value, folder / "set.pt", _use_new_zipfile_serialization=rng.random() < 0.5)


@made(SETS)
def storage_that_lies(rng: Random, folder: Path) -> None:
    count = rng.choice([10**3, 10**6, 2**31 - 1])
    legacy, flat = rng.random() < 0.5, torch.rand(7)  # 7 elements: K\x07 in the pickle
    path = folder / "set.pt"
    torch.save({"images": flat, "labels": labels()}, path, _use_new_zipfile_serialization=not legacy)

    def lie(name: str, content: bytes) -> bytes:
        return content.replace(b"K\x07", b"J" + struct.pack("<i", count)) if name.endswith("data.pkl") else content
    path.write_bytes(lie("data.pkl", path.read_bytes())) if legacy else rezipped(path, lie)


@made(SETS)
def repeated_numbers(rng: Random, folder: Path) -> None:
    torch.save({"images": torch.rand(1, 1, 8, 8).expand(rng.choice([2**24, 2**31, 2**40]), -1, -1, -1),
                "labels": labels()}, folder / "set.pt")


@made(SETS)
def deflated_set(rng: Random, folder: Path) -> None:
    path = write(folder, ".pt", {"images": images(), "labels": labels()})
    many = rng.choice([0, 1 << 24, 1 << 27])
    rezipped(path, lambda name, content: bytes(many) if "/data/" in name and many else content, zipfile.ZIP_DEFLATED)


@made(SETS)
def pickle_that_allocates(rng: Random, folder: Path) -> None:
    many = rng.choice([10**9, 10**10, 10**12])
    number = b"\x8a\x08" + many.to_bytes(8, "little")
    name = rng.choice([b"builtins\nbytearray", b"torch\nTensor", b"torch\nFloatTensor",
                       b"torch.storage\nUntypedStorage", b"numpy\nzeros"])
    body = b"\x80\x02c" + name + b"\n" + number + b"\x85R."
    if rng.random() < 0.5:
        (folder / "set.pt").write_bytes(body)
    else:
        rezipped(write(folder, ".pt", {"images": images()}),
                 lambda name, content: body if name.endswith("data.pkl") else content)


@made(SETS)
def nested_tuples(rng: Random, folder: Path) -> None:
    """A key of 2^n leaves, whose hash takes for ever."""
    grow = b"".join(b"h%c\x86q%c" % (i, i + 1) for i in range(rng.randrange(40, 120)))
    body = b"\x80\x02})q\x00" + grow + b"K\x01s."
    rezipped(write(folder, ".pt", {"images": images()}), lambda n, c: body if n.endswith("data.pkl") else c)


@made(SETS)
def tar_that_climbs(rng: Random, folder: Path) -> None:
    with tarfile.open(folder / "set.pt", "w") as archive:
        for name in ("storages", "tensors", "pickle", f"{'../' * rng.randrange(1, 4)}{CANARY}"):
            info = tarfile.TarInfo(name)
            info.size = 4
            archive.addfile(info, io.BytesIO(b"code"))


@made(SETS)
def truncated_set(rng: Random, folder: Path) -> None:
    path = write(folder, suffix(rng), {"images": images(), "labels": labels()})
    path.write_bytes(path.read_bytes()[:rng.randrange(path.stat().st_size - 1)])


@made(SETS)
def header_of_no_tensors(rng: Random, folder: Path) -> None:
    length = rng.choice([2**40, 2**63 - 1, 2**64 - 1, 10**8, 0, 7])
    (folder / "set.safetensors").write_bytes(struct.pack("<Q", length) + rng.randbytes(rng.randrange(64)))


@made(SETS)
def shape_of_nothing(rng: Random, folder: Path) -> None:
    shape = rng.choice([[2**40, 1, 8, 8], [2**62, 4, 1, 1], [6, 1, 8, 9], [-6, 1, 8, 8], [2**40, 0, 8, 8], []])
    start, end = rng.choice([(0, 1536), (0, 2**40), (8, 1544), (1536, 0), (2**63, 2**63 + 4)])
    header = json.dumps({"images": {"dtype": "F32", "shape": shape, "data_offsets": [start, end]},
                         "labels": {"dtype": "I64", "shape": [6], "data_offsets": [1536, 1584]}}).encode()
    (folder / "set.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(1584))


@made(SETS)
def other_types(rng: Random, folder: Path) -> None:
    kind = rng.choice([torch.complex64, torch.bool, torch.float8_e4m3fn, torch.float8_e5m2])
    spoilt = {"images": images().to(kind), "labels": labels()}
    if rng.random() < 0.3:
        spoilt = {"images": images(), "labels": labels().to(torch.complex64)}
    write(folder, ".pt" if kind is torch.complex64 else suffix(rng), spoilt)


@made(SETS)
def numbers_that_diverged(rng: Random, folder: Path) -> None:
    x, y = images(), labels().float()
    part = rng.choice([x, y])
    part.view(-1)[rng.randrange(part.numel())] = rng.choice([np.nan, np.inf, -np.inf])
    write(folder, suffix(rng), {"images": x, "labels": y})


@made(SETS)
def labels_of_no_class(rng: Random, folder: Path) -> None:
    spoilt = rng.choice([labels() - 1, labels() - 10, labels() + 1, labels() * 0 - 1, labels() + 2**40,
                         labels() + 0.5, labels()[:0], labels().view(2, 3), torch.zeros(6, 0), torch.zeros(6, 3),
                         torch.full((6, 3), 0.5), torch.zeros(6, 3, 1), labels().float() * 1e30])
    write(folder, suffix(rng), {"images": images(), "labels": spoilt})


WRONG_NOTES = [{"factor": 10**9}, {"factor": 0}, {"factor": "two"}, {"factor": [2]}, {"lr": -1}, {"lr": "x"},
               {"zca": 0}, {"zca": {}}, {"data_points": -5}, {"data_points": 0.5}, {"space": "zac"}, {"space": 3},
               {"space": []}, {"lr": float("nan")}, {"lr": float("inf")}]


@made(SETS)
def notes_that_cannot_be(rng: Random, folder: Path) -> None:
    notes, kind = {"space": "pixels"} | rng.choice(WRONG_NOTES), suffix(rng)
    tensors = {"images": images(), "labels": labels()}
    text = rng.choice([json.dumps(notes), "[" * 10**5, "{", "[1]", "3"])
    write(folder, kind, tensors | notes) if kind == ".pt" else write(folder, kind, tensors, lmcnb=text)


@made(SETS)
def folder_of_spoilt_pngs(rng: Random, folder: Path) -> None:
    for k in range(COUNT):
        place = folder / "set" / str(k // 2)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full(SHAPE[1:], 40 * k, np.uint8)).save(place / f"{k}.png")
    spoil_picture(rng, folder / "set" / "1" / "2.png", folder)


@made(SETS)
def folder_with_wrong_notes(rng: Random, folder: Path) -> None:
    folder_of_pngs = folder / "set" / "0"
    folder_of_pngs.mkdir(parents=True)
    Image.fromarray(np.zeros(SHAPE[1:], np.uint8)).save(folder_of_pngs / "0.png")
    text = json.dumps({"space": "pixels"} | rng.choice(WRONG_NOTES))
    (folder / "set" / "set.json").write_text(rng.choice([text, "[" * 10**5, "{", "[1]", "null", "7"]))
