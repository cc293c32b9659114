"""What published and unpublished images look like, and whether they may be compared at all.

A comparison of two sets assumes that nothing but publication tells them apart. Copies, other sizes
and other captions break this in ways that can be seen without any model.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
from numpy.typing import NDArray

from siren_ext.data.dataset import ImageSet, Item
from siren_ext.data.images import Picture, crop_view, read_picture, resize, to_tensor
from siren_ext.errors import DatasetError
from siren_ext.files import sha256_file
from siren_ext.progress import NULL, Progress
from siren_ext.scoring.appearance import looks_of
from siren_ext.text import printable

Floats = NDArray[np.float64]

FEWEST_IMAGES = 20
"""Images per set below which the command refuses to run."""
ADVISED_IMAGES = 50
"""Images per set from which on a trained set is likely to be found."""
NEAR_COPY = 0.95
"""Correlation of two thumbnails from which on images count as copies. On the 96 bundled icons,
different images reach 0.80; files that were compressed again, halved or lightened have 0.98 and
more. Copies that were cropped by a few per cent have 0.82 and more, and may be missed."""
_SIZES = 1.5  # largest ratio of median sizes or shapes
_CAPTIONED = 0.1  # largest difference in the share of images with a caption
_WORDS = 2.0  # largest ratio of median numbers of words
_THUMBNAIL, _VIEW = 32, 256
_LISTED = 3
_OUTPUT_ADVICE = (
    "A model's own output passes for its training images: leave out pictures that the suspicious "
    "model, or one like it, may have made."
)
# What Stable Diffusion web UIs, ComfyUI, InvokeAI and NovelAI write into their pictures.
_GENERATOR_KEYS = frozenset(
    ("parameters", "prompt", "workflow", "invokeai_metadata", "sd-metadata", "dream", "extra")
)
_GENERATOR_WORDS = re.compile(
    rb"Steps: \d+, Sampler: |trainedAlgorithmicMedia|NovelAI|Midjourney", re.IGNORECASE
)
# Names that ComfyUI, AUTOMATIC1111, DALL-E, Firefly and Midjourney give to files; names of cameras
# and of people's own series are not among them.
_GENERATOR_NAMES = re.compile(
    r"ComfyUI_\d{5}_|\d{5}-\d{6,10}\b|DALL.E 20\d\d-|Firefly[ _]|"
    r".*_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(_\d)?\.",
    re.IGNORECASE,
)


@dataclass(frozen=True, eq=False)
class ImageFacts:
    """What is known about the images of a set without any model.

    Attributes
    ----------
    names : tuple[str, ...]
        n names.
    hashes : tuple[str, ...]
        n SHA-256 of the files' bytes.
    sizes : tuple[tuple[int, int], ...]
        Width and height of each.
    formats : tuple[str, ...]
        Pillow's name of each file's format.
    words : tuple[int, ...]
        Number of words of each caption; 0 if there is none.
    generated : tuple[str, ...]
        Names of images whose metadata or file names say that a model made them.
    looks : array, shape (n, 8)
        See :func:`siren_ext.scoring.appearance.looks_of`.
    thumbnails : array, shape (n, 3072)
        Small views with mean 0 and norm 1, to find copies.
    """

    names: tuple[str, ...]
    hashes: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    formats: tuple[str, ...]
    words: tuple[int, ...]
    generated: tuple[str, ...]
    looks: Floats
    thumbnails: Floats

    def __len__(self) -> int:
        return len(self.names)


def read_facts(images: ImageSet, *, workers: int = 2, progress: Progress = NULL) -> ImageFacts:
    """Read all images of a set once.

    Parameters
    ----------
    images : ImageSet
        The set.
    workers : int
        Number of threads.
    progress : Progress
        One unit per image.

    Returns
    -------
    ImageFacts
        In the order of the set.

    Raises
    ------
    ImageError
        If an image cannot be read; ``images.checked()`` gives a set without such images.
    Cancelled
        If the user stopped.
    """
    rows: list[_Row] = []
    progress.stage("Reading images", len(images))
    with ThreadPoolExecutor(max_workers=workers) as pool:
        for row in pool.map(_row, images.items):
            rows.append(row)
            progress.advance(1)
    return ImageFacts(
        tuple(row.name for row in rows),
        tuple(row.digest for row in rows),
        tuple(row.size for row in rows),
        tuple(row.format for row in rows),
        tuple(row.words for row in rows),
        tuple(row.name for row in rows if row.generated),
        np.array([row.looks for row in rows], dtype=np.float64),
        np.array([row.thumbnail for row in rows], dtype=np.float64),
    )


def balanced(published: ImageSet, unpublished: ImageSet) -> tuple[ImageSet, ImageSet, str]:
    """Both sets with as many images as the smaller one.

    Parameters
    ----------
    published, unpublished : ImageSet
        The sets.

    Returns
    -------
    tuple[ImageSet, ImageSet, str]
        The sets, and a sentence about images that were left out; "" if there are none. They are
        chosen by the hash of their file, so neither their name nor what they show has an influence.
    """
    count = min(len(published), len(unpublished))
    if len(published) == len(unpublished):
        return published, unpublished, ""
    larger = "published" if len(published) > count else "unpublished"
    lost = abs(len(published) - len(unpublished))
    text = (
        f"There are {len(published)} published and {len(unpublished)} unpublished images; "
        f"{lost} of the {larger} ones, chosen by their hashes, were left out to have equally many."
    )
    return _first(published, count), _first(unpublished, count), text


def check_sets(
    published: ImageFacts, unpublished: ImageFacts, *, captions: bool = True
) -> tuple[str, ...]:
    """Refuse sets that differ in themselves.

    Parameters
    ----------
    published, unpublished : ImageFacts
        The sets.
    captions : bool
        Whether the model will be given the captions.

    Returns
    -------
    tuple[str, ...]
        What else weakens the comparison, in sentences.

    Raises
    ------
    DatasetError
        If there are too few images, an image is in both sets or twice in one, or sizes or captions
        differ.
    """
    require_enough(len(published), len(unpublished))
    _require_distinct(published, unpublished)
    _require_equal_sizes(published, unpublished)
    if captions:
        _require_equal_captions(published, unpublished)
    return tuple(_notes(published, unpublished))


@dataclass(frozen=True)
class _Row:
    """Facts of one image."""

    name: str
    digest: str
    size: tuple[int, int]
    format: str
    words: int
    generated: bool
    looks: tuple[float, ...]
    thumbnail: Floats


def _row(item: Item) -> _Row:
    picture = read_picture(item.path)
    image = to_tensor(picture.rgb)
    small = resize(image, _THUMBNAIL, _THUMBNAIL).double().numpy().ravel()
    small = small - small.mean()
    caption = item.caption or item.class_words or ""
    return _Row(
        item.name,
        sha256_file(item.path),
        picture.size,
        picture.format,
        len(caption.split()),
        _is_generated(picture) or _GENERATOR_NAMES.match(item.path.name) is not None,
        looks_of(crop_view(image, _VIEW)),
        small / max(float(np.linalg.norm(small)), 1e-12),
    )


def _is_generated(picture: Picture) -> bool:
    """Whether the metadata name a generator; most pictures of models lose them when published."""
    if _GENERATOR_KEYS & {key.lower() for key in picture.text}:
        return True
    texts = "\n".join(picture.text.values()).encode("utf-8", "replace")
    exif = picture.exif or b""
    return any(
        _GENERATOR_WORDS.search(data) is not None
        for data in (texts, exif, exif.replace(b"\0", b""))  # EXIF comments may be UTF-16
    )


def _first(images: ImageSet, count: int) -> ImageSet:
    """The images with the smallest hashes, in their order."""
    if len(images) == count:
        return images
    digests = sorted((sha256_file(item.path), row) for row, item in enumerate(images.items))
    kept = sorted(row for _, row in digests[:count])
    return replace(images, items=tuple(images.items[row] for row in kept))


def require_enough(published: int, unpublished: int) -> None:
    """Refuse sets of fewer than 20 images.

    Parameters
    ----------
    published, unpublished : int
        Number of images.

    Raises
    ------
    DatasetError
        If one of them is too small.
    """
    if min(published, unpublished) < FEWEST_IMAGES:
        raise DatasetError(
            f"There are {published} published and {unpublished} unpublished images; expected at "
            f"least {FEWEST_IMAGES} of each; {ADVISED_IMAGES} are better. Add images of the same "
            "kind."
        )


def _require_distinct(published: ImageFacts, unpublished: ImageFacts) -> None:
    pairs = list(_copies(published, unpublished))
    if pairs:
        raise DatasetError(
            f"{_count(pairs, 'image is', 'images are')} in both the published and the unpublished "
            f"set, or nearly the same in both: {_shown(pairs)}. Take the copies out of the "
            "unpublished set: it must not contain anything that the model can have seen."
        )
    for facts, kind in ((published, "published"), (unpublished, "unpublished")):
        pairs = list(_copies(facts, facts))
        if pairs:
            raise DatasetError(
                f"{_count(pairs, 'pair of', 'pairs of')} {kind} images are copies of each other, "
                f"or nearly: {_shown(pairs)}. Keep only one of each, because a copy adds no new "
                "evidence."
            )


def _copies(first: ImageFacts, second: ImageFacts) -> Iterator[tuple[str, str]]:
    alike = first.thumbnails @ second.thumbnails.T >= NEAR_COPY
    alike |= np.array(first.hashes)[:, None] == np.array(second.hashes)[None]
    if first is second:
        alike = np.triu(alike, 1)
    for row, column in np.argwhere(alike):
        yield first.names[row], second.names[column]


def _require_equal_sizes(published: ImageFacts, unpublished: ImageFacts) -> None:
    sides = [median(min(size) for size in facts.sizes) for facts in (published, unpublished)]
    shapes = [
        median(width / height for width, height in facts.sizes)
        for facts in (published, unpublished)
    ]
    if max(sides) > _SIZES * min(sides):
        raise DatasetError(
            f"The short side of the published images has {sides[0]:g} pixels (median), that of "
            f"the unpublished ones {sides[1]:g}; expected the same size. Export both in the same "
            "way, for example the unpublished images as you exported the published ones."
        )
    if max(shapes) > _SIZES * min(shapes):
        raise DatasetError(
            f"The published images are {shapes[0]:.2f} times as wide as they are high (median), "
            f"the unpublished ones {shapes[1]:.2f} times; expected the same shape. Choose images "
            "of the same shape for both sets."
        )


def _require_equal_captions(published: ImageFacts, unpublished: ImageFacts) -> None:
    have = [float(np.mean([count > 0 for count in f.words])) for f in (published, unpublished)]
    advice = (
        "A model knows images better with their captions, so caption both sets in the same way, or "
        "use no captions (--set captions=none)."
    )
    if abs(have[0] - have[1]) > _CAPTIONED:
        raise DatasetError(
            f"{have[0]:.0%} of the published and {have[1]:.0%} of the unpublished images have a "
            f"caption; expected the same share. {advice}"
        )
    if min(have) == 0:
        return
    words = [median(c for c in facts.words if c) for facts in (published, unpublished)]
    if max(words) > _WORDS * min(words):
        raise DatasetError(
            f"The captions of the published images have {words[0]:g} words (median), those of the "
            f"unpublished ones {words[1]:g}; expected the same length. {advice}"
        )


def _notes(published: ImageFacts, unpublished: ImageFacts) -> Iterator[str]:
    fewest = min(len(published), len(unpublished))
    if fewest < ADVISED_IMAGES:
        yield (
            f"Only {fewest} images per set. Use {ADVISED_IMAGES} or more, or training may be "
            "missed."
        )
    usual = [Counter(f.formats).most_common(1)[0][0] for f in (published, unpublished)]
    if usual[0] != usual[1]:
        yield (
            f"Most published images are {usual[0]} files, most unpublished ones {usual[1]} files. "
            "Compression alone changes how well a model knows an image; use one format for both."
        )
    for facts, kind, advice in (
        (published, "published", _OUTPUT_ADVICE),
        (unpublished, "unpublished", "Use the owner's own works only."),
    ):
        if facts.generated:
            made = _count(facts.generated, f"{kind} image was", f"{kind} images were")
            shown = printable(", ".join(facts.generated[:_LISTED]))
            told = "according to the metadata or the name"
            yield f"{made} made by a model, {told} ({shown}). {advice}"


def _count(found: Sequence[object], one: str, many: str) -> str:
    return f"{len(found)} {one if len(found) == 1 else many}"


def _shown(pairs: Sequence[tuple[str, str]]) -> str:
    shown = "; ".join(f"{first} and {second}" for first, second in pairs[:_LISTED])
    return printable(shown + ("; …" if len(pairs) > _LISTED else ""))
