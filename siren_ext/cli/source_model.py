"""What ``attribute source`` and ``attribute shadow`` share: your model, and its captions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from siren_ext.cli.common import report_notices
from siren_ext.cli.suspects import SUSPECT_HELP
from siren_ext.documents import read_bytes
from siren_ext.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from siren_ext.data.dataset import ImageSet
    from siren_ext.suspects.base import Suspect

_MAX_CAPTIONS = 16 << 20
_NO_CAPTION = "an image"

Source = Annotated[
    str, typer.Option("--source", metavar="MODEL", help=f"Your model: {SUSPECT_HELP}")
]


def opener(
    base: str | None, scale: float, allow_partial: bool, most: Any, allowed: Any, device: str
) -> Callable[[str], Suspect]:
    """A function that opens models as they are typed.

    Parameters
    ----------
    base : str | None
        Base model of LoRA files; other models do without.
    scale : float
        Weight of LoRA files.
    allow_partial : bool
        Load the parts of a LoRA that fit.
    most, allowed : Any
        Of :func:`siren_ext.cli.suspects.limits` and :func:`siren_ext.cli.suspects.trust`.
    device : str
        Where local models run.

    Returns
    -------
    Callable[[str], Suspect]
        Raises the errors of :func:`siren_ext.suspects.open.open_suspect`.
    """
    from siren_ext.suspects.open import needs_base, open_suspect

    def opened(text: str) -> Suspect:
        adapter = "://" not in text and needs_base(text)
        return open_suspect(
            text,
            base=base if adapter else None,
            scale=scale,
            allow_partial=allow_partial and adapter,
            limits=most,
            trust=allowed,
            device=device,
        )

    return opened


def training_images(folder: Path | None) -> ImageSet | None:
    """The training images of the source, after notices about them.

    Parameters
    ----------
    folder : Path | None
        What ``--data`` names.

    Raises
    ------
    DatasetError
        If there is no such folder.
    """
    from siren_ext.data.dataset import ImageSet

    if folder is None:
        return None
    found = ImageSet.open(folder)
    report_notices(found.notices)
    return found


def captions_of(file: Path | None, images: ImageSet | None = None) -> tuple[str, ...]:
    """The captions that the source is asked for, each once.

    Parameters
    ----------
    file : Path | None
        UTF-8 text, one caption a line; empty lines are left out.
    images : ImageSet | None
        Images whose captions are taken where there is no file.

    Returns
    -------
    tuple[str, ...]
        In their order; none if nothing is given.

    Raises
    ------
    ConfigError
        If the file can't be read, is not UTF-8, or holds no caption.
    """
    if file is None:
        return () if images is None else tuple(dict.fromkeys(images.captions(_NO_CAPTION)))
    data = read_bytes(file, error=ConfigError, max_bytes=_MAX_CAPTIONS)
    try:
        lines = [line.strip() for line in data.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{file} is not UTF-8; expected a text file in UTF-8 with one caption per line."
        ) from error
    found = tuple(dict.fromkeys(line for line in lines if line))
    if not found:
        raise ConfigError(f"{file} has no captions in it; expected one per line.")
    return found
