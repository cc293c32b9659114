"""Train a keyed coater: a fresh random message per image and step, never the owner's secret.

The trained pair reads and writes any message, so the owner can draw the secret afterwards, and for
a model that never met the coating the secret is then one message like any other (see
:mod:`siren_ext.stats.keyed`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from siren_ext.coater.config import CoaterConfig
from siren_ext.data.images import quantise
from siren_ext.errors import ConfigError
from siren_ext.training import losses
from siren_ext.training.keyed_rehearsal import KeyedRehearsal
from siren_ext.training.rehearsal import Rehearsal
from siren_ext.training.surrogate import DiffusionSurrogate
from siren_ext.training.trainer import CoaterTrainer

SECRET_WEIGHT = 4.0
"""Weight of the message's loss, which lies between 0 and about 1, beside the diffusion terms."""


def trainer_kind(coater: CoaterConfig | None) -> type[CoaterTrainer]:
    """The trainer for a shape of coater."""
    return KeyedTrainer if coater is not None and coater.message_bits else CoaterTrainer


def draw_messages(count: int, bits: int, generator: torch.Generator) -> Tensor:
    """``count`` uniform messages, count x bits of -1 and +1."""
    return torch.randint(0, 2, (count, bits), generator=generator).float() * 2 - 1


class KeyedTrainer(CoaterTrainer):
    """The steps that differ: messages, what detection means, and rehearsals with one message each.

    Only for the ``budget`` objective.
    """

    rehearsal: KeyedRehearsal | None
    messages: Tensor

    def _rehearsal(self) -> Rehearsal | None:
        if self.config.objective != "budget":
            raise ConfigError(
                f"A keyed coater was asked for with objective {self.config.objective!r}; it is "
                "trained with 'budget' only."
            )
        if super()._rehearsal() is None:
            return None
        # refused above for any other kind of surrogate
        surrogate = self.surrogate
        if not isinstance(surrogate, DiffusionSurrogate):
            return None
        generator = torch.Generator().manual_seed(self.config.seed)
        message = draw_messages(1, self.coater.config.message_bits, generator)[0]
        return KeyedRehearsal(surrogate, message.to(self.device), seed=self.config.seed)

    def _residual(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """The coating with a message per image: uniform, but where a twin will denoise the image.

        Those rows carry the twins' own messages, the first half one and the second the other.
        """
        self.messages = self._message(len(clean), generator)
        if self.rehearsal is not None:
            trips, denoised = self._through_model(len(clean))
            half = trips + denoised // 2
            self.messages[trips:half] = self.rehearsal.message
            self.messages[half : trips + denoised] = -self.rehearsal.message
        return self.coater.residual(clean, self.messages)

    def _message(self, count: int, generator: torch.Generator) -> Tensor:
        return draw_messages(count, self.coater.config.message_bits, generator).to(self.device)

    def _through_model(self, count: int) -> tuple[int, int]:
        """How many images pass the autoencoder, and how many of the rest the denoiser."""
        trips = min(self.config.round_trips, count)
        return trips, min(self.config.denoised, count - trips)

    def _detection(
        self, clean: Tensor, coated: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, float]:
        """How far the features are from their messages' centres, and clean ones from none."""
        seed = int(torch.randint(2**62, (), generator=generator))
        positive = self._distorted(coated, seed, guilty=True)
        negative = self._distorted(clean, seed + 1, guilty=False)
        wanted = self.messages
        if self.rehearsal is not None and self.rehearsal.recent is not None:
            count = max(1, self.config.batch_size // 2)
            picks = torch.randint(len(self.rehearsal.shown), (count,), generator=generator)
            shown = self.rehearsal.shown[picks]
            positive = torch.cat([positive, *(pool[picks] for pool in self.rehearsal.recent)])
            wanted = torch.cat([wanted, shown, -shown])
        with self._fast():
            features = self.coater.features(torch.cat([positive, negative]))
        near, far = torch.split(features.float(), [len(positive), len(negative)])
        secret = losses.message_loss(near, wanted)
        silence = losses.message_loss(far, torch.zeros_like(far))
        with torch.no_grad():
            right = (near[: len(coated)] * self.messages > 0).float()
            trips, denoised = self._through_model(len(coated))
            self._note("bits", float(right[trips + denoised :].mean()) if len(right) else 0.5)
            if denoised:
                self._note("denoised bits", float(right[trips : trips + denoised].mean()))
            self._note("silence", float(silence))
            separation = losses.separation(self.coater.distance(near), self.coater.distance(far))
        return SECRET_WEIGHT * (secret + silence), separation

    def _renoised(self, images: Tensor, generator: torch.Generator, guilty: bool) -> Tensor:
        """Coated images by the twin that knows their message, clean ones by the clean surrogate."""
        low, high = self.config.noise_low, self.config.noise_high
        if not guilty or self.rehearsal is None:
            return self.surrogate.renoise(images, low, high, generator=generator)
        half = len(images) // 2
        parts = [
            self.rehearsal.surrogate.renoise(part, low, high, generator=generator, unet=twin.unet)
            for part, twin in (
                (images[:half], self.rehearsal.guilty),
                (images[half:], self.rehearsal.innocent),
            )
            if len(part)
        ]
        return torch.cat(parts)

    def _rehearse(self, generator: torch.Generator) -> None:
        config = self.config
        since = self.step - config.warmup
        if self.rehearsal is None or since < 0 or since % config.rehearse_every:
            return
        number = since // config.rehearse_every
        first = number % config.rehearse_rounds == 0
        if first:
            bits = self.coater.config.message_bits
            self.rehearsal.begin(draw_messages(1, bits, generator)[0].to(self.device))
        message = self.rehearsal.message
        for _ in range(self._rounds(first=first)):
            picks = self._picks(generator)
            images = self._batch(picks, generator)
            with torch.no_grad(), self._fast():
                pair = [
                    quantise(images + self.coater.residual(images, sign * message))
                    for sign in (1, -1)
                ]
            seed = int(torch.randint(2**62, (), generator=generator))
            self._note("guilty", self.rehearsal.learn(pair[0], pair[1], picks, seed=seed))
        seed = int(torch.randint(2**62, (), generator=generator))
        guidance = 1 + 3 * float(torch.rand((), generator=generator))
        picks = self._picks(generator, config.rehearse_images)
        fresh = self.rehearsal.mimicries(picks, seed=seed, guidance=guidance)
        # judged before the extractor has learnt from them: the figure that matters
        with torch.no_grad():
            read = self.coater.features(fresh[0]) - self.coater.features(fresh[1])
        self._note("mimicry bits", float((read * message > 0).float().mean()), memory=0.5)
        self.rehearsal.keep(fresh, at_most=4 * config.rehearse_images)

    def _recentre(self) -> None:
        """The centres of a keyed coater are given by the messages."""
