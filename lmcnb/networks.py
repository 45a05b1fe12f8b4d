"""A stack of K networks as one object: whoever is not a kernel adds and removes no model axis."""
from __future__ import annotations

import json
import operator
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from .data import Dataset, Images, training
from .data.untrusted import read_safetensors
from .kernel import masks as _masks
from .kernel.recipe import Recipe
from .kernel.step import State
from .kernel.training import Scores, evaluate, fit
from .models import MODELS, Net, initialise
from .models.foreign import joined, unpruned, warn_of_zeros
from .models.own import OwnNet, as_given, filled, own_net, parted
from .params import Params, clone, prefixed, select, size, stack, to

PARTS = ("params", "buffers", "masks")


@dataclass(frozen=True)
class Networks:
    """K networks of one architecture; one network is a stack of one.

    Indexing gives networks: ``networks[0]`` is a stack of one, ``networks[1:]`` one of K − 1. No method changes the
    stack that it is called on.

    Attributes:
        net: the architecture.
        params, buffers: by name, [K, ...]. Pruned weights are zero.
        masks: bool [K, ...] of every prunable weight; all True for dense networks.
        labels: what each is called: the seed of its initialisation, which names its random numbers too.
        step: of the schedule that they are at: 0 at initialisation.
    """

    net: Net
    params: Params
    buffers: Params
    masks: _masks.Masks = field(default_factory=dict)
    labels: tuple[int | str, ...] = ()
    step: int = 0

    def __post_init__(self):
        names = tuple(self.labels) or tuple(range(size(self.params)))
        if len(names) != size(self.params):
            raise ValueError(f"{size(self.params)} networks need as many labels; got {len(names)}")
        masks = self.masks or _masks.ones(self.params, self.net.prunable)
        _masks.check(masks, self.params)
        object.__setattr__(self, "labels", names)
        object.__setattr__(self, "masks", masks)

    @classmethod
    def initialise(cls, net: Net, seeds: Sequence[int] | int = (0,), device: torch.device | str = "cpu") -> Networks:
        """Freshly initialised networks, one a seed: see :func:`lmcnb.models.initialise`.

        >>> from lmcnb import Net, Networks
        >>> start = Networks.initialise(Net(name="convnet2", channels=1, size=8, width=4), seeds=[0, 1, 2])
        >>> assert len(start) == 3 and start[1].labels == (1,)
        """
        if not isinstance(net, Net):
            raise TypeError(f"Networks.initialise takes settings of a network (lmcnb.Net), got {type(net).__name__}: "
                            "networks that have their weights already are Networks.of([module, …], data)")
        seeds = [seeds] if isinstance(seeds, int) else list(seeds)
        if not seeds:
            raise ValueError("seeds needs at least one")
        params, buffers = zip(*[initialise(net, s, device) for s in seeds])
        return cls(net, stack(params), stack(buffers), labels=tuple(seeds))

    @classmethod
    def of(cls, modules: nn.Module | Mapping[str, Any] | Sequence[nn.Module | Mapping[str, Any]],
           data: Dataset | Images | None = None, *, net: Net | nn.Module | None = None,
           masks: Mapping[str, Any] | Literal["zeros"] | None = None) -> Networks:
        """Networks from ``nn.Module`` objects of one architecture, or from state dicts: checkpoints of one's own.

        Also image classifiers that return an object with ``logits``, as Hugging Face's do. A state dict may be the
        "state_dict" or "model" of a checkpoint, and have the "module." of data parallelism.

        Args:
            modules: one, or several; their weights are copied. data: what they take; without it, what their first
                and last layers say, and images of 32 pixels.
            net: the network that state dicts are of: one of lmcnb's, or a module.
            masks: as :meth:`masked` takes them; or "zeros": weights that are exactly zero are pruned. By default those
                of ``torch.nn.utils.prune``, in modules or state dicts; else none, with a warning where weights are 0.
        Raises:
            ValueError: they are not of one architecture, do not map such images to logits [B, classes], or a state dict
                is not of ``net``.

        >>> mine = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10))
        >>> x = torch.rand(5, 1, 8, 8)
        >>> logits = mine(x)
        >>> networks = Networks.of(mine)
        >>> assert torch.equal(networks.modules()[0](x), logits) and list(networks.masks) == ["0.weight", "3.weight"]
        >>> again = Networks.of(mine.state_dict(), net=mine)
        >>> assert again.net == networks.net and torch.equal(again.params["0.weight"], networks.params["0.weight"])
        """
        given: list[Any] = [modules] if isinstance(modules, (nn.Module, Mapping)) else list(modules)
        if others := [type(m).__name__ for m in given if not isinstance(m, (nn.Module, Mapping))]:
            raise ValueError(f"networks are modules or state dicts; got {others[0]}: read a file with torch.load")
        if net is None and not all(isinstance(m, nn.Module) for m in given):
            raise ValueError("a state dict does not say what it is of: give net, a module or one of lmcnb's")
        pairs = [parted(m, net) for m in given]
        plain, pruned = [module for module, _ in pairs], [masks for _, masks in pairs]
        own = net if isinstance(net, Net) else own_net(plain, None if data is None else training(data))
        params, buffers = ([{n: t.detach().clone() for n, t in getattr(m, kind)()} for m in plain]
                           for kind in ("named_parameters", "named_buffers"))
        if still := [n for n, p in plain[0].named_parameters() if not p.requires_grad]:
            warnings.warn(f"{', '.join(still[:3])} are frozen (requires_grad=False), and a training here trains all "
                          f"weights", stacklevel=2)
        made = cls(own, stack(params), stack(buffers))
        if masks is None:
            if not any(pruned):
                warn_of_zeros(made.params, made.masks)
            return made.masked(joined(pruned, params, own.prunable)) if any(pruned) else made
        if isinstance(masks, str) and masks != "zeros":
            raise ValueError(f"masks must be a dict of tensors by weight name, or 'zeros'; got {masks!r}")
        return made.masked({n: made.params[n] != 0 for n in made.masks} if isinstance(masks, str) else masks)

    @classmethod
    def join(cls, parts: Sequence[Networks]) -> Networks:
        """One stack of all. Raises ValueError for none, or where they are not of one network, or not at one step."""
        if not parts:
            raise ValueError("give at least one stack to join")
        first = parts[0]
        if any((p.net, p.step) != (first.net, first.step) for p in parts):
            raise ValueError("networks of one stack must be of one architecture, and at one step")
        params, buffers = ({n: torch.cat([getattr(p, kind)[n] for p in parts]) for n in getattr(first, kind)}
                           for kind in ("params", "buffers"))
        masks = {n: torch.cat([p.masks[n] if n in p.masks else torch.ones_like(p.params[n], dtype=torch.bool)
                               for p in parts]) for n in dict.fromkeys(n for p in parts for n in p.masks)}
        return cls(first.net, params, buffers, masks, tuple(label for p in parts for label in p.labels), first.step)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int | slice | Sequence[int]) -> Networks:
        every = range(len(self))
        if isinstance(index, slice):
            chosen = every[index]
        else:
            wanted = torch.as_tensor(index).flatten()
            if wanted.dtype == torch.bool:
                raise ValueError("networks are chosen by their positions: give those where it is true")
            chosen = [every[operator.index(k)] for k in wanted.tolist()]
        params, buffers, masks = (select(d, list(chosen)) for d in (self.params, self.buffers, self.masks))
        return replace(self, params=params, buffers=buffers, masks=masks, labels=tuple(self.labels[k] for k in chosen))

    def __iter__(self) -> Iterator[Networks]:
        return (self[k] for k in range(len(self)))

    def __repr__(self) -> str:
        left = f"{100 * float(self.sparsity.mean()):.0f}% sparse"
        return f"Networks({len(self)} × {self.net.name}, {left}, step {self.step})"

    @property
    def device(self) -> torch.device:
        return next(iter(self.params.values())).device

    def to(self, device: torch.device | str) -> Networks:
        return replace(self, **{n: to(getattr(self, n), device) for n in ("params", "buffers", "masks")})

    def modules(self) -> list[nn.Module]:
        """Each as an ``nn.Module`` with weights of its own, in eval mode."""
        net = self.net.build()
        return [as_given(filled(net, clone(select(self.params, k) | select(self.buffers, k)))).eval()
                for k in range(len(self))]

    @property
    def sparsity(self) -> Tensor:
        """float64 [K]: share of prunable weights that is pruned."""
        return _masks.sparsity(self.masks)

    @property
    def density(self) -> dict[str, Tensor]:
        """For each prunable weight float64 [K]: share of it that is left."""
        return _masks.layer_density(self.masks)

    def jaccard(self, other: Networks) -> Tensor:
        """float64 [K]: ``|a ∩ b| / |a ∪ b|`` of the kept weights. Independent masks of density d give d / (2 − d)."""
        return _masks.jaccard(self.masks, other.masks)

    def save(self, path: Path | str) -> None:
        """Writes all of it to a .safetensors file, which :meth:`load` reads; reading it runs no code."""
        parts = {f"{kind}/{n}": t.contiguous() for kind in PARTS for n, t in getattr(self, kind).items()}
        labels = [label if isinstance(label, str) else int(label) for label in self.labels]
        note = {"net": self.net.settings(), "own": isinstance(self.net, OwnNet), "labels": labels, "step": self.step}
        save_file(parts, path, {"lmcnb": json.dumps(note)})

    @classmethod
    def load(cls, path: Path | str, net: nn.Module | None = None) -> Networks:
        """What :meth:`save` wrote, on the CPU. ``net``: the module, where they are of a module of one's own.

        Warns where the module's code is not what it was. Raises:
            ValueError: another file, or networks of a module with other weights.

        >>> import tempfile
        >>> from lmcnb import Net, Networks
        >>> start = Networks.initialise(Net(name="convnet2", channels=1, size=8, width=4), seeds=[3])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     start.save(f"{folder}/start.safetensors")
        ...     again = Networks.load(f"{folder}/start.safetensors")
        >>> assert again.net == start.net and again.labels == (3,) and torch.equal(again.masks["0.weight"],
        ...                                                                        start.masks["0.weight"])
        """
        tensors, found = read_safetensors(Path(path))
        note = json.loads(found.get("lmcnb", "{}"))
        if "net" not in note:
            raise ValueError(f"{path} does not hold networks that Networks.save wrote: Networks.of takes state dicts")
        parts = [prefixed(tensors, f"{kind}/") for kind in PARTS]
        name = note["net"]["name"]
        if net is not None:
            plain = unpruned(net)[0]
            own = own_net([plain], None)
            if {n: p.shape for n, p in plain.named_parameters()} != {n: t.shape[1:] for n, t in parts[0].items()}:
                raise ValueError(f"{path} holds networks of {name}: net's weights have other names or shapes")
            if own.name != name:
                warnings.warn(f"{path} holds networks of {name}, and net is {own.name}: its code differs", stacklevel=2)
            made = own.but(**note["net"] | {"name": own.name})
        elif name not in MODELS:
            raise ValueError(f"{path} holds networks of {name}: give net, the module they are of, or register it")
        else:
            made = OwnNet(**note["net"]) if note["own"] else Net.model_validate(note["net"])
        return cls(made, *parts, labels=tuple(note["labels"]), step=note["step"])

    def masked(self, masks: Mapping[str, Any]) -> Networks:
        """The same networks under other masks: what these prune becomes zero.

        Args:
            masks: by weight name, tensors or arrays of True and False, or of 1 and 0: [K, ...], or [1, ...] or [...]
                for one mask that all share. Weights without one are not pruned.
        Raises:
            ValueError: the masks are of another network, or hold other numbers.
        """
        masks = _masks.taken(masks, self.params, self.net.prunable)
        return replace(self, params=_masks.masked(self.params, masks), masks=masks)

    def train(self, data: Dataset | Images, recipe: Recipe, seed: int | str = 0, *, stop: int | None = None
              ) -> Networks:
        """The same networks trained from where they stand to the recipe's end, or to step ``stop``.

        Pruned weights stay zero. Equal seeds give every network the data order, augmentation and CutMix that the lab's
        :class:`lmcnb.Train` gives it.

        Raises:
            ValueError: the images do not fit. FloatingPointError: the loss became NaN or infinite.
        """
        train = training(data).to(self.device)
        fitted, last = self.on(train), recipe.steps(len(train))
        if stop is not None and stop < self.step:
            raise ValueError(f"stop is step {stop}, and these networks are at step {self.step} already: raise stop")
        if self.step >= last:
            raise ValueError(f"these networks are at step {self.step}, the end of a recipe of {last}: raise epochs, or "
                             f"begin its schedule anew with dataclasses.replace(networks, step=0)")
        state = fit(fitted.net, self.params, self.buffers, train, recipe, noise(seed, self.labels), self.masks,
                    state=State.start(self.params, self.buffers, self.step), stop=stop)
        return replace(fitted, params=state.params, buffers=state.buffers, step=state.step)

    def evaluate(self, images: Images) -> Scores:
        """Loss and error of each on un-augmented images. Raises ValueError where they do not fit."""
        if isinstance(images, Dataset):
            raise ValueError("networks are evaluated on images: give data.test or data.train")
        images = images.to(self.device)
        return evaluate(self.on(images).net, self.params, self.buffers, images)

    def on(self, images: Images) -> Networks:
        """The same networks, of modules of one's own for images of this size; any other as they are."""
        fitted = getattr(self.net, "fitted", None)
        return replace(self, net=fitted(images)) if fitted else self


def refuse_others(**given: object) -> None:
    """Raises ValueError, naming it, for what is no stack of networks."""
    for name, found in given.items():
        if isinstance(found, (list, tuple)) and found and all(isinstance(part, Networks) for part in found):
            raise ValueError(f"{name} is a list of stacks: take one of them, as rounds[-1], or Networks.join(…)")
        if not isinstance(found, Networks):
            raise ValueError(f"{name} must be Networks; got a {type(found).__name__}: lmcnb.Networks.of([module, …], "
                             f"data) makes them of modules")


def noise(seed: int | str, labels: Sequence[int | str]) -> list[str]:
    """The seeds of SGD noise in the final training of networks with these labels: the lab's trainings use them, too."""
    return [f"train/{seed}/{label}" for label in labels]
