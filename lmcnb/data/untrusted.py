"""Files that others made, read so that none can run code, fill the memory or raise more than a sentence.

Nothing is extracted to disk and nothing but tensors and plain values is unpickled. What a file would become in memory
is known from its headers before it is read, and a small file that says it is a huge one is refused.
"""
from __future__ import annotations

import pickletools
import threading
import warnings
import zipfile
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

FLOOR, GROWTH, PICTURES = 1 << 26, 32, 256  # bytes that any file may become, and times its size; of pictures more
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "TIFF")  # of Pillow's, those that start no other program
_OPERATIONS = 200_000  # of a pickle; that of a set has some hundreds
_GLOBALS = {"collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter",
            "torch.nn.parameter Parameter", "_codecs encode", "numpy dtype", "numpy.core.multiarray scalar",
            "numpy._core.multiarray scalar"}
_opening = threading.Lock()  # Python's filters of warnings belong to the process


class Damaged(ValueError):
    """What is wrong with a file, as the end of a sentence that names it."""


class _Number:
    """DC's files keep accuracies beside the images as NumPy numbers: known by their place, and not made."""

    def __init__(self, *_):
        pass

    def __setstate__(self, _):
        pass


def shown(name: str | Path) -> str:
    """A name for a message: escaped where it holds control characters, or bytes that are no text."""
    return str(name) if str(name).isprintable() else ascii(str(name))


def bounded(count: int, source: int, what: str, growth: int = GROWTH) -> None:
    """Raises :class:`Damaged` when so many bytes cannot honestly come from files of ``source`` bytes."""
    if count > max(FLOOR, growth * source):
        raise Damaged(f"{what} would take {count:.3g} bytes in memory, which cannot come from {source:,}")


def _damaged(error: Exception) -> Damaged:
    return Damaged(f"{type(error).__name__}: {shown(str(error).partition(chr(10))[0][:200])}")


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz, by name.

    Raises:
        Damaged: no whole npz of plain numbers. OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members = _members(archive, path.stat().st_size)
                return {name.removesuffix(".npy"): _npy(archive, info) for name, info in members.items()}
        except (Damaged, OSError, MemoryError):
            raise
        except Exception as error:  # whatever zipfile and zlib find
            raise _damaged(error) from error


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    found = {info.filename: info for info in archive.infolist()}
    if len(found) != len(archive.infolist()):
        raise Damaged("two of its members have one name")
    if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in found.values()):
        raise Damaged("its compression is none that NumPy writes")  # and zipfile cannot bound what others become
    bounded(sum(info.file_size for info in found.values()), size, "it")
    return found


def _npy(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if header is None:
            raise Damaged(f"{shown(info.filename)} is an .npy of version {version}")
        try:
            shape, _, dtype = header(file)
        except Exception:  # NumPy parses it as Python, whose parser has errors of its own
            raise Damaged(f"the header of {shown(info.filename)} is none that NumPy writes") from None
        if dtype.hasobject:
            raise Damaged(f"{shown(info.filename)} holds Python objects, and loading those could run any code")
        if min(shape, default=0) < 0 or file.tell() + prod(shape) * dtype.itemsize != info.file_size:
            raise Damaged(f"the header of {shown(info.filename)} says {dtype} {shape}, which is not what follows it")
    with archive.open(info) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Tensors by name, and the metadata. Raises Damaged, as :func:`read_npz` does."""
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, MemoryError):
        raise
    except Exception as error:  # its own errors, and torch's about types
        raise _damaged(error) from error


def read_pt(path: Path) -> Any:
    """What ``torch.save`` wrote: tensors, numbers and text in lists, tuples and dictionaries.

    Raises:
        Damaged: anything else is in it, or it is not whole. OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    try:
        (_check_zip if zipped else _check_legacy)(path)
        harmless = [(_Number, name.replace(" ", ".")) for name in _GLOBALS if name.startswith("numpy")]
        # Mapped, a tensor that claims more than the file holds ends at the file's end, not in other memory.
        with torch.serialization.safe_globals(harmless):  # pyright: ignore[reportArgumentType]  # a list is invariant
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except (Damaged, OSError, MemoryError):
        raise
    except Exception as error:  # whatever zipfile, pickletools and torch find
        raise _damaged(error) from error


def _check_zip(path: Path) -> None:
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        members = _members(archive, size)
        if any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
            raise Damaged("it is compressed, which torch.save never does")
        pickles = [info for name, info in members.items() if name.endswith("/data.pkl")]
        if len(pickles) != 1 or any(name.endswith("/constants.pkl") for name in members):
            raise Damaged("it is a zip, but none by torch.save")
        with archive.open(pickles[0]) as file:
            _check_pickle(pickletools.genops(file.read()), size)


def _check_legacy(path: Path) -> None:
    """Before PyTorch 1.6: a magic number, a version, the system, the object and the names of storages; then these."""
    with path.open("rb") as file:
        for part in range(5):
            operations = pickletools.genops(file)
            _check_pickle(operations, path.stat().st_size if part else None)


def _check_pickle(operations: Iterator, size: int | None) -> None:
    """Raises Damaged unless the pickle is one by ``torch.save`` whose numbers fit a file of ``size`` bytes."""
    largest, storages, last, tuples = 0, 0, "", set()
    for done, (operation, value, _) in enumerate(operations):
        name = operation.name
        if done > _OPERATIONS:
            raise Damaged(f"it is a pickle of more than {_OPERATIONS:,} operations")
        if name == "GLOBAL" and value not in _GLOBALS and not _storage(value):
            raise Damaged(f"it holds {shown(value.replace(' ', '.'))}, which is no tensor")
        if name in ("STACK_GLOBAL", "INST", "OBJ", "REDUCE_EX", "EXT1", "EXT2", "EXT4"):
            raise Damaged("it holds Python objects")
        if name.endswith("PUT") and last.startswith("TUPLE"):
            tuples.add(value)
        if name.endswith("GET") and value in tuples:  # tuples of tuples of tuples grow exponentially
            raise Damaged("it is a pickle that torch.save does not write")
        largest = max(largest, abs(value)) if isinstance(value, int) else largest
        storages += name in ("BINPERSID", "PERSID")
        last = name
    if size is not None:
        bounded(largest * storages, size, "its tensors")


def _storage(name: str) -> bool:
    module, _, kind = name.partition(" ")
    return module == "torch" and kind.endswith("Storage") and kind.isalnum()


def whole(tensor: torch.Tensor, path: Path) -> torch.Tensor:
    """A copy in memory of a tensor from :func:`read_pt`; Damaged where it repeats few numbers to look like many."""
    bounded(tensor.numel() * tensor.element_size(), path.stat().st_size, "one of its tensors")
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def open_image(path: Path, formats: tuple[str, ...] = FORMATS) -> Any:
    """A Pillow image whose header alone is read: a regular file of one of ``formats`` and of a size that fits.

    Raises:
        ValueError: anything else; the message names the file and the way out.
    """
    from PIL import Image

    if not path.is_file():  # a pipe would wait for ever
        raise ValueError(f"{shown(path)} is no file, or a link to nothing: delete it or copy the image there")
    try:
        with _opening, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(path, formats=list(formats))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise ValueError(f"{shown(path)} says that it has more than {Image.MAX_IMAGE_PIXELS:,} pixels, which a small "
                         f"file can claim: make it smaller or delete it") from None
    except Exception as error:  # decoders raise what they like
        raise unreadable(path, error) from error


def read_image(path: Path, mode: str | None = "RGB", formats: tuple[str, ...] = FORMATS) -> Any:
    """A decoded Pillow image, converted to ``mode`` (None: as it is). Raises ValueError, as :func:`open_image`."""
    with open_image(path, formats) as image:
        if image.mode[0] in "IF":  # conversion would cut its numbers off at 255
            raise ValueError(f"{shown(path)} is of mode {image.mode}, more than 8 bits a channel: convert it")
        try:
            image.load()
            return image.convert(mode) if mode else image.copy()
        except Exception as error:
            raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{shown(path)} is not a readable image ({type(error).__name__}); copy it again or delete it")
