"""lmcnb: linear mode connectivity in sparse networks, as a reproducible paper.

The names here are the ones to remember; what they are made of is under the modules. Submodules load when a name is
first used, so ``import lmcnb`` costs nothing. The names themselves stand in ``__init__.pyi``.
"""
import lazy_loader

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
