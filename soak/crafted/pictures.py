"""Folders of pictures: each spoils folder/pictures, which :func:`pictures` makes."""
from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from . import CANARY, Maker, made

PICTURES: dict[str, Maker] = {}


def png(width: int, height: int, raw: bytes = b"", depth: int = 8, kind: int = 0) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def spoil_picture(rng: Random, path: Path, folder: Path) -> None:
    """Replaces a picture by something that is none."""
    whole = path.read_bytes()
    path.unlink()
    script = f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n({folder}/{CANARY}) (w) file closefile\nshowpage\n"
    jpeg = io.BytesIO()
    Image.new("RGB", (8, 8)).save(jpeg, "JPEG")
    start = jpeg.getvalue().index(b"\xff\xc0") + 5
    huge = bytearray(jpeg.getvalue())
    huge[start:start + 4] = struct.pack(">HH", 65000, 65000)
    text = zlib.compress(bytes(1 << 26))
    chunk = b"zTXt" + b"a\0\0" + text
    note = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    content = rng.choice([
        b"", b"text", rng.randbytes(100), whole[:rng.randrange(8, len(whole) - 20)], png(30_000, 30_000),
        png(10_000, 10_000), png(2**31 - 1, 2**31 - 1), png(9_000, 9_000, bytes(9_001 * 9_000)), png(0, 8), png(8, 8),
        png(8, 8, bytes(17 * 8), 16), bytes(huge), script.encode(), whole[:33] + note + whole[33:],
        "pipe", "nowhere", "circle", "device", "folder"])
    if content == "folder":
        path.mkdir()
    elif content == "pipe":
        os.mkfifo(path)
    elif isinstance(content, str):
        path.symlink_to({"nowhere": path.parent / "gone", "circle": path, "device": Path("/dev/zero")}[content])
    else:
        path.write_bytes(content)


def pictures(folder: Path) -> Path:
    """folder/pictures of two classes: three training and three test pictures each."""
    for split in ("train", "test"):
        for label, name in enumerate(("cat", "dog")):
            place = folder / "pictures" / split / name
            place.mkdir(parents=True)
            for k in range(3):
                Image.fromarray(np.full((8, 8, 3), 90 * label + 20 * k, np.uint8)).save(place / f"{k}.png")
    return folder / "pictures"


@made(PICTURES)
def spoilt_picture(rng: Random, folder: Path) -> None:
    split, name = rng.choice(["train", "test"]), rng.choice(["cat", "dog"])
    spoil_picture(rng, folder / "pictures" / split / name / f"{rng.randrange(3)}.png", folder)


@made(PICTURES)
def names_that_trick(rng: Random, folder: Path) -> None:
    cat = folder / "pictures" / rng.choice(["train", "test"]) / "cat"
    other = rng.choice([os.fsdecode(b"c\xff"), "cat\u202e", "\x1b[2Jcat", "c\u0430t", "ca\nt", "CAT", "caf\u00e9"])
    cat.rename(cat.with_name(other))


@made(PICTURES)
def one_name_in_two_forms(rng: Random, folder: Path) -> None:
    for split in ("train", "test"):
        for old, new in (("cat", "caf\u00e9"), ("dog", "cafe\u0301")):
            (folder / "pictures" / split / old).rename(folder / "pictures" / split / new)


@made(PICTURES)
def test_folder_is_the_training_folder(rng: Random, folder: Path) -> None:
    root = folder / "pictures"
    (root / "test").rename(root / "away")
    (root / rng.choice(["test", "val"])).symlink_to(root / "train")


@made(PICTURES)
def folders_that_are_none(rng: Random, folder: Path) -> None:
    place = folder / "pictures" / rng.choice(["train", "test", "train/cat", "test/dog"])
    place.rename(folder / "away")
    rng.choice([lambda: place.symlink_to(place), lambda: place.write_text(""), lambda: None,
                lambda: place.symlink_to(folder / "gone"), lambda: os.mkfifo(place)])()
