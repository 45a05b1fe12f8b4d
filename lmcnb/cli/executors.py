"""Where the processes that share a plan run: on this machine, on a Ray cluster, under SLURM.

An executor starts a function somewhere and says how it ended; that is all. What the processes compute they divide
among themselves, by the leases of the store that they share, and only files pass between them. So any of them may be
killed: what it had stored is kept, and another takes its lease over.
"""
from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, ClassVar, Protocol

from lmcnb.places import store_root
from lmcnb.spec import choose

RESTARTS = 3  # of one worker that was killed
POLL_SECONDS = 0.2
Work = Callable[..., object]  # importable, so that another machine knows it by name


class Killed(RuntimeError):
    """A worker ended without a word: killed, out of memory, or its machine went away."""


class Running(Protocol):
    """A function that was started."""

    def done(self) -> bool:
        """Whether it has ended."""
        ...

    def error(self) -> BaseException | None:
        """Of one that has ended: what it raised, or Killed."""
        ...

    def cancel(self) -> None:
        """Asks it to end."""
        ...

    def wait(self) -> None:
        """Waits a while until one that was asked to has ended; ends it by force where that is at hand."""
        ...


class Executor(ABC):
    """Starts functions somewhere. A subclass with a ``name`` registers itself.

    Args:
        gpus: GPUs of each worker, 0 or 1. options: what the scheduler is told beside that.

    Raises:
        ValueError: an option that it does not know, or a package that is not installed.
    """

    name: ClassVar[str] = ""

    def __init__(self, gpus: int = 0, options: Mapping[str, str] | None = None):
        self.gpus = gpus
        self.options = dict(options or {})

    def __init_subclass__(cls) -> None:
        if cls.name:
            EXECUTORS[cls.name] = cls

    @abstractmethod
    def submit(self, number: int, work: Work, *args: object) -> Running:
        """Starts ``work(*args)`` as worker ``number``, from 0."""

    def close(self) -> None:  # noqa: B027  # most hold nothing
        """Gives back what it holds."""


EXECUTORS: dict[str, type[Executor]] = {}


def executor(name: str, gpus: int = 0, options: Mapping[str, str] | None = None) -> Executor:
    """One of :data:`EXECUTORS` by name. Raises ValueError, see :class:`Executor`."""
    return choose("executor", name, EXECUTORS)(gpus, options)


class Processes(Executor):
    """Processes of this machine; with GPUs each has one of its own."""

    name = "processes"

    def __init__(self, gpus: int = 0, options: Mapping[str, str] | None = None):
        super().__init__(gpus, options)
        if self.options:
            raise ValueError(f"processes take no options; got {', '.join(self.options)}")

    def submit(self, number: int, work: Work, *args: object) -> Running:
        mine = os.environ.get("CUDA_VISIBLE_DEVICES")
        one = mine.split(",")[number] if mine else str(number)
        return _Process({"CUDA_VISIBLE_DEVICES": one} if self.gpus else {}, work, args)


class _Process:
    def __init__(self, environment: Mapping[str, str], work: Work, args: tuple):
        context = multiprocessing.get_context("spawn")  # a fork of a process that has threads may hang
        self.outcome, end = context.Pipe(duplex=False)
        self.process = context.Process(target=_reported, args=(end, dict(environment), work, args))
        self.process.start()
        end.close()

    def done(self) -> bool:
        return self.outcome.poll() or not self.process.is_alive()  # it waits until its words are read

    def error(self) -> BaseException | None:
        with suppress(EOFError, OSError):
            if self.outcome.poll():
                return self.outcome.recv()
        self.process.join()
        code = self.process.exitcode or 0
        how = f"by signal {-code}" if code < 0 else f"with exit status {code}"
        return Killed(f"process {self.process.pid} ended {how}")

    def cancel(self) -> None:
        self.process.terminate()

    def wait(self) -> None:
        self.process.join(20)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _reported(end: Any, environment: Mapping[str, str], work: Work, args: tuple) -> None:
    """In the new process: what ``work`` raises, or None, goes into the pipe."""
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who started us, and who then ends us
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    threading.Thread(target=_follow, daemon=True).start()
    try:
        work(*args)
        error = None
    except Exception as raised:
        error = _portable(raised)
    end.send(error)


def _follow() -> None:
    """Ends this process in order when the one that started it is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _portable(error: Exception) -> Exception:
    """The error, or its words where it cannot travel."""
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:  # of whoever's exception class
        return RuntimeError(f"{type(error).__name__}: {error}")


class Ray(Executor):
    """Tasks of a Ray cluster: the one at ``address``, or RAY_ADDRESS, or else one that is started on this machine.

    Every machine of it needs the same folders for project, data and store.
    """

    name = "ray"

    def __init__(self, gpus: int = 0, options: Mapping[str, str] | None = None):
        super().__init__(gpus, options)
        try:
            import ray
        except ImportError:
            raise ValueError("Ray is not installed: pip install 'lmcnb[ray]'") from None
        if unknown := self.options.keys() - {"address", "cpus"}:
            raise ValueError(f"ray takes the options address and cpus; got {', '.join(sorted(unknown))}")
        cpus = self.options.get("cpus")  # of a cluster that is started here; without it, all
        if cpus is not None and not (cpus.isdecimal() and int(cpus)):
            raise ValueError(f"ray: cpus must be a whole number above 0; got {cpus}")
        self.ray, self.ours = ray, not ray.is_initialized()
        try:
            ray.init(self.options.get("address"), num_cpus=int(cpus) if cpus else None, include_dashboard=False,
                     log_to_driver=False, logging_level=logging.ERROR, ignore_reinit_error=True)
        except (OSError, RuntimeError) as error:
            raise ValueError(f"ray: {error}") from error
        if gpus and not ray.cluster_resources().get("GPU"):
            self.close()
            raise ValueError("ray: a GPU a worker was asked for, and no machine of the cluster has one")

    def submit(self, number: int, work: Work, *args: object) -> Running:
        # Never by itself a second time: we want to say that a worker was lost.
        remote = self.ray.remote(num_cpus=1, num_gpus=self.gpus, max_retries=0, max_calls=1)(work)
        return _RayTask(self.ray, remote.remote(*args))

    def close(self) -> None:
        if self.ours:
            self.ray.shutdown()


class _RayTask:
    def __init__(self, ray: Any, task: Any):
        self.ray, self.task = ray, task

    def done(self) -> bool:
        return bool(self.ray.wait([self.task], timeout=0)[0])

    def error(self) -> BaseException | None:
        try:
            self.ray.get(self.task)
        except self.ray.exceptions.RayTaskError as error:
            return error.cause
        except self.ray.exceptions.RayError as error:
            return Killed(str(error).partition("\n")[0])
        return None

    def cancel(self) -> None:
        with suppress(self.ray.exceptions.RayError):
            self.ray.cancel(self.task)

    def wait(self) -> None:
        self.ray.wait([self.task], timeout=20)


class Slurm(Executor):
    """Jobs under SLURM, by submitit. Options are submitit's own: timeout_min, mem_gb, slurm_partition, ….

    ``cluster=local`` runs the same jobs on this machine. Their logs go to ``slurm`` in the store.
    """

    name = "slurm"

    def __init__(self, gpus: int = 0, options: Mapping[str, str] | None = None):
        super().__init__(gpus, options)
        try:
            import submitit
        except ImportError:
            raise ValueError("submitit is not installed: pip install 'lmcnb[slurm]'") from None
        asked: dict[str, Any] = {"name": "lmcnb", "cpus_per_task": 1, "gpus_per_node": gpus, "timeout_min": 24 * 60}
        asked |= {name: int(value) if value.isdecimal() else value for name, value in self.options.items()}
        try:
            self.jobs = submitit.AutoExecutor(store_root() / "slurm", cluster=asked.pop("cluster", "slurm"))
            self.jobs.update_parameters(**asked)
        except (RuntimeError, NameError, AssertionError, TypeError, ValueError, OSError) as error:
            raise ValueError(f"slurm: {error}. The option cluster=local runs its jobs on this machine") from error

    def submit(self, number: int, work: Work, *args: object) -> Running:
        return _SlurmJob(self.jobs.submit(work, *args))


class _SlurmJob:
    def __init__(self, job: Any):
        self.job = job

    def done(self) -> bool:
        return self.job.done()

    def error(self) -> BaseException | None:
        from submitit.core.utils import FailedJobError, UncompletedJobError

        error = self.job.exception()
        if isinstance(error, FailedJobError):  # it raised: submitit has the text of its traceback alone
            lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith((" ", "-"))]
            return RuntimeError(lines[-1] if lines else str(error))
        if isinstance(error, UncompletedJobError):
            return Killed(f"job {self.job.job_id} ended as {self.job.state}")
        return error

    def cancel(self) -> None:
        self.job.cancel(check=False)

    def wait(self) -> None:
        """The scheduler sees to it."""


def together(where: Executor, workers: int, work: Work, *args: object,
             lost: Callable[[int, Killed], None] = lambda number, why: None) -> None:
    """Runs ``work(*args)`` as so many workers and waits for all of them.

    A worker that is killed is started again, a few times: what it held another may have taken over by then. An error
    of one ends all, and is raised; so does whatever is raised here, as by Ctrl-C.

    Args:
        lost: called with a worker's number and why it is gone.
    """
    running: dict[int, Running] = {}
    restarts = dict.fromkeys(range(workers), 0)
    try:
        for k in range(workers):
            running[k] = where.submit(k, work, *args)
        while running:
            for k, worker in list(running.items()):
                if not worker.done():
                    continue
                error = running.pop(k).error()
                if isinstance(error, Killed) and restarts[k] < RESTARTS:
                    lost(k, error)
                    restarts[k] += 1
                    running[k] = where.submit(k, work, *args)
                elif error is not None:
                    raise error
            time.sleep(POLL_SECONDS)
    finally:
        end(running.values())


def end(workers: Iterable[Running]) -> None:
    """Asks all of them to end, then waits."""
    for worker in workers:
        worker.cancel()
    for worker in workers:
        worker.wait()
