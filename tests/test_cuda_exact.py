"""Off the CPU whatever is stored, or compared with what is stored, is computed in full float32, in and out of a lab."""
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from helpers import QUICK, made_up, networks, start
from processes import begun, ended

from lmcnb import DM, IDC, MTT, Dataset, Herding, Net, Networks, RandomReal, Recipe, SoftLabels
from lmcnb.kernel.attention import attention_on
from lmcnb.kernel.exact import exact, exact_on
from lmcnb.kernel.step import caller
from lmcnb.kernel.training import evaluate, fit
from lmcnb.measure.batchnorm import recalibrated
from lmcnb.measure.diagonal_exact import exact_diagonal
from lmcnb.measure.hessian import HessianOperator
from lmcnb.measure.probe import probe
from lmcnb.models import MODELS, register_model

MATMUL, CONV = torch.backends.cuda.matmul, torch.backends.cudnn.conv
DATA = Dataset("made up", made_up(40, 5), made_up(40, 5))
SHORT = Recipe(epochs=1, batch=20, augment="none", cutmix=0)
EXPERT = SHORT.but(schedule="constant", augment="dsa_single", momentum=0, weight_decay=0)


@pytest.fixture
def asked(monkeypatch) -> Iterator[list[tuple]]:
    """What a network named "watching" sees of the session's state whenever it runs: TF32 is on outside."""
    found = []

    class Watching(torch.nn.Sequential):
        def forward(self, x):
            found.append((MATMUL.fp32_precision, CONV.fp32_precision, torch.backends.cudnn.deterministic,
                          x.device.type))
            return super().forward(x)
    monkeypatch.setattr("lmcnb.models.net.MODELS", dict(MODELS))
    register_model("watching", lambda net: Watching(
        torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.BatchNorm2d(2) if net.width == 2 else torch.nn.GroupNorm(1, 2),
        torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(128, net.classes)))
    before = [owner.fp32_precision for owner in (MATMUL, CONV)]
    MATMUL.fp32_precision = CONV.fp32_precision = "tf32"
    yield found
    MATMUL.fp32_precision, CONV.fp32_precision = before


def distilled(method):
    return lambda net: method.distill(DATA, net, 0)


CALLS = {
    "training": lambda net: fit(net, *start(net, 0), DATA.train, QUICK, [0], strategy="loop", stop=1),
    "evaluation": lambda net: evaluate(net, *start(net, 0), DATA.train, strategy="loop"),
    "recalibration": lambda net: recalibrated(networks(net.but(width=2), 0), DATA.train),
    "Hessian product": lambda net: HessianOperator(networks(net, 0), DATA.train.first(4)) @ torch.ones(658),
    "exact diagonal": lambda net: exact_diagonal(networks(net, 0), DATA.train.first(2), ["0.weight"]),
    "probe": lambda net: probe(networks(net, 0), DATA.train, DATA.test),
    "idc": distilled(IDC(ipc=1, outer=1, inner=1, real_batch=4, synthetic_batch=4, net_steps=0)),
    "dm": distilled(DM(ipc=1, iterations=1, real_batch=4)),
    "mtt": distilled(MTT(ipc=1, iterations=1, steps=1, max_start=1, ahead=1, zca=None, expert_count=1, expert=EXPERT)),
    "herding": distilled(Herding(ipc=1, recipe=SHORT)),
    "soft labels": distilled(SoftLabels(of=RandomReal(ipc=1), teacher=SHORT)),
}
ENTERED = [f"lmcnb.{name}" for name in (
    "kernel.training", "measure.batchnorm", "measure.hessian", "measure.diagonal_exact", "measure.probe",
    "distill.matching", "distill.dm", "distill.mtt", "distill.coresets", "distill.soft")]


@pytest.mark.parametrize("call", CALLS)
def test_a_kernel_called_outside_a_lab_computes_in_full_float32(call: str, asked, monkeypatch):
    net = Net(name="watching", channels=1, size=8, classes=5)
    for place in ENTERED:  # as if the CPU were a GPU
        monkeypatch.setattr(sys.modules[place], "exact_on", lambda _: exact(torch.is_grad_enabled()))
    CALLS[call](net)
    real = {seen[:3] for seen in asked if seen[3] == "cpu"}
    assert real == {("ieee", "ieee", True)}
    assert (MATMUL.fp32_precision, CONV.fp32_precision) == ("tf32", "tf32")


def test_a_gpu_is_exact_and_a_cpu_is_the_callers():
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with torch.no_grad(), exact_on(torch.device("cpu")):
            assert torch.get_num_threads() == 2
        with torch.no_grad(), exact_on(torch.device("cuda")):
            assert (MATMUL.fp32_precision, CONV.fp32_precision) == ("ieee", "ieee") and not torch.is_grad_enabled()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


SWITCHES = ["torch.backends.fp32_precision = 'tf32'", "torch.backends.cudnn.conv.fp32_precision = 'ieee'",
            "torch.set_float32_matmul_precision('high')", "torch.backends.cuda.matmul.allow_tf32 = True",
            "torch.backends.cudnn.allow_tf32 = True"]
CHILD = """
import torch
from lmcnb.kernel.exact import exact
b = torch.backends
switches = lambda: [x.fp32_precision for x in (b, b.cudnn, b.cudnn.conv, b.cuda.matmul, b.mkldnn.conv, b.mkldnn.matmul)]
{switch}
before = switches()
with exact():
    assert switches()[2:] == ["ieee"] * 4, switches()
assert switches() == before, (before, switches())
"""


def test_no_switch_of_a_session_reaches_what_is_exact():
    """Each in a process of its own: torch mixes old and new switches badly, and reads the environment's as it loads."""
    code = CHILD.format(switch="pass")
    environment = os.environ | {"TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1"}
    other = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env=environment)
    children = {switch: begun(exec, CHILD.format(switch=switch), {}) for switch in SWITCHES}
    assert {switch: ended(child) for switch, child in children.items()} == dict.fromkeys(SWITCHES)
    _, errors = other.communicate(timeout=120)
    assert other.returncode == 0, errors


def test_networks_attend_by_the_plain_formula_on_a_gpu(monkeypatch):
    """Fused attention has no rule for a stack there, and no repeatable gradient; a CPU is left as it is."""
    seen = {}

    class Attending(torch.nn.Linear):
        def forward(self, x):
            seen[x.device.type] = torch.backends.cuda.mem_efficient_sdp_enabled()
            rows = x.flatten(2)
            return super().forward(torch.nn.functional.scaled_dot_product_attention(rows, rows, rows).flatten(1))
    monkeypatch.setattr("lmcnb.models.net.MODELS", dict(MODELS))
    register_model("attending", lambda net: Attending(64, net.classes))
    net = Net(name="attending", channels=1, size=8, classes=5)
    call = caller(net, True)
    for device in ("cpu", "meta"):
        seen.clear()
        x = torch.rand(3, 1, 8, 8, device=device)
        call(*({n: p[0] for n, p in part.items()} for part in (Networks.initialise(net, [0], device).params, {})), x)
        assert seen == {device: device == "cpu"}
    with attention_on(torch.device("cuda")):
        assert not torch.backends.cuda.flash_sdp_enabled()
