"""Settings of the HTTP service."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from siren_ext.coating.manifest import CoatConfig
from siren_ext.config import Config
from siren_ext.data.limits import MAX_PIXELS

_Seconds = Annotated[float, Meta(gt=0, le=3600)]


@dataclasses.dataclass(frozen=True)
class ServeConfig(Config):
    """How images are received, coated and sent back.

    Attributes
    ----------
    strength : float
        Factor on the coater's residual, 0 to 10; 1 is what the coater was trained with.
    format : str
        ``keep`` (as uploaded where possible), ``png``, ``jpeg`` or ``webp``; a request may choose
        another.
    quality : int
        Quality of JPEG and WebP files, 1 to 100; 95 if not set.
    scores : bool
        False leaves out the coater's scores in the journal, which is faster.
    workers : int
        Images that are coated at the same time, 1 to 64; each takes one core.
    queue : int
        Further requests that may wait or be received in the meantime, 0 to 10,000; others get 503.
    connections : int
        Open connections, 1 to 100,000; others get 503.
    max_bytes : int
        Largest upload in bytes.
    max_pixels : int
        Largest number of pixels in an image, according to its header.
    head_seconds : float
        Longest time from the opening of a connection to the end of a request's headers.
    receive_seconds : float
        Longest time in which an upload must be received.
    wait_seconds : float
        Longest time that a received image waits for a worker; then 503.
    send_seconds : float
        Longest time in which the client must take the coated image.
    """

    strength: Annotated[float, Meta(ge=0, le=10)] = 1.0
    format: Literal["keep", "png", "jpeg", "webp"] = "keep"
    quality: Annotated[int, Meta(ge=1, le=100)] | UnsetType = UNSET
    scores: bool = True
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    queue: Annotated[int, Meta(ge=0, le=10_000)] = 16
    connections: Annotated[int, Meta(ge=1, le=100_000)] = 256
    max_bytes: Annotated[int, Meta(ge=1, le=1 << 30)] = 32 << 20
    max_pixels: Annotated[int, Meta(ge=1, le=MAX_PIXELS)] = 40_000_000
    head_seconds: _Seconds = 10.0
    receive_seconds: _Seconds = 30.0
    wait_seconds: _Seconds = 30.0
    send_seconds: _Seconds = 60.0

    def coating(self, format_: str | None = None, quality: str | None = None) -> CoatConfig:
        """The settings of one image.

        Parameters
        ----------
        format_, quality : str | None
            What a request chose; None for the service's own.

        Returns
        -------
        CoatConfig
            The settings.

        Raises
        ------
        ConfigError
            A choice is not possible.
        """
        values = {
            "strength": self.strength,
            "format": self.format if format_ is None else format_,
            "quality": self.quality
            if quality is None
            else CoatConfig.value_from_text("quality", quality),
            "scores": self.scores,
        }
        return CoatConfig.from_dict(
            {name: value for name, value in values.items() if value is not UNSET}
        )
