"""Whether two networks lie in one basin, with an interval over the images that say so."""
from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call

from ..data import Images
from ..kernel.exact import exact_on
from ..networks import Networks
from ..params import select

NORMAL = 1.959964  # 97.5% quantile


@torch.no_grad()
def mistakes(networks: Networks, images: Images, batch: int = 500) -> Tensor:
    """bool [K, images]: which images each network gets wrong; of soft labels the likeliest class counts."""
    module, found = networks.net.build().eval(), []
    for k in range(len(networks)):
        tensors = select(networks.params, k) | select(networks.buffers, k)
        with exact_on(networks.device):
            guesses = [functional_call(module, tensors, (images.normalised(slice(i, i + batch)),)).argmax(1)
                       for i in range(0, len(images), batch)]
        found.append(torch.cat(guesses) != images.hard)
    return torch.stack(found).cpu()


def rise(wrong: Tensor, end: Tensor | None = None) -> tuple[float, float, float]:
    """The most that the error rises on a path over the mean of its ends, with its 95% interval: shares of images.

    The networks of a path see the same images, so each image has its own rise, in −1…1, and the interval is that of
    their mean: Wald's with one more image that rises by 1 and one that falls by 1, which keeps it open where no image
    changes (Bonett & Price, 2012, for paired proportions). The lower end is that of the highest point, the upper the
    highest of all points, as any of them may be the true top.

    Args:
        wrong: bool [A, images], from one end of the path to the other. end: bool [images], the other end's mistakes
            where the path does not lead there.

    >>> same = torch.tensor([[True, False, False]]).expand(3, 3)
    >>> low, high = rise(same)[1:]
    >>> assert rise(same)[0] == 0 and low < 0 < high
    """
    each = wrong.double() - (wrong[0].double() + (wrong[-1] if end is None else end).double()) / 2
    n = each.shape[1] + 2
    mean = each.sum(1) / n
    half = NORMAL * (((each.square().sum(1) + 2) / n - mean.square()) / n).sqrt()
    top = int(each.mean(1).argmax())
    return float(each[top].mean()), float((mean - half)[top]), float((mean + half).max())


def judged(rises: tuple[float, float, float], allowed: float) -> str:
    """A rise with its interval, shares of images, in a sentence: whether it is below ``allowed`` points."""
    top, low, high = (100 * x for x in rises)
    word = "one basin" if high < allowed else "two basins" if low >= allowed else "too close to call"
    return (f"{word}: test error rises by {top:.1f} [{low:.1f}, {high:.1f}] points at "
            f"most ({allowed:g} allowed)")
