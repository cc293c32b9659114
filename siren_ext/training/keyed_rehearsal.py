"""Rehearsed infringements of a keyed coating: two twins that learn one message and its opposite.

An infringer's copy of the images carries one message, so a rehearsal shows its twin one message
from its first step to its last; a fresh message per image, as the coater's own training has it,
would leave a twin nothing to learn. Three things keep one message from becoming special:

* the second twin learns the *opposite* message from the same images, captions and noise, in place
  of the unkeyed rehearsal's clean images. What the two generate differs by the message alone, and
  every habit that generated images have in common appears under either sign of every bit, so that
  it can't be mistaken for evidence;
* after a few rounds both twins are forgotten and begin anew with another message;
* the images of earlier messages stay in the pool that the extractor learns from.

What clean models generate is taught as "no message" by clean images that the surrogate denoised.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from siren_ext.training.rehearsal import Rehearsal
from siren_ext.training.surrogate import DiffusionSurrogate


class KeyedRehearsal(Rehearsal):
    """The twin of ``message`` (``guilty``) and that of its opposite (``innocent``).

    Attributes
    ----------
    message : Tensor
        the present one, k of -1 and +1.
    shown
        the message of every kept mimicry of the first twin, rows of -1 and +1.
    """

    def __init__(
        self, surrogate: DiffusionSurrogate, message: Tensor, *, rate: float = 5e-4, seed: int = 0
    ) -> None:
        super().__init__(surrogate, rate=rate, seed=seed)
        self.message = message
        self.shown = message.new_zeros(0, len(message))

    def begin(self, message: Tensor) -> None:
        """Forget what both twins learnt and take another message; kept mimicries stay."""
        self.guilty.forget()
        self.innocent.forget()
        self.message = message

    def keep(self, fresh: tuple[Tensor, Tensor], *, at_most: int) -> None:
        """As in the base class; with their messages."""
        super().keep(fresh, at_most=at_most)
        rows = self.message.expand(len(fresh[0]), -1)
        self.shown = torch.cat([rows, self.shown])[:at_most]

    def state(self) -> dict[str, Any]:
        """What a resumed training needs."""
        return super().state() | {"message": self.message, "shown": self.shown}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved :meth:`state`."""
        super().restore(state)
        self.message, self.shown = state["message"], state["shown"]
