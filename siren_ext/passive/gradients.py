"""CDI's features that differentiate the model: gradient masking and noise optimisation.

Functions take a :class:`~siren_ext.passive.batch.Batch` of B images and return B x columns.

References
----------
Dubiński et al. (2025), "CDI: Copyrighted data identification in diffusion models" (arXiv
2411.12858), section 4.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from siren_ext.passive.batch import Batch, norm
from siren_ext.passive.config import TIMES
from siren_ext.passive.minimise import minimise

_SHARE = 0.2
_TIME = 100
_ITERATIONS = 5


def gradient_masking(batch: Batch) -> Tensor:
    """Loss at the places that matter most, which are replaced by noise: B x 10.

    Notes
    -----
    The places are the fifth of all elements with the largest gradient of the loss. The noise is the
    first one of :func:`~siren_ext.passive.losses.multiple_loss`, which shares these passes. CDI's
    code (variant ``official``) draws another one, puts it into the clean latents instead of the
    noisy ones, and compares the prediction with the noise minus the latents.
    """
    official = batch.config.variant == "official"
    noise = batch.noise("gradient_masking" if official else "losses")
    found = []
    for place, time in enumerate(TIMES):
        if batch.masks_share_noise:
            _, slope = batch.first_slopes[place]
        else:
            _, slope = batch.slope(noise, time)
        mask = largest(slope.abs())
        kept = batch.latents if official else batch.model.noisy(batch.latents, noise, time)
        filled = torch.where(mask, noise, kept)
        target = noise - batch.latents if official else noise
        with torch.no_grad():
            found.append(norm((target - batch.noise_in(filled, time)) * mask))
    return torch.stack(found, dim=1)


def largest(sizes: Tensor) -> Tensor:
    """Marks the largest fifth (rounded down) of each image's elements: B x C x h x w, bool."""
    flat = sizes.flatten(1)
    chosen = flat.topk(int(_SHARE * flat.shape[1]), dim=1).indices
    mask = torch.zeros_like(flat, dtype=torch.bool).scatter_(1, chosen, True)
    return mask.view_as(sizes)


def noise_optimisation(batch: Batch) -> Tensor:
    """The loss that is left after five steps of changing the noisy latents, and the change: B x 2.

    Notes
    -----
    Every image is a problem of its own. CDI's code (variant ``official``) minimises the mean of
    the batch, and adds noise a second time before it measures the loss; its results depend on the
    batch.
    """
    noise = batch.noise("noise_optimisation")
    noisy = batch.model.noisy(batch.latents, noise, _TIME)

    def error(change: Tensor) -> Tensor:
        return norm(batch.noise_in(noisy + change, _TIME) - noise)

    if batch.config.variant != "official":
        change, left = minimise(error, torch.zeros_like(noisy), iterations=_ITERATIONS)
        return torch.stack([left, norm(change)], dim=1)
    change = _together(error, noisy)
    again = batch.model.noisy(noisy + change, noise, _TIME)
    with torch.no_grad():
        left = norm(batch.noise_in(again, _TIME) - noise)
    return torch.stack([left, norm(change)], dim=1)


def _together(error: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """The change that torch's L-BFGS finds for the mean of the batch."""
    with torch.enable_grad():
        change = torch.zeros_like(like, requires_grad=True)
        optimiser = torch.optim.LBFGS([change], max_iter=_ITERATIONS)

        def closure() -> float:
            loss = error(change).mean()
            change.grad = torch.autograd.grad(loss, change)[0].contiguous()
            return float(loss.detach())

        optimiser.step(closure)  # type: ignore[no-untyped-call]
    return change.detach()
