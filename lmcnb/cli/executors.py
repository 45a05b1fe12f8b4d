"""Where the processes that share a plan run: on this machine, or elsewhere (:mod:`lmcnb.cli.clusters`).

An executor starts a function somewhere and says how it ended; that is all. What the processes compute they divide
among themselves, by the leases of the store that they share, and only files pass between them. So any of them may be
killed: what it had stored is kept, and another takes its lease over.
"""
from __future__ import annotations

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
from typing import Any, Protocol

RESTARTS = 3  # of one worker that was killed
# What workers and kernels import, in this order; not pyplot, which asks, when it is imported, who shows its figures.
PRELOADED = ["lmcnb.ipynb", "papermill", "lmcnb.stages", "torch._dynamo", "ipykernel.ipkernel", "ipykernel.kernelapp",
             "pandas", "scipy.stats", "matplotlib.figure", "matplotlib.backends.backend_agg",
             "matplotlib.backends.backend_pdf"]
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
    """Starts functions somewhere.

    Args:
        gpus: GPUs of each worker, 0 or 1. options: what the scheduler is told beside that.

    Raises:
        ValueError: an option that it does not know, or a package that is not installed.
    """

    def __init__(self, gpus: int = 0, options: Mapping[str, str] | None = None):
        self.gpus = gpus
        self.options = dict(options or {})

    @abstractmethod
    def submit(self, number: int, work: Work, *args: object) -> Running:
        """Starts ``work(*args)`` as worker ``number``, from 0."""

    def close(self) -> None:  # noqa: B027  # most hold nothing
        """Gives back what it holds."""


class Processes(Executor):
    """Processes of this machine; with GPUs each has one of its own."""

    def __init__(self, gpus: int = 0, options: Mapping[str, str] | None = None):
        super().__init__(gpus, options)
        if self.options:
            raise ValueError(f"processes take no options; got {', '.join(self.options)}")

    def submit(self, number: int, work: Work, *args: object) -> Running:
        mine = os.environ.get("CUDA_VISIBLE_DEVICES") if self.gpus else None  # may name fewer than workers
        one = mine.split(",")[number] if mine else str(number)
        return _Process({"CUDA_VISIBLE_DEVICES": one} if self.gpus else {}, work, args)


def context(gpu: bool = False) -> Any:
    """How a process is started: as a fork of one that has imported what all need, which takes seconds, and no more.

    A fork of this one, which has threads, may hang. Neither CUDA nor Apple's libraries are made to be forked.
    """
    if gpu or sys.platform == "darwin" or "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(PRELOADED)
    return server


class _Process:
    def __init__(self, environment: Mapping[str, str], work: Work, args: tuple):
        how = context(gpu="CUDA_VISIBLE_DEVICES" in environment)
        self.outcome, end = how.Pipe(duplex=False)
        now = {**os.environ, **environment}  # a server keeps the environment that it began with
        self.process = how.Process(target=_reported, args=(end, now, work, args))
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
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who started us, and who then ends us
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    threading.Thread(target=follow, daemon=True).start()
    try:
        work(*args)
        error = None
    except Exception as raised:
        error = _portable(raised)
    with suppress(BrokenPipeError):  # who started us is gone
        end.send(error)


def follow() -> None:
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
