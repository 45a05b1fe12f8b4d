"""A study: one network on one data set, several methods to find its subnetworks, and the pairs that compare them."""
from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from ..distill import AnyMethod, EvalProtocol
from ..kernel.recipe import Recipe
from ..models import Net
from ..prune.magnitude import Rewind, sparsity_after
from ..prune.platon import Platon
from ..spec import Spec, choose
from .controls import RandomMask
from .gradual import GradualTicket
from .path import Connect
from .sets import Assess, Distill
from .tickets import Ticket
from .training import Train

Sets = dict[str, AnyMethod]


class Study(Spec):
    """Settings that every comparison of a study shares, so that all its notebooks ask for the same artifacts.

    Methods to find a subnetwork (``method``): "dense"; "imp"; the names in ``sets`` (pruned on that distilled set);
    "random mask" (the per-layer sparsities of ``reference``, shuffled within layers); with ``platon`` set, "platon"
    (one training that prunes as it goes, to the sparsity of as many rounds).

    Args:
        net: the network; ``Net.of(data.train, "convnet3", width=32)`` fits one to a data set.
        distill_net: the network sets are distilled with, by default ``net``. Gradient matching needs one without
            BatchNorm: for a ResNet take a ConvNet (CIFAR) or ResNetAP-10 (ImageNet-10), as the papers do.
        recipe: training on real data, of IMP's rounds and of the final subnetworks alike.
        prune_steps: SGD steps of a round on a distilled set: the same for sets of any size.
        sets: distillation methods by name. own_sets: every initialisation has a set of its own (set k for init k), so
            that what is concluded is of a method, not of one set of it; otherwise all share set 0.
        reference: whose layer densities the random masks keep. platon: its ratio is that of the round asked for.
        rewind: of IMP's tickets and those of sets, "full" or "weights" (:func:`lmcnb.prune.magnitude.rewound`); a
            random mask then begins where its ``reference`` does. PLATON rewinds everything.
        points, train_images, test_images: of each path (None: all images).
    """

    dataset: str = "digits"
    net: Net
    distill_net: Net | None = None
    recipe: Recipe
    prune_steps: int = Field(default=600, ge=1)
    sets: Sets
    own_sets: bool = False
    reference: str = "idc"
    platon: Platon | None = None
    rewind: Rewind = "full"
    points: int = Field(default=11, ge=2)
    train_images: int | None = Field(default=None, ge=1)
    test_images: int | None = Field(default=None, ge=1)

    @field_validator("points")
    @classmethod
    def _odd(cls, points: int) -> int:
        if points % 2 == 0:
            raise ValueError(f"points must be odd, so that α = ½ is one of them; got {points}")
        return points

    @model_validator(mode="after")
    def _sets_by_name(self):
        taken = sorted({"dense", "imp", "random mask", "platon"} & set(self.sets))
        if taken:
            raise ValueError(f"sets must not be named {', '.join(taken)}, methods without a set: choose others")
        if self.reference not in self.sets and self.reference != type(self).model_fields["reference"].default:
            raise ValueError(f"reference must be one of sets ({', '.join(self.sets)}); got {self.reference!r}")
        return self

    @model_validator(mode="after")
    def _platon_rewinds_in_full(self):
        if self.platon and self.rewind != "full":
            raise ValueError(f"rewind must be 'full' with platon, whose tickets rewind everything; got {self.rewind!r}")
        return self

    @property
    def methods(self) -> tuple[str, ...]:
        return "dense", "imp", *self.sets, "random mask", *(["platon"] if self.platon else [])

    def distill(self, name: str, seed: int = 0) -> Distill:
        """The distilled set of a method of ``sets``."""
        method = choose("distilled set", name, self.sets)
        return Distill(dataset=self.dataset, net=self.distill_net or self.net, method=method, seed=seed)

    def assess(self, name: str, how: EvalProtocol | Recipe, networks: int = 3, seed: int = 0) -> Assess:
        """Test accuracy of networks trained on a method's set ``seed`` alone, under a protocol or just a recipe."""
        protocol = how if isinstance(how, EvalProtocol) else EvalProtocol(recipe=how)
        return Assess(dataset=self.dataset, net=self.distill_net or self.net, source=self.distill(name, seed),
                      protocol=protocol, networks=networks)

    def images(self, name: str) -> int:
        """Decoded images of a set."""
        return self.sets[name].images(self.net.classes)

    def mask(self, method: str, init: int, round: int) -> Ticket | RandomMask | GradualTicket | None:
        """The mask that ``method`` finds for initialisation ``init`` in ``round`` rounds; None where nothing is pruned.

        Raises:
            ValueError: an unknown method; the message lists the known ones.
        """
        if method not in self.methods:
            raise ValueError(f"unknown method {method!r} to find a subnetwork; known: {', '.join(self.methods)}")
        if method == "dense" or round == 0:
            return None
        if method == "random mask":
            choose("reference of a random mask", self.reference, self.sets)
            like = self.mask(self.reference, init, round)
            assert isinstance(like, Ticket)
            return RandomMask(dataset=self.dataset, net=self.net, like=like)
        if method == "platon" and self.platon:
            return GradualTicket(dataset=self.dataset, net=self.net, init=init, recipe=self.recipe,
                                 platon=self.platon.but(ratio=1 - sparsity_after(round)))
        shared = {"dataset": self.dataset, "net": self.net, "init": init, "round": round, "rewind": self.rewind}
        if method == "imp":
            return Ticket(**shared, recipe=self.recipe)
        return Ticket(**shared, source=self.distill(method, init if self.own_sets else 0),
                      recipe=self.short_recipe(method))

    def short_recipe(self, name: str) -> Recipe:
        """``recipe`` with as many epochs as make ``prune_steps`` steps on a distilled set."""
        return self.recipe.but(epochs=self.prune_steps * self.recipe.batch / self.images(name))

    def train(self, method: str, init: int, round: int, seed: int, step: int = 0) -> Train:
        """The final training of that subnetwork on real data, with SGD noise ``seed``.

        ``step``: from there on. All seeds share the steps before it, which are those of seed 0.
        """
        whole = Train(dataset=self.dataset, net=self.net, recipe=self.recipe, init=init, seed=seed,
                      mask=self.mask(method, init, round))
        return whole.but(start=whole.but(seed=0).at(step)) if step else whole

    def connect(self, method: str, init: int, round: int, seeds: tuple[int, int] = (0, 1), step: int = 0, **options
                ) -> Connect:
        """The path between two trainings of that subnetwork; ``options`` are :class:`Connect`'s.

        With ``step`` it is the instability from that step of the training on (Frankle et al., 2020).
        """
        a, b = (self.train(method, init, round, s, step) for s in seeds)
        settings = {"points": self.points, "train_images": self.train_images, "test_images": self.test_images}
        return Connect(dataset=self.dataset, net=self.net, a=a, b=b, **{**settings, **options})
