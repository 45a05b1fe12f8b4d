"""What code a setting stands for: a digest of all that is not built in, so that an edited cell is another result.

Digested is what runs (byte code, constants, defaults, closures, and the functions and classes of the user's that these
name), not what a file says by now: a comment changes nothing, a changed layer does. Another minor version of Python
compiles to other byte code, and so counts as other code.
"""
from __future__ import annotations

import dis
import enum
import functools
import hashlib
import sys
import sysconfig
import types
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

Seen = dict[int, Any]  # by identity, and held: the identity of what is gone could come again
PLAIN = (type(None), bool, int, float, complex, str, bytes, range, slice, PurePath)
INSTALLED = [Path(sysconfig.get_path(p)).resolve() for p in ("stdlib", "platstdlib", "purelib", "platlib")]
PACKAGES = {"site-packages", "dist-packages"}  # wherever such a folder lies: of the user, of a system, of a cluster
SELF = __name__.partition(".")[0]
# Of a class: what Python and pydantic add by themselves.
ADDED = ("__module__", "__dict__", "__weakref__", "__doc__", "__annotations__", "__annotate__", "__annotations_cache__",
         "__annotate_func__", "__qualname__", "__static_attributes__", "__firstlineno__", "__parameters__",
         "__abstractmethods__", "__orig_bases__", "__slots__", "__signature__", "__conditional_annotations__")


def is_ours(thing: Any) -> bool:
    """Whether a function or class is part of this package."""
    return (getattr(thing, "__module__", None) or "").partition(".")[0] == SELF


def is_user(thing: Any) -> bool:
    """Whether a function, class or module is neither of this package, nor of the standard library, nor installed."""
    name = thing.__name__ if isinstance(thing, types.ModuleType) else getattr(thing, "__module__", None)
    if (name or "").partition(".")[0] in (SELF, *sys.builtin_module_names):
        return False
    if name == "__main__":  # a notebook or a script, whatever file started it
        return True
    file = getattr(sys.modules.get(name or ""), "__file__", None)
    return file is None or not _is_installed(file)


@functools.cache
def _is_installed(file: str) -> bool:
    path = Path(file).resolve()
    return not PACKAGES.isdisjoint(path.parts) or any(path.is_relative_to(place) for place in INSTALLED)


def code_digest(thing: Any) -> str:
    """sha256 of what a function, class or callable does, with everything of the user's that it names."""
    return hashlib.sha256("\n".join(_told(thing, {})).encode()).hexdigest()


def _told(thing: Any, seen: Seen) -> Iterator[str]:
    """The lines that describe ``thing``; what was described already is only named."""
    if isinstance(thing, PLAIN):
        yield repr(thing)
    elif id(thing) in seen:
        yield f"again {getattr(thing, '__qualname__', type(thing).__qualname__)}"
    else:
        seen[id(thing)] = thing
        yield from _described(thing, seen)


def _line(thing: Any, seen: Seen) -> str:
    """What describes a part that has no place in an order: told apart from the others."""
    return "\n".join(_told(thing, dict(seen)))


def _described(thing: Any, seen: Seen) -> Iterator[str]:
    if isinstance(thing, (set, frozenset)):  # whose order differs from process to process
        yield f"set {sorted(_line(each, seen) for each in thing)}"
    elif isinstance(thing, (tuple, list)):
        yield f"{len(thing)} of"
        for each in thing:
            yield from _told(each, seen)
    elif isinstance(thing, dict):
        for name, each in sorted(((_line(n, seen), e) for n, e in thing.items()), key=lambda pair: pair[0]):
            yield f"{name}:"
            yield from _told(each, seen)
    elif not isinstance(thing, type) and callable(getattr(thing, "canonical", None)):  # settings
        yield thing.canonical()
    elif isinstance(thing, (staticmethod, classmethod, types.MethodType)):
        yield from _told(thing.__func__, seen)
    elif isinstance(thing, property):
        yield from _told([thing.fget, thing.fset], seen)
    elif isinstance(thing, functools.cached_property):
        yield from _told(thing.func, seen)
    elif isinstance(thing, functools.partial):
        yield from _told([thing.func, thing.args, thing.keywords], seen)
    elif isinstance(thing, types.CodeType):
        yield from _code(thing, seen)
    elif isinstance(thing, types.ModuleType):
        yield f"module {thing.__name__}"
        if is_user(thing):
            yield from _told({n: v for n, v in vars(thing).items() if not n.startswith("__")}, seen)
    elif isinstance(thing, (type, types.FunctionType)) and not is_user(thing):
        yield f"{thing.__module__}.{thing.__qualname__}"
    elif isinstance(thing, types.FunctionType):
        yield from _function(thing, seen)
    elif isinstance(thing, type):
        yield from _class(thing, seen)
    elif hasattr(thing, "__array__"):  # tensors and arrays that a closure holds
        import numpy as np

        held = np.asarray(thing.detach().cpu() if hasattr(thing, "detach") else thing)
        yield f"array {held.dtype} {held.shape} {hashlib.sha256(np.ascontiguousarray(held).data).hexdigest()}"
    elif type(thing).__module__ == "torch":  # types of numbers, devices, layouts
        yield repr(thing)
    else:
        which = thing.name if isinstance(thing, enum.Enum) else getattr(thing, "__qualname__", "")  # of a C function
        yield f"a {type(thing).__module__}.{type(thing).__qualname__} {which}".rstrip()
        if is_user(type(thing)):
            yield from _told([type(thing), getattr(thing, "__dict__", None)], seen)


def _function(function: types.FunctionType, seen: Seen) -> Iterator[str]:
    yield f"function {function.__qualname__}"
    yield from _told([function.__code__, function.__defaults__, function.__kwdefaults__], seen)
    for cell in function.__closure__ or ():
        try:
            yield from _told(cell.cell_contents, seen)
        except ValueError:  # a name that is not bound yet
            yield "empty"
    for name in sorted(_names(function.__code__)):
        if name in function.__globals__:
            yield f"{name}:"
            yield from _told(function.__globals__[name], seen)


def _names(code: types.CodeType) -> set[str]:
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return set(code.co_names).union(*map(_names, inner))


def _code(code: types.CodeType, seen: Seen) -> Iterator[str]:
    yield f"{code.co_name} {code.co_varnames} {code.co_freevars} {getattr(code, 'co_exceptiontable', b'').hex()}"
    for each in dis.get_instructions(code):  # constants by value: a docstring is among them, and no instruction's
        if each.opcode in dis.hasconst:
            yield from _told(each.argval, seen)
        else:
            yield f"{each.opname} {each.argrepr}"


def _class(cls: type, seen: Seen) -> Iterator[str]:
    yield f"class {cls.__qualname__}"
    yield from _told(list(cls.__bases__), seen)
    own = {n: v for n, v in vars(cls).items()
           if n not in ADDED and not n.startswith(("__pydantic", "model_", "_abc"))}
    yield from _told(own, seen)
