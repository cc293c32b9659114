"""The positive control of the keyed test: could this coater read its message in such pictures?

A known message is written into a copy of each picture and read back. If even these copies, coated
at full strength, don't show it, then a keyed test that finds nothing says nothing.

The control's message follows from the coater's fingerprint, so nobody chooses it. It has nothing to
do with any key and is no secret.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from siren_ext.coater.coater import Coater


def control_message(coater: str, bits: int) -> NDArray[np.int64]:
    """The message of the control.

    Parameters
    ----------
    coater : str
        The coater's fingerprint.
    bits : int
        k, the length of its messages.

    Returns
    -------
    array, shape (k,)
        -1 or +1 each.
    """
    seed = f"siren_ext positive control\n{coater}".encode()
    stream = np.frombuffer(hashlib.shake_256(seed).digest(-(-bits // 8)), dtype=np.uint8)
    return np.unpackbits(stream)[:bits].astype(np.int64) * 2 - 1


def control_features(views: Tensor, coater: Coater) -> Tensor:
    """Features of copies of pictures into which the control's message was written.

    Parameters
    ----------
    views : Tensor
        B x 3 x H x W in [0,1], at the coater's working size.
    coater : Coater
        A keyed coater.

    Returns
    -------
    Tensor
        B x k, as from :meth:`siren_ext.coater.coater.Coater.features`. The copies are rounded to
        the levels of an 8-bit file.
    """
    import torch  # here, because verdicts need no torch

    from siren_ext.data.images import quantise

    signs = control_message(coater.fingerprint, coater.config.message_bits)
    message = torch.as_tensor(signs, dtype=views.dtype, device=views.device)
    with torch.no_grad():
        return coater.features(quantise(views + coater.residual(views, message)))
