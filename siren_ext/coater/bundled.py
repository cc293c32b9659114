"""Paths of coater files: bundled ones by name, and new ones, which replace no other."""

from __future__ import annotations

from pathlib import Path

from siren_ext.errors import CoaterError

BUNDLED_COATERS = ("start", "samples", "keyed")


def coater_path(name: str | Path) -> Path:
    """The file behind a coater's name; what is not a bundled name is taken as a path.

    ``samples`` is trained for the bundled images and ``keyed`` fitted to them, for messages of 48
    bits; ``start`` is trained over many small sets, to be adapted to a new one. Raises
    :class:`CoaterError` when a bundled one is missing.
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


def refuse_existing(out: Path) -> None:
    """Raise :class:`CoaterError` where ``out`` exists: a coater is never overwritten."""
    if out.exists():
        raise CoaterError(
            f"{out} exists already. It is not overwritten, as images coated with it can be "
            "verified with this very file only; name another one."
        )


def usual_start() -> str:
    """The bundled coater that training for a new set begins from: the generic one if installed."""
    return next((name for name in BUNDLED_COATERS if _bundled(name).is_file()), "samples")


def _bundled(name: str) -> Path:
    return Path(__file__).parents[1] / "pocket" / "coaters" / f"{name}.safetensors"
