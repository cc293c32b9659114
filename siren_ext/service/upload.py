"""Coats one uploaded file."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from siren_ext.coating.apply import SMALLEST_SIDE, check_key, message_of
from siren_ext.coating.entry import write_entry
from siren_ext.coating.formats import CompressionMeter, target_of
from siren_ext.coating.manifest import CoatConfig, CoatEntry
from siren_ext.coating.passes import coat_picture
from siren_ext.coating.plan import CoatJob
from siren_ext.data.dataset import Item
from siren_ext.data.images import picture_size, read_picture
from siren_ext.errors import ImageError
from siren_ext.files import no_more_files, sha256_file

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.keys.coating_key import CoatingKey


class UploadCoater:
    """Coats uploads with one coater and key; may be used by several threads.

    Parameters
    ----------
    coater : Coater
        Adds the residual and scores.
    key : CoatingKey | None
        The key whose message a keyed coater writes.
    max_pixels : int
        Larger images are refused by their header, before memory is taken.

    Raises
    ------
    CoaterError
        The key does not fit the coater.
    """

    def __init__(self, coater: Coater, key: CoatingKey | None, max_pixels: int) -> None:
        check_key(coater, key)
        self._coater, self._max_pixels = coater, max_pixels
        self._message = message_of(key)
        self._meter = CompressionMeter(coater, self._message)

    def coat(self, file: Path, number: str, config: CoatConfig) -> tuple[CoatEntry, Path]:
        """Coat a file and write the result beside it.

        Parameters
        ----------
        file : Path
            The upload, whatever it is.
        number : str
            Of the request; the result is named after it.
        config : CoatConfig
            Strength, format and quality.

        Returns
        -------
        tuple[CoatEntry, Path]
            What was done, and the coated file.

        Raises
        ------
        ImageError
            The upload is no image, damaged, too large or too small.
        OSError
            There is no room for the result.
        """
        try:
            return self._coat(file, number, config)
        except ImageError as error:
            if full := no_more_files(error):
                raise full from error
            raise ImageError(str(error).replace(file.name, "The upload")) from error

    def _coat(self, file: Path, number: str, config: CoatConfig) -> tuple[CoatEntry, Path]:
        size = picture_size(file, max_pixels=self._max_pixels)
        if min(size) < SMALLEST_SIDE:
            raise ImageError(
                f"{file.name} is {size[0]}x{size[1]} pixels; expected sides of at least "
                f"{SMALLEST_SIDE} pixels."
            )
        target = target_of(file, config)
        output = f"{number}{target.suffix}"
        item = Item(file, None, PurePosixPath(number + file.suffix))
        job = CoatJob(item, output, sha256_file(file), size, target, coated=True)
        picture = read_picture(file, max_pixels=self._max_pixels)
        result = coat_picture(self._coater, job, picture, config, self._message)
        entry = write_entry(job, picture, result, file.parent, "plain", self._meter)
        return entry, file.parent / output
