"""Networks that draw random numbers are refused, whichever way they do it; those that could but do not are welcome."""

import pytest
import torch
import torch.nn.functional as F
from helpers import BATCHNORM, NET
from torch import nn

from lmcnb import Net, register_model
from lmcnb.kernel.randomness import refuse_random
from lmcnb.kernel.step import caller
from lmcnb.models import MODELS


class Chance(nn.Module):
    """One linear layer, and one of the ways to be random."""

    def __init__(self, net: Net, way: str, share: float):
        super().__init__()
        self.way, self.share = way, share
        self.first, self.last = nn.Linear(net.size, 6), nn.Linear(6, net.classes)
        self.dropout, self.attention = nn.Dropout(share), nn.MultiheadAttention(6, 2, share, batch_first=True)

    def forward(self, x):
        x = self.first(x.flatten(1, 2))
        share = self.share if self.training else 0.0
        if self.way == "dropout":
            x = self.dropout(x)
        if self.way == "functional":
            x = F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], dropout_p=share)[:, 0]
        if self.way == "attention":
            x = self.attention(x, x, x)[0]
        if self.way == "depth" and share:
            x = x * (torch.rand(len(x), 1, 1) > share)
        return self.last(x.mean(1))


@pytest.fixture(params=["dropout", "functional", "attention", "depth"])
def way(request):
    for share in (0.0, 0.1):
        register_model(f"chance-{share}", lambda net, s=share: Chance(net, request.param, s))
    yield request.param
    for share in (0.0, 0.1):
        MODELS.pop(f"chance-{share}")


def test_a_network_that_draws_in_training_is_refused(way: str):
    net = NET.but(name="chance-0.1")
    with pytest.raises(ValueError, match=r"chance-0.1 draws random numbers while it runs \((bernoulli|rand)\).* to 0"):
        refuse_random(net)
    with pytest.raises(ValueError, match="draws random numbers"):
        caller(net, training=True)
    caller(net, training=False)
    refuse_random(NET.but(name="chance-0.0"))


@pytest.mark.parametrize("net", [NET, BATCHNORM, Net(name="resnetap10", size=64)], ids=lambda n: n.name)
def test_our_networks_draw_nothing(net: Net):
    refuse_random(net)
