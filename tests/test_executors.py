"""Workers without their work: who is started again, what ends all, what is refused."""

import json
import os
import pickle
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from processes import begun, ended
from test_scale import project  # noqa: F401

from lmcnb import places
from lmcnb.cli import executors, main, workers
from lmcnb.cli.clusters import executor
from lmcnb.cli.executors import RESTARTS, Executor, Killed, Processes, together
from lmcnb.cli.text import Interrupted, Refused


class Made(Executor):
    """Workers that end as they are told, in the order in which they are submitted."""

    def __init__(self, *outcomes: BaseException | str | None):
        super().__init__()
        self.outcomes, self.submitted, self.cancelled = list(outcomes), [], []

    def submit(self, number, work, *args):
        self.submitted.append(number)
        return MadeWorker(self, number, self.outcomes.pop(0))


class MadeWorker:
    def __init__(self, of: Made, number: int, outcome):
        self.of, self.number, self.outcome = of, number, outcome

    def done(self) -> bool:
        return self.outcome != "runs on"

    def error(self):
        return self.outcome

    def cancel(self) -> None:
        self.of.cancelled.append(self.number)

    def wait(self) -> None:
        assert self.number in self.of.cancelled


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(executors, "POLL_SECONDS", 0.0)


def test_a_killed_worker_is_started_again_and_a_few_times_only():
    lost, where = [], Made(None, Killed("out of memory"), None)
    together(where, 2, print, lost=lambda number, why: lost.append((number, str(why))))
    assert where.submitted == [0, 1, 1] and lost == [(1, "out of memory")]
    where = Made(*[Killed("gone")] * (RESTARTS + 1))
    with pytest.raises(Killed, match="gone"):
        together(where, 1, print)
    assert len(where.submitted) == RESTARTS + 1


def test_an_error_ends_the_others_and_is_raised():
    where = Made("runs on", ValueError("lower lr"), "runs on")
    with pytest.raises(ValueError, match="lower lr"):
        together(where, 3, print)
    assert where.cancelled == [0, 2]


def test_whoever_waits_may_end_it(monkeypatch):
    def stop(_: float) -> None:
        raise KeyboardInterrupt
    monkeypatch.setattr(executors, "time", SimpleNamespace(sleep=stop))
    where = Made("runs on", "runs on")
    with pytest.raises(KeyboardInterrupt):
        together(where, 2, print)
    assert where.cancelled == [0, 1]


def test_a_scheduler_that_takes_no_more_jobs_leaves_none_behind(monkeypatch):
    where = Made("runs on", "runs on")
    with pytest.raises(IndexError):
        together(where, 3, print)
    assert where.cancelled == [0, 1]


def write(path: str) -> None:
    Path(path).write_text(str(os.getpid()))


def fail(*odd: int) -> None:
    raise Odd(*odd) if len(odd) == 2 else ValueError("no such data" * (odd or (1,))[0])


def vanish() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Odd(Exception):
    """One that cannot travel."""

    def __init__(self, a, b):
        super().__init__(f"{a} {b}")


def test_a_process_says_how_it_ended(tmp_path: Path):
    assert ended(begun(write, str(tmp_path / "pid"))) is None and (tmp_path / "pid").read_text() != str(os.getpid())
    error = ended(begun(fail))
    assert isinstance(error, ValueError) and str(error) == "no such data"
    assert str(ended(begun(fail, 1, 2))) == "Odd: 1 2"
    assert str(ended(begun(fail, 10 ** 5))) == "no such data" * 10 ** 5, "more than a pipe holds"
    assert isinstance(ended(begun(vanish)), Killed)
    assert str(ended(begun(os._exit, 3))).endswith("with exit status 3")


def test_a_process_that_is_asked_to_ends():
    process, start = begun(time.sleep, 60), time.monotonic()
    process.cancel()
    process.wait()
    assert process.done() and time.monotonic() - start < 15


@pytest.mark.parametrize(("name", "options", "words"), [
    ("rey", {}, "unknown executor `rey`"),
    ("processes", {"cpus": "2"}, "processes take no options; got cpus"),
    ("slurm", {"cluster": "local", "slurm_partitions": "x"}, "slurm_partitions"),
    ("slurm", {"cluster": "nowhere"}, "nowhere"),
    ("slurm", {"timeout_min": "long", "cluster": "local"}, "timeout_min"),
])
def test_wrong_executors_and_options_are_refused(name: str, options: dict, words: str, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("LMCNB_STORE", str(tmp_path))
    if name == "slurm":
        pytest.importorskip("submitit")
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        executor(name, 0, options)


@pytest.mark.parametrize(("name", "package", "extra"), [("ray", "ray", "ray"), ("slurm", "submitit", "slurm")])
def test_a_missing_package_names_its_extra(name: str, package: str, extra: str, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf"pip install 'lmcnb\[{extra}\]'"):
        executor(name)


def test_without_slurm_the_way_out_is_named(tmp_path: Path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("LMCNB_STORE", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match="cluster=local runs its jobs on this machine"):
        executor("slurm")


def test_an_unknown_option_of_ray_is_refused_before_a_cluster_starts():
    ray = pytest.importorskip("ray")
    with pytest.raises(ValueError, match="address and cpus; got memory"):
        executor("ray", 0, {"memory": "1"})
    with pytest.raises(ValueError, match="cpus must be a whole number above 0; got two"):
        executor("ray", 0, {"cpus": "two"})
    assert not ray.is_initialized()


def once_killed(flag: str) -> None:
    """Kills its process, but not a second time."""
    try:
        os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow  # the plan of test_scale, divided by Ray, is among the slow ones, too
def test_a_worker_of_ray_that_is_killed_is_started_again_and_one_that_raises_is_not(tmp_path: Path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path), prepend=os.pathsep)  # Ray's workers import this file
    lost: list[Killed] = []
    try:
        where = executor("ray", 0, {"cpus": "2"})
    except ValueError as error:
        assert "timed out during startup" in str(error)
        pytest.skip("Ray did not start within its 30 seconds")
    try:
        together(where, 2, once_killed, str(tmp_path / "flag"), lost=lambda number, why: lost.append(why))
        assert len(lost) == 1 and isinstance(lost[0], Killed)
        with pytest.raises(ValueError, match="no such data"):
            together(where, 1, fail)
    finally:
        where.close()


def test_a_job_that_raised_is_not_one_that_was_killed(tmp_path: Path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("LMCNB_STORE", str(tmp_path))
    job = executor("slurm", 0, {"cluster": "local"}).submit(0, json.loads, "{")
    while not job.done():
        time.sleep(0.05)
    error = job.error()
    assert not isinstance(error, Killed) and "JSONDecodeError: Expecting property name" in str(error)


@pytest.mark.parametrize(("words", "said"), [
    (["--shard", "3/2"], "write K/N with 1 ≤ K ≤ N"), (["--shard", "0/2"], "--shard 0/2"), (["--shard", "x"], "as 2/8"),
    (["--shard", "-1/2"], "--shard -1/2"), (["-j", "0"], "x>=1"), (["--executor", "rey"], "did you mean `ray`?"),
    (["-o", "cpus"], "--option cpus: write NAME=VALUE"), (["-o", "cpus=2"], "processes take no options"),
    (["--gpus", "1"], "no GPU that torch can use"),
])
def test_wrong_orders_are_refused_before_anything_is_computed(words: list, said: str, tmp_path: Path, monkeypatch,
                                                             project: Path):  # noqa: F811
    monkeypatch.setenv("LMCNB_PROJECT", str(project))
    monkeypatch.setenv("LMCNB_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(workers, "device", lambda: "cpu")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    result = CliRunner().invoke(main, ["compute", "00", *words])
    assert result.exit_code == 2 and said in result.output, result.output
    assert not (tmp_path / "store").exists()


@pytest.fixture
def order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> workers.Order:
    monkeypatch.setenv("LMCNB_STORE", str(tmp_path / "store"))
    root = places.project_root()
    given = workers.order(root, [], "smoke", (), "cpu", (1, 1))
    assert pickle.loads(pickle.dumps(given)) == given
    return replace(given, notebooks=("00_quickstart",))


@pytest.mark.parametrize("changed", [{"lmcnb": "0.1 abc"}, {"torch": "2.11.0"}])
def test_a_worker_of_another_version_is_refused(order: workers.Order, changed: dict, tmp_path: Path):
    with pytest.raises(Refused, match=f"{next(iter(changed))} .* instead of {next(iter(changed.values()))}"):
        workers.work(replace(order, versions={**order.versions, **changed}))
    assert not (tmp_path / "store").exists()


def test_a_worker_without_git_is_of_the_same_version():
    assert not workers._differ("0.2.0 unknown", "0.2.0 abc") and not workers._differ("2.14", "2.14")
    assert workers._differ("0.2.0 unknown", "0.1 abc") and workers._differ("0.2.0 abc-dirty", "0.2.0 abc")


def test_a_worker_without_the_gpu_that_was_ordered_is_refused(order: workers.Order, monkeypatch):
    monkeypatch.setattr(workers, "device", lambda: "cpu")
    with pytest.raises(Refused, match="no GPU that torch can use, and cuda was ordered"):
        workers.work(replace(order, device="cuda"))


def test_of_gpus_each_worker_takes_one(monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    assert workers.Workers(8, gpus=1).most() == 3 and "3 of 8 workers: each takes one GPU" in capsys.readouterr().out
    assert workers.Workers(8, gpus=0).most() == 8 == workers.Workers(8, "ray", gpus=1).most()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    seen: list = []
    monkeypatch.setattr(executors, "_Process", lambda environment, *of: seen.append(environment))
    for k in range(2):
        Processes(gpus=1).submit(k, print)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    Processes(gpus=1).submit(1, print)
    assert [each["CUDA_VISIBLE_DEVICES"] for each in seen] == ["0", "1", "5"]


def test_an_interruption_travels_as_words():
    assert str(executors._portable(Interrupted("cut off", 2))).endswith("cut off")
