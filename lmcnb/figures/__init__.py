"""One function a figure, and one way to save them. A new figure is one file here and one line below."""
from .base import caption, colour, images_grid, label, percent_sparse, plain, save, style
from .quickstart import rounds
from .stability import barrier_dots, overlay, stability, surface

__all__ = ["barrier_dots", "caption", "colour", "images_grid", "label", "overlay", "percent_sparse", "plain", "rounds",
           "save", "stability", "style", "surface"]
