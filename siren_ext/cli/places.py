"""What commands share that use several processes, URLs and shards."""

from __future__ import annotations

from pathlib import Path

from siren_ext.errors import ConfigError


def several(processes: int, engine: str) -> bool:
    """Whether other processes than this one do the work.

    Parameters
    ----------
    processes : int
        number of processes.
    engine : str
        where they run.

    Returns
    -------
    bool
        False for one process of this machine, which is this one.

    Raises
    ------
    ConfigError
        there is no such engine.
    """
    if engine not in ("local", "ray"):
        raise ConfigError(f"--engine is {engine!r}; expected local or ray.")
    return processes > 1 or engine == "ray"


def is_url(path: Path) -> bool:
    """Whether a URL was given.

    Parameters
    ----------
    path : Path
        what was given.
    """
    from siren_ext.scale.places import url_of

    return url_of(path) is not None


def place(path: Path) -> str:
    """The URL that was given, or the absolute path.

    Parameters
    ----------
    path : Path
        what was given.
    """
    from siren_ext.scale.places import url_of

    return url_of(path) or str(path.absolute())


def shown(path: Path) -> str:
    """The URL or path as it was given, for messages.

    Parameters
    ----------
    path : Path
        what was given; pathlib has made one slash of two.
    """
    from siren_ext.scale.places import url_of

    return url_of(path) or str(path)


def refuse_apart(what: str, *, given: bool, far: bool) -> None:
    """Refuse an option that needs one process and folders.

    Parameters
    ----------
    what : str
        the option.
    given : bool
        whether it was given.
    far : bool
        whether there are several processes, URLs or shards.

    Raises
    ------
    ConfigError
        both.
    """
    if given and far:
        raise ConfigError(
            f"{what} works only in one process and with folders; leave out --processes, --engine, "
            "URLs and shards."
        )
