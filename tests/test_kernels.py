"""Kernels that are forks: they run cells as any kernel does, and end as any does."""

import importlib
import os
import signal
import sys
import time

import pytest
import torch
from jupyter_client.manager import KernelManager

from lmcnb.cli import kernels
from lmcnb.cli.executors import PRELOADED, Processes, context

pytestmark = pytest.mark.skipif(context().get_start_method() != "forkserver", reason="processes are not forked here")


@pytest.fixture
def started(forked_kernels, tmp_path):
    """Starts a kernel as nbval does, in a folder of its own, and its client."""
    managers = []

    def start(**given):
        manager = KernelManager(kernel_name="python3")
        manager.start_kernel(cwd=str(tmp_path), **given)
        client = manager.client()
        client.start_channels()
        client.wait_for_ready(timeout=60)
        managers.append((manager, client))
        return manager, client
    yield start
    for manager, client in managers:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def ran(client, code):
    """What a cell says: its stream, or the name of its error, or the kinds of what it displays."""
    said = []

    def hear(message):
        content = message["content"]
        said.append({"stream": content.get("text"), "error": content.get("ename"),
                     "display_data": " ".join(content.get("data", {}))}.get(message["msg_type"]))
    client.execute_interactive(code, timeout=60, output_hook=hear, stop_on_error=False)
    return "".join(text for text in said if text).strip()


def gone(pid):
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_a_cell_finds_torch_there_and_shows_its_figures(started, tmp_path):
    with open(tmp_path / "log", "w") as log:
        manager, client = started(env={**os.environ, "LMCNB_KERNEL": "its own"}, stderr=log)
    assert ran(client, "import sys, os; print('torch' in sys.modules, os.getcwd(), os.environ['LMCNB_KERNEL'])") == (
        f"True {tmp_path} its own")
    assert ran(client, "import matplotlib.pyplot as plt; _ = plt.plot([1, 2])") == "text/plain image/png"
    assert ran(client, "print(os.getpid() == os.getsid(0), os.getpid())") == f"True {manager.provisioner.pid}"
    assert ran(client, "1 / 0") == "ZeroDivisionError"
    ran(client, "os.write(2, b'straight to the stream')")
    assert "straight to the stream" in (tmp_path / "log").read_text()
    client.shutdown()
    assert gone(manager.provisioner.pid)
    assert not manager.is_alive()


def test_it_is_interrupted_and_killed_as_any_kernel(started):
    manager, client = started()
    # After an error a kernel drops for a moment what it is sent, unless it is told not to.
    client.execute("import time\nprint('on', flush=True)\nwhile True: time.sleep(0.1)", stop_on_error=False)
    while client.get_iopub_msg(timeout=60)["msg_type"] != "stream":  # before its cell runs a kernel swallows the signal
        pass
    manager.interrupt_kernel()
    assert client.get_shell_msg(timeout=60)["content"]["ename"] == "KeyboardInterrupt"
    assert ran(client, "print('still here')") == "still here"
    os.kill(manager.provisioner.pid, signal.SIGKILL)
    assert gone(manager.provisioner.pid) and not manager.is_alive()


def test_what_cannot_be_forked_is_started_as_ever(started, monkeypatch):
    asked = []
    monkeypatch.setattr(kernels, "context", lambda: asked.append("context") or context())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    manager, client = started()
    assert ran(client, "import sys; print('torch' in sys.modules)") == "False" and manager.is_alive()
    assert asked == ["context"]  # whether it could be, and no process of it


def _takes_the_waiting_one(folder):
    """What `lmcnb run -j` does in a process of its own; writes the kernel's parent and this process."""
    with kernels.waiting():
        process = kernels.Forked.waiting[0]
        manager = KernelManager(kernel_name="python3")
        manager.start_kernel()
        client = manager.client()
        client.start_channels()
        client.wait_for_ready(timeout=60)
        said = ran(client, "import sys, os; print('torch' in sys.modules, os.getpid(), os.getppid())")
        (folder / "said").write_text(said)
        (folder / "meant").write_text(f"True {process.pid} {os.getpid()}")
        client.stop_channels()
        manager.shutdown_kernel()


def _asks_for_none(folder):
    with kernels.waiting():
        (folder / "pid").write_text(str(kernels.Forked.waiting[0].pid))


def done(work, *args):
    running = Processes().submit(0, work, *args)
    for _ in range(600):
        if running.done():
            break
        time.sleep(0.1)
    assert running.error() is None
    running.wait()


def test_a_process_forks_its_kernel_before_it_has_threads(tmp_path):
    done(_takes_the_waiting_one, tmp_path)
    assert (tmp_path / "said").read_text() == (tmp_path / "meant").read_text()
    done(_asks_for_none, tmp_path)
    assert gone(int((tmp_path / "pid").read_text()))


def _names_what_is_imported(path):
    for name in PRELOADED:
        importlib.import_module(name)
    path.write_text(repr([*sys.modules]))


def test_pyplot_is_not_among_what_is_imported_before_a_fork(tmp_path):
    """It would not know that there is a notebook to show figures in."""
    done(_names_what_is_imported, tmp_path / "names")
    names = (tmp_path / "names").read_text()
    assert "'matplotlib.figure'" in names and "'matplotlib.pyplot'" not in names and "'scipy.stats'" in names
