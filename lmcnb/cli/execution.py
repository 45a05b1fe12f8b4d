"""Executing one notebook, and ending it in order when a signal asks for it."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lmcnb.cli.copies import FAILED, INTERRUPTED, RUNNING, Copy
from lmcnb.cli.runner import Job
from lmcnb.cli.text import Failed, Interrupted

KEPT = "what is stored is kept: the same command goes on"
# The kernel's log goes to this terminal, across the progress bar: that its connection is plain, that it was cut off.
QUIET = "--log-level=CRITICAL"


class Stop(KeyboardInterrupt):
    """A signal that asks a run to end."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


@contextmanager
def stoppable() -> Iterator[None]:
    """Ctrl-C and SIGTERM raise :class:`Stop`, once: ending the kernel takes seconds, and must not be cut short.

    Raises:
        Interrupted: the signal came while no notebook was running.
    """
    caught = [s for s in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(s) is not signal.SIG_IGN]

    def stop(number: int, _: object) -> None:
        for each in caught:
            signal.signal(each, signal.SIG_IGN)
        raise Stop(number)

    before = {each: signal.signal(each, stop) for each in caught}
    try:
        yield
    except Stop as error:
        raise Interrupted(f"interrupted while no cell was running; {KEPT}", error.number) from error
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def execute(job: Job, folder: Path) -> Path:
    """Execute a notebook through papermill and return the executed copy, `folder/<stem>.ipynb`.

    Only a complete run replaces that file, see :mod:`lmcnb.cli.copies`.

    Raises:
        Failed: a cell raised or the kernel died.
        Interrupted: a signal came within :func:`stoppable`.
    """
    import papermill

    # Its own parser, which misses some parameters, would warn of them; ours has checked them all.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    notebook, copy = job.notebook, Copy(folder, job.notebook.stem)
    try:
        papermill.execute_notebook(
            str(notebook.path),
            str(copy.begin()),
            parameters=job.values,
            kernel_name="python3",
            cwd=str(notebook.path.parent),
            progress_bar=False,  # which counts cells, and one of them may take hours: see lmcnb.cli.live
            extra_arguments=[QUIET],
        )
    except papermill.PapermillExecutionError as error:
        first = next((line for line in error.source.splitlines() if line.strip()), "")
        sentence = f"failed {copy.where} (In [{error.exec_count}]): {error.ename}: {error.evalue}"
        raise Failed(_told(copy, FAILED, sentence, f"it begins: {first}")) from error
    except OSError as error:  # papermill writes in place
        copy.path(RUNNING).unlink(missing_ok=True)
        raise Failed(f"{copy.stem}: {error}. Is {folder} full, or read-only? Free some space, or name another folder "
                     f"with --executed; {KEPT}") from error
    except RuntimeError as error:  # nbclient's DeadKernelError, or jupyter_client's where it did not even start
        sentence = f"the kernel died {copy.where}, killed or out of memory; {KEPT}"
        raise Failed(_told(copy, FAILED, sentence)) from error
    except Stop as stop:
        raise Interrupted(_told(copy, INTERRUPTED, f"interrupted {copy.where}; {KEPT}"), stop.number) from stop
    return copy.complete()


def _told(copy: Copy, outcome: str, sentence: str, *details: str) -> str:
    """Keep an incomplete copy, and say so."""
    lines = [f"{copy.stem}: {sentence}", *details]
    if kept := copy.keep(outcome, sentence):
        lines.append(f"executed until there: {kept}")
    if copy.path().exists():
        lines.append(f"left as it was, from an earlier run: {copy.path()}")
    return "\n  ".join(lines)
