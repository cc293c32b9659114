"""Which caption belongs to which picture: caption files beside pictures, and tables of captions.

The classes work on relative paths, so that they serve folders and archives alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath

from siren_ext.data.caption_tables import CAPTION_TABLE, MAX_TABLE_BYTES, Row, read_table
from siren_ext.data.caption_text import MAX_CAPTION_BYTES, decode_text, is_legacy
from siren_ext.data.code_pages import CodePage
from siren_ext.data.image_files import inside, unusual
from siren_ext.data.survey import (
    LeftOut,
    Survey,
    examples,
    left_out_files,
    unknown_files,
)
from siren_ext.documents import read_bytes
from siren_ext.errors import DatasetError
from siren_ext.text import folded, printable

_TABLE_ORDER = (".tsv", ".jsonl", ".csv", ".json")
_Key = tuple[PurePosixPath, str, str]


class CaptionFiles:
    """Finds the caption files of pictures.

    A caption file has the picture's name with another suffix (``a.txt``), or with one more suffix
    (``a.jpg.txt``), which goes first. Capital letters and the ways to write accents are ignored,
    unless the file belongs exactly to another picture.

    Parameters
    ----------
    files : Iterable[PurePosixPath]
        The caption files, relative.
    pictures : Iterable[PurePosixPath]
        The pictures, relative to the same folder.
    """

    def __init__(self, files: Iterable[PurePosixPath], pictures: Iterable[PurePosixPath]) -> None:
        self._exact: dict[_Key, PurePosixPath] = {}
        self._similar: dict[_Key, list[PurePosixPath]] = {}
        self._unused: dict[PurePosixPath, None] = {}
        for file in files:
            suffix = file.suffix.lower()
            self._unused[file] = None
            self._exact.setdefault((file.parent, file.stem, suffix), file)
            self._similar.setdefault((file.parent, folded(file.stem), suffix), []).append(file)
        self._owned = {
            (picture.parent, base) for picture in pictures for base in (picture.name, picture.stem)
        }

    def of(self, picture: PurePosixPath, suffixes: Sequence[str]) -> list[PurePosixPath]:
        """The caption files of a picture, at most one for each suffix.

        Parameters
        ----------
        picture : PurePosixPath
            One of the pictures.
        suffixes : Sequence[str]
            Suffixes in the order of their precedence.
        """
        found = []
        for suffix in suffixes:
            file = self._find(picture, suffix.lower())
            if file is not None:
                self._unused.pop(file, None)
                found.append(file)
        return found

    def unused(self) -> list[PurePosixPath]:
        """The caption files that :meth:`of` has given to no picture."""
        return list(self._unused)

    def _find(self, picture: PurePosixPath, suffix: str) -> PurePosixPath | None:
        bases = (picture.name, picture.stem)
        for base in bases:
            file = self._exact.get((picture.parent, base, suffix))
            if file is not None:
                return file
        for base in bases:
            for file in self._similar.get((picture.parent, folded(base), suffix), ()):
                if (file.parent, file.stem) not in self._owned:
                    return file
        return None


class PictureIndex:
    """Finds the pictures that tables of captions name.

    Parameters
    ----------
    pictures : Iterable[PurePosixPath]
        The pictures, relative.
    """

    def __init__(self, pictures: Iterable[PurePosixPath]) -> None:
        self._found: dict[tuple[str, PurePosixPath], PurePosixPath | None] = {}
        self._paths: dict[str, set[PurePosixPath]] = {}
        self._names: dict[str, set[PurePosixPath]] = {}
        for picture in pictures:
            for path in (picture, picture.with_suffix("")):
                self._paths.setdefault(folded(path.as_posix()), set()).add(picture)
                self._names.setdefault(folded(path.name), set()).add(picture)

    def find(self, name: str, folder: PurePosixPath) -> PurePosixPath | None:
        """The only picture that a name can mean; None if there is none or several.

        Parameters
        ----------
        name : str
            A path relative to ``folder``; a path on any machine that ends in the picture's whole
            relative path; or a plain name that only one picture has. The suffix may be missing.
        folder : PurePosixPath
            The folder of the table, relative.
        """
        key = name, folder
        if key not in self._found:
            self._found[key] = self._find(name, folder)
        return self._found[key]

    def _find(self, name: str, folder: PurePosixPath) -> PurePosixPath | None:
        plain = name.strip().replace("\\", "/")
        parts = [part for part in plain.split("/") if part not in ("", ".")]
        if not parts or len(parts) > 64:
            return None
        # the name as it is, which may have spaces around it, or backslashes where they are letters
        tries = [(folder / name).as_posix(), folder.joinpath(*parts).as_posix()]
        tries += ["/".join(parts[start:]) for start in range(len(parts))]
        for path in tries:
            found = self._paths.get(folded(path), set())
            if found:
                return next(iter(found)) if len(found) == 1 else None
        found = self._names.get(folded(parts[0]), set()) if len(parts) == 1 else set()
        return next(iter(found)) if len(found) == 1 else None


def captions_of_rows(
    rows: Sequence[Row], folder: PurePosixPath, index: PictureIndex
) -> tuple[dict[PurePosixPath, str], list[PurePosixPath]]:
    """Captions from a table.

    Parameters
    ----------
    rows : Sequence[Row]
        Its rows.
    folder : PurePosixPath
        Its folder, relative.
    index : PictureIndex
        The pictures.

    Returns
    -------
    captions : dict[PurePosixPath, str]
        Caption by picture.
    unclear : list[PurePosixPath]
        Pictures that get none, because different rows give them different captions.
    """
    found: dict[PurePosixPath, set[str]] = {}
    for row in rows:
        picture = index.find(row.name, folder)
        if picture is not None:
            found.setdefault(picture, set()).add(row.caption)
    captions = {picture: next(iter(texts)) for picture, texts in found.items() if len(texts) == 1}
    return captions, [picture for picture, texts in found.items() if len(texts) > 1]


def table_order(path: PurePosixPath) -> tuple[bool, bool, int]:
    """Sort key of tables by precedence: ``captions.tsv``, ``metadata.*``, then the others."""
    name = path.name.casefold()
    suffix = path.suffix.lower()
    rank = _TABLE_ORDER.index(suffix) if suffix in _TABLE_ORDER else len(_TABLE_ORDER)
    return name != CAPTION_TABLE, not name.startswith("metadata."), rank


@dataclasses.dataclass
class Captions:
    """The captions of a folder.

    Attributes
    ----------
    texts : dict[PurePosixPath, str]
        Caption by picture; pictures without one are missing.
    files : dict[PurePosixPath, tuple[Path, ...]]
        The caption files of each picture.
    problems : list[tuple[str, str]]
        Name and reason of caption files and tables that can't be used.
    encodings : dict[str, list[str]]
        Names of the files that are not UTF-8, by the encoding that was found.
    left_out : list[LeftOut]
        Caption files and tables of no picture.
    missing : list[str]
        Names in tables that no picture has, safe for messages.
    code_page : CodePage
        That of the captions in no Unicode encoding.
    """

    texts: dict[PurePosixPath, str] = dataclasses.field(default_factory=dict)
    files: dict[PurePosixPath, tuple[Path, ...]] = dataclasses.field(default_factory=dict)
    problems: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    encodings: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    left_out: list[LeftOut] = dataclasses.field(default_factory=list)
    missing: list[str] = dataclasses.field(default_factory=list)
    code_page: CodePage = dataclasses.field(default_factory=CodePage)

    def add_tables(
        self,
        tables: Iterable[PurePosixPath],
        survey: Survey,
        content_of: Callable[[PurePosixPath], bytes | None],
        name_of: Callable[[PurePosixPath], str] = printable,
    ) -> None:
        """Add what tables say about pictures that have no caption yet.

        Parameters
        ----------
        tables : Iterable[PurePosixPath]
            The tables, relative.
        survey : Survey
            The files among which they are.
        content_of : Callable
            Gives the bytes of a table; None, after it added a problem, if they can't be read.
        name_of : Callable
            Gives the name of a table for messages.
        """
        tables = sorted(tables, key=table_order)
        index = PictureIndex(survey.pictures)
        unread = PictureIndex(picture for picture, _ in survey.unread)
        # a dataset.toml may name one table for several folders
        whole = set(tables) == set(survey.tables)
        idle, unknown, absent = [], [], list[LeftOut]()
        for path in tables:
            content = content_of(path)
            if content is None:
                continue
            try:
                rows, encoding = read_table(path, content, self.code_page)
            except DatasetError as error:
                if path.suffix.lower() in (".tsv", ".jsonl") or table_order(path)[1] is False:
                    self.problems.append((name_of(path), str(error)))
                else:
                    unknown.append(path)
                continue
            texts, unclear = captions_of_rows(rows, path.parent, index)
            names = dict.fromkeys(row.name for row in rows)
            gone = [printable(name) for name in names if index.find(name, path.parent) is None]
            self.missing += gone
            if texts and whole:
                gone = [name for name in gone if unread.find(name, path.parent) is None]
            if gone and texts and whole:
                kind = f"caption of {name_of(path)}"
                advice = "no image here has this name, or more than one has it"
                absent.append(LeftOut(kind, tuple(gone), advice))
            if not rows:
                unknown.append(path)
            elif not texts and not unclear:
                idle.append(path)
            if encoding and texts:
                self.encodings.setdefault(encoding, []).append(name_of(path))
            if unclear:
                which = examples([printable(picture) for picture in unclear])
                count = "1 image" if len(unclear) == 1 else f"{len(unclear)} images"
                why = f"gives several captions for {count} ({which}); none of them is used."
                self.problems.append((name_of(path), why))
            for picture, text in texts.items():
                self.texts.setdefault(picture, text)
        self.left_out += left_out_files(
            idle, "table of captions", "expected names of images that are here"
        )
        self.left_out += unknown_files(unknown)
        self.left_out += absent

    @property
    def notices(self) -> list[str]:
        """What a person should know, one line each."""
        return [
            f"{len(names)} caption file{'s are' if len(names) > 1 else ' is'} not in UTF-8 "
            f"({examples(names)}) and {'were' if len(names) > 1 else 'was'} read as {encoding}; "
            f"check the text."
            for encoding, names in sorted(self.encodings.items())
        ]


class CaptionReader:
    """Reads the captions of a folder.

    Parameters
    ----------
    folder : Path
        The folder that was surveyed.
    root : Path
        Folder that links must not leave; messages name files relative to it.
    survey : Survey
        The files of the folder.
    """

    def __init__(self, folder: Path, root: Path, survey: Survey) -> None:
        self.folder, self.root, self.survey = folder, root, survey
        self.found = Captions()

    def read(self, suffixes: Sequence[str], tables: Sequence[PurePosixPath]) -> Captions:
        """Read caption files, and tables for the pictures without.

        Parameters
        ----------
        suffixes : Sequence[str]
            Suffixes of caption files, in the order of their precedence.
        tables : Sequence[PurePosixPath]
            The tables, relative to the folder.
        """
        pictures = self.survey.pictures
        unread = [picture for picture, _ in self.survey.unread]
        beside = CaptionFiles(self.survey.captions, [*pictures, *unread])
        mine = {picture: beside.of(picture, suffixes) for picture in pictures}
        for picture in unread:  # left out together with their pictures
            beside.of(picture, suffixes)
        texts = self._texts(dict.fromkeys(file for files in mine.values() for file in files))
        for picture, files in mine.items():
            self.found.files[picture] = tuple(self.folder / file for file in files if file in texts)
            own = next((texts[file] for file in files if texts.get(file)), None)
            if own:
                self.found.texts[picture] = own
        self.found.left_out += left_out_files(
            beside.unused(), "caption file without an image", "expected an image of the same name"
        )
        self.found.add_tables(
            tables, self.survey, lambda path: self._content(path, MAX_TABLE_BYTES), self._name
        )
        return self.found

    def _name(self, path: PurePosixPath) -> str:
        place = self.folder / path
        within = place.relative_to(self.root) if place.is_relative_to(self.root) else path
        return printable(within.as_posix())

    def _content(self, path: PurePosixPath, limit: int) -> bytes | None:
        """The bytes of a file; None, with a problem, if they can't be read."""
        place = self.folder / path
        try:
            why = self._refusal(place, limit)
            if not why:
                return read_bytes(place, error=DatasetError, max_bytes=limit)
        except OSError as error:
            why = f"{error.strerror}."
        except DatasetError as error:
            why = str(error)
        self.found.problems.append((self._name(path), why))
        return None

    def _refusal(self, place: Path, limit: int) -> str:
        """Why a file is not read; "" if it is."""
        if place.is_symlink() and not inside(place, self.root):
            return "is a link to a place outside the folder; copy the file into the folder."
        if why := unusual(place, "a text file"):
            return why
        if place.stat().st_size > limit:
            return f"is not a caption: it has more than {limit} bytes."
        return ""

    def _texts(self, files: Iterable[PurePosixPath]) -> dict[PurePosixPath, str]:
        """Text by caption file; "" for files that are empty or in no known encoding."""
        contents = {
            file: content
            for file in files
            if (content := self._content(file, MAX_CAPTION_BYTES)) is not None
        }
        self.found.code_page = CodePage(filter(is_legacy, contents.values()))
        texts = {}
        for file, content in contents.items():
            try:
                text, encoding = decode_text(content, self.found.code_page)
            except ValueError as error:
                why = f"can't be read as text: {error}; save it as UTF-8."
                self.found.problems.append((self._name(file), why))
                text, encoding = "", ""
            if encoding:
                self.found.encodings.setdefault(encoding, []).append(self._name(file))
            texts[file] = text.strip()
        return texts
