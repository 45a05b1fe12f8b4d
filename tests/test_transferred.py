"""A ticket of one data set on another."""
import pytest
import torch
from helpers import identical

from lmcnb import Lab, Net, Networks, RandomMask, RandomReal, Recipe, Ticket, Train, generate_images
from lmcnb.prune.platon import Platon
from lmcnb.stages import Distill, GradualTicket, TransferredTicket

RECIPE = Recipe(epochs=1, batch=64, lr=0.1)
NET = Net(name="convnet2", channels=1, size=8, width=6, classes=10)
OTHER = generate_images(size=64, train=16, test=16)
THERE = {"dataset": OTHER, "net": Net(name="convnet2", channels=3, size=64, width=6, classes=10)}


def ticket(**changes) -> Ticket:
    source = Distill(net=NET, method=RandomReal(ipc=1))
    return Ticket(net=NET, source=source, recipe=RECIPE.but(epochs=5), round=2, **changes)


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Lab:
    return Lab("cpu", tmp_path_factory.mktemp("store"), progress=False)


def test_shared_layers_have_the_tickets_mask_and_weights_and_the_others_are_dense(lab: Lab):
    of, own = ticket(init=3), Networks.initialise(THERE["net"], [3])
    moved = TransferredTicket(**THERE, of=of).load(lab)
    first, second, last = THERE["net"].prunable
    assert moved.params[first].shape[2] == 3 and moved.params[last].shape[-1] == 6 * 16 * 16
    assert torch.equal(moved.masks[second], of.mask(lab)[second])
    assert identical(moved.params[second], of.load(lab).params[second]) and not moved.masks[second].all()
    assert moved.masks[first].all() and moved.masks[last].all()
    assert torch.equal(moved.params[first], own.params[first]) and torch.equal(moved.params[last], own.params[last])


@pytest.mark.parametrize("kind", ["random", "gradual"])
def test_any_mask_moves(lab: Lab, kind: str):
    of = RandomMask(net=NET, like=ticket()) if kind == "random" else GradualTicket(
        net=NET, recipe=RECIPE, platon=Platon(ratio=0.5))
    moved, shared = TransferredTicket(**THERE, of=of).load(lab), NET.prunable[1]
    assert torch.equal(moved.masks[shared], of.mask(lab)[shared]) and not moved.masks[shared].all()


def test_it_is_trained_like_any_ticket_and_stays_pruned(lab: Lab):
    moved = TransferredTicket(**THERE, of=ticket(init=1))
    specs = [Train(**THERE, recipe=RECIPE, init=1, seed=s, mask=moved) for s in (0, 1)]
    assert len({s.group() for s in specs}) == 1
    a, b = (lab.load(s) for s in specs)
    for found in (a, b):
        assert all((found.params[n][~m] == 0).all() for n, m in found.masks.items())
    assert not torch.equal(a.params[NET.prunable[1]], b.params[NET.prunable[1]])
    row = next(iter(lab.table(specs)[["method", "round"]].drop_duplicates().to_dict("records")))
    assert row["round"] == 2
    assert lab.get(moved).result["sparsity"] < lab.get(moved.of).result["sparsity"], "the last layer is dense"


def test_bad_settings_are_refused_in_words(lab: Lab):
    with pytest.raises(ValueError, match="of is a mask of digits itself: train under it as it is"):
        TransferredTicket(net=NET, of=ticket())
    stopped = Train(net=NET, recipe=RECIPE, stop=1)
    with pytest.raises(ValueError, match="rewound to its initial weights"):
        TransferredTicket(**THERE, of=Ticket(net=NET, recipe=RECIPE, round=1, rewind_to=stopped))
    with pytest.raises(ValueError, match="rewound to its initial weights, biases and norms"):
        TransferredTicket(**THERE, of=RandomMask(net=NET, like=ticket(rewind="weights")))
    wide = TransferredTicket(dataset=OTHER, net=THERE["net"].but(width=7), of=ticket())
    with pytest.raises(ValueError, match="no layer of .* has the shape of one of .*: give both the same width"):
        lab.get(wide)
    with pytest.raises(ValueError, match="the mask is of another network or data set"):
        Train(**THERE, recipe=RECIPE, mask=ticket())
