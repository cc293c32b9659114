"""The objectives of coater training, one function each: published, budget and keyed.

Each function computes the gradient of one step. The graph is cut at the coated image: every term
goes backward by itself, a few images at a time, down to the coated images and to the extractor's
weights; what has added up at the coated images then goes through the generator once. The sum is
the gradient of the whole objective, but no more than one part of one term is in memory.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from siren_ext.training import losses
from siren_ext.training.detection import Shown, detect_coating, detect_message
from siren_ext.training.state import TrainerState
from siren_ext.training.views import (
    Pool,
    Views,
    and_then,
    distorted_views,
    draw_pool,
    model_shares,
    model_views,
)


class CoatedBatch:
    """A batch of coated images at which the graph is cut.

    Parameters
    ----------
    state : TrainerState
        The run.
    clean : Tensor
        B x 3 x H x W in [0,1].
    messages : Tensor or None
        Of a keyed coater, B x k of -1 and +1.

    Attributes
    ----------
    clean : Tensor
        The images without the coating.
    images : Tensor
        The coated images, as a rule rounded to eight bits as the file will be: a leaf at which
        the gradients of all terms add up. They ignore the rounding (straight through). One of
        several processes has coated its own rows only.
    rows : slice
        These rows.
    share : float
        Which part of the batch they are.
    """

    def __init__(self, state: TrainerState, clean: Tensor, messages: Tensor | None = None) -> None:
        self._state, self._messages = state, messages
        self.clean = clean
        # statistics over a batch must be taken once and of the whole batch
        self._whole = len(clean) <= state.together or state.coater.config.norm == "running"
        self.rows = state.own(slice(0, len(clean)))
        self.share = state.ranks.count(0, len(clean)) / len(clean)
        with torch.set_grad_enabled(self._whole):
            self._graph = self._coat(self.rows) if self.share else clean[:0]
        if self.share == 1:
            self.images = state.rounded(self._graph.detach()).requires_grad_()
        else:
            self.images = clean.clone()
            self.images[self.rows] = state.rounded(self._graph.detach())
            self.images.requires_grad_()

    def _coat(self, rows: slice) -> Tensor:
        clean = self.clean[rows]
        message = None if self._messages is None else self._messages[rows]
        with self._state.fast():
            return clean + self._state.coater.residual(clean, message)

    def own(self) -> tuple[Tensor, Tensor]:
        """This process' rows: without the coating, and with it."""
        return self.clean[self.rows], self.images[self.rows]

    def backward(self) -> None:
        """Send what has added up through the generator, into the gradients of its weights.

        A batch that is too large for one graph is coated again, part by part.
        """
        gradient, size = self.images.grad, self._state.together
        weights = list(self._state.coater.generator.parameters())
        if gradient is None or not self.share:
            return
        if self._whole:
            torch.autograd.backward([self._graph], [gradient[self.rows]], inputs=weights)
            return
        for start in range(0, len(self.clean), size):
            rows = self._state.own(slice(start, min(start + size, len(self.clean))))
            if rows.start < rows.stop:
                torch.autograd.backward([self._coat(rows)], [gradient[rows]], inputs=weights)


# -- the objectives ------------------------------------------------------------------------------


def published_step(state: TrainerState, clean: Tensor, generator: torch.Generator) -> None:
    """SIREN's objective: as its code has it, or the plain sum of the paper's Eq. 7.

    ``published``: L = L_learn + (w L_image + 10 L_hsc) / (w + 10), where w rises from 1 to 100
    (:func:`losses.image_weight`). ``sum``: L = L_hsc + L_learn + L_image. L_hsc is Eq. 5 and 6 or
    the code's form of them, L_learn Eq. 2, and L_image the mean squared error with the colour loss
    of Eq. 3 and 4. Distortions begin once detection is learnt (:class:`Schedule`).
    """
    image, secret = 1.0, 1.0
    if state.config.objective == "published":
        image, secret = losses.published_weights(state.schedule.image_weight(state.seen))
    coated = CoatedBatch(state, clean)
    seed, pool = _seed(generator), draw_pool(state, generator)
    positive = distorted_views(state, coated.images, seed)
    negative = distorted_views(state, clean, seed + 1)
    _detect(state, coated, positive, negative, pool, weight=secret)
    _learnability(state, coated, generator)
    if state.config.objective == "sum":
        _tint(state, coated)
    _image_terms(state, coated, weight=image)
    coated.backward()
    _note_psnr(state, coated)


def budget_step(state: TrainerState, clean: Tensor, generator: torch.Generator) -> None:
    """A mask and ``CoaterConfig.min_psnr`` limit the coating; what they allow is for detection.

    L = L_hsc + a L_learn + b L_tint + L_image, with the weights of :class:`TrainConfig`. What the
    extractor sees has passed the autoencoder, the denoiser or photometric distortions. During
    warm-up it sees the images as they are, and L = L_hsc + L_image.
    """
    coated = CoatedBatch(state, clean)
    seed, pool = _seed(generator), draw_pool(state, generator)
    positive = model_views(state, coated.images, seed, coated=True)
    negative = model_views(state, clean, seed + 1, coated=False)
    _detect(state, coated, positive, negative, pool, weight=1.0)
    _budget_terms(state, coated, generator)


def keyed_step(state: TrainerState, clean: Tensor, generator: torch.Generator) -> None:
    """The budget objective with a fresh message per image, never the owner's secret.

    L = 4 (L_message + L_silence) + a L_learn + b L_tint + L_image: the squared distance of features
    to their messages' centres, and that of clean images' features to zero. The pair then reads and
    writes any message, so the owner can draw the secret afterwards, and for a model that never met
    the coating the secret is one message among equals (:mod:`siren_ext.stats.keyed`).
    """
    messages = keyed_messages(state, len(clean), generator)
    coated = CoatedBatch(state, clean, messages)
    seed, pool = _seed(generator), draw_pool(state, generator)
    positive = model_views(state, coated.images, seed, coated=True)
    negative = model_views(state, clean, seed + 1, coated=False)
    shown, wanted = Shown(positive, len(clean)), messages
    if pool is not None:  # the second twin's pictures carry the opposite message
        views = and_then(positive, len(clean), pool.first, pool.second)
        shown = Shown(views, len(clean) + 2 * len(pool.first))
        wanted = torch.cat([messages, pool.messages, -pool.messages])
    quiet = Shown(negative, len(clean))
    detect_message(state, coated.images, shown, quiet, messages=wanted, batch=len(clean))
    _budget_terms(state, coated, generator)


# -- their terms ---------------------------------------------------------------------------------


def _detect(
    state: TrainerState,
    coated: CoatedBatch,
    positive: Views,
    negative: Views,
    pool: Pool | None,
    *,
    weight: float,
) -> None:
    """L_hsc of the batch, and of pictures that the twins generated where there are any."""
    count = len(coated.clean)
    guilty, innocent = Shown(positive, count), Shown(negative, count)
    if pool is not None:
        total = count + len(pool.first)
        guilty = Shown(and_then(positive, count, pool.first), total)
        innocent = Shown(and_then(negative, count, pool.second), total)
    detect_coating(state, coated.images, guilty, innocent, weight=weight)


def _budget_terms(state: TrainerState, coated: CoatedBatch, generator: torch.Generator) -> None:
    """Everything of the budget objective but detection, and the way through the generator."""
    if state.step >= state.config.warmup:
        _learnability(state, coated, generator)
        _tint(state, coated)
    _image_terms(state, coated, weight=1.0)
    coated.backward()
    _note_psnr(state, coated)


def _learnability(state: TrainerState, coated: CoatedBatch, generator: torch.Generator) -> None:
    """L_learn: the surrogate's denoising loss of coated images (Eq. 2), a few at a time."""
    config = state.config
    images = coated.images[: config.learn_images]
    if not len(images) or not config.learn_weight:
        return
    total, draw = 0.0, dict[str, Any](generator=generator, draws=config.learn_draws)
    for start in range(0, len(images), state.together):
        rows = slice(start, min(start + state.together, len(images)))
        loss = state.split(rows, partial(state.surrogate.denoising_loss, images[rows], **draw))
        if loss is None:
            continue
        share = loss.sum() / len(images)
        total += float(share.detach())
        state.add(config.learn_weight * share, coated.images)
    state.note_share("learn", total)


def _tint(state: TrainerState, coated: CoatedBatch) -> None:
    """L_tint: blurred colour differences above the limit (0 in the published objectives)."""
    config = state.config
    if config.tint_weight and coated.share:
        clean, images = coated.own()
        tint = losses.tint_loss(clean, images, limit=config.tint_limit) * coated.share
        state.note_share("tint", float(tint.detach()))
        state.add(config.tint_weight * tint, coated.images)


def _image_terms(state: TrainerState, coated: CoatedBatch, *, weight: float) -> None:
    """L_image: mean squared error and the colour loss L_p (Eq. 3 and 4), as far as asked for."""
    config, weight = state.config, weight * coated.share
    clean, images = coated.own()
    if config.mse_weight and weight:
        error = (images - clean).square().mean()
        state.add(weight * config.mse_weight * error, coated.images)
    if config.colour_weight and weight:
        colour = losses.colour_loss(clean, images, official_scale=config.official_lab)
        state.add(weight * config.colour_weight * colour, coated.images)


def _note_psnr(state: TrainerState, coated: CoatedBatch) -> None:
    clean, images = coated.own()
    error = (images.detach() - clean).square().mean((1, 2, 3))
    found = -10 * torch.log10(error.clamp_min(1e-10))
    state.note_share("psnr", float(found.mean()) * coated.share if coated.share else 0.0)


def _seed(generator: torch.Generator) -> int:
    return int(torch.randint(2**62, (), generator=generator))


# -- messages ------------------------------------------------------------------------------------


def draw_messages(count: int, bits: int, generator: torch.Generator) -> Tensor:
    """``count`` uniform messages, count x bits of -1 and +1."""
    return torch.randint(0, 2, (count, bits), generator=generator).float() * 2 - 1


def keyed_messages(state: TrainerState, count: int, generator: torch.Generator) -> Tensor:
    """A message per image, count x k: uniform, except where a twin will denoise the image.

    Those rows carry the twins' own messages, the first half one and the second half the opposite.
    """
    bits = state.coater.config.message_bits
    messages = draw_messages(count, bits, generator).to(state.device)
    if state.rehearsal is not None:
        trips, denoised = model_shares(state, count)
        half = trips + denoised // 2
        messages[trips:half] = state.rehearsal.message
        messages[half : trips + denoised] = -state.rehearsal.message
    return messages
