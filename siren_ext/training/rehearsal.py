"""A rehearsed infringement: two copies of the surrogate, one of which learns the coating.

The owner may do what an infringer will do. While the coater is trained, one twin keeps learning
from coated images; the other learns from the same images, captions and noise without the coating.
What the two generate differs by the coating alone, and that is what the extractor has to tell
apart. Evaluation uses other seeds, prompts and noise than rehearsal, or it would prove nothing.

With a keyed coater the first twin learns one message and the second its opposite. An infringer's
copy of the images carries one message, so a fresh message per image would leave a twin nothing to
learn. Three things keep that one message from becoming special: the habits that all generated
images share appear under both signs of every bit, so they can't be mistaken for evidence; after a
few rounds both twins start over with another message; and images of earlier messages stay in the
pool that the extractor learns from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from siren_ext.training.surrogate import DiffusionSurrogate
    from siren_ext.training.twins import Twins


class Rehearsal:
    """Twins of a surrogate, and the pictures that they generated lately.

    Attributes
    ----------
    message : Tensor
        Message of the first twin, k values of -1 and +1; empty (k = 0) for a coating without.
    pool : tuple of Tensor or None
        Pictures of the first and of the second twin, n x 3 x H x W in [0,1] each, newest first,
        and the first twin's message for each, n x k. None before the first pictures.
    """

    def __init__(
        self, surrogate: DiffusionSurrogate, twins: Twins, message: Tensor | None = None
    ) -> None:
        self.surrogate, self.twins = surrogate, twins
        self.message = torch.zeros(0) if message is None else message
        self.pool: tuple[Tensor, Tensor, Tensor] | None = None

    def begin(self, message: Tensor) -> None:
        """Make both twins untrained again, with another message; the pool stays."""
        for twin in self.twins:
            twin.forget()
        self.message = message

    def learn(
        self, pair: tuple[Tensor, Tensor], picks: Tensor, *, seed: int, together: int
    ) -> float:
        """One step of each twin with equal noise.

        Parameters
        ----------
        pair : tuple of Tensor
            What the first and the second twin learn from, B x 3 x H x W in [0,1] each.
        picks : Tensor
            Numbers of the images (B), which give the captions.
        seed : int
            Seed of the noise.
        together : int
            Images that pass the UNet together; memory grows with it.

        Returns
        -------
        float
            The first twin's loss.
        """
        losses = []
        for twin, images in zip(self.twins, pair, strict=True):
            generator = torch.Generator().manual_seed(seed)
            parts = self.surrogate.captioned(images, picks, generator, together)
            losses.append(twin.learn(parts, len(images), generator))
        return losses[0]

    def mimicries(self, picks: Tensor, *, seed: int, guidance: float) -> tuple[Tensor, Tensor]:
        """A picture per pick of each twin, n x 3 x H x W in [0,1], from equal noise and text."""
        made = []
        for twin in self.twins:
            with twin.active():
                generator = torch.Generator().manual_seed(seed)
                made.append(self.surrogate.generate(picks, generator=generator, guidance=guidance))
        return made[0], made[1]

    def keep(self, fresh: tuple[Tensor, Tensor], *, at_most: int) -> None:
        """Put new pictures of both twins into the pool; the oldest leave it."""
        rows = self.message.expand(len(fresh[0]), -1)
        new: tuple[Tensor, ...] = (*fresh, rows)
        if self.pool is not None:
            new = tuple(torch.cat(pair) for pair in zip(new, self.pool, strict=True))
        self.pool = (new[0][:at_most], new[1][:at_most], new[2][:at_most])

    def close(self) -> None:
        """Take the twins out of the surrogate's UNet."""
        self.twins.close()

    def state(self) -> dict[str, Any]:
        """What a resumed training needs."""
        return {
            "twins": [twin.state() for twin in self.twins],
            "message": self.message,
            "pool": None if self.pool is None else list(self.pool),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a saved :meth:`state`."""
        for twin, saved in zip(self.twins, state["twins"], strict=True):
            twin.restore(saved)
        self.message = state["message"]
        pool = state["pool"]
        self.pool = None if pool is None else (pool[0], pool[1], pool[2])
