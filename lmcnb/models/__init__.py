"""The networks of the papers, and any that is registered."""
from . import convnet, resnet
from .net import MODELS, VERSIONS, Net, initialise, per_network, prunable, register_model
from .vit import ViT

__all__ = ["MODELS", "Net", "VERSIONS", "ViT", "convnet", "initialise", "per_network", "prunable",
           "register_model", "resnet"]
