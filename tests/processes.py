"""Functions in processes of their own, which start as the command line's workers do: at once, with torch imported."""

import time

from lmcnb.cli.executors import Processes, Running, Work


def begun(work: Work, *args: object) -> Running:
    return Processes().submit(0, work, *args)


def ended(process: Running) -> BaseException | None:
    """What it raised, at its end."""
    while not process.done():
        time.sleep(0.01)
    return process.error()
