"""Paths of coater files: bundled coaters by name, and new files, which must not exist yet."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from siren_ext.errors import CoaterError

BUNDLED_COATERS = ("start", "samples", "keyed")


def coater_path(name: str | Path) -> Path:
    """The file of a bundled coater, or any other path unchanged.

    Parameters
    ----------
    name : str or Path
        ``samples``, trained for the bundled images; ``keyed``, fitted to them and taking messages
        of 48 bits; ``start``, trained on many small sets and meant to be adapted to a new one; or
        the path of a coater file.

    Raises
    ------
    CoaterError
        If a bundled coater is missing from the installation.
    """
    if str(name) not in BUNDLED_COATERS:
        return Path(name)
    path = _bundled(str(name))
    if not path.is_file():
        raise CoaterError(
            f"The bundled coater '{name}' is missing from this installation (expected {path}). "
            "Install the package again, or train a coater with 'siren-ext train'."
        )
    return path


@lru_cache(maxsize=1)
def public_coaters() -> frozenset[str]:
    """Fingerprints of the bundled coaters, which everybody has.

    Returns
    -------
    frozenset[str]
        One for each coater that is installed.
    """
    from siren_ext.coater.coater import Coater

    paths = map(_bundled, BUNDLED_COATERS)
    return frozenset(Coater.load(path).fingerprint for path in paths if path.is_file())


def refuse_existing(out: Path) -> None:
    """Refuse a path that exists, because coaters are never overwritten.

    Parameters
    ----------
    out : Path
        Where a new coater is to be written.

    Raises
    ------
    CoaterError
        If ``out`` exists.
    """
    if out.exists():
        raise CoaterError(
            f"{out} exists already. It is not overwritten, because images coated with it can only "
            "be verified with this file; choose another name."
        )


def usual_start() -> str:
    """Name of the bundled coater from which training for a new set starts.

    ``start`` if it is installed, else ``samples``.
    """
    return next((name for name in BUNDLED_COATERS if _bundled(name).is_file()), "samples")


def _bundled(name: str) -> Path:
    """Where the file of a bundled coater is installed."""
    return Path(__file__).parents[1] / "pocket" / "coaters" / f"{name}.safetensors"
