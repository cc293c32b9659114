"""An adapter that is merged into a model, with a look at what it changes."""

from __future__ import annotations

import torch
from torch import Tensor

from siren_ext.adapters.merge import Merge, merge_adapter, resolve
from siren_ext.adapters.read import Adapter
from siren_ext.diffusion import families, pipelines
from siren_ext.diffusion.load import Pipeline
from siren_ext.diffusion.sampling import sample_latents, seeded_noise
from siren_ext.errors import AdapterError

_TRIAL_PROMPT = "an image"
_TRIAL_STEPS = 2
_SMALLEST_CHANGE = 1e-6  # below the rounding of float32 pictures
_VISIBLE = 0.5 / 255  # half a level of an 8-bit picture
_TRIAL_SIZE = 256  # side of the trial picture of models that make pictures of any size
# shares of a change that must survive rounding; below them there is a warning, and an error
_MOSTLY_KEPT, _HALF_KEPT = 0.9, 0.5


class RoundedAwayError(AdapterError):
    """Most of an adapter's change would be lost in a number format."""


def merge_checked(
    pipeline: Pipeline,
    adapter: Adapter,
    weight: float = 1.0,
    allow_partial: bool = False,
    *,
    final_dtype: torch.dtype | None = None,
) -> Merge:
    """Merge an adapter and check that it has an effect, with one picture before and one after.

    Both pictures have the same seed and few steps. If the check fails, the merge is undone.

    Parameters
    ----------
    pipeline : Pipeline
        The pipeline to change.
    adapter : Adapter
        The adapter.
    weight : float
        Its strength.
    allow_partial : bool
        Leave out what does not fit, instead of raising an error.
    final_dtype : torch.dtype or None
        The number format to which the weights will be converted.

    Returns
    -------
    Merge
        With a warning if the picture hardly changes or rounding loses a part of the change.

    Raises
    ------
    AdapterError
        If the adapter does not fit, or the pictures are equal.
    RoundedAwayError
        If rounding to ``final_dtype`` would lose most of the change.
    """
    name = adapter.path.name
    resolve(pipeline, adapter, allow_partial=allow_partial)  # check before making a picture
    prompt = " ".join((_TRIAL_PROMPT, *adapter.words))
    before = trial_picture(pipeline, prompt)
    merge = merge_adapter(
        pipeline, adapter, scale=weight, allow_partial=allow_partial, final_dtype=final_dtype
    )
    after = trial_picture(pipeline, prompt)
    change = float((after - before).abs().max())
    if not change > _SMALLEST_CHANGE:
        merge.undo()
        raise AdapterError(
            f"{name} at strength {weight:g}: the adapter changes nothing (largest change in a "
            f"test picture: {change:.1e}). It is untrained or damaged, and the pictures would be "
            "the same as those of the base model."
        )
    notes = []
    if change < _VISIBLE:
        notes.append(
            f"{name} at strength {weight:g} hardly changes a test picture (by {change:.1e} at "
            "most), so the pictures are nearly the same as those of the base model."
        )
    if merge.kept < _MOSTLY_KEPT:
        share = f"only {max(merge.kept, 0):.0%} of its change survives rounding to "
        share += f"{str(final_dtype).removeprefix('torch.')}"
        if merge.kept < _HALF_KEPT:
            merge.undo()
            raise RoundedAwayError(f"Of {name}, {share}.")
        notes.append(f"Of {name}, {share}.")
    merge.warnings += tuple(notes)
    return merge


@torch.no_grad()
def trial_picture(pipeline: Pipeline, prompt: str) -> Tensor:
    """A picture with a fixed seed and few steps, which depends on all weights in use.

    Parameters
    ----------
    pipeline : Pipeline
        A pipeline of any family.
    prompt : str
        What to show.

    Returns
    -------
    Tensor
        1 x 3 x H x W in [0,1].
    """
    if not families.is_stable(pipeline):
        size = _TRIAL_SIZE if families.takes_size(pipeline) else 0
        drawn = families.draw(pipeline, prompt, 0, steps=_TRIAL_STEPS, guidance=1.0, size=size)
        return drawn[None]
    embeds = pipelines.encode_prompts(pipeline, [prompt])
    noise = seeded_noise(pipeline, [0], pipelines.native_size(pipeline))
    latents = sample_latents(pipeline, noise, embeds, embeds, steps=_TRIAL_STEPS, guidance=1.0)
    return pipelines.decode_latents(pipeline, latents)
