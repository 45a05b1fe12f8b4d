"""Image data sets as tensors that live on the device."""
from .folders import located
from .generated import generate_images
from .imagenet import IMAGENET10, IMAGENETTE
from .images import CIFAR10_MEAN, CIFAR10_STD, IMAGENET_MEAN, IMAGENET_STD, Dataset, Images, normalise, training
from .sources import DATASETS, load, register_dataset
from .whitening import Whitening, zca

__all__ = ["CIFAR10_MEAN", "CIFAR10_STD", "DATASETS", "Dataset", "IMAGENET10", "IMAGENETTE", "IMAGENET_MEAN",
           "IMAGENET_STD", "Images", "Whitening", "generate_images", "load", "located", "normalise", "register_dataset",
           "training", "zca"]
