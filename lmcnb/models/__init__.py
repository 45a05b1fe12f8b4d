"""The networks of the papers, and any that is registered."""
from . import convnet, resnet
from .net import MODELS, VERSIONS, Net, initialise, per_network, prunable, register_model
from .permutations import PermutationSpec, permutation_spec
from .vit import ViT

__all__ = ["MODELS", "Net", "PermutationSpec", "VERSIONS", "ViT", "convnet", "initialise", "per_network",
           "permutation_spec", "prunable", "register_model", "resnet"]
