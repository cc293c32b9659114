"""The faint pattern by which the two twins of an image differ, and the coin that picks one.

Side 0 of an image has the pattern added to its coating, side 1 has it subtracted. Pattern and coin
follow from a secret and the image's name, so a stopped run makes the same ones again.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from siren_ext.coating.manifest import MANIFEST_NAME, CoatEntry, CoatManifest
from siren_ext.errors import DatasetError
from siren_ext.files import is_present

if TYPE_CHECKING:
    from siren_ext.coating.plan import CoatJob

SECRET_BYTES = 32
CELLS = 32
"""Random brightnesses along the shorter side. Of equally strong patterns in the pocket model's
pictures, those of 32 cells change its latents most: by .31, with 16 cells .18, with 128 cells .14.
Brightness changes them more than colour does (.24) and is seen less: local CIEDE2000 .7, not 2.3.
"""
PATTERN_PSNR = 46.0
"""How faint the pattern is, in dB."""
_MARK = "+twins "


@dataclass(frozen=True)
class TwinSide:
    """One of the two copies of every image: the one that is published, or the one that is kept.

    Attributes
    ----------
    secret : bytes
        32 random bytes.
    published : bool
        Which of the two.
    cells : int
        Random brightnesses along the shorter side of the pattern.
    psnr : float
        How faint the pattern is, in dB.
    """

    secret: bytes = field(repr=False)
    published: bool = True
    cells: int = CELLS
    psnr: float = PATTERN_PSNR

    @property
    def label(self) -> str:
        """Names the secret without giving it away: the SHA-256 of it."""
        return hashlib.sha256(b"siren_ext.twins\0" + self.secret).hexdigest()

    def coin(self, name: str) -> int:
        """The side of an image that is published: 0 or 1, fair.

        Parameters
        ----------
        name : str
            Name of the source image.

        Returns
        -------
        int
            The first bit of HMAC-SHA256 of the name under the secret.
        """
        return self._draw("coin", name)[0] & 1

    def pattern(self, name: str, height: int, width: int) -> Tensor:
        """What this copy of an image has that the mean of both has not.

        Parameters
        ----------
        name : str
            Name of the source image.
        height, width : int
            Its size in pixels.

        Returns
        -------
        Tensor
            3 x height x width; smooth random brightness of mean 0 and of the side's PSNR.
        """
        cells = [max(2, round(self.cells * side / min(height, width))) for side in (height, width)]
        seed = int.from_bytes(self._draw("pattern", name), "big")
        drawn = np.random.default_rng(seed).standard_normal((1, 1, *cells), dtype=np.float32)
        smooth = F.interpolate(
            torch.from_numpy(drawn), size=(height, width), mode="bicubic", align_corners=False
        )[0].expand(3, -1, -1)
        smooth = smooth - smooth.mean()
        smooth *= 10 ** (-self.psnr / 20) / float(smooth.square().mean().sqrt())
        return smooth if self.coin(name) == (0 if self.published else 1) else -smooth

    def _draw(self, what: str, name: str) -> bytes:
        """32 bytes that look random to whoever has not the secret."""
        return hmac.digest(self.secret, f"{what}\0{name}".encode(), "sha256")


def beside(coating: Tensor, pattern: Tensor, min_psnr: float) -> Tensor:
    """A coating with a pattern on top, no more visible than the coater allows.

    Parameters
    ----------
    coating, pattern : Tensor
        B x 3 x H x W.
    min_psnr : float
        Lowest PSNR in dB; 0 for no limit.

    Returns
    -------
    Tensor
        B x 3 x H x W. What the pattern has in common with the coating is taken out of the pattern,
        so that the two sides are equally visible and the message is not touched. If both together
        are below ``min_psnr``, the coating is made weaker.
    """
    power = coating.square().mean((1, 2, 3), keepdim=True)
    shared = (coating * pattern).mean((1, 2, 3), keepdim=True) / power.clamp_min(1e-12)
    pattern = pattern - shared * coating
    if min_psnr:
        room = 10 ** (-min_psnr / 10) - pattern.square().mean((1, 2, 3), keepdim=True)
        coating = coating * (room.clamp_min(0) / power.clamp_min(1e-12)).sqrt().clamp_max(1)
    return coating + pattern


def marked_key(key: str, side: TwinSide | None) -> str:
    """What a manifest stores as its key: the key's fingerprint, and which twins there are.

    Parameters
    ----------
    key : str
        Fingerprint of the key; "" without one.
    side : TwinSide | None
        Which twin is written; None without twins.

    Returns
    -------
    str
        The fingerprint, with a label of the twins' secret.
    """
    return key if side is None else f"{key}{_MARK}{side.label}"


def refuse_other_twins(out: Path, side: TwinSide | None) -> None:
    """Check that a finished folder has the same twins; published copies are never overwritten.

    Parameters
    ----------
    out : Path
        The output folder; need not exist.
    side : TwinSide | None
        Which twin would be written.

    Raises
    ------
    DatasetError
        The folder was coated with other twins, or without.
    """
    if not is_present(out / MANIFEST_NAME):
        return
    _, mark, label = CoatManifest.load(out / MANIFEST_NAME).key.partition(_MARK)
    wanted = "" if side is None else side.label
    if label != wanted:
        was = "without twins" if not mark else "with other twins" if wanted else "with twins"
        raise DatasetError(
            f"{out} was coated {was} before; expected the same choice ('--twins') as then, "
            "because copies that may be published must not change. Choose another output folder."
        )


def refuse_changed_twins(made: Iterable[CoatEntry], jobs: Iterable[CoatJob], out: Path) -> None:
    """Check that no twin is replaced by that of another image, or one coated by one that is not.

    Parameters
    ----------
    made : Iterable[CoatEntry]
        What earlier runs wrote.
    jobs : Iterable[CoatJob]
        What this run would write.
    out : Path
        The output folder, for the message.

    Raises
    ------
    DatasetError
        Images were added, or another share was drawn, so that names or the choice have changed.
    """
    known = {entry.output: (entry.source, entry.coated) for entry in made}
    for job in jobs:
        asked = (job.item.name, job.coated)
        if known.get(job.output, asked) != asked:
            raise DatasetError(
                f"{job.output!r} in {out} would be replaced by another image, or a coated copy by "
                "an uncoated one or the other way round (because of '--share', '--seed' or added "
                "images), but copies that may be published must not change. Choose other folders "
                "for both twins."
            )
