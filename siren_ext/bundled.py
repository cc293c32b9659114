"""The coaters that come with the package, by name."""

from __future__ import annotations

from pathlib import Path

from siren_ext.errors import CoaterError

BUNDLED_COATERS = ("samples",)


def coater_path(name: str | Path) -> Path:
    """The file behind a coater's name; what is not a bundled name is taken as a path.

    ``samples`` is trained for the bundled images; training for a new set may begin from it. Raises
    :class:`CoaterError` when a bundled one is missing.
    """
    if str(name) not in BUNDLED_COATERS:
        return Path(name)
    path = Path(__file__).parent / "pocket" / "coaters" / f"{name}.safetensors"
    if not path.is_file():
        raise CoaterError(
            f"The bundled coater '{name}' is missing from this installation (expected {path}). "
            "Install the package again, or train a coater with 'siren-ext train'."
        )
    return path
