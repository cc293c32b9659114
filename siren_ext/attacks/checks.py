"""Checks that all handling makes on its settings and images."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from siren_ext.errors import ConfigError, ImageError
from siren_ext.schema import shown


def within(name: str, value: float, low: float, high: float, *, whole: bool = False) -> None:
    """Check a numeric setting.

    Parameters
    ----------
    name : str
        The setting, for the error message.
    value : float
        Its value.
    low, high : float
        The smallest and the largest value allowed.
    whole : bool
        Whether it must be a whole number.

    Raises
    ------
    ConfigError
        If it is no number, not whole where it must be, or out of range.
    """
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise ConfigError(f"{name} is {shown(value)}; expected {kind} from {low} to {high}.")


def texts(**settings: object) -> None:
    """Check settings that are texts.

    Parameters
    ----------
    **settings : str
        Values by name.

    Raises
    ------
    ConfigError
        If one is no text.
    """
    for name, value in settings.items():
        if not isinstance(value, str):
            raise ConfigError(f"{name} is {shown(value)}; expected a text.")


def image_batch(images: Tensor) -> Tensor:
    """Check a batch of images.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W, of a float type.

    Returns
    -------
    Tensor
        ``images`` itself.

    Raises
    ------
    ImageError
        If the shape or the type is another one.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ImageError(
            f"The images are {images.dtype} of shape {tuple(images.shape)}; expected a batch "
            "B x 3 x H x W of a float type with values in [0,1]."
        )
    return images


def version(path: Path) -> tuple[int, ...]:
    """What changes if a file is written again: its time and its size.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    tuple of int
        Empty if the file can't be read, which is reported when it is opened.
    """
    try:
        found = path.stat()
    except (OSError, ValueError):
        return ()
    return found.st_mtime_ns, found.st_size
