"""bfloat16 is for the factors of a training's products: everything that is kept or measured is float32."""

import pytest
import torch
from helpers import BATCHNORM, QUICK, apart, identical, made_up, random_masks, start

from lmcnb import Net, Recipe, Train
from lmcnb.kernel import recipe as recipes
from lmcnb.kernel.training import fit
from lmcnb.lab.keys import execution
from lmcnb.spec import SettingError

DATA = made_up(64, 10)
NET = Net(name="convnet1", channels=1, size=8, width=8)
RECIPE = QUICK.but(precision="bf16")
CPU = torch.device("cpu")


@pytest.mark.parametrize("strategy", ["loop", "fused"])
@pytest.mark.parametrize("net", [NET, BATCHNORM], ids=lambda n: n.name)
def test_a_training_in_bfloat16_is_near_that_in_float32(net: Net, strategy: str):
    params, buffers = start(net, 0, 1)
    masks = random_masks(net, params)
    full, half = (fit(net, params, buffers, DATA, r, [0, 1], masks, strategy=strategy) for r in (QUICK, RECIPE))
    for part in (half.params, half.momentum):
        assert all(t.dtype == torch.float32 for t in part.values())
    assert all((half.params[n][~m] == 0).all() for n, m in masks.items())
    moved = apart(full.params, params)
    assert 1e-6 < apart(full.params, half.params) < 0.2 * moved
    torch.testing.assert_close(full.losses, half.losses, rtol=0.05, atol=0.05)


def test_weights_move_by_less_than_bfloat16_can_tell():
    """What float32 weights are kept for: steps of a thousandth of a bfloat16's last place add up."""
    slow = RECIPE.but(lr=1e-6, weight_decay=0)
    params, buffers = start(NET, 0)
    end = fit(NET, params, buffers, DATA, slow, [0], strategy="loop")
    assert not identical(end.params, params)
    before, after = (p["0.weight"].bfloat16() for p in (params, end.params))
    assert (before == after).double().mean() > 0.95


def test_auto_is_what_the_device_has(monkeypatch):
    for there, precision in ((True, "bf16"), (False, "float32")):
        monkeypatch.setattr(recipes, "has_bf16", lambda _, there=there: there)
        auto = RECIPE.but(precision="auto")
        assert auto.on(CPU).precision == precision
        assert execution(Train(net=BATCHNORM, recipe=auto), CPU)["precision"] == precision
    assert RECIPE.on(CPU).precision == "bf16" and QUICK.on(CPU).precision == "float32"


def test_the_precision_is_in_the_key_and_float32_leaves_keys_as_they_were():
    assert "precision" not in Recipe().settings()
    assert len({QUICK.but(precision=p).key for p in ("float32", "bf16", "auto")}) == 3
    assert QUICK.but(precision="float32").key == QUICK.key


def test_an_unknown_precision_is_refused():
    with pytest.raises(SettingError, match=r"Recipe\.precision must be 'float32', 'bf16' or 'auto'"):
        Recipe(precision="fp16")  # pyright: ignore[reportArgumentType]
