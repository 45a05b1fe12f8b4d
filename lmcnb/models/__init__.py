"""The networks of the papers, and any that is registered."""
from . import convnet, resnet
from .net import MODELS, VERSIONS, Net, initialise, per_network, prunable, register_model

__all__ = ["MODELS", "Net", "VERSIONS", "convnet", "initialise", "per_network", "prunable", "register_model", "resnet"]
