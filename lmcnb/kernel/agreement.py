"""Whether a network of one's own computes the same in a faster form: its forward may see what the form changes.

A form replaces layers, lays images out otherwise, or traces the forward. lmcnb's networks are written for all of them;
others are tried once, on two images of noise, and run plainly where they differ or fail.
"""
from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor, nn

from ..models import Net, per_network
from ..models.own import OwnNet
from ..params import Params
from .compiling import compiled
from .fused import machine_file

Form = Callable[[nn.Module], int]


def is_foreign(net: Net) -> bool:
    return isinstance(net, OwnNet) or net.code is not None


@per_network(256)
def agrees(net: Net, form: Form | None = None) -> bool:
    """Whether it gives the same logits with the layers of ``form``, and of images with their channels last."""
    if not is_foreign(net):
        return True
    try:
        pairs = zip(_logits(net, None, torch.contiguous_format), _logits(net, form, torch.channels_last))
        return all(torch.allclose(a, b, rtol=1e-3, atol=1e-4 * float(a.abs().max())) for a, b in pairs)
    except Exception:  # whatever a module of one's own raises: as it is, it may run
        return False


@per_network(256)
def traces(net: Net) -> bool:
    """Whether torch.compile can take its forward whole, again and again; asked once a machine, as it loads a lot."""
    if not is_foreign(net):
        return True
    found = machine_file("traces", torch.__version__, sys.version, net.canonical(), net.code or "")
    with suppress(OSError):
        return found.read_text() == "yes"
    answer = _traces(net)
    with suppress(OSError):  # a cache that cannot be written to remembers nothing
        found.parent.mkdir(parents=True, exist_ok=True)
        found.write_text("yes" if answer else "no")
    return answer


def _traces(net: Net) -> bool:
    import torch._dynamo

    calls = []
    for training in (False, True):
        module = net.build().train(training)
        calls.append((compiled(_calling(module), backend="eager"), _noise(module, net)))
    logging.disable(logging.WARNING)  # what dynamo has to say of a limit that is meant to be hit
    try:
        with torch._dynamo.config.patch(recompile_limit=2), torch.random.fork_rng(devices=[]):
            for call, noise in 4 * calls:  # a forward that counts its calls is another one each time
                call(*noise)
    except Exception:  # whatever a module of one's own, or tracing it, raises
        return False
    finally:
        logging.disable(logging.NOTSET)
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
        if not like.is_floating_point():
            return torch.zeros(like.shape, dtype=like.dtype)
        noise = torch.randn(like.shape, generator=generator).to(like.dtype)
        return noise / max(1, like[0].numel()) ** 0.5 if like.ndim > 1 else 1 + 0.1 * noise  # variances, too
    params, buffers = ({n: drawn(t) for n, t in named}
                       for named in (module.named_parameters(), module.named_buffers()))
    return params, buffers, torch.randn(2, net.channels, net.size, net.size, generator=generator)
