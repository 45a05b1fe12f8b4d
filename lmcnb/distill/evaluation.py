"""How good a distilled set is: networks trained on it alone, under one of the protocols of the literature."""
from __future__ import annotations

from collections.abc import Sequence

from ..data import Images
from ..data.whitening import Whitening
from ..kernel.recipe import Recipe
from ..kernel.training import Scores, evaluate, fit
from ..models import Net, initialise
from ..params import stack
from ..spec import Spec, choose
from .base import Distilled


class EvalProtocol(Spec):
    """How networks are trained on a set. Their accuracy after the last step counts, not the best.

    Args:
        recipe: the training. learned_lr: take the set's own step size, where it has one, instead of the recipe's.
        zca: whiten the set's and the test images, where the set was made under ZCA.
    """

    recipe: Recipe
    learned_lr: bool = False
    zca: bool = False

    def shortened(self, steps: int, images: int, **changes) -> EvalProtocol:
        """The same with so many SGD steps on a set of ``images`` images; ``changes`` are of the recipe."""
        recipe = self.recipe.but(**changes)
        recipe = recipe.but(batch=min(recipe.batch, images))
        return self.but(recipe=recipe.but(epochs=steps * recipe.batch / images))

    def prepare(self, found: Distilled, test: Images, space: Whitening | None) -> tuple[Images, Images, Recipe]:
        """Training images, test images and recipe. Raises ValueError when a whitening is needed and not given."""
        recipe = self.recipe.but(lr=found.lr) if self.learned_lr and found.lr else self.recipe
        train = found.decoded()
        recipe = recipe.but(batch=min(recipe.batch, len(train)))  # a smaller set is one step an epoch, as in the codes
        if not (self.zca and found.zca):
            return train, test, recipe
        if space is None:
            raise ValueError("this set was made under ZCA whitening: pass space=lmcnb.data.zca(train images, "
                             f"{found.zca}), or a protocol with zca=False")
        return space.images(train), space.images(test), recipe


_SHORT = Recipe(epochs=1000, batch=256, schedule="half", augment="dsa_single", cutmix=0)
PROTOCOLS: dict[str, EvalProtocol] = {
    "dc": EvalProtocol(recipe=_SHORT),
    "idc": EvalProtocol(recipe=Recipe(epochs=1000)),
    "mtt": EvalProtocol(recipe=_SHORT, learned_lr=True, zca=True),
}


def protocol(name: str) -> EvalProtocol:
    """"dc", "idc" or "mtt": SGD for 1000 epochs, momentum 0.9, weight decay 5e-4, batches no larger than the set, and

    ==== ===== ============== ============================ ====== ==================== ===
    name batch rate           decay                        CutMix augmentation         ZCA
    ==== ===== ============== ============================ ====== ==================== ===
    dc   256   0.01           × 0.1 at ½                   no     "dsa_single"         no
    idc  64    0.01           × 0.2 at ⅔ and ⅚             p = ½  "cifar": no cutout   no
    mtt  256   the set's own  × 0.1 at ½                   no     "dsa_single"         yes
    ==== ===== ============== ============================ ====== ==================== ===

    "dc" is what DC's repository does for DSA and DM (for DC itself: 300 epochs without augmentation). "idc" cuts no
    square out: where CutMix is on, IDC's code takes cutout away.
    """
    return choose("evaluation protocol", name, PROTOCOLS)


def assess(net: Net, found: Distilled, test: Images, how: EvalProtocol, inits: Sequence[int] = (1000, 1001, 1002), *,
           space: Whitening | None = None) -> Scores:
    """Test loss and accuracy of networks trained on the set alone, as one stack; float64 [inits], one for each of them.

    Raises:
        ValueError: the protocol whitens, and there is no ``space`` to whiten in.
    """
    train, test, recipe = how.prepare(found, test, space)
    params, buffers = (stack(list(part)) for part in zip(*[initialise(net, i, test.x.device) for i in inits]))
    state = fit(net, params, buffers, train, recipe, [f"assess/{i}" for i in inits])
    return evaluate(net, state.params, state.buffers, test)
