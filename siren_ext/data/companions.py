"""Files beside the pictures of a set: masks, thumbnails, and what systems and servers leave."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from siren_ext.text import folded

KOHYA_FOLDER = re.compile(r"[0０]*([1-9１-９]\d{0,3})_(.*)", re.DOTALL)  # noqa: RUF001
"""Folders of kohya's layout: repeats, in digits that ``int`` reads, and class words, or none."""

_HIDDEN = ("hidden or system file", "left as they are")
_SERVER = ("thumbnail or recycle folder", "left as they are")
MASK = ("training mask", "left as they are")
"""Kind and advice of masks."""
PAIRED_MASK = (MASK[0], f"{MASK[1]}; 'coat' copies them with their images")
"""The same for masks of an image that is there."""
_CONDITION = ("conditioning image", "left as they are, because they may show uncoated images")
_THUMB = ("thumbnail", "left as they are")
_REGULAR = ("regularisation image", "not part of the set itself")
_SAMPLE = ("picture of a training program", "only training images are used")
_SERVER_FOLDERS = frozenset(
    {"@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", ".@__thumb", "@tmp"}
    | {"$recycle.bin", "recycler", "recycled", "system volume information", "lost+found"}
    | {".thumbnails", ".thumb", ".thumbs", "__macosx", ".appledouble", ".picasaoriginals"}
    | {"~snapshot", "@sharebin", "network trash folder", "temporary items", "_gsdata_"}
    | {f"found.{number:03}" for number in range(10)}
)
_SYSTEM_FILES = frozenset(
    {"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "picasa.ini"}
)
_SYSTEM_START = ("synophoto_thumb", "synoindex_", "~$")
_MASK_FOLDERS = frozenset(
    {"mask", "masks", "_mask", "_masks", "masklabel", "masklabels", "alpha_mask", "alpha_masks"}
    | {"alphamask", "alphamasks", "mask_images", "image_masks", "segmentation", "segmentations"}
    | {"cond_mask", "cond_masks", "conditioning_mask", "training_mask", "training_masks"}
)
_MASK_FOLDER = re.compile(r"(.+)[-_ ]masks?", re.IGNORECASE | re.DOTALL)  # beside the pictures'
_CONDITION_FOLDERS = frozenset(
    {"conditioning", "conditioning_images", "conditioning_data", "control", "control_images"}
)
_THUMB_FOLDERS = frozenset({"thumb", "thumbs", "thumbnail", "thumbnails"})
# OneTrainer's endings; the plain ones count only beside the picture that they belong to
_ONETRAINER = re.compile(r".*[-_.]masklabel\d?", re.IGNORECASE | re.DOTALL)
_CONDITION_NAME = re.compile(r".*[-_.]condlabel", re.IGNORECASE | re.DOTALL)
_MASK_WORD = r"(?:(?:alpha|depth|foreground|inpaint|sam|seg|segmentation)[-_ ]?)?mask"
_MASK_NAME = re.compile(
    rf"(?:mask[-_. ](.+)|(.+?)(?:\.[a-z]{{3,4}})?[-_. ]{_MASK_WORD})", re.IGNORECASE | re.DOTALL
)
_THUMB_NAME = re.compile(r"(.+)[-_. ]thumb(?:nail)?", re.IGNORECASE | re.DOTALL)
_AFFIXES = re.compile(
    rf"^(?:mask|thumb)[-_. ]|(?:\.[a-z]{{3,4}})?[-_. ](?:masklabel|{_MASK_WORD}|thumb|thumbnail)$",
    re.IGNORECASE,
)
# the folders that kohya's interface makes beside one another
_TRAINED_FOLDERS = frozenset({"img", "image", "images", "train"})
_REGULAR_FOLDERS = frozenset({"reg", "regularization", "regularisation"})
_RESULT_FOLDERS = (("model", "sample"), ("sample",), ("log",))


def set_apart(path: PurePosixPath) -> tuple[tuple[str, str], PurePosixPath] | None:
    """Whether a file is hidden, or of the system or a file server.

    Parameters
    ----------
    path : PurePosixPath
        Relative path.

    Returns
    -------
    tuple | None
        Kind and advice, and what to list: the file, or the folder that all of it is about.
    """
    for depth, part in enumerate(path.parts, start=1):
        is_file = depth == len(path.parts)
        name = part.casefold()
        if not is_file and (name in _SERVER_FOLDERS or name.startswith(".trash")):
            return _SERVER, PurePosixPath(*path.parts[:depth])
        if part.startswith(".") and part not in (".", ".."):
            return _HIDDEN, PurePosixPath(*path.parts[:depth])
        if is_file and (name in _SYSTEM_FILES or name.startswith(_SYSTEM_START)):
            return _HIDDEN, path
    return None


def not_of_the_set(
    pictures: Sequence[PurePosixPath],
) -> dict[tuple[str, str], set[PurePosixPath]]:
    """Pictures that are there for or because of the pictures of a set.

    Parameters
    ----------
    pictures : Sequence[PurePosixPath]
        Relative paths.

    Returns
    -------
    dict
        Paths by kind and advice.
    """
    found = {_REGULAR: set[PurePosixPath](), _SAMPLE: set[PurePosixPath]()}
    homes = {
        PurePosixPath(*path.parts[:-3])
        for path in pictures
        if len(path.parts) > 2
        and path.parts[-3].casefold() in _TRAINED_FOLDERS
        and KOHYA_FOLDER.fullmatch(path.parts[-2])
    }
    for path in pictures:
        folders = tuple(part.casefold() for part in path.parts[:-1])
        for depth in range(len(folders)):
            if PurePosixPath(*path.parts[:depth]) not in homes:
                continue
            if folders[depth] in _REGULAR_FOLDERS:
                found[_REGULAR].add(path)
            elif any(folders[depth : depth + len(names)] == names for names in _RESULT_FOLDERS):
                found[_SAMPLE].add(path)
    rest = [path for path in pictures if not any(path in paths for paths in found.values())]
    return {**found, **_masks_and_thumbnails(rest)}


def _masks_and_thumbnails(
    pictures: Sequence[PurePosixPath],
) -> dict[tuple[str, str], set[PurePosixPath]]:
    """Masks and thumbnails among pictures."""
    conditions = {path for path in pictures if _CONDITION_NAME.fullmatch(path.stem)}
    pictures = [path for path in pictures if path not in conditions]
    beside = {(path.parent, folded(path.stem)) for path in pictures}
    masks: set[PurePosixPath] = set()
    thumbs: set[PurePosixPath] = set()
    groups: dict[tuple[PurePosixPath, str], list[PurePosixPath]] = {}
    inner: set[PurePosixPath] = set()
    homes = {folder for path in pictures for folder in path.parents}
    for path in pictures:
        match = _MASK_NAME.fullmatch(path.stem)
        if _ONETRAINER.fullmatch(path.stem) or (
            match and (path.parent, folded(match[1] or match[2])) in beside
        ):
            masks.add(path)
        match = _THUMB_NAME.fullmatch(path.stem)
        if match and (path.parent, folded(match[1])) in beside:
            thumbs.add(path)
        for depth, part in enumerate(path.parts[:-1], start=1):
            name = part.casefold()
            if (
                _beside(path, depth - 1) in homes
                or name in _MASK_FOLDERS | _THUMB_FOLDERS | _CONDITION_FOLDERS
            ):
                key = PurePosixPath(*path.parts[:depth]), name
                groups.setdefault(key, []).append(path)
                inner.add(path)
                break
    others = inner | masks | thumbs
    stems = {folded(path.stem) for path in pictures if path not in others}
    for (_, name), members in groups.items():
        # a folder "masks" may well hold pictures of masks; these have no other picture's names
        known = sum(folded(_AFFIXES.sub("", path.stem)) in stems for path in members)
        if 2 * known >= len(members):
            kind = thumbs if name in _THUMB_FOLDERS else masks
            (conditions if name in _CONDITION_FOLDERS else kind).update(members)
    return {MASK: masks, _CONDITION: conditions, _THUMB: thumbs - masks}


def _beside(mask: PurePosixPath, depth: int) -> PurePosixPath | None:
    """The folder for whose pictures a folder in a mask's path may be, by its name."""
    part = mask.parts[depth]
    of = _MASK_FOLDER.fullmatch(part)
    if of is None or KOHYA_FOLDER.fullmatch(part):  # which shows a concept: "10_gas mask"
        return None
    return PurePosixPath(*mask.parts[:depth], of[1])


def masks_of(
    pictures: Iterable[PurePosixPath], masks: Iterable[PurePosixPath]
) -> dict[PurePosixPath, PurePosixPath]:
    """Which mask belongs to which picture.

    Parameters
    ----------
    pictures : Iterable[PurePosixPath]
        Relative paths of the pictures of a set.
    masks : Iterable[PurePosixPath]
        Those of the masks that :func:`not_of_the_set` found.

    Returns
    -------
    dict
        Mask by picture. A mask belongs to the pictures of its name in its own folder, or in that
        around ``mask/``; otherwise to the only picture of its name.
    """
    placed: dict[tuple[PurePosixPath, str], list[PurePosixPath]] = {}
    named: dict[str, list[PurePosixPath]] = {}
    for picture in pictures:
        stem = folded(picture.stem)
        placed.setdefault((picture.parent, stem), []).append(picture)
        named.setdefault(stem, []).append(picture)
    found: dict[PurePosixPath, PurePosixPath] = {}
    for mask in masks:
        names = dict.fromkeys(folded(name) for name in (mask.stem, _AFFIXES.sub("", mask.stem)))
        places = [(home, name) for name in names for home in _homes(mask)]
        theirs = next((placed[place] for place in places if place in placed), [])
        if not theirs:
            alone = [named[name] for name in names if len(named.get(name, ())) == 1]
            theirs = alone[0] if alone else []
        for picture in theirs:
            found.setdefault(picture, mask)
    return found


def _homes(mask: PurePosixPath) -> list[PurePosixPath]:
    """The folders in which the picture of a mask may be, the likeliest first."""
    homes = []
    for depth, part in enumerate(mask.parts[:-1]):
        around, rest = PurePosixPath(*mask.parts[:depth]), mask.parts[depth + 1 : -1]
        if part.casefold() in _MASK_FOLDERS:
            return [around.joinpath(*rest), around]
        if (home := _beside(mask, depth)) is not None:
            homes.append(home.joinpath(*rest))
    return [mask.parent, *homes]
