"""Shards of Parquet: a column with the bytes of image files, and others such as captions.

The column holds bytes, or as in the data sets of Hugging Face a struct of ``bytes`` and ``path``.
pyarrow (https://arrow.apache.org) reads and writes the files, a few rows at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from siren_ext.data.image_files import readable_suffixes
from siren_ext.data.picture_types import HEAD_BYTES
from siren_ext.errors import DatasetError, ImageError, MissingExtraError, first_line
from siren_ext.scale.shards import MAX_IMAGE_BYTES, ShardImage, suffix_by_content
from siren_ext.text import printable

MAX_COLUMN_BYTES = 4 << 30
"""Most bytes of one column in one group of rows."""
GROUP_BYTES = 64 << 20
"""About so many bytes are in each group of rows that is written, if it has not enough rows yet."""
_FEATURES = b"huggingface"


class ParquetSample:
    """One row.

    Parameters
    ----------
    batch : pyarrow.RecordBatch
        Some rows.
    row : int
        Which of them.
    number : int
        Which of the file.
    column : str
        The column of images.
    """

    refused: Sequence[tuple[str, str]] = ()

    def __init__(self, batch: Any, row: int, number: int, column: str) -> None:
        self.batch, self.row = batch, row
        self.key = f"row {number}"
        self.value: Any = batch.column(batch.schema.get_field_index(column))[row].as_py()
        self._content = self.value["bytes"] if isinstance(self.value, dict) else self.value
        self._number = number

    @property
    def images(self) -> Sequence[ShardImage]:
        """The image, called by the number of its row; none if the row has none."""
        if self.value is None:
            return ()
        suffix = ""
        if isinstance(self.value, dict) and isinstance(path := self.value.get("path"), str):
            suffix = PurePosixPath(path).suffix.lower()
        if suffix not in readable_suffixes():
            suffix = suffix_by_content((self._content or b"")[:HEAD_BYTES])
        return (ShardImage(f"{self._number}{suffix}"),)

    @property
    def names(self) -> Sequence[str]:
        """The image's name."""
        return [image.name for image in self.images]

    def save(self, image: ShardImage, path: Path) -> None:
        """Write the file of the image; raises :class:`ImageError` if there are no bytes of it."""
        if self._content is None:
            raise ImageError(
                "The row names a file but does not contain its bytes; expected the bytes of "
                "the file in the row."
            )
        if len(self._content) > MAX_IMAGE_BYTES:
            raise ImageError(
                f"It has {len(self._content):,} bytes; expected at most {MAX_IMAGE_BYTES:,}."
            )
        path.write_bytes(self._content)

    def changed(self, name: str, content: bytes) -> Any:
        """The value with another image.

        Parameters
        ----------
        name : str
            Its name, of which the suffix matters.
        content : bytes
            Its file.
        """
        if not isinstance(self.value, dict):
            return content
        value = self.value | {"bytes": content}
        if isinstance(path := value.get("path"), str) and PurePosixPath(path).suffix:
            value["path"] = path[: -len(PurePosixPath(path).suffix)] + PurePosixPath(name).suffix
        return value


class ParquetShard:
    """A Parquet file that is read; see :class:`siren_ext.scale.shards.Shard`.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        What messages call it.
    column : str
        The column of images; "" finds it.

    Raises
    ------
    MissingExtraError
        pyarrow is not installed.
    DatasetError
        It is no Parquet file, has no such column, or several that may be meant.
    """

    def __init__(self, path: Path, name: str, column: str = "") -> None:
        try:
            import pyarrow
            import pyarrow.parquet as parquet
        except ImportError as error:
            raise MissingExtraError("pyarrow", "parquet") from error
        self._arrow, self._parquet, self._name = pyarrow, parquet, name
        self._errors = (pyarrow.ArrowException, OSError, ValueError)
        try:
            # read in small pieces, and not a whole group of rows ahead
            self._file = parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
            self._schema = self._file.schema_arrow
        except self._errors as error:
            raise DatasetError(
                f"{name} is not a Parquet file: {first_line(error)}. Get the file again, or write "
                "it again."
            ) from error
        try:
            self.column = self._image_column(column)
            self._check_sizes()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> ParquetShard:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def _image_column(self, asked: str) -> str:
        """The column that is meant."""
        columns = ", ".join(printable(f"{field.name} ({field.type})") for field in self._schema)
        columns = columns[:400] or "no columns"
        possible = [field.name for field in self._schema if self._holds_files(field.type)]
        if asked:
            if possible.count(asked) != 1:
                raise DatasetError(
                    f"{self._name} has no column {asked!r} with the bytes of image files; found "
                    f"{columns}."
                )
            return asked
        described = [name for name in possible if name in _described(self._schema)]
        found = described or possible
        if not found:
            raise DatasetError(
                f"{self._name} has no column with the bytes of image files; found {columns}. "
                "Expected bytes, or a struct of bytes and path."
            )
        if len(found) > 1:
            raise DatasetError(
                f"{self._name} has {len(found)} columns that may contain images "
                f"({', '.join(map(printable, found))}); choose one with --image-column."
            )
        return str(found[0])

    def _holds_files(self, kind: Any) -> bool:
        types = self._arrow.types
        if types.is_struct(kind):
            return any(part.name == "bytes" and self._holds_files(part.type) for part in kind)
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    def _check_sizes(self) -> None:
        facts = self._file.metadata
        for group in range(facts.num_row_groups):
            for number in range(facts.num_columns):
                size = facts.row_group(group).column(number).total_uncompressed_size
                if size > MAX_COLUMN_BYTES:
                    raise DatasetError(
                        f"{self._name} has a group of rows with {size:,} bytes in one column; "
                        f"expected at most {MAX_COLUMN_BYTES:,}. Write the file again with "
                        "smaller groups of rows."
                    )

    def samples(self, count: int) -> Iterator[ParquetSample]:
        """All rows in order.

        Parameters
        ----------
        count : int
            Rows that are in memory at once.

        Yields
        ------
        ParquetSample
            One row.

        Raises
        ------
        DatasetError
            The file is damaged.
        """
        number = 0
        try:
            for batch in self._file.iter_batches(batch_size=count, use_threads=False):
                for row in range(batch.num_rows):
                    yield ParquetSample(batch, row, number, self.column)
                    number += 1
        except self._errors as error:
            raise DatasetError(
                f"{self._name} is damaged at row {number} or after it: {first_line(error)}. Get "
                "the file again, or write it again."
            ) from error

    def writer(self, path: Path) -> ParquetWriter:
        """What writes a Parquet file like this one: columns, metadata, compression, groups.

        Parameters
        ----------
        path : Path
            The new file.
        """
        facts = self._file.metadata
        codec, rows = "snappy", 1 << 20
        if facts.num_row_groups and facts.num_columns:
            codec = facts.row_group(0).column(0).compression.lower()
            rows = max(facts.row_group(group).num_rows for group in range(facts.num_row_groups))
        codec = "none" if codec == "uncompressed" else codec
        made = self._parquet.ParquetWriter(path, self._schema, compression=codec)
        return ParquetWriter(self._arrow, made, self.column, max(1, rows))


class ParquetWriter:
    """Writes a Parquet file; see :class:`siren_ext.scale.shards.Writer`.

    Parameters
    ----------
    arrow : module
        pyarrow.
    made : pyarrow.parquet.ParquetWriter
        Writes groups of rows.
    column : str
        The column of images.
    rows : int
        Most rows in a group.
    """

    def __init__(self, arrow: Any, made: Any, column: str, rows: int) -> None:
        self._arrow, self._made, self._column, self._rows = arrow, made, column, rows
        self._waiting: list[Any] = []
        self._bytes = 0

    def add(self, sample: Any, changed: Mapping[str, tuple[str, Path]]) -> None:
        """Write a row.

        Parameters
        ----------
        sample : ParquetSample
            The row.
        changed : Mapping[str, tuple[str, Path]]
            New name and file of its image, by its name.
        """
        row = sample.batch.slice(sample.row, 1)
        for name, path in changed.values():
            content = path.read_bytes()
            place = row.schema.get_field_index(self._column)
            field = row.schema.field(place)
            value = self._arrow.array([sample.changed(name, content)], type=field.type)
            row = row.set_column(place, field, value)
        self._waiting.append(row)
        self._bytes += row.nbytes
        if len(self._waiting) >= self._rows or self._bytes >= GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            table = self._arrow.Table.from_batches(self._waiting)
            self._made.write_table(table, row_group_size=len(self._waiting))
            self._waiting, self._bytes = [], 0

    def close(self) -> None:
        """Write the last rows and the end."""
        self._flush()
        self._made.close()


def _described(schema: Any) -> set[str]:
    """The columns of images by the description that Hugging Face's library leaves."""
    with suppress(ValueError, TypeError, KeyError, AttributeError):
        features = json.loads((schema.metadata or {})[_FEATURES])["info"]["features"]
        return {name for name, kind in features.items() if kind.get("_type") == "Image"}
    return set()
