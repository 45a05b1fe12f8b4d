"""What is measured of trained networks: paths, planes, curvature, robustness, features."""
from .align import aligned, carried, permuted, weight_matching
from .batchnorm import recalibrated
from .corruptions import CORRUPTIONS, SEVERITIES, corrupt, spoilt
from .diagonal import Diagonal, estimate_diagonal, summary
from .diagonal_exact import exact_diagonal
from .hessian import HessianOperator
from .layers import LayerPaths, layers_of, layerwise
from .path import (
    CONVENTIONS,
    QUANTITIES,
    LinearPath,
    alpha_grid,
    barrier,
    instability,
    interpolate,
    path,
    residual,
    with_residuals,
)
from .plane import (
    Plane,
    curvature_along,
    fraction_within,
    grid,
    loss_on_plane,
    plane_as_released,
    plane_random,
    plane_through,
)
from .probe import fitted, probe
from .sanity import Sanity, overlap
from .spectrum import Spectrum, lanczos

__all__ = ["CONVENTIONS", "CORRUPTIONS", "Diagonal", "HessianOperator", "LayerPaths", "LinearPath", "Plane",
           "QUANTITIES", "SEVERITIES", "Sanity", "Spectrum", "aligned", "alpha_grid", "barrier", "carried", "corrupt",
           "curvature_along", "estimate_diagonal", "exact_diagonal", "fitted", "fraction_within", "grid", "instability",
           "interpolate", "lanczos", "layers_of", "layerwise",
           "loss_on_plane", "overlap", "path", "permuted", "plane_as_released",
           "plane_random", "plane_through", "probe", "recalibrated", "residual", "spoilt", "summary", "weight_matching",
           "with_residuals"]
