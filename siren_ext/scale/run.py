"""Runs the workers of a command: starts an engine, gives out the work, reports what was done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from siren_ext.coating.apply import message_of
from siren_ext.errors import Cancelled, ConfigError
from siren_ext.scale.crew import Crew
from siren_ext.scale.processes import ProcessEngine, threads_for
from siren_ext.scale.worker import Outcome, Setup

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.coating.manifest import CoatConfig
    from siren_ext.keys.coating_key import CoatingKey

EngineName = Literal["local", "ray"]
T = TypeVar("T")


def check_numbers(**numbers: int) -> None:
    """Refuse numbers below 1.

    Parameters
    ----------
    numbers : int
        By the names of the settings.

    Raises
    ------
    ConfigError
        One is below 1.
    """
    for name, value in numbers.items():
        if value < 1:
            raise ConfigError(f"{name} is {value}; expected 1 or more.")


def worker_facts(engine: EngineName, processes: int, device: str) -> dict[str, Any]:
    """What every :class:`~siren_ext.scale.worker.Setup` holds.

    Parameters
    ----------
    engine : str
        ``local`` or ``ray``.
    processes : int
        Number of workers.
    device : str
        Where their networks run.

    Returns
    -------
    dict[str, Any]
        Values by the names of its attributes.
    """
    return {"device": device, "threads": threads_for(processes) if engine == "local" else 1}


def coater_facts(coater: Coater, file: Path) -> dict[str, Any]:
    """What every :class:`~siren_ext.scale.worker.CoaterSetup` holds besides.

    Parameters
    ----------
    coater : Coater
        The coater.
    file : Path
        Its file.

    Returns
    -------
    dict[str, Any]
        Values by the names of its attributes.
    """
    return {"coater": Path(file).resolve(), "fingerprint": coater.fingerprint}


def coating_facts(config: CoatConfig, key: CoatingKey | None) -> dict[str, Any]:
    """What every :class:`~siren_ext.scale.coat_worker.CoatSetup` holds besides.

    Parameters
    ----------
    config : CoatConfig
        The settings.
    key : CoatingKey | None
        The key of a keyed coater.

    Returns
    -------
    dict[str, Any]
        Values by the names of its attributes.
    """
    message = message_of(key)
    return {"config": config, "message": None if message is None else tuple(message.tolist())}


def run_crew(
    setup: Setup,
    work: Sequence[Sequence[T]],
    report: Callable[[T, Outcome], None],
    *,
    engine: EngineName,
    processes: int,
    at_once: bool = False,
) -> None:
    """Have workers do everything, and report it as it comes.

    Parameters
    ----------
    setup : Setup
        What each worker needs.
    work : Sequence[Sequence]
        Batches of tasks.
    report : Callable
        Called with a task and its outcome, or a :class:`~siren_ext.scale.worker.Step` of it. It
        records first and then advances the progress.
    engine : str
        ``local``: processes of this machine; ``ray``: of a Ray cluster.
    processes : int
        Most workers.
    at_once : bool
        After a stop, drop what was begun; otherwise begun batches are finished and reported.

    Raises
    ------
    Cancelled
        ``report`` said so.
    MissingExtraError
        Ray is not installed.
    ConfigError
        Workers can't begin, or end one after another.
    """
    if not work:
        return
    count = min(processes, len(work))
    stopped: Cancelled | None = None
    with closing(engine_for(engine, setup, count)) as started:
        crew: Crew[T] = Crew(started, count, work)
        with closing(crew.results()) as results:
            for task, outcome in results:
                try:
                    report(task, outcome)
                except Cancelled as error:
                    if at_once:
                        raise
                    crew.stop()
                    stopped = error
    if stopped is not None:
        raise stopped


def engine_for(name: EngineName, setup: Setup, processes: int) -> Any:
    """What starts the workers.

    Parameters
    ----------
    name : str
        ``local`` or ``ray``.
    setup : Setup
        What each worker needs.
    processes : int
        Number of workers.

    Returns
    -------
    Engine
        To be closed after use.

    Raises
    ------
    MissingExtraError
        Ray is not installed.
    ConfigError
        Its cluster can't be reached, or is too small.
    """
    if name == "local":
        return ProcessEngine(setup)
    from siren_ext.scale.cluster import RayEngine

    return RayEngine(setup, processes)
