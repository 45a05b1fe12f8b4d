"""Curvature: products, exact and estimated diagonals and spectra against one backward pass for each weight."""

import weakref

import pytest
import torch
import torch.nn.functional as F
from helpers import apart, made_up, random_masks
from processes import begun, ended
from torch import nn

from lmcnb import Lab, Net, Networks, Recipe, register_model
from lmcnb.measure import diagonal_exact
from lmcnb.measure.diagonal import estimate_diagonal, summary
from lmcnb.measure.diagonal_exact import exact_diagonal
from lmcnb.measure.hessian import HessianOperator, second_order
from lmcnb.measure.spectrum import lanczos
from lmcnb.models import MODELS, initialise
from lmcnb.params import select, stack
from lmcnb.stages import Curvature, Ticket, Train


class Attention(nn.Module):
    """Two tokens rows by patches: linear layers on tokens, fused attention, layer norm, a grouped convolution."""

    def __init__(self, net: Net):
        super().__init__()
        self.patch = nn.Conv2d(net.channels, 6, 4, 4)
        self.local = nn.Conv2d(6, 6, 3, padding=1, groups=3)
        self.norm, self.qkv, self.out = nn.LayerNorm(6), nn.Linear(6, 18), nn.Linear(6, 6)
        self.head = nn.Linear(6, net.classes)

    def forward(self, x):
        tokens = self.local(self.patch(x)).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(self.norm(tokens)).unflatten(-1, (3, 2, 3)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.head((tokens + self.out(mixed)).mean(1))


@pytest.fixture
def attention():
    register_model("attention-for-test", Attention)
    yield "attention-for-test"
    MODELS.pop("attention-for-test")


def trained_looking(net: Net, seed: int = 0, scale: float = 1) -> Networks:
    """A network whose weights and statistics are not those of its start."""
    params, buffers = initialise(net, seed)
    g = torch.Generator().manual_seed(7)
    params = {n: scale * (p + 0.1 * torch.randn(p.shape, generator=g)) for n, p in params.items()}
    buffers = {n: b + torch.rand(b.shape, generator=g) if b.is_floating_point() else b for n, b in buffers.items()}
    return Networks(net, stack([params]), stack([buffers]))


def plain_hessian(network: Networks, images, names, some: int | None = None) -> torch.Tensor:
    """Rows of the Hessian over kept weights in float64, one backward pass each: all, or ``some`` spread evenly."""
    module = network.net.build().eval()
    params, buffers, masks = (select(d, 0) for d in (network.params, network.buffers, network.masks))
    buffers = {n: b.double() if b.is_floating_point() else b for n, b in buffers.items()}
    own = {n: p.double().requires_grad_(n in names) for n, p in params.items()}
    with second_order():
        logits = torch.func.functional_call(module, (own, buffers), (images.normalised(slice(0, None)).double(),))
        gradients = torch.autograd.grad(F.cross_entropy(logits, images.y), [own[n] for n in names], create_graph=True)
        flat = torch.cat([g.flatten() for g in gradients])
        kept = [masks.get(n, torch.ones_like(params[n], dtype=torch.bool)).flatten() for n in names]
        kept = torch.cat(kept).nonzero().squeeze(1)
        rows = [torch.cat([g.flatten() for g in torch.autograd.grad(flat[k], [own[n] for n in names],
                                                                    retain_graph=True)])[kept]
                for k in kept[::max(1, len(kept) // some) if some else 1]]
    return torch.stack(rows)


CASES = {
    "instance norm": Net(name="convnet2", channels=1, size=8, width=3, classes=3),
    "instance norm, deeper": Net(name="convnet3", channels=1, size=8, width=3, classes=3),
    "batch norm": Net(name="resnet10", channels=1, size=8, width=1, classes=3),
}
SPARSE = [*((name, density) for name in (*CASES, "attention") for density in (None, 0.05)), ("instance norm", 0.4)]


@pytest.fixture
def case(request):
    if request.param == "attention":
        return Net(name=request.getfixturevalue("attention"), channels=1, size=8, classes=3)
    return CASES[request.param]


@pytest.mark.parametrize(("case", "density"), SPARSE, indirect=["case"])
def test_products_and_exact_diagonal_are_those_of_the_plain_hessian(case: Net, density):
    network, images = trained_looking(case), made_up(12, classes=3)
    if density:
        network = network.masked(random_masks(case, network.params, density=density))
    rows = plain_hessian(network, images, case.prunable, some=60)
    operator = HessianOperator(network, images, batch=5)
    n = operator.shape[0]
    places = torch.arange(n)[::max(1, n // 60)]
    v = torch.randn(n, 2, generator=torch.Generator().manual_seed(1))
    expected, scale = rows @ v.double(), float(rows.norm(dim=1).max())
    assert float(((operator @ v)[places] - expected).abs().max()) < 1e-4 * max(1.0, scale)
    diagonal = exact_diagonal(network, images, batch=5)
    own = rows[torch.arange(len(places)), places]
    assert float((diagonal[places] - own).abs().max()) < 1e-4 * max(1.0, float(own.abs().max()))


def test_any_parameters_can_be_asked_for():
    network, images = trained_looking(CASES["instance norm"]), made_up(6, classes=3)
    names = tuple(network.params)
    hessian = plain_hessian(network, images, names)
    diagonal = exact_diagonal(network, images, names=names)
    assert torch.allclose(diagonal, hessian.diag(), atol=1e-4)
    assert len(HessianOperator(network, images, names=names) @ torch.ones(len(hessian))) == len(hessian)


class Shared(nn.Module):
    """Weights with a second use: a convolution under two names, one that runs twice, a linear layer whose transpose is
    used in a formula; and one of each kind without."""

    def __init__(self, net: Net):
        super().__init__()
        self.first = nn.Conv2d(net.channels, 3, 3, padding=1)
        self.one, self.other, self.twice = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.other.weight = self.one.weight
        self.code, self.head = nn.Linear(3, 5), nn.Linear(3, net.classes)

    def forward(self, x):
        x = self.other(torch.tanh(self.one(torch.tanh(self.first(x)))))
        x = torch.tanh(self.twice(torch.tanh(self.twice(x)))).mean((2, 3))
        return self.head(torch.tanh(self.code(x)) @ self.code.weight)


def test_a_weight_that_is_used_twice_has_the_curvature_of_both_uses():
    register_model("shared-for-test", Shared)
    try:
        net = Net(name="shared-for-test", channels=1, size=4, classes=3)
        network, images = trained_looking(net, scale=2), made_up(8, classes=3, size=4)
        names = [n for n in network.params if n.endswith("weight")]
        assert "one.weight" in names and "other.weight" not in names
        hessian = plain_hessian(network, images, names)
        diagonal = exact_diagonal(network, images, names=names, batch=5)
        assert float((diagonal - hessian.diag()).abs().max()) < 1e-4 * float(hessian.diag().abs().max())
        v = torch.randn(len(hessian), generator=torch.Generator().manual_seed(1))
        found = HessianOperator(network, images, names=names) @ v
        assert float((found - hessian @ v.double()).abs().max()) < 1e-4 * float(hessian.abs().max())
        plain, _ = diagonal_exact._layers(net.build().eval(), select(network.params, 0), select(network.buffers, 0),
                                     images.normalised(slice(0, 8)), images.y, names)
        assert set(plain) == {"first.weight", "head.weight"}, "what has one use keeps the cheap way"
    finally:
        MODELS.pop("shared-for-test")


def test_estimates_hold_one_sample_at_a_time(monkeypatch: pytest.MonkeyPatch):
    """And give the mean and the standard error of all."""
    drawn, alive = torch.randn(12, 50, generator=torch.Generator().manual_seed(0)).double(), []
    samples = iter(drawn)

    def sample(*_):
        made = next(samples).clone()
        alive.append(weakref.ref(made))
        assert sum(r() is not None for r in alive) <= 2
        return made
    monkeypatch.setattr("curvlinops.hutchinson_diag", sample)
    found = estimate_diagonal(torch.eye(50), 12)
    torch.testing.assert_close(found.values, drawn.mean(0))
    torch.testing.assert_close(found.errors, drawn.std(0) / 12 ** 0.5)
    assert found.trace == pytest.approx(float(drawn.sum(1).mean()))
    assert found.trace_error == pytest.approx(float(drawn.sum(1).std()) / 12 ** 0.5)


WARNING_IS_FAILING = """import sys, torch, warnings
for name in [n for n in sys.modules if n.partition(".")[0] in (
        "curvlinops", "einops", "einconv", "backpack", "linear_operator")]:
    del sys.modules[name]  # imported anew, in a fork
warnings.simplefilter("error", FutureWarning)
warnings.filterwarnings("error", category=DeprecationWarning, module="torch")
from lmcnb.measure.diagonal import estimate_diagonal
estimate_diagonal(torch.eye(5), 2)
"""


def test_estimates_warn_of_nothing():
    """A warning of a dependency would put a path of this machine into a notebook."""
    assert ended(begun(exec, WARNING_IS_FAILING, {})) is None


@pytest.mark.parametrize(("method", "most"), [("hutchinson", 160), ("xdiag", 64)])
def test_estimates_are_unbiased_and_know_their_error(method: str, most: int):
    network, images = trained_looking(CASES["instance norm"]), made_up(12, classes=3)
    exact = exact_diagonal(network, images)
    operator = HessianOperator(network, images)
    state = torch.get_rng_state()
    matrix = plain_hessian(network, images, network.net.prunable).float()  # whose products take no time
    few, many = (estimate_diagonal(h, n, method) for h, n in ((operator, 16), (matrix, most)))
    assert torch.equal(torch.get_rng_state(), state), "the global generator was moved"
    off = [float((d.values - exact).norm() / exact.norm()) for d in (few, many)]
    assert off[1] < 0.7 * off[0], "more products must help"
    away = (many.values - exact).abs() / many.errors.clamp_min(1e-9)
    assert float((away < 3).double().mean()) > 0.75, "the standard errors do not cover the exact diagonal"
    assert abs(many.trace - float(exact.sum())) < 5 * many.trace_error
    again = estimate_diagonal(operator, 16, method)
    assert torch.equal(again.values, few.values)


def test_lanczos_finds_the_extreme_eigenvalues_and_the_density():
    network, images = trained_looking(CASES["instance norm"]), made_up(12, classes=3)
    matrix = plain_hessian(network, images, network.net.prunable)
    eigenvalues = torch.linalg.eigvalsh(matrix)
    seen = lanczos(matrix.float(), steps=40, starts=3)
    assert seen.largest == pytest.approx(float(eigenvalues[-1]), rel=1e-3)
    assert seen.smallest == pytest.approx(float(eigenvalues[0]), rel=1e-2)
    assert torch.allclose(seen.weights.sum(1), torch.ones(3, dtype=torch.float64))
    grid = torch.linspace(float(eigenvalues[0]) - 1, float(eigenvalues[-1]) + 1, 4000, dtype=torch.float64)
    density = seen.density(grid, width=0.05)
    assert float(torch.trapezoid(density, grid)) == pytest.approx(1, abs=1e-3)
    trace = float(eigenvalues.mean())
    assert float(torch.trapezoid(density * grid, grid)) == pytest.approx(trace, abs=3 * float(eigenvalues.std()) / 10)


@pytest.mark.parametrize("seed", range(5))
def test_the_bound_of_lanczos_holds_where_only_rounding_is_left(seed: int):
    values = torch.randn(20, generator=torch.Generator().manual_seed(seed))
    seen = lanczos(torch.diag(values), steps=20, seed=seed)
    for found, error in zip((seen.largest, seen.smallest), seen.errors, strict=True):
        assert float((values.double() - found).abs().min()) <= error < 1e-5


def test_lanczos_stops_where_the_space_is_exhausted():
    """Three eigenvalues, one of them zero, and a zero operator: no step is taken on rounding alone."""
    operator = torch.diag(torch.tensor([2.0, 2.0, 5.0, 0.0, 0.0]))
    seen = lanczos(operator, steps=5, starts=2)
    assert seen.largest == pytest.approx(5, rel=1e-5) and seen.smallest == pytest.approx(0, abs=1e-5)
    assert torch.allclose(seen.weights.sum(1), torch.ones(2, dtype=torch.float64))
    nothing = lanczos(torch.zeros(4, 4), steps=3)
    assert (nothing.largest, nothing.smallest) == (0, 0)


def test_a_summary_with_the_pruned_entries_is_diluted():
    values = torch.tensor([1.0, 3.0])
    assert summary(values) == {"min": 1, "max": 3, "mean": 2, "std": 1, "mean_abs": 2}
    diluted = summary(values, weights=4)
    assert (diluted["min"], diluted["mean"], diluted["mean_abs"]) == (0, 1, 1)
    noisy = values + torch.tensor([1.0, -1.0])
    assert summary(noisy, errors=torch.ones(2))["std"] < summary(noisy)["std"] + 1e-12
    with pytest.raises(ValueError, match="counts the pruned ones too"):
        summary(values, weights=1)


def test_bad_input_names_the_fix():
    net = CASES["instance norm"]
    network, images = Networks.initialise(net, [0]), made_up(6, classes=3)
    for measure in (HessianOperator, exact_diagonal):
        with pytest.raises(ValueError, match="unknown weights nothing; the network has"):
            measure(network, images, names=["nothing"])
        with pytest.raises(ValueError, match=r"a Hessian is of one network; got 2: take networks\[k\]"):
            measure(network[[0, 0]], images)
    with pytest.raises(ValueError, match="the mask is of another network"):
        Networks(net, network.params, network.buffers, {net.prunable[0]: torch.ones(1, 2, dtype=torch.bool)})
    operator = HessianOperator(network, images)
    with pytest.raises(ValueError, match="columns; got a tensor of shape"):
        operator @ torch.ones(3)
    for method, products, message in (("lucky", 8, "known: hutchinson, xdiag"), ("hutchinson", 1, "at least 2"),
                                      ("xdiag", 20, "multiple of 8")):
        with pytest.raises(ValueError, match=message):
            estimate_diagonal(operator, products, method)
    with pytest.raises(ValueError, match="between 2 steps and the dimension"):
        lanczos(operator, steps=10 ** 6)


@pytest.mark.parametrize(("given", "words"), [
    ({"diagonal": "xdiag", "products": 20}, "products must be a multiple of 8, at least 16, for xdiag; got 20"),
    ({"steps": 1}, "steps must be 0, for no spectrum, or at least 2; got 1")])
def test_the_lab_refuses_before_anything_is_trained(given: dict, words: str):
    net = Net(name="convnet2", channels=1, size=8, width=3)
    with pytest.raises(ValueError, match=words):
        Curvature(net=net, model=Train(net=net, recipe=Recipe()), **given)


@pytest.mark.parametrize("diagonal", ["exact", "hutchinson"])
def test_the_lab_keeps_the_curvature_of_a_subnetwork(lab: Lab, diagonal: str):
    net = Net(name="convnet2", channels=1, size=8, width=3)
    recipe = Recipe(epochs=0.5, lr=0.05, augment="none", cutmix=0)
    train = Train(net=net, recipe=recipe, mask=Ticket(net=net, recipe=recipe, round=2))
    spec = Curvature(net=net, model=train, images=50, diagonal=diagonal, products=8, steps=5, starts=2)
    entry = lab.get(spec)
    exact = exact_diagonal(lab.load(train), lab.dataset("digits").train.subset(slice(0, 50)))
    assert entry.result["kept"] == len(exact) < entry.result["weights"] == net.count()
    if diagonal == "exact":
        assert apart({"d": entry.tensors["diagonal"]}, {"d": exact}) < 1e-9
        assert entry.result["all"]["mean"] == pytest.approx(float(exact.sum()) / net.count())
    else:
        assert abs(entry.result["trace"] - float(exact.sum())) < 6 * entry.result["trace_error"]
    assert entry.result["largest"] > entry.result["smallest"] and entry.tensors["nodes"].shape == (2, 5)
    table = lab.table([spec], columns={spec: {"method": "real"}})
    assert table.select(quantity="trace", method="real")["value"].item() == entry.result["trace"]
    nodes = table.select(quantity="spectral weight")
    assert nodes["eigenvalue"].max() == entry.result["largest"] and nodes["value"].sum() == pytest.approx(1)
    if diagonal == "exact":
        drawn = table.select(quantity="|diagonal|")
        assert drawn["share"].is_monotonic_increasing and drawn["value"].is_monotonic_decreasing
        assert (drawn["share"].iloc[-1], drawn["value"].iloc[0]) == (100, float(exact.abs().max()))
