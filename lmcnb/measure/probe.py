"""What a trained network's features are worth on other images: the linear probe of frozen features.

After Kornblith et al. (2019), "Do better ImageNet models transfer better?".
"""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..data import Images
from ..kernel.exact import exact_on
from ..kernel.inside import features
from ..kernel.sizes import portion
from ..networks import Networks
from ..params import select


def fitted(images: Images, channels: int, size: int, *, source: Images | None = None) -> Images:
    """The images as a network for ``channels`` channels and ``size`` × ``size`` pixels takes them.

    The shorter side is resized to ``size`` (bilinear, antialiased), then the centre is cut out. Grey images are
    repeated for each channel, RGB becomes grey by luminance. uint8 stays uint8, labels stay.

    Args:
        source: images whose mean and std normalise the result, for a network that was trained on them. Without it the
            images keep their own; RGB's become their luminance (for std: as if the channels moved together).
    Raises:
        ValueError: neither grey nor RGB images that need another number of channels.
    """
    from torchvision.transforms.v2 import functional as T

    x = T.center_crop(T.resize(images.x, [size], antialias=True), [size, size])
    mean, std = images.mean, images.std
    now = len(mean)
    if now == 1:
        x, mean, std = x.repeat(1, channels, 1, 1), mean.repeat(channels), std.repeat(channels)
    elif (now, channels) == (3, 1):
        x = T.rgb_to_grayscale(x)
        mean, std = (T.rgb_to_grayscale(v[:, None, None]).flatten() for v in (mean, std))
    elif now != channels:
        raise ValueError(f"images with {now} channels cannot be fitted to {channels}: grey images fit any number, RGB "
                         f"fits 1 or 3; choose another target")
    if source is not None:
        mean, std = source.mean, source.std
    return replace(images, x=x, mean=mean, std=std)


def probe(network: Networks, train: Images, test: Images, *, C: float = 0.01, batch: int = 500) -> float:
    """Test accuracy (0…1) of a logistic regression on the input of the network's last linear layer.

    The network is frozen, in eval mode, and may have been trained for other classes. Each feature is standardised by
    its mean and std on ``train``. Nothing is random.

    Args:
        network: one trained network. train, test: see :func:`fitted`.
        C: inverse of the L2 penalty, as scikit-learn has it. Kornblith et al. choose it for each network on held-out
            images; with one C for all, networks are compared at equal penalty.
        batch: images a forward pass.
    Raises:
        ValueError: several networks, images that do not fit them, or only one class in ``train``.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(network) != 1:
        raise ValueError(f"a probe is of one network; got {len(network)}: take networks[k]")
    net = network.net
    wanted = (net.channels, net.size, net.size)
    for images in (train, test):
        if images.shape != wanted:
            raise ValueError(f"the network takes images {wanted}, these are {images.shape}: pass "
                             f"fitted(images, channels={net.channels}, size={net.size}, source=…)")
    regression = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=2000))
    regression.fit(_seen(network, train, batch), train.hard.cpu().numpy())
    return float(regression.score(_seen(network, test, batch), test.hard.cpu().numpy()))


@torch.no_grad()
def _seen(network: Networks, images: Images, batch: int) -> np.ndarray:
    """float64 [N, d]: every image's features."""
    _, batch = portion(network.net, network.device, 1, batch)
    images = images.to(network.device)
    call, params, buffers = features(network.net, training=False), select(network.params, 0), select(network.buffers, 0)
    with exact_on(network.device):
        found: list[Tensor] = [call(params, buffers, images.normalised(slice(start, start + batch))).flatten(1)
                               for start in range(0, len(images), batch)]
    return torch.cat(found).double().cpu().numpy()
