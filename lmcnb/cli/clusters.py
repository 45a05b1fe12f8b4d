"""Workers on other machines: Ray and SLURM. What is not installed is imported when it is asked for."""
from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from lmcnb.cli.executors import Executor, Killed, Processes, Running, Work
from lmcnb.notebooks import unknown
from lmcnb.places import store_root


class Ray(Executor):
    """Tasks of a Ray cluster: the one at ``address``, or RAY_ADDRESS, or else one that is started on this machine.

    Every machine of it needs the same folders for project, data and store.
    """

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
        except Exception as error:  # Ray raises the bare class where a node takes longer than 30 s to start
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
            trace = max(str(error).split("-" * 22), key=lambda part: part.count("Traceback"))
            return RuntimeError(trace.strip().rpartition("\n")[2])
        if isinstance(error, UncompletedJobError):
            return Killed(f"job {self.job.job_id} ended as {self.job.state}")
        return error

    def cancel(self) -> None:
        self.job.cancel(check=False)

    def wait(self) -> None:
        """The scheduler sees to it."""


EXECUTORS: dict[str, type[Executor]] = {"processes": Processes, "ray": Ray, "slurm": Slurm}


def executor(name: str, gpus: int = 0, options: Mapping[str, str] | None = None) -> Executor:
    """One of :data:`EXECUTORS` by name. Raises ValueError, see :class:`.executors.Executor`."""
    if name not in EXECUTORS:
        raise ValueError(unknown("executor", name, EXECUTORS))
    return EXECUTORS[name](gpus, options)
