"""Kernels that are forks of a process which has imported torch, SciPy and matplotlib: seconds less for every notebook.

Jupyter finds :class:`Forked` by the entry point ``lmcnb-forked``, and takes it where the environment says so
(:data:`CHOICE`): for the notebooks of `lmcnb run -j`, and for the tests of notebooks.
"""
from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import entry_points
from multiprocessing import Pipe, get_context
from multiprocessing.reduction import DupFd
from typing import Any

from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from lmcnb.cli.executors import context, follow

NAME, GROUP = "lmcnb-forked", "jupyter_client.kernel_provisioners"  # as pyproject.toml has them
CHOICE = {"JUPYTER_DEFAULT_PROVISIONER_NAME": NAME}
INLINE = "module://matplotlib_inline.backend_inline"  # what a kernel tells matplotlib, which reads it when imported


class Forked(LocalProvisioner):
    """Starts a Python kernel of this environment as a fork, any other as Jupyter does."""

    waiting: tuple[Any, Any] | None = None  # the process that :func:`waiting` started, and the pipe to it

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        """Starts the kernel that ``cmd`` names, see :class:`LocalProvisioner`."""
        if cmd[:3] != [sys.executable, "-m", "ipykernel_launcher"] or not forkable():
            return await super().launch_kernel(cmd, **kwargs)
        streams = {n: DupFd(kwargs[name].fileno()) for n, name in ((1, "stdout"), (2, "stderr")) if kwargs.get(name)}
        order = cmd[3:], kwargs.get("cwd"), dict(kwargs.get("env") or os.environ), streams
        if Forked.waiting:
            (process, pipe), Forked.waiting = Forked.waiting, None
            pipe.send(order)
        else:
            process = context().Process(target=_kernel, args=order)
            process.start()
        self.process = _Popen(process)  # type: ignore[assignment]
        self.pid = self.pgid = process.pid  # which leads a session of its own
        self.cwd = order[1]
        return self.connection_info


def forkable() -> bool:
    """Whether a kernel may be a fork here: CUDA would not work in it."""
    import torch

    return context().get_start_method() == "forkserver" and not torch.cuda.is_available()


@contextmanager
def waiting() -> Iterator[None]:
    """Forks this process, before Jupyter gives it threads and sockets; the fork becomes the next kernel started here.

    For a process that is itself a fork of a server, which only the process that started the server can ask for more.
    """
    if not (forkable() and entry_points(group=GROUP, name=NAME)):  # an old installation has none
        yield
        return
    its, ours = Pipe(duplex=False)
    process = get_context("fork").Process(target=_wait, args=(its, ours))
    process.start()
    its.close()
    Forked.waiting = process, ours
    os.environ |= CHOICE
    try:
        yield
    finally:
        ours.close()
        process.join()


def _wait(order: Any, other_end: Any) -> None:
    other_end.close()
    try:
        given = order.recv()
    except EOFError:  # no kernel was asked for
        return
    _kernel(*given)


def _kernel(arguments: list[str], folder: str | None, environment: dict[str, str], streams: dict[int, Any]) -> None:
    """In the new process: what `python -m ipykernel_launcher` does."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=follow, daemon=True).start()
    for number, stream in streams.items():
        os.dup2(stream.detach(), number)
    os.environ.clear()
    os.environ.update({"MPLBACKEND": INLINE} | environment)
    os.chdir(folder or ".")
    # Of its parent it read in the environment when it was imported, before there was one.
    sys.argv = ["ipykernel_launcher", *arguments, f"--IPKernelApp.parent_handle={os.getppid()}"]

    import matplotlib
    from ipykernel.kernelapp import launch_new_instance

    matplotlib.rcParams["backend"] = os.environ["MPLBACKEND"]
    launch_new_instance()


class _Popen:
    """A process of multiprocessing as one of subprocess, of which Jupyter asks this."""

    stdin = stdout = stderr = None

    def __init__(self, process: Any):
        self._process = process
        self.pid, self.kill, self.terminate = process.pid, process.kill, process.terminate

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)
