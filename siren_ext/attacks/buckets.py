"""Aspect buckets of kohya's sd-scripts: the sizes at which its trainers see images.

Images of one bucket have the same size, so a batch can be made of them without cropping all images
to squares. Sizes are width, height in pixels.

References
----------
github.com/kohya-ss/sd-scripts: ``make_bucket_resolutions`` in ``library/model_util.py``,
``BucketManager`` and ``adjust_min_max_bucket_reso_by_steps`` in ``library/train_util.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from siren_ext.attacks.checks import within
from siren_ext.errors import ConfigError, ImageError

Size = tuple[int, int]

MAX_SIDE = 16384


@dataclass(frozen=True)
class Buckets:
    """Settings of the buckets, with the defaults of sd-scripts.

    Attributes
    ----------
    resolution : tuple[int, int]
        ``--resolution``: its area is the largest area of a bucket.
    min_side, max_side : int
        ``--min_bucket_reso`` and ``--max_bucket_reso``: limits of both sides of a bucket, rounded
        down and up to multiples of ``step``. Not used with ``no_upscale``.
    step : int
        ``--bucket_reso_steps``: sides of buckets are multiples of it.
    no_upscale : bool
        ``--bucket_no_upscale``: images are never enlarged; the bucket is made to fit the image.

    Raises
    ------
    ConfigError
        If a setting is out of range, or the limits do not include the resolution.
    """

    resolution: Size = (512, 512)
    min_side: int = 256
    max_side: int = 1024
    step: int = 64
    no_upscale: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.resolution, tuple | list) or len(self.resolution) != 2:
            raise ConfigError(
                f"resolution is {self.resolution}; expected width and height, such as (512, 512)."
            )
        for name, value in (
            ("step", self.step),
            ("min_side", self.min_side),
            ("max_side", self.max_side),
            ("resolution", self.resolution[0]),
            ("resolution", self.resolution[1]),
        ):
            within(name, value, 1, MAX_SIDE, whole=True)
        if self.step > min(self.resolution):
            raise ConfigError(f"step is {self.step}; expected no more than the resolution's sides.")
        if not self.no_upscale and not (
            self.min_side <= min(self.resolution) <= max(self.resolution) <= self.max_side
        ):
            raise ConfigError(
                f"min_side is {self.min_side} and max_side {self.max_side}; expected limits that "
                f"include both sides of the resolution, {self.resolution[0]} x "
                f"{self.resolution[1]}."
            )
        if not self.no_upscale and self.min_side < self.step:
            raise ConfigError(f"min_side is {self.min_side}; expected at least step, {self.step}.")

    def sizes(self) -> list[Size]:
        """All buckets without ``no_upscale``, sorted.

        Returns
        -------
        list[tuple[int, int]]
            A square, and for every multiple of ``step`` within the limits the largest other side
            that keeps the area, both ways round.
        """
        step, area = self.step, self.resolution[0] * self.resolution[1]
        low = self.min_side - self.min_side % step
        high = self.max_side + -self.max_side % step
        square = math.isqrt(area) // step * step
        found = {(square, square)}
        for side in range(low, high + 1, step):
            other = min(high, area // side // step * step)
            if other >= low:
                found |= {(side, other), (other, side)}
        return sorted(found)

    def choose(self, width: int, height: int) -> tuple[Size, Size]:
        """Bucket of an image.

        Parameters
        ----------
        width, height : int
            Size of the image.

        Returns
        -------
        bucket : tuple[int, int]
            Size at which the image is trained.
        resized : tuple[int, int]
            Size to which the whole image is resized before the bucket is cut out of it; at least
            as large as the bucket.

        Raises
        ------
        ImageError
            If the image is too small or too long for any bucket.
        """
        return self._fitted(width, height) if self.no_upscale else self._nearest(width, height)

    def _nearest(self, width: int, height: int) -> tuple[Size, Size]:
        """The bucket of the nearest aspect ratio, which the resized image covers."""
        ratio, sizes = width / height, self.sizes()
        bucket = (width, height)
        if bucket not in sizes:
            bucket = min(sizes, key=lambda size: abs(size[0] / size[1] - ratio))
        scale = max(bucket[0] / width, bucket[1] / height)
        return bucket, (int(width * scale + 0.5), int(height * scale + 0.5))

    def _fitted(self, width: int, height: int) -> tuple[Size, Size]:
        """The image, shrunk if its area is too large, cut down to multiples of the step."""
        area = self.resolution[0] * self.resolution[1]
        resized = (width, height)
        if width * height > area:
            resized = self._shrunk(width / height, area)
        bucket = (resized[0] - resized[0] % self.step, resized[1] - resized[1] % self.step)
        if 0 in bucket:
            raise self._no_bucket(width, height)
        return bucket, resized

    def _shrunk(self, ratio: float, area: int) -> Size:
        """A size of about this area, of a whole number of steps either in width or in height.

        Of these two, the one whose bucket has the nearer ratio.
        """
        full_width = math.sqrt(area * ratio)
        by_width = self._steps(full_width)
        by_height = self._steps(area / full_width)
        if not by_width or not by_height or not self._steps(by_width / ratio):
            return 0, 0
        ratio_by_width = by_width / self._steps(by_width / ratio)
        ratio_by_height = self._steps(by_height * ratio) / by_height
        if abs(ratio_by_width - ratio) < abs(ratio_by_height - ratio):
            return by_width, int(by_width / ratio + 0.5)
        return int(by_height * ratio + 0.5), by_height

    def _steps(self, side: float) -> int:
        """A side rounded to whole pixels, then down to a multiple of the step."""
        whole = int(side + 0.5)
        return whole - whole % self.step

    def _no_bucket(self, width: int, height: int) -> ImageError:
        """The error for an image that fits no bucket."""
        return ImageError(
            f"The image has {width}x{height} pixels, which fits no bucket; expected at least "
            f"{self.step} pixels on both sides at the training resolution. Leave it out, or set a "
            "smaller step."
        )
