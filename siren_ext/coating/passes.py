"""One pass of a coater: images are coated, and scored before and after."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from siren_ext.coating.apply import add_coating
from siren_ext.coating.manifest import CoatConfig
from siren_ext.coating.photo import coat_photo, is_photo
from siren_ext.coating.plan import CoatJob
from siren_ext.coating.twin_patterns import TwinSide
from siren_ext.data.decode import Bytes
from siren_ext.data.images import Picture, to_tensor, to_uint8
from siren_ext.errors import Cancelled, ImageError, SirenError

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater

_UNFIT = "The coater can't handle this image"
_NOT_FINITE = "The coater's output for this image has values that are not finite numbers."
_NO_SCORE = "The coater's score of this image is not a finite number."


@dataclasses.dataclass(frozen=True)
class Result:
    """The networks' output for one image.

    Attributes
    ----------
    rgb : array
        H x W x 3, uint8.
    clean_score, coated_score : float | None
        Scores before and after; None if not scored or not coated.
    """

    rgb: Bytes
    clean_score: float | None
    coated_score: float | None


def coat_pictures(
    coater: Coater,
    batch: Sequence[tuple[CoatJob, Picture]],
    config: CoatConfig,
    message: Tensor | None,
    side: TwinSide | None = None,
) -> Iterator[tuple[CoatJob, Picture, Result | str]]:
    """Coat and score the decoded images of a batch, those of equal size together.

    Parameters
    ----------
    coater : Coater
        Adds the residual and scores.
    batch : Sequence[tuple[CoatJob, Picture]]
        Jobs with the same ``coated``, and their sources.
    config : CoatConfig
        Strength, and whether to score.
    message : Tensor | None
        The message of a keyed coater.
    side : TwinSide | None
        Which of two twins is made.

    Yields
    ------
    tuple[CoatJob, Picture, Result | str]
        For each image the result, or why there is none.
    """
    groups: dict[tuple[int, int], list[tuple[CoatJob, Picture]]] = {}
    for job, picture in batch:
        groups.setdefault(picture.size, []).append((job, picture))
    for size, group in groups.items():
        if side is None and group[0][0].coated and is_photo(coater, size):
            for job, picture in group:
                yield job, picture, _photo_result(coater, picture, config, message)
            continue
        images = to_tensor(group[0][1].rgb)
        if len(group) > 1:
            images = torch.cat([to_tensor(picture.rgb) for _, picture in group])
        strength = config.strength if group[0][0].coated else None
        patterns = None
        if side is not None and strength is not None:
            height, width = images.shape[2:]
            patterns = torch.stack([side.pattern(job.item.name, height, width) for job, _ in group])
        results = coat_and_score(
            coater, images, strength, message, patterns, scored=config.scores is not False
        )
        for (job, picture), result in zip(group, results, strict=True):
            yield job, picture, result


def coat_picture(
    coater: Coater, job: CoatJob, picture: Picture, config: CoatConfig, message: Tensor | None
) -> Result:
    """Coat and score one decoded image.

    Parameters
    ----------
    coater, config, message
        As in :func:`coat_pictures`.
    job, picture : CoatJob, Picture
        What to do, and its source.

    Returns
    -------
    Result
        What the coater made of it.

    Raises
    ------
    ImageError
        The coater can't handle the image.
    """
    ((_, _, result),) = coat_pictures(coater, [(job, picture)], config, message)
    if isinstance(result, str):
        raise ImageError(result)
    return result


@torch.no_grad()
def coat_and_score(
    coater: Coater,
    images: Tensor,
    strength: float | None,
    message: Tensor | None,
    patterns: Tensor | None,
    *,
    scored: bool = True,
) -> list[Result | str]:
    """Coat and score images of equal size.

    Parameters
    ----------
    coater : Coater
        Adds the residual and scores.
    images : Tensor
        B x 3 x H x W in [0,1]; a single image may be changed.
    strength : float | None
        Factor on the residual; None leaves the images as they are.
    message : Tensor | None
        The message of a keyed coater.
    patterns : Tensor | None
        B x 3 x H x W; what the images get besides the coating.
    scored : bool
        False leaves the scores out.

    Returns
    -------
    list[Result | str]
        For each image the result, or why there is none.
    """

    def scores(of: Tensor) -> list[float] | list[None]:
        found: list[float] = coater.score(of).double().cpu().tolist() if scored else []
        return found if scored else [None] * len(of)

    try:
        images = images.to(coater.device)
        clean = scores(images)
        if strength is None:
            return [_result(image, s, None) for image, s in zip(images, clean, strict=True)]
        coated, sane = add_coating(
            images,
            coater,
            strength=strength,
            message=message,
            pattern=patterns,
            in_place=len(images) == 1,  # a single image is not tried again
        )
        return [
            _result(image, before, after) if fine else _NOT_FINITE
            for image, before, after, fine in zip(coated, clean, scores(coated), sane, strict=True)
        ]
    except Cancelled:
        raise
    except (SirenError, RuntimeError) as error:
        # out of memory, or one image that the network can't process: find out which
        if len(images) == 1:
            return [f"{_UNFIT}: {error}"]
        alone = patterns if patterns is not None else [None] * len(images)
        return [
            result
            for image, own in zip(images, alone, strict=True)
            for result in coat_and_score(
                coater,
                image[None],
                strength,
                message,
                None if own is None else own[None],
                scored=scored,
            )
        ]


def _photo_result(
    coater: Coater, picture: Picture, config: CoatConfig, message: Tensor | None
) -> Result | str:
    """The result for an image that is coated by strips."""
    try:
        made = coat_photo(
            picture.rgb, coater, config.strength, message, scored=config.scores is not False
        )
    except Cancelled:
        raise
    except (SirenError, RuntimeError) as error:
        return f"{_UNFIT}: {error}"
    if made is None:
        return _NOT_FINITE
    return Result(*made) if _finite(*made[1:]) else _NO_SCORE


def _finite(*scores: float | None) -> bool:
    return all(math.isfinite(score or 0.0) for score in scores)


def _result(image: Tensor, clean: float | None, coated: float | None) -> Result | str:
    if not _finite(clean, coated):
        return _NO_SCORE
    return Result(to_uint8(image), clean, coated)
