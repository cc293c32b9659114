"""Sorts the files of a folder or archive into pictures of a set, captions, and what is left out.

Masks of trainers and thumbnails are pictures, but not of the set. Everything that is neither used
nor copied is listed by kind, so that nothing is left out silently.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from siren_ext.data.companions import (
    MASK,
    PAIRED_MASK,
    masks_of,
    not_of_the_set,
    set_apart,
)
from siren_ext.data.image_files import (
    image_suffixes,
    inside,
    path_key,
    readable_suffixes,
    scan_images,
    unusual,
)
from siren_ext.data.picture_types import HEAD_BYTES, can_read, picture_type, why_unread
from siren_ext.errors import ImageError
from siren_ext.files import is_folder
from siren_ext.text import natural_key, printable

CAPTION_SUFFIXES = (".txt", ".caption")
TABLE_SUFFIXES = (".tsv", ".jsonl", ".csv", ".json")
EXAMPLES = 3

_OTHERWISE = "expected pictures and captions"
ADVICE = {"TOML file": "name a dataset.toml itself to use its folders and settings"}
"""What to do about files of a kind that are left out, where there is something to do."""


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """Files of one kind that are neither used nor copied.

    Attributes
    ----------
    kind : str
        What they are, in the singular.
    names : tuple[str, ...]
        Their names in natural order, safe for messages.
    advice : str
        Why they are left out, or what to do.
    """

    kind: str
    names: tuple[str, ...]
    advice: str

    @property
    def line(self) -> str:
        """One line with the count and a few names."""
        kind = self.kind if len(self.names) == 1 else plural(self.kind)
        return f"Left out: {len(self.names)} {kind} ({examples(self.names)}): {self.advice}."


@dataclasses.dataclass
class Survey:
    """Files by what becomes of them; all paths are relative.

    Attributes
    ----------
    pictures : list[PurePosixPath]
        Pictures of the set, in natural order.
    unread : list[tuple[PurePosixPath, str]]
        Pictures of the set that can't be read here, and why.
    captions : list[PurePosixPath]
        Caption files, in natural order.
    tables : list[PurePosixPath]
        Files that may list captions, in natural order.
    left_out : list[LeftOut]
        The other files, by kind.
    refused : list[tuple[Path, str]]
        What is not opened for safety, and why.
    masks : dict[PurePosixPath, PurePosixPath]
        Training mask by picture; filled by :func:`survey_folder`. They are in ``left_out`` too.
    """

    pictures: list[PurePosixPath]
    unread: list[tuple[PurePosixPath, str]]
    captions: list[PurePosixPath]
    tables: list[PurePosixPath]
    left_out: list[LeftOut]
    refused: list[tuple[Path, str]] = dataclasses.field(default_factory=list)
    masks: dict[PurePosixPath, PurePosixPath] = dataclasses.field(default_factory=dict)


def examples(names: Sequence[str]) -> str:
    """A few names, and how many more there are."""
    more = f" and {len(names) - EXAMPLES} more" if len(names) > EXAMPLES else ""
    return ", ".join(names[:EXAMPLES]) + more


def plural(kind: str) -> str:
    """The plural of a kind; in "file without a suffix", the first word gets the s."""
    noun, between, rest = re.split(r"( without | of |$)", kind, maxsplit=1)
    return f"{noun}s{between}{rest}"


def left_out_files(paths: Iterable[PurePosixPath], kind: str, advice: str) -> list[LeftOut]:
    """One entry for files of one kind; empty without files."""
    names = tuple(printable(path) for path in sorted(paths, key=natural_key))
    return [LeftOut(kind, names, advice)] if names else []


def unknown_files(
    paths: Iterable[PurePosixPath], advice: Mapping[str, str] = ADVICE
) -> list[LeftOut]:
    """Files that are of no use, by suffix."""
    kinds: dict[str, list[PurePosixPath]] = {}
    for path in paths:
        suffix = path.suffix[1:]
        plain = suffix.isalnum() and len(suffix) <= 12
        kind = f"{suffix.upper()} file" if plain else "file without a known suffix"
        kinds.setdefault(kind, []).append(path)
    return [
        entry
        for kind in sorted(kinds)
        for entry in left_out_files(kinds[kind], kind, advice.get(kind, _OTHERWISE))
    ]


def sort_files(
    paths: Iterable[PurePosixPath],
    head: Callable[[PurePosixPath], bytes],
    *,
    caption_suffixes: Sequence[str] = CAPTION_SUFFIXES,
    advice: Mapping[str, str] = ADVICE,
) -> Survey:
    """Sort files by their names and first bytes.

    Parameters
    ----------
    paths : Iterable[PurePosixPath]
        Relative paths. One that ends in ``*`` stands for all files in a folder.
    head : Callable
        Gives the first :data:`~siren_ext.data.picture_types.HEAD_BYTES` bytes of a file; it is not
        called for hidden and system files.
    caption_suffixes : Sequence[str]
        Suffixes of caption files, with a dot.
    advice : Mapping[str, str]
        What to do about files of a kind that are left out.

    Returns
    -------
    Survey
        Every path is in exactly one of its lists, except files of this program, which are in none.
    """
    found = Survey([], [], [], [], [])
    kinds: dict[tuple[str, str], set[PurePosixPath]] = {}
    unknown: list[PurePosixPath] = []
    suffixes = {suffix.lower() for suffix in caption_suffixes}
    for path in sorted(paths, key=lambda path: [natural_key(part) for part in path.parts]):
        if path.name.startswith((".siren_", "siren_")) and path.suffix.startswith(".json"):
            continue
        if apart := set_apart(path):
            kind, shown = apart
            kinds.setdefault(kind, set()).add(shown)
            continue
        suffix = path.suffix.lower()
        of_type = picture_type(suffix, head(path))
        if of_type is not None and can_read(of_type):
            found.pictures.append(path)
        elif of_type is not None:
            found.unread.append((path, why_unread(of_type)))
        elif suffix in suffixes:
            found.captions.append(path)
        elif suffix in TABLE_SUFFIXES:
            found.tables.append(path)
        else:
            unknown.append(path)
    for kind, members in not_of_the_set(found.pictures).items():
        kinds.setdefault(kind, set()).update(members)
        found.pictures = [path for path in found.pictures if path not in members]
    for (kind_name, why), members in kinds.items():
        found.left_out += left_out_files(members, kind_name, why)
    found.left_out += unknown_files(unknown, advice)
    return found


def survey_folder(
    folder: Path, *, deep: bool = False, caption_suffixes: Sequence[str] = CAPTION_SUFFIXES
) -> Survey:
    """Sort the files of a folder.

    Links to folders, links to files outside the folder, and what is no regular file are not
    opened.

    Parameters
    ----------
    folder : Path
        The folder.
    deep : bool
        Also search its subfolders.
    caption_suffixes : Sequence[str]
        Suffixes of caption files, with a dot.

    Returns
    -------
    Survey
        Paths relative to the folder.

    Raises
    ------
    ImageError
        If ``folder`` is not a folder.
    """
    folder = Path(folder)
    if not is_folder(folder):
        raise ImageError(f"{folder} is not a folder; expected a folder of images.")
    refused: list[tuple[Path, str]] = []
    paths: list[PurePosixPath] = []
    closed: set[PurePosixPath] = set()

    def unlisted(error: OSError) -> None:
        refused.append((Path(error.filename), f"can't be listed: {error.strerror}."))

    for current, folders, files in os.walk(folder, onerror=unlisted):
        here = Path(current)
        within = PurePosixPath(here.relative_to(folder).as_posix())
        kept = []
        for name in sorted(folders, key=natural_key) if deep else ():
            if set_apart(within / name / "*"):
                paths.append(within / name / "*")
            elif (here / name).is_symlink():
                why = "is a link to a folder; links to folders are not followed."
                refused.append((here / name, why))
            else:
                kept.append(name)
        folders[:] = kept
        for name in files:
            path = within / name
            why = "" if set_apart(path) else _refusal(here / name, folder)
            if why:
                closed.add(path)
                if path.suffix.lower() in readable_suffixes():
                    refused.append((here / name, why))
                    continue
            paths.append(path)

    def head(path: PurePosixPath) -> bytes:
        if path in closed:
            return b""
        try:
            with (folder / path).open("rb") as stream:
                return stream.read(HEAD_BYTES)
        except OSError:
            return b""

    found = sort_files(paths, head, caption_suffixes=caption_suffixes)
    _pair_masks(found, paths)
    found.refused = sorted(refused, key=lambda entry: path_key(entry[0], folder))
    return found


def _pair_masks(found: Survey, paths: Iterable[PurePosixPath]) -> None:
    """Find the pictures of the masks, and list the masks that have one apart."""
    listed = next((entry for entry in found.left_out if (entry.kind, entry.advice) == MASK), None)
    if listed is None:
        return
    names = set(listed.names)
    masks = [path for path in paths if printable(path) in names]
    found.masks = masks_of(found.pictures, masks)
    paired = set(found.masks.values())
    place = found.left_out.index(listed)
    found.left_out[place : place + 1] = [
        *left_out_files(paired, *PAIRED_MASK),
        *left_out_files(set(masks) - paired, *MASK),
    ]


def overlooked_pictures(folder: Path) -> list[tuple[str, str]]:
    """Pictures in a folder that a search by suffix misses, as scoring does it.

    Parameters
    ----------
    folder : Path
        The folder; subfolders are not searched.

    Returns
    -------
    list[tuple[str, str]]
        Name, and why it is missed.

    Raises
    ------
    ImageError
        If ``folder`` is not a folder.
    """
    survey = survey_folder(folder)
    found = [(printable(path), why) for path, why in survey.unread]
    why = (
        "is a picture, but its name does not have the ending of one; add .png or .jpg to the name."
    )
    found += [
        (printable(path), why)
        for path in survey.pictures
        if path.suffix.lower() not in image_suffixes()
    ]
    return found


def unscored_notices(folder: Path) -> list[str]:
    """What scoring a folder leaves out besides :func:`overlooked_pictures`, one line each.

    Parameters
    ----------
    folder : Path
        The folder; its subfolders are not scored.

    Raises
    ------
    ImageError
        If ``folder`` is not a folder.
    """
    scored = {printable(path.name) for path in scan_images(folder)[0]}
    lines = []
    for entry in survey_folder(folder).left_out:
        names = tuple(name for name in entry.names if name not in scored)
        if names:
            lines.append(dataclasses.replace(entry, names=names).line)
    inner = [
        printable(path.name)
        for path in sorted(folder.iterdir(), key=lambda path: natural_key(path.name))
        if is_folder(path) and set_apart(PurePosixPath(path.name, "*")) is None
        if not path.is_symlink() and scan_images(path)[0]
    ]
    if inner:
        lines.append(LeftOut("folder of pictures", tuple(inner), "score it separately").line)
    return lines


def why_unscored(folder: Path) -> str:
    """Why scoring finds no picture in a folder: its first files and what they are; "" if empty.

    Parameters
    ----------
    folder : Path
        The folder.

    Raises
    ------
    ImageError
        If ``folder`` is not a folder.
    """
    files = [f" {name}: {why}" for name, why in overlooked_pictures(folder)[:3]]
    return "".join([*files, *(f" {line}" for line in unscored_notices(folder)[:3])])


def _refusal(path: Path, root: Path) -> str:
    """Why a file is not opened; "" if it can be."""
    if path.is_symlink() and not inside(path, root):
        return "is a link to a place outside the folder; copy the file into the folder."
    return unusual(path)
