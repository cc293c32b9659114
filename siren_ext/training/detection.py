"""The detection terms: what the extractor makes of coated and of clean images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from siren_ext.training import losses
from siren_ext.training.state import TrainerState
from siren_ext.training.views import Views, model_shares

SECRET_WEIGHT = 4.0
"""Weight of the message's loss, which lies between 0 and about 1, beside the diffusion terms."""

RowLosses = Callable[[Tensor, slice], Tensor]
"""Losses of features (n x k), one per image; the slice says which images of the batch they are."""


@dataclass(frozen=True)
class Shown:
    """Images of one kind as the extractor sees them: their views, and how many there are."""

    views: Views
    count: int


def detect_coating(
    state: TrainerState, leaf: Tensor, coated: Shown, clean: Shown, *, weight: float
) -> None:
    """Add L_hsc: coated features near the centre, clean ones far from it.

    The published code's form, l+ = h and l- = -log(1 - exp(-0.3 h) + 1e-9), halved; with
    ``sphere = "radius"`` Eq. 5 and 6; with a binary head the two cross-entropies, halved.

    Parameters
    ----------
    state : TrainerState
        The run.
    leaf : Tensor
        The coated images, into which the gradient goes.
    coated, clean : Shown
        What the extractor sees.
    weight : float
        Weight of the term in the objective.
    """
    coater, radius = state.coater, state.radius
    binary = coater.config.head == "binary"
    by_radius = state.config.sphere == "radius" and not binary

    def reach(features: Tensor) -> Tensor:
        """The Euclidean distance to the centre (Eq. 5), or what :meth:`Coater.distance` gives."""
        if by_radius:
            euclidean: Tensor = (features - coater.center).norm(dim=1)
            return euclidean
        return coater.distance(features)

    def near(features: Tensor) -> Tensor:
        if by_radius:
            return losses.svdd_positive(reach(features), radius.value, radius.nu)
        return (losses.binary_positive if binary else losses.hsc_positive)(reach(features)) / 2

    def far(features: Tensor) -> Tensor:
        if by_radius:
            return losses.svdd_negative(reach(features), radius.value, radius.nu)
        return (losses.binary_negative if binary else losses.hsc_negative)(reach(features)) / 2

    positive, negative = _read(
        state,
        leaf,
        coated,
        clean,
        near=lambda features, _: weight * near(features),
        far=lambda features, _: weight * far(features),
    )
    with torch.no_grad():
        if by_radius:
            q = radius.note(reach(positive), reach(negative))
        else:
            q = 2 * float(near(positive).mean() + far(negative).mean())
    state.schedule.note(q)
    state.note("q", q)
    _note_separation(state, positive, negative)


def detect_message(
    state: TrainerState, leaf: Tensor, coated: Shown, clean: Shown, *, messages: Tensor, batch: int
) -> None:
    """Add 4 (L_message + L_silence): coated features at their messages' centres, clean ones at 0.

    Parameters
    ----------
    state : TrainerState
        The run.
    leaf : Tensor
        The coated images, into which the gradient goes.
    coated, clean : Shown
        What the extractor sees.
    messages : Tensor
        Message of each coated image, n x k of -1 and +1.
    batch : int
        How many of the coated images are the batch's own; the others were generated.
    """
    positive, negative = _read(
        state,
        leaf,
        coated,
        clean,
        near=lambda f, rows: SECRET_WEIGHT * losses.message_loss(f, messages[rows]),
        far=lambda f, _: SECRET_WEIGHT * losses.message_loss(f, torch.zeros_like(f)),
    )
    right = (positive[:batch] * messages[:batch] > 0).float()
    trips, denoised = model_shares(state, batch)
    state.note("bits", float(right[trips + denoised :].mean()))
    if denoised:
        state.note("denoised bits", float(right[trips : trips + denoised].mean()))
    silence = losses.message_loss(negative, torch.zeros_like(negative)).mean()
    state.note("silence", float(silence))
    _note_separation(state, positive, negative)


def _read(
    state: TrainerState,
    leaf: Tensor,
    coated: Shown,
    clean: Shown,
    *,
    near: RowLosses,
    far: RowLosses,
) -> tuple[Tensor, Tensor]:
    """Add both means of losses part by part; features of coated and of clean images, in order."""
    kinds = ((coated, near), (clean, far))
    found: tuple[list[tuple[slice, Tensor]], ...] = ([], [])
    # statistics over a batch need the whole batch
    limit = float("inf") if state.coater.config.norm == "running" else state.together
    group: list[tuple[int, slice, Tensor]] = []

    def read_group() -> None:
        sizes = [len(view) for _, _, view in group]
        features = state.features(torch.cat([view.to(leaf.dtype) for _, _, view in group]))
        parts = torch.split(features, sizes)
        terms = []
        for (kind, rows, _), part in zip(group, parts, strict=True):
            shown, rated = kinds[kind]
            terms.append(rated(part, rows).sum() / shown.count)
            found[kind].append((rows, part.detach()))
        state.add(torch.stack(terms).sum(), leaf)
        group.clear()

    for kind, (shown, _) in enumerate(kinds):
        for rows, view in shown.views:
            group.append((kind, rows, view))
            if sum(len(waiting) for _, _, waiting in group) >= limit:
                read_group()
    if group:
        read_group()
    return state.merged(found[0], coated.count), state.merged(found[1], clean.count)


def _note_separation(state: TrainerState, positive: Tensor, negative: Tensor) -> None:
    """The area under the curve in this batch."""
    distance = state.coater.distance
    state.note("auc", losses.separation(distance(positive), distance(negative)))
