"""Workers of a Ray cluster, each with its own networks.

Ray (https://docs.ray.io) starts the workers on the cluster's machines, carries the messages and
tells when a worker has ended. Without a cluster it starts one on this machine.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from siren_ext.errors import ConfigError, MissingExtraError, SirenError, first_line
from siren_ext.scale.crew import WorkerLostError
from siren_ext.scale.worker import BatchWorker, Outcome, Setup


class ClusterWorker:
    """What runs in a worker of the cluster.

    Parameters
    ----------
    setup : Setup
        What it needs.
    content : bytes | None
        Content of the setup's file, which may not be on the worker's machine; None without one.
    """

    def __init__(self, setup: Setup, content: bytes | None) -> None:
        self._setup, self._content = setup, content
        self._worker: BatchWorker | None = None

    def process(self) -> int:
        """Number of the process on its machine."""
        return os.getpid()

    def work(self, tasks: Sequence[Any]) -> Iterator[tuple[int, Outcome] | str]:
        """Do a batch.

        Parameters
        ----------
        tasks : Sequence
            The batch, as the worker of the setup wants it.

        Yields
        ------
        tuple[int, Outcome] | str
            Index of a task and what was done; or why the worker can't work.
        """
        try:
            if self._worker is None:
                self._worker = self._loaded()
            yield from self._worker.work(tasks)
        except SirenError as error:
            yield str(error)

    def _loaded(self) -> BatchWorker:
        logging.getLogger("siren_ext").setLevel(logging.ERROR)  # the driver gave the warnings too
        if self._content is None or self._setup.file is None:
            return self._setup.open()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, self._setup.file.name)
            path.write_bytes(self._content)
            return self._setup.with_file(path).open()


class RayWorker:
    """The driver's end of a worker.

    Parameters
    ----------
    ray : module
        The package.
    actor : object
        A handle of :class:`ClusterWorker`.
    """

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray, self.actor = ray, actor
        self.stream: Any = None

    def give(self, tasks: Sequence[Any]) -> None:
        """Begin a batch.

        Parameters
        ----------
        tasks : Sequence
            The batch, as the worker of the setup wants it.
        """
        self.stream = self.actor.work.options(num_returns="streaming").remote(list(tasks))

    def take(self) -> tuple[int, Outcome] | None:
        """Wait for the next outcome.

        Returns
        -------
        tuple[int, Outcome] | None
            Index of a job and what was done; None at the end of the batch.

        Raises
        ------
        WorkerLostError
            The worker has ended.
        ConfigError
            It can't work.
        """
        try:
            message: tuple[int, Outcome] | str = self._ray.get(next(self.stream))
        except StopIteration:
            return None
        except self._ray.exceptions.RayError as error:
            raise WorkerLostError(first_line(error)) from error
        if isinstance(message, str):
            raise ConfigError(message)
        return message

    def close(self) -> None:
        """End the worker."""
        self.stream = None
        self._ray.kill(self.actor)


class RayEngine:
    """Starts workers on a Ray cluster.

    The cluster is that of ``RAY_ADDRESS``, or the one that this machine belongs to, or else a new
    one on this machine alone, which ends with the engine. Nothing is reported to Ray's makers.

    Parameters
    ----------
    setup : Setup
        What each worker needs.
    processes : int
        Number of workers that will be started.
    most : int | None
        Cores that a new cluster on this machine offers; None for all.

    Raises
    ------
    MissingExtraError
        Ray is not installed.
    ConfigError
        The cluster has fewer cores than workers, or can't be reached.
    """

    def __init__(self, setup: Setup, processes: int, most: int | None = None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            raise MissingExtraError("ray", "cluster") from error
        self._ray = ray
        self._started = not ray.is_initialized()
        if self._started:
            _join(ray, most)
        cores = int(ray.cluster_resources().get("CPU", 0))
        if cores < processes * setup.threads:
            self.close()
            raise ConfigError(
                f"The cluster has {cores} free cores, but {processes} processes need "
                f"{processes * setup.threads}. Use fewer --processes, or add machines."
            )
        cards = 1 if setup.device.startswith("cuda") else 0
        # a lost worker is replaced by the crew, which knows what it had not reported
        self._kind = ray.remote(
            num_cpus=setup.threads, num_gpus=cards, max_restarts=0, max_task_retries=0
        )(ClusterWorker)
        self._setup = ray.put(setup)
        self._content = ray.put(None if setup.file is None else setup.file.read_bytes())

    def start(self) -> RayWorker:
        """Start a worker; it loads its networks while others work."""
        return RayWorker(self._ray, self._kind.remote(self._setup, self._content))

    def wait(self, workers: Sequence[RayWorker]) -> Sequence[RayWorker]:
        """Wait until a worker has a message, or has ended.

        Parameters
        ----------
        workers : Sequence[RayWorker]
            At least one.

        Returns
        -------
        Sequence[RayWorker]
            Those that have.
        """
        streams = [worker.stream for worker in workers]
        ready, _ = self._ray.wait(streams, num_returns=1, fetch_local=False)
        return [worker for worker in workers if any(worker.stream is one for one in ready)]

    def close(self) -> None:
        """Leave the cluster."""
        if self._started:
            self._ray.shutdown()


def _join(ray: Any, most: int | None) -> None:
    """Connect to a cluster, or start one here."""
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    try:
        if "RAY_ADDRESS" in os.environ:
            ray.init(**options)
            return
        try:
            ray.init(address="auto", **options)
        except ConnectionError:
            ray.init(address="local", num_cpus=most, include_dashboard=False, **options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise ConfigError(
            f"Ray can't be reached or started: {first_line(error)} Start it with 'ray start "
            "--head', or check RAY_ADDRESS."
        ) from error
