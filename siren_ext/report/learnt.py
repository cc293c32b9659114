"""What a report says of the learnt tint: figures always, pictures only if they were asked for.

Both pictures together reveal the secret message to anybody who has the coater.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from siren_ext.errors import CoaterError, EvidenceError, ScoreError
from siren_ext.preference.patterns import SIDE
from siren_ext.preference.tint import correlation, likeness
from siren_ext.report.pictures import data_uri
from siren_ext.report.points import CheckPoint, point_of
from siren_ext.schema import to_plain
from siren_ext.verdict.whole import coater_for

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.keys.coating_key import CoatingKey
    from siren_ext.preference.tint import Likeness
    from siren_ext.scoring.score_set import ScoreSet

NAME = "learnt_tint"
"""The name in ``report.json``."""
TITLES = ("What the model adds", "What the coating adds")
_ENLARGED = 6
_FACTORS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
_DIGITS = 2
_RANGE = 100 / 255  # nearly all values of an amplified picture stay within it
_AGAIN = (
    "the correlation follows from the pictures' values in the report; the random messages can be "
    "compared again only with the measurement, the coater and the key"
)
_NOT_HERE = (
    "the tint is not in the report, because it would reveal the message; it can be compared again "
    "with the measurement, the coater and the key"
)
_FROM_MEASUREMENT = "the comparison follows from the measurement, the coater and the key"
_ROUNDED = 0.01
_Picture = Annotated[str, Meta(max_length=20_000)]
_Count = Annotated[int, Meta(ge=0, le=10**6)]


class StoredLikeness(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """How alike both tints are; see :class:`siren_ext.preference.tint.Likeness`."""

    correlation: Annotated[float, Meta(ge=-1.000001, le=1.000001)]
    at_least: _Count
    others: Annotated[int, Meta(ge=1, le=10**6)]
    learnt: _Picture | None = None
    expected: _Picture | None = None

    def pictures(self) -> tuple[NDArray[np.float32], ...]:
        """Both tints, 3 x 32 x 32; none if they were left out.

        Raises
        ------
        EvidenceError
            One is missing or malformed.
        """
        if self.learnt is None and self.expected is None:
            return ()
        try:
            found = tuple(
                np.frombuffer(base64.b64decode(text or "", validate=True), "<f4").reshape(
                    3, SIDE, SIDE
                )
                for text in (self.learnt, self.expected)
            )
        except (ValueError, binascii.Error):
            found = ()
        if not found or not all(np.isfinite(one).all() for one in found):
            raise EvidenceError(
                "The learnt tint in the report is malformed; expected two pictures of 3 x 32 x 32 "
                "numbers."
            )
        return found


def stored_likeness(found: Likeness | None, *, pictures: bool = False) -> dict[str, Any] | None:
    """What a report keeps of a comparison.

    Parameters
    ----------
    found : Likeness | None
        The comparison, if there is one.
    pictures : bool
        Keep both tints, which reveal the message.

    Returns
    -------
    dict[str, Any] | None
        Plain values, for :func:`siren_ext.report.write.write_report`.
    """
    if found is None:
        return None
    plain: dict[str, Any] = to_plain(_kept(found, pictures))
    return plain


def _kept(found: Likeness, pictures: bool) -> StoredLikeness:
    # in full precision it would belong to one message alone
    kept = StoredLikeness(round(found.correlation, _DIGITS), found.at_least, found.others)
    if pictures:
        kept.learnt, kept.expected = (
            base64.b64encode(one.astype("<f4").tobytes()).decode()
            for one in (found.learnt, found.expected)
        )
    return kept


def likeness_shown(found: Likeness) -> dict[str, Any]:
    """Figures and both tints of a comparison, for a page that the owner alone sees.

    Parameters
    ----------
    found : Likeness
        The comparison.

    Returns
    -------
    dict[str, Any]
        As :func:`tints_shown` gives them.
    """
    return tints_shown(_kept(found, pictures=True))


def tints_shown(kept: StoredLikeness | None, sources: Sequence[str] = ()) -> dict[str, Any]:
    """What the page needs.

    Parameters
    ----------
    kept : StoredLikeness | None
        Of a report; None if there is none.
    sources : Sequence[str]
        The pictures as data URIs, if they are there already (:func:`checked_sources`).

    Returns
    -------
    dict[str, Any]
        Figures and pictures, empty for None.

    Raises
    ------
    EvidenceError
        A picture is malformed.
    """
    if kept is None:
        return {}
    tints = []
    for row, values in enumerate(kept.pictures()):
        factor = amplification(values)
        drawn = data_uri(amplified(values, factor), SIDE * _ENLARGED, "PNG")
        image = sources[row] if sources else drawn
        tints.append({"title": TITLES[row], "image": image, "factor": factor})
    return {
        "correlation": kept.correlation,
        "at_least": kept.at_least,
        "others": kept.others,
        "p": (1 + kept.at_least) / (1 + kept.others),
        "tints": tints,
    }


def amplification(values: NDArray[np.float32]) -> int:
    """By how much a tint is amplified to be seen.

    Parameters
    ----------
    values : array, shape (3, s, s)
        In the range of the images.

    Returns
    -------
    int
        The largest of some round numbers at which 99 % of the values stay within 100 of 255.
    """
    size = float(np.quantile(np.abs(values), 0.99))
    return max(one for one in _FACTORS if one == 1 or one * size <= _RANGE)


def amplified(values: NDArray[np.float32], factor: int) -> NDArray[np.uint8]:
    """A tint that can be seen; grey is no change.

    Parameters
    ----------
    values : array, shape (3, s, s)
        In the range of the images.
    factor : int
        The amplification.

    Returns
    -------
    array, shape (6 s, 6 s, 3)
        uint8, each value as a square of pixels.
    """
    levels = np.clip(np.rint(values.astype(np.float64) * 255 * factor + 128), 0, 255)
    large = levels.astype(np.uint8).repeat(_ENLARGED, 1).repeat(_ENLARGED, 2)
    return np.ascontiguousarray(large.transpose(1, 2, 0))


def checked_sources(kept: StoredLikeness | None, sources: Sequence[str]) -> Sequence[str]:
    """The pictures on a page, if they show the values of the report.

    Parameters
    ----------
    kept : StoredLikeness | None
        Of the report.
    sources : Sequence[str]
        The pictures on the page as data URIs.

    Returns
    -------
    Sequence[str]
        The same.

    Raises
    ------
    EvidenceError
        A picture is missing, damaged, or shows something else.
    """
    values = kept.pictures() if kept is not None else ()
    if len(values) != len(sources):
        raise EvidenceError("pictures of the learnt tint are missing, or too many")
    for one, source in zip(values, sources, strict=True):
        try:
            with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as image:
                same = image.size == (SIDE * _ENLARGED,) * 2 and np.array_equal(
                    np.asarray(image.convert("RGB")), amplified(one, amplification(one))
                )
        except (UnidentifiedImageError, OSError, ValueError):
            same = False
        if not same:
            raise EvidenceError("a picture of the learnt tint does not show the report's values")
    return sources


def likeness_points(
    kept: StoredLikeness | None,
    suspect: ScoreSet | None = None,
    coater: Coater | None = None,
    key: CoatingKey | None = None,
) -> list[CheckPoint]:
    """Check what a report says of the learnt tint.

    Parameters
    ----------
    kept : StoredLikeness | None
        Of the report; None if there is none.
    suspect, coater, key : ScoreSet | None, Coater | None, CoatingKey | None
        The measurement, the coater (None for a bundled one) and the owner's secret, with which the
        comparison is made again if they are at hand.

    Returns
    -------
    list[CheckPoint]
        At most one point.
    """
    if kept is None:
        return []
    try:
        values = kept.pictures()
    except EvidenceError as error:
        return [CheckPoint("learnt tint", "differs", str(error))]
    wrong = []
    if kept.at_least > kept.others:
        wrong.append(f"{NAME}.at_least is larger than {NAME}.others")
    if values and abs(correlation(*values) - kept.correlation) > 0.51 * 10**-_DIGITS:
        wrong.append(
            f"{NAME}.correlation: {kept.correlation:g}, the pictures give "
            f"{correlation(*values):.{_DIGITS}f}"
        )
    if (again := _again(suspect, coater, key)) is not None:
        return [point_of("learnt tint", wrong + _unlike(kept, values, again), _FROM_MEASUREMENT)]
    if not values and not wrong:
        return [CheckPoint("learnt tint", "not checked", _NOT_HERE)]
    return [point_of("learnt tint", wrong, _AGAIN)]


def _again(
    suspect: ScoreSet | None, coater: Coater | None, key: CoatingKey | None
) -> Likeness | None:
    """The comparison that a measurement gives; None without it, the coater or the key."""
    if suspect is None or key is None or not suspect.preference:
        return None
    used = coater_for(suspect, coater)
    if used is None:
        return None
    try:
        return likeness(suspect, used, key)
    except (CoaterError, ScoreError):  # said where the keyed test is made again
        return None


def _unlike(
    kept: StoredLikeness, values: Sequence[NDArray[np.float32]], again: Likeness
) -> list[str]:
    """What differs from the comparison that the measurement gives; devices round otherwise."""
    wrong = []
    if abs(kept.correlation - again.correlation) > 1.01 * 10**-_DIGITS:
        wrong.append(
            f"{NAME}.correlation: {kept.correlation:g}, the measurement gives "
            f"{again.correlation:.{_DIGITS}f}"
        )
    if kept.others != again.others or abs(kept.at_least - again.at_least) > _ROUNDED * again.others:
        wrong.append(
            f"{NAME}.at_least: {kept.at_least} of {kept.others}, the measurement gives "
            f"{again.at_least} of {again.others}"
        )
    for title, one, own in zip(TITLES, values, (again.learnt, again.expected), strict=False):
        if np.linalg.norm(one - own) > _ROUNDED * np.linalg.norm(own):
            wrong.append(f"{title!r} is another picture than that of the measurement")
    return wrong
