"""Modules of a user's own as networks: in and out unchanged, trained, pruned and measured as any other."""

import pytest
import torch
import torch.nn.functional as F
from helpers import QUICK, identical, made_up
from torch import Tensor, nn

from lmcnb import Dataset, Net, Networks, instability, path, prune_iteratively, register_model
from lmcnb.measure.diagonal_exact import exact_diagonal
from lmcnb.measure.hessian import HessianOperator
from lmcnb.models import MODELS
from lmcnb.params import select

DATA = Dataset("noise", made_up(64, 10), made_up(40, 10, seed=1))
SHORT = QUICK.but(epochs=2)


class Own(nn.Module):
    """A forward of its own: a skip connection, a factor, a buffer that no state dict has."""

    def __init__(self, factor: float = 1.0, classes: int = 10):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.head, self.factor = nn.BatchNorm2d(4), nn.Linear(4, classes), factor
        self.register_buffer("shift", torch.tensor(0.5), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.first(x)) + self.shift)
        return self.factor * self.head((x + self.second(x)).mean((2, 3)))


class Tied(Own):
    """Two layers share a weight."""

    def __init__(self):
        super().__init__()
        self.third = nn.Conv2d(4, 4, 3, padding=1)
        self.third.weight = self.second.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.third(F.relu(self.second(F.relu(self.first(x))))).mean((2, 3)))


class Wide(Own):
    """Takes 16 × 16 pixels and no others."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4 * 16 * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.first(x).flatten(1))


class Choosy(Own):
    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class Several(Own):
    def forward(self, x: Tensor) -> tuple:
        return super().forward(x), x


def built(seed: int, kind: type[nn.Module] = Own, *args) -> nn.Module:
    """Used a little, so that its statistics are not those of its start."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = kind(*args)
    with torch.no_grad():
        made.train()(DATA.train.normalised())
    return made.eval()


@pytest.fixture
def registered():
    """The same network as one that lmcnb builds itself."""
    register_model("own-for-test", lambda net: Own())
    yield Net(name="own-for-test", channels=1, size=8)
    MODELS.pop("own-for-test")


@pytest.mark.parametrize("kind", [Own, Tied])
def test_modules_come_out_as_they_went_in(kind: type):
    modules, x = [built(0, kind), built(1, kind)], DATA.test.normalised()
    before = [{n: t.clone() for n, t in m.state_dict().items()} for m in modules]
    found = Networks.of(modules, DATA)
    assert len(found) == 2 and found.labels == (0, 1) and found.net.name.startswith(kind.__name__)
    assert (found.net.channels, found.net.size, found.net.classes) == (1, 8, 10)
    assert set(found.masks) == {"first.weight", "second.weight", "head.weight"}
    for one, other in zip(modules, found.modules()):
        assert type(other) is kind and not other.training and torch.equal(one(x), other(x))
        assert identical(dict(one.state_dict()), dict(other.state_dict()))
        assert torch.equal(one.shift, other.shift)
        with torch.no_grad():
            other.first.weight.zero_()
            other.shift.zero_()
    again = Networks.of(found.modules(), DATA)
    assert again.net == found.net and identical(again.params, found.params), "the stack's weights are its own"
    with torch.no_grad():
        modules[0].first.weight.zero_()
    assert identical(found.modules()[0].state_dict()["first.weight"], before[0]["first.weight"])


def test_layers_that_share_a_weight_still_share_it():
    (made,) = Networks.of(built(0, Tied), DATA).train(DATA, SHORT).modules()
    assert made.second.weight is made.third.weight


def test_one_module_is_a_stack_of_one_and_may_be_in_training():
    found, x = built(0), DATA.test.normalised()
    one = Networks.of(found.train(), DATA)
    assert len(one) == 1 and found.training, "the module itself stays"
    assert torch.equal(one.modules()[0](x), found.eval()(x))
    assert one.net == Networks.of([found], DATA.train).net, "images of a training set do as well"


def test_scores_are_those_of_the_module():
    modules = [built(0), built(1)]
    scores = Networks.of(modules, DATA).evaluate(DATA.test)
    with torch.no_grad():
        logits = torch.stack([m(DATA.test.normalised()) for m in modules])
    expected = torch.stack([F.cross_entropy(z, DATA.test.y) for z in logits])
    torch.testing.assert_close(scores.loss, expected.double(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(scores.error, (logits.argmax(-1) != DATA.test.y).double().mean(1))


def test_without_data_the_size_is_that_of_the_images_they_are_used_on():
    modules = [built(0), built(1)]
    free, bound = Networks.of(modules), Networks.of(modules, DATA)
    assert (free.net.channels, free.net.classes) == (1, 10)
    assert torch.equal(free.evaluate(DATA.test).loss, bound.evaluate(DATA.test).loss)
    ends = [path(n[0], n[1], DATA, [0, 0.5, 1]) for n in (free, bound)]
    assert identical(ends[0].tensors(), ends[1].tensors())
    assert identical(free.train(DATA, SHORT).params, bound.train(DATA, SHORT).params)


def test_modules_of_different_architecture_are_no_stack():
    for other in (built(0, Tied), built(0, Own, 1.0, 7), built(0, Own, 2.0)):
        with pytest.raises(ValueError, match="the modules are not of one architecture"):
            Networks.of([built(0), other])
    with pytest.raises(ValueError, match="at least one module"):
        Networks.of([])
    with pytest.raises(ValueError, match="as many networks at either end, of one architecture"):
        path(Networks.of(built(0)), Networks.of(built(0, Tied)), DATA)


def test_what_only_an_attribute_tells_apart_is_another_network():
    modules, x = [built(0, Own, f) for f in (1.0, 3.0)], DATA.test.normalised()
    found = [Networks.of(m, DATA) for m in modules]
    assert found[0].net != found[1].net
    assert all(torch.equal(n.modules()[0](x), m(x)) for n, m in zip(found, modules))


@pytest.mark.parametrize(("kind", "message"), [
    (Wide, r"Wide-\w+ does not take images of 1 × 8 × 8: "),
    (Choosy, r"Choosy-\w+ does not take images of 1 × 8 × 8: NotImplementedError"),
    (Several, r"Several-\w+ must map images to logits \[B, 10\]; for two it gave a tuple"),
    (lambda: Own(classes=7), r"Own-\w+ must map images to logits \[B, 10\]; for two it gave \(2, 7\)"),
    (nn.Flatten, r"Flatten-\w+ has no convolution and no linear layer"),
    (lambda: nn.Sequential(nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(64, 10))),
     "no linear layer with a weight of its own, so nothing to prune"),
], ids=["pixels", "no message", "tuple", "classes", "no layer", "no own weight"])
def test_a_module_that_does_not_fit_is_refused_in_a_sentence(kind, message: str):
    with pytest.raises(ValueError, match=message):
        Networks.of(kind(), DATA)


def test_a_misfit_shows_when_the_images_do():
    found = Networks.of(built(0))
    for use in (found.evaluate, lambda images: found.train(images, SHORT),
                lambda images: path(found, found, Dataset("rgb", images, images))):
        with pytest.raises(ValueError, match=r"does not take images of 3 × 8 × 8: "):
            use(made_up(8, 10, channels=3))


def test_it_trains_and_prunes_as_a_registered_network_does(registered: Net):
    own = Networks.of([built(0), built(1)], DATA)
    twin = Networks(registered, own.params, own.buffers)
    trained = own.train(DATA, SHORT, 3)
    assert identical(trained.params, twin.train(DATA, SHORT, 3).params) and trained.step == 4
    rounds = prune_iteratively(own, DATA, SHORT, rounds=2, seed=3)
    assert [round(float(r.sparsity[0]), 2) for r in rounds] == [0, 0.2, 0.36]
    for a, b in zip(rounds, prune_iteratively(twin, DATA, SHORT, rounds=2, seed=3), strict=True):
        assert identical(a.params, b.params) and identical(a.masks, b.masks)
    last = rounds[-1].train(DATA, SHORT)
    for k, made in enumerate(last.modules()):
        kept = select(last.masks, k)
        assert all(not made.get_parameter(n)[~m].any() for n, m in kept.items())
        assert not identical(made.get_parameter("head.weight").detach(), own.params["head.weight"][k])


def test_the_path_and_the_curvature_are_those_of_a_registered_network(registered: Net):
    own = Networks.of([built(0), built(1)], DATA)
    twin = Networks(registered, own.params, own.buffers)
    for bn in ("lerp", "recalibrate"):
        found, expected = (path(n[0], n[1], DATA, [0, 0.5, 1], bn=bn).tensors() for n in (own, twin))
        assert identical(found, expected)
    found, expected = (instability(n, DATA, SHORT, alphas=[0, 1]).tensors() for n in (own, twin))
    assert identical(found, expected)
    images = DATA.train.first(10)
    assert identical(*(exact_diagonal(n[0], images) for n in (own, twin)))
    v = torch.ones(own.net.count())
    assert identical(*(HessianOperator(n[0], images) @ v for n in (own, twin)))


def test_a_module_where_settings_are_meant_names_the_way():
    with pytest.raises(TypeError, match="Networks.of"):
        Networks.initialise(Own(), seeds=[0])  # type: ignore[arg-type]
