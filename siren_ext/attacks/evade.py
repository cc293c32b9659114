"""White-box evasion: the change that hides the coating best from an extractor at hand."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from siren_ext.attacks.checks import image_batch, version, within
from siren_ext.coater.bundled import coater_path
from siren_ext.coater.coater import Coater


def evade(
    images: Tensor,
    generator: torch.Generator | None = None,
    *,
    coater: str = "samples",
    radius: float = 8.0,
    steps: int = 200,
) -> Tensor:
    """Hide a coating from a coater within a small change of every pixel.

    Of a coater without messages the score of each image is raised. A keyed coater reads bits, and
    whoever has no key still sees what it reads: every bit of each image is pushed to the other
    side.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    generator : torch.Generator | None
        Not used.
    coater : str
        The coater that the attacker has: another one is the attack of the paper, which hopes that
        the change transfers; the owner's own is the control, which must succeed.
    radius : float
        Largest change of a value, in units of 1/255, from 0 to 64.
    steps : int
        Steps of projected gradient descent, each a tenth of the radius, from 1 to 5000.

    Returns
    -------
    Tensor
        B x 3 x H x W in [0,1], nowhere further than ``radius`` from the images.

    Raises
    ------
    ConfigError
        If a setting is out of range.
    ImageError
        If ``images`` is not a batch of images.
    CoaterError
        If the coater can't be loaded.

    References
    ----------
    Jiang et al. (2023), "Evading watermark based detection of AI-generated content" (CCS 2023,
    arXiv 2305.03807), WEvade-B-S. SIREN (arXiv 2410.10437), Appendix: 200 steps here instead of up
    to 5,000, and fixed radii instead of a search.
    """
    within("radius", radius, 0, 64)
    within("steps", steps, 1, 5000, whole=True)
    # ComfyUI calls its nodes in inference mode, and what is loaded there has no gradients
    with torch.inference_mode(False):
        known = _coater(coater, version(coater_path(coater)), image_batch(images).device)
    return hidden_from(images, known, radius=radius, steps=steps)


def hidden_from(images: Tensor, coater: Coater, *, radius: float, steps: int) -> Tensor:
    """:func:`evade` with a coater in memory.

    Parameters
    ----------
    images, radius, steps
        As for :func:`evade`.
    coater : Coater
        The coater that the attacker has.
    """
    most = radius / 255
    start = images.detach().float()
    changed = start.clone()
    with torch.inference_mode(False), torch.enable_grad():
        start, changed = start.clone(), changed.clone()
        with torch.no_grad():
            read = coater.features(start).sign()
        for _ in range(steps if radius else 0):
            changed.requires_grad_(True)
            features = coater.features(changed)
            seen = read * features if coater.keyed else -coater.distance(features)
            (slope,) = torch.autograd.grad(seen.sum(), changed)
            moved = changed.detach() - most / 10 * slope.sign()
            changed = torch.minimum(torch.maximum(moved, start - most), start + most).clamp(0, 1)
    return changed.detach().to(images)


@lru_cache(maxsize=1)
def _coater(name: str, version: tuple[int, ...], device: torch.device) -> Coater:
    """A coater; the last one stays loaded for the images that follow, unless it is replaced."""
    return Coater.load(coater_path(name), device=device)
