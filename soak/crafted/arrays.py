"""Packed data sets, each as folder/cifar10.npz."""
from __future__ import annotations

import bz2
import io
import pickle
import struct
import warnings
import zipfile
from pathlib import Path
from random import Random

import numpy as np

from . import CANARY, Maker, code, made

ARRAYS: dict[str, Maker] = {}


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npy_header(shape: object, dtype: str = "'|u1'", extra: str = "") -> bytes:
    text = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, {extra}}}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) % 65536) + text


def arrays(count: int = 12) -> dict[str, np.ndarray]:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)
    return {"x_train": pixels, "y_train": np.arange(count) % 2, "x_test": pixels[:4], "y_test": np.arange(4) % 2}


def npz(folder: Path, change: dict[str, bytes] | None = None, compress: int = zipfile.ZIP_STORED) -> Path:
    path = folder / "cifar10.npz"
    with zipfile.ZipFile(path, "w", compress) as archive:
        for name, content in ({f"{n}.npy": npy(a) for n, a in arrays().items()} | (change or {})).items():
            archive.writestr(name, content)
    return path


@made(ARRAYS)
def object_arrays(rng: Random, folder: Path) -> None:
    one = np.empty(1, object)
    one[0] = code(rng, folder)
    npz(folder, {f"{rng.choice(list(arrays()))}.npy": npy(one)})


@made(ARRAYS)
def deflated_zeros(rng: Random, folder: Path) -> None:
    size = 1 << 27
    npz(folder, {rng.choice(["x_train.npy", "more.npy", "../x.npy"]): npy_header((size,)) + bytes(size)},
        zipfile.ZIP_DEFLATED)


@made(ARRAYS)
def size_that_lies(rng: Random, folder: Path) -> None:
    """Both headers of a member say another size than it has."""
    path = npz(folder, {"x_train.npy": npy_header((1 << 24,)) + bytes(1 << 24)}, zipfile.ZIP_DEFLATED)
    true, said = struct.pack("<I", len(npy_header((1 << 24,))) + (1 << 24)), rng.choice([200, 2**20, 2**31, 2**32 - 2])
    path.write_bytes(path.read_bytes().replace(true, struct.pack("<I", said)))


@made(ARRAYS)
def shape_that_lies(rng: Random, folder: Path) -> None:
    shape = rng.choice(["(1000000000000,)", "(2**40,)", "(-12, 32, 32, 3)", "(12, 32, 32, 4)", "'text'", "12",
                        "(99999999999999999999,)", "(1, " * 500 + ")" * 500, "[12]", "(0.5,)", "(True,)"])
    npz(folder, {"x_train.npy": npy_header(shape, rng.choice(["'|u1'", "'<f8'"])) + bytes(12 * 3072)})


@made(ARRAYS)
def header_that_lies(rng: Random, folder: Path) -> None:
    content = rng.choice([
        b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + b"{}", b"\x93NUMPY\x03\x00" + npy_header((1,))[8:],
        b"\x93NUMPY\x09\x00", b"", b"\x93NUM", npy_header("(12,)", "'|O'"), npy_header("(12,)", "[('a', '|O')]"),
        npy_header("(12,)", "'V1000000000'"), npy_header("(12,)", "open('canary', 'w')"), npy_header("()", "'<M8[as]'"),
        b"\x93NUMPY\x02\x00" + struct.pack("<I", 60_000) + b"(" * 60_000, npy_header("(1,)", "'|u1'", "'x': 1")])
    npz(folder, {"x_train.npy": content})


@made(ARRAYS)
def other_compression(rng: Random, folder: Path) -> None:
    npz(folder, {"x_train.npy": npy_header((1 << 26,)) + bytes(1 << 26)},
        rng.choice([zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]))


@made(ARRAYS)
def truncated_arrays(rng: Random, folder: Path) -> None:
    path = npz(folder)
    path.write_bytes(path.read_bytes()[:rng.randrange(path.stat().st_size - 1)])


@made(ARRAYS)
def no_archive(rng: Random, folder: Path) -> None:
    (folder / "cifar10.npz").write_bytes(rng.choice([
        b"", rng.randbytes(100), b"PK\x05\x06" + bytes(18), b"PK\x03\x04" + bytes(100), bz2.compress(bytes(1000)),
        npy(arrays()["x_train"]), pickle.dumps(code(rng, folder)), pickle.dumps({"x_train": code(rng, folder)})]))


@made(ARRAYS)
def other_arrays(rng: Random, folder: Path) -> None:
    x, y = arrays()["x_train"], arrays()["y_train"]
    name, array = rng.choice([
        ("x_train", x.astype(np.float32)), ("x_train", x.astype(np.int64)), ("x_train", x[:0]),
        ("x_train", x[:, 0, 0]), ("x_train", np.full(x.shape, np.nan)), ("x_train", np.array("text")),
        ("y_train", y - 1), ("y_train", y + 10**12),
        ("y_train", y.astype(float)), ("y_train", y * np.nan), ("y_train", y[:5]), ("y_train", y.astype(str)),
        ("y_train", y.astype(np.uint64) + np.uint64(2**63)), ("y_train", y + 1j), ("y_train", y[:0]),
        ("y_train", y.astype("M8[s]")), ("x_train", x[..., :1]), ("x_test", x[:, :16]), ("x_train", x[:, :, :, :0])])
    npz(folder, {f"{name}.npy": npy(array)})


@made(ARRAYS)
def other_names(rng: Random, folder: Path) -> None:
    """Members that climb or are absolute: nothing is extracted, so nothing is overwritten; three arrays are left."""
    path, gone = npz(folder), rng.choice(list(arrays()))
    with zipfile.ZipFile(path) as old:
        parts = {n: old.read(n) for n in old.namelist()}
    content = parts.pop(f"{gone}.npy")
    with zipfile.ZipFile(path, "w") as new:
        for name, part in parts.items():
            new.writestr(name, part)
        new.writestr(rng.choice([f"../{CANARY}", f"{folder}/{CANARY}", f"a/../../{gone}.npy", "\x1b[2J.npy"]), content)


@made(ARRAYS)
def twice_one_name(rng: Random, folder: Path) -> None:
    path = npz(folder)
    with zipfile.ZipFile(path, "a") as archive:
        name = rng.choice(archive.namelist())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            archive.writestr(name, npy(np.zeros(3)))
