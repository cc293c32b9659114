"""Paths of coater files: bundled coaters by name, and new files, which must not exist yet."""

from __future__ import annotations

from pathlib import Path

from siren_ext.errors import CoaterError

BUNDLED_COATERS = ("start", "samples", "keyed")
_FINGERPRINTS = {
    "start": "a2ce93a19f06eb8b548c08962e3864d5f6f47bbbfd41a6f5946ae16bf19e0ceb",
    "samples": "cd9e3561bdaf6102fd86a5b3e6cf3e3fd419915389c893e72935a1d3c5daf7f4",
    "keyed": "04df90776c324cdf5b8f0d64fc727049d917bc675eafed2233c8c80c5f45c645",
}
PUBLIC = (
    "This coater comes with the program, so everybody has it, and what is found with it proves "
    "nothing. Whoever has the coater can read a message from coated pictures (41 to 47 of 48 bits "
    "from 40 pictures), write it into other pictures, and remove it. Train a coater of your own "
    "before you publish."
)
"""The warning about a bundled coater."""


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


def bundled_path(fingerprint: str) -> Path | None:
    """The file of the bundled coater with a fingerprint; None if none has it.

    Parameters
    ----------
    fingerprint : str
        Of any coater.

    Raises
    ------
    CoaterError
        If the file is missing from the installation.
    """
    names = [name for name, known in _FINGERPRINTS.items() if known == fingerprint]
    return coater_path(names[0]) if names else None


def public_coaters() -> frozenset[str]:
    """Fingerprints of the bundled coaters, which everybody has.

    Returns
    -------
    frozenset[str]
        One for each coater.
    """
    return frozenset(_FINGERPRINTS.values())


def public_warning(fingerprint: str) -> str:
    """What a coating by a bundled coater is worth.

    Parameters
    ----------
    fingerprint : str
        Of any coater.

    Returns
    -------
    str
        "" for a coater that is not bundled.
    """
    return PUBLIC if fingerprint in public_coaters() else ""


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
            f"{out} already exists. It was not overwritten, because images coated with it can "
            "only be verified with this file; choose another name."
        )


def usual_start() -> str:
    """Name of the bundled coater from which training for a new set starts.

    ``start`` if it is installed, else ``samples``.
    """
    return next((name for name in BUNDLED_COATERS if _bundled(name).is_file()), "samples")


def _bundled(name: str) -> Path:
    """Where the file of a bundled coater is installed."""
    return Path(__file__).parents[1] / "pocket" / "coaters" / f"{name}.safetensors"
