"""A table of features, one row per image: what passive tests begin with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from siren_ext.errors import ScoreError
from siren_ext.files import write_json
from siren_ext.formats import Sha256, convert_format, read_format
from siren_ext.passive.config import DIFFERENCE
from siren_ext.schema import to_plain
from siren_ext.scoring.score_set import MAX_IMAGES, MAX_TEXT

MAX_COLUMNS = 512

_AGAIN = "Measure the images again with 'siren-ext passive'."
_Name = Annotated[str, Meta(min_length=1, max_length=100)]
_Number = Annotated[float, Meta(ge=-1e30, le=1e30)]


class StoredRow(Struct, forbid_unknown_fields=True):
    """One image of a feature file."""

    image: Annotated[str, Meta(max_length=MAX_TEXT)]
    sha256: Sha256
    values: Annotated[list[_Number], Meta(min_length=1, max_length=MAX_COLUMNS)]


class StoredTable(Struct, forbid_unknown_fields=True, kw_only=True):
    """A feature file; see :class:`FeatureTable`."""

    format: Literal["siren_ext.features"] = "siren_ext.features"
    version: Literal[1] = 1
    names: Annotated[list[_Name], Meta(min_length=1, max_length=MAX_COLUMNS)]
    source: dict[str, Any] = {}
    rows: Annotated[list[StoredRow], Meta(min_length=1, max_length=MAX_IMAGES)]


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """Features of images, as a model sees them.

    Attributes
    ----------
    names : tuple[str, ...]
        d different names of columns. ``diff:loss_100`` is the suspect's ``loss_100`` minus the
        control's.
    values : array, shape (n, d)
        float64, finite, read-only.
    images : tuple[str, ...]
        n names of the image files.
    image_hashes : tuple[str, ...]
        n SHA-256 of the files' bytes.
    source : dict[str, Any]
        How they were measured, as plain JSON values: model, adapters, control, settings, versions.

    Raises
    ------
    ScoreError
        If the parts do not fit together.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]
    images: tuple[str, ...]
    image_hashes: tuple[str, ...]
    source: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values = np.array(self.values, dtype=np.float64)
        wanted = (len(self.images), len(self.names))
        if values.shape != wanted or len(self.image_hashes) != len(self.images):
            raise ScoreError(
                f"A feature table has values of shape {values.shape}, {len(self.image_hashes)} "
                f"hashes, {wanted[0]} images and {wanted[1]} columns; expected a row for each "
                f"image and a value for each column. {_AGAIN}"
            )
        if 0 in wanted or len(set(self.names)) != len(self.names):
            raise ScoreError(
                f"A feature table has {wanted[0]} images and {wanted[1]} columns; expected at "
                f"least one of each, and different names for all columns. {_AGAIN}"
            )
        if not np.isfinite(values).all():
            row, column = (int(place) for place in np.argwhere(~np.isfinite(values))[0])
            raise ScoreError(
                f"The feature {self.names[column]} of {self.images[row]} is not a finite number. "
                f"{_AGAIN}"
            )
        values.flags.writeable = False
        object.__setattr__(self, "values", values)

    def __len__(self) -> int:
        return len(self.images)

    def columns(self, names: Sequence[str]) -> FeatureTable:
        """The table with some columns only, in the given order.

        Parameters
        ----------
        names : sequence of str
            Names of columns.

        Raises
        ------
        ScoreError
            If a column is missing.
        """
        missing = [name for name in names if name not in self.names]
        if missing:
            raise ScoreError(
                f"The feature table has no column {missing[0]}; it has {', '.join(self.names)}. "
                "Measure the images again with a set of features that contains it (and with a "
                f"control, if it starts with '{DIFFERENCE}')."
            )
        chosen = [self.names.index(name) for name in names]
        return self._with(tuple(names), self.values[:, chosen])

    def rows(self, places: Sequence[int]) -> FeatureTable:
        """The table with some images only, in the given order.

        Parameters
        ----------
        places : sequence of int
            Positions of at least one image.
        """
        kept = [int(place) for place in places]
        return FeatureTable(
            self.names,
            self.values[kept],
            tuple(self.images[place] for place in kept),
            tuple(self.image_hashes[place] for place in kept),
            self.source,
        )

    def suspect(self) -> FeatureTable:
        """The suspect's own features: the columns that are no differences."""
        return self.columns([name for name in self.names if not name.startswith(DIFFERENCE)])

    def difference(self) -> FeatureTable:
        """The differences from the control alone; raises :class:`ScoreError` without a control."""
        return self.columns(self._differences())

    def control(self) -> FeatureTable:
        """The control's features, under the names of the suspect's.

        Raises
        ------
        ScoreError
            If the table was measured without a control.
        """
        names = [name.removeprefix(DIFFERENCE) for name in self._differences()]
        own = self.columns(names)
        return self._with(tuple(names), own.values - self.difference().values)

    def minus(self, control: FeatureTable) -> FeatureTable:
        """The table with the differences from a control that was measured by itself.

        Parameters
        ----------
        control : FeatureTable
            Features of another model, which contains the same images and columns; it may contain
            more, in another order.

        Returns
        -------
        FeatureTable
            The suspect's columns, then the differences, as :func:`measure_features` gives them.

        Raises
        ------
        ScoreError
            If an image or column is missing, or the noise or another setting was not the same.
        """
        own = self.suspect()
        mine, theirs = (table.source.get("settings") for table in (own, control))
        if mine != theirs:
            raise ScoreError(
                f"The suspect was measured with {mine} and the control with {theirs}; expected the "
                f"same settings, because only then is the noise the same. {_AGAIN}"
            )
        places = {digest: row for row, digest in enumerate(control.image_hashes)}
        missing = [row for row, digest in enumerate(own.image_hashes) if digest not in places]
        if missing:
            raise ScoreError(
                f"The control was not measured on {own.images[missing[0]]}; expected all images of "
                f"the suspect. {_AGAIN}"
            )
        other = control.columns(own.names).values[[places[key] for key in own.image_hashes]]
        names = own.names + tuple(DIFFERENCE + name for name in own.names)
        source = own.source | {"control": control.source.get("suspect")}
        values = np.hstack([own.values, own.values - other])
        return FeatureTable(names, values, own.images, own.image_hashes, source)

    def _differences(self) -> list[str]:
        """Names of the columns of differences."""
        names = [name for name in self.names if name.startswith(DIFFERENCE)]
        if not names:
            raise ScoreError(
                "The feature table has no differences; measure it with a control, such as the base "
                "model without the adapter."
            )
        return names

    def _with(self, names: tuple[str, ...], values: NDArray[np.float64]) -> FeatureTable:
        return FeatureTable(names, values, self.images, self.image_hashes, self.source)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as stored by :meth:`save`."""
        rows = [
            StoredRow(image, digest, values)
            for image, digest, values in zip(
                self.images, self.image_hashes, self.values.tolist(), strict=True
            )
        ]
        plain: dict[str, Any] = to_plain(
            StoredTable(names=list(self.names), source=self.source, rows=rows)
        )
        return plain

    def save(self, path: Path) -> None:
        """Write the table as JSON, atomically; loading it gives the same values bit for bit.

        Parameters
        ----------
        path : Path
            The file; an existing one is replaced.
        """
        write_json(Path(path), self.to_dict())

    @classmethod
    def load(cls, path: Path | str) -> FeatureTable:
        """Read a table from a file.

        Parameters
        ----------
        path : Path | str
            A file that :meth:`save` wrote.

        Raises
        ------
        ScoreError
            If the file cannot be read or is malformed.
        """
        stored = read_format(path, StoredTable, error=ScoreError, advice=_AGAIN)
        return cls._from_stored(stored, name=str(path))

    @classmethod
    def from_dict(cls, data: Any, *, name: str = "The feature table") -> FeatureTable:
        """A table from the values that :meth:`to_dict` returns.

        Parameters
        ----------
        data : object
            The values.
        name : str
            Where they come from, for the error message.

        Raises
        ------
        ScoreError
            If they are malformed.
        """
        stored = convert_format(data, StoredTable, name=name, error=ScoreError, advice=_AGAIN)
        return cls._from_stored(stored, name=name)

    @classmethod
    def _from_stored(cls, stored: StoredTable, *, name: str) -> FeatureTable:
        wrong = [row for row in stored.rows if len(row.values) != len(stored.names)]
        if wrong:
            raise ScoreError(
                f"{name} has {len(wrong[0].values)} values for {wrong[0].image}; expected "
                f"{len(stored.names)}, one for each column. {_AGAIN}"
            )
        return cls(
            tuple(stored.names),
            np.array([row.values for row in stored.rows], dtype=np.float64),
            tuple(row.image for row in stored.rows),
            tuple(row.sha256 for row in stored.rows),
            stored.source,
        )
