"""Whether a network of one's own computes the same in a faster form: its forward may see what the form changes.

A form replaces layers, lays images out otherwise, or traces the forward. lmcnb's networks are written for all of them;
others are tried once, on two images of noise, and run plainly where they differ or fail.
"""
from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor, nn

from ..models import Net, per_network
from ..models.own import OwnNet
from ..params import Params
from .compiling import renamed
from .fused import asked_once

Form = Callable[[nn.Module], int]


def is_foreign(net: Net) -> bool:
    return isinstance(net, OwnNet) or net.code is not None


@per_network(256)
def agrees(net: Net, form: Form | None = None) -> bool:
    """Whether it gives the same logits with the layers of ``form``, and of images with their channels last."""
    if not is_foreign(net):
        return True
    name = form.__name__ if form else "channels last"
    return asked_once("agrees", net.canonical(), net.code or "", name, ask=lambda: _agrees(net, form))


@per_network(256)
def traces(net: Net) -> bool:
    """Whether torch.compile can take its forward whole, again and again."""
    if not is_foreign(net):
        return True
    return asked_once("traces", net.canonical(), net.code or "", ask=lambda: _traces(net))


@per_network(256)
def changes_input(net: Net) -> bool:
    """Whether its forward writes into the images that it is given, as ``x.sub_(…)`` does."""
    if not is_foreign(net):
        return False
    with torch.inference_mode(False), torch.no_grad(), torch.device("meta"):
        images = torch.empty(2, net.channels, net.size, net.size)
        before = images._version
        with suppress(Exception):  # whatever a module of one's own raises: it says so where it is used
            net.build().eval()(images)
    return images._version != before


def _agrees(net: Net, form: Form | None) -> bool:
    try:
        plain, formed = _logits(net, None, torch.contiguous_format), _logits(net, form, torch.channels_last)
    except Exception:  # whatever a module of one's own raises: as it is, it may run
        return False
    # Logits that are the same for both images, or infinite, have seen nothing of them.
    telling = all(bool(a.isfinite().all()) and not torch.equal(a[0], a[1]) for a in plain)
    return telling and all(torch.allclose(a, b, rtol=1e-3, atol=1e-4 * float(a.abs().max()))
                           for a, b in zip(plain, formed))


def _traces(net: Net) -> bool:
    import torch._dynamo

    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))  # what dynamo has to say of a limit that is meant to be hit
    try:
        with torch._dynamo.config.patch(recompile_limit=2), torch.random.fork_rng(devices=[]):
            for training in (False, True):
                module = net.build().train(training)
                call = torch.compile(renamed(_calling(module)), fullgraph=True, dynamic=False, backend="eager")
                noise = _noise(module, net)
                for _ in range(4):  # a forward that counts its calls is another one each time
                    call(*noise)
    except Exception:  # whatever a module of one's own, or tracing it, raises
        return False
    finally:
        logging.disable(before)
    return True


def _calling(module: nn.Module) -> Callable[[Params, Params, Tensor], Tensor]:
    def call(params: Params, buffers: Params, x: Tensor) -> Tensor:
        return torch.func.functional_call(module, (params, buffers), (x,))
    return call


def _logits(net: Net, form: Form | None, layout: torch.memory_format) -> list[Tensor]:
    """In evaluation and in training."""
    found = []
    for training in (False, True):
        module = net.build().train(training)
        if form:
            form(module)
        params, buffers, x = _noise(module, net)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            found.append(_calling(module)(params, buffers, x.contiguous(memory_format=layout)))
    return found


def _noise(module: nn.Module, net: Net) -> tuple[Params, Params, Tensor]:
    """Weights, buffers and two images, the same in every call."""
    generator = torch.Generator().manual_seed(0)

    def drawn(like: Tensor) -> Tensor:
        if not like.is_floating_point():  # masks let all through, indices lie in any table
            return torch.full(like.shape, like.dtype == torch.bool, dtype=like.dtype)
        noise = torch.randn(like.shape, generator=generator).to(like.dtype)
        return noise / max(1, like[0].numel()) ** 0.5 if like.ndim > 1 else 1 + 0.1 * noise  # variances, too
    params, buffers = ({n: drawn(t) for n, t in named}
                       for named in (module.named_parameters(), module.named_buffers()))
    return params, buffers, torch.randn(2, net.channels, net.size, net.size, generator=generator)
