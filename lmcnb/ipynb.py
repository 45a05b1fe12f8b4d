"""``nbformat``, which reads and writes notebooks, in a quarter of the time that its import takes.

It checks notebooks by jsonschema, which, where it finds the package for it, first builds a grammar of web addresses:
two seconds of every process, for a kind of text that no notebook's schema knows.
"""
import sys

_GRAMMAR = "rfc3987_syntax"
_absent = sys.modules.setdefault(_GRAMMAR, None) is None  # type: ignore[arg-type]  # None: it cannot be imported
try:
    import nbformat
finally:
    if _absent:
        del sys.modules[_GRAMMAR]

__all__ = ["nbformat"]
