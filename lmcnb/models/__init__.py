"""The networks of the papers, and any that is registered."""
from . import convnet, resnet
from .net import MODELS, VERSIONS, Net, initialise, per_network, prunable, register_model
from .permutations import PermutationSpec, permutation_spec

__all__ = ["MODELS", "Net", "PermutationSpec", "VERSIONS", "convnet", "initialise", "per_network", "permutation_spec",
           "prunable", "register_model", "resnet"]
