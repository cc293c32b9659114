"""Personalises a model with images that are handled afresh at each training step.

Training programs crop, mirror and recolour at random while they train, so that the model never sees
the same pixels twice. What is done once, to the files, is :mod:`siren_ext.attacks.apply`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from siren_ext.adapters.summary import AdapterSummary
from siren_ext.attacks.apply import Step, handle
from siren_ext.attacks.attack import Parameter
from siren_ext.attacks.registry import ATTACKS
from siren_ext.data.dataset import ImageSet, Item
from siren_ext.data.images import crop_view, read_picture, to_tensor
from siren_ext.diffusion import pipelines
from siren_ext.errors import ConfigError, DatasetError, ImageError
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.personalize.data import Batch, training_size
from siren_ext.personalize.run import Trainer, personalize
from siren_ext.progress import NULL, Progress
from siren_ext.schema import shown

KINDS = ("edit", "codec", "handling")
"""Kinds of attacks that are possible at each step: those that need no model."""
FACT = "siren_left_out"
"""Key of the metadata: name and reason of every image that was left out, as a list in JSON."""
_DRAW = 5
_TRIES = 100
_ENCODE_BATCH = 8


def augmentations() -> tuple[str, ...]:
    """Names of the attacks that are possible at each step."""
    return tuple(
        name for name, one in ATTACKS.items() if one.kind in KINDS and name != "learned-codec"
    )


def step_of(text: str) -> Step:
    """Read one augmentation.

    Parameters
    ----------
    text : str
        A name, or a name with settings such as ``crop:low=0.5,high=0.9``.

    Returns
    -------
    Step
        With all settings spelled out.

    Raises
    ------
    ConfigError
        If the name, a setting or a value is none that can be used.
    """
    name, _, rest = text.partition(":")
    if name not in augmentations():
        raise ConfigError(
            f"{shown(name)} can't be used at each training step; expected one of "
            f"{', '.join(augmentations())}. Captions are changed by caption_dropout and prompt."
        )
    settings = ATTACKS[name].settings(dict(_assigned(name, one) for one in _parts(rest)))
    if settings is None:
        raise ConfigError(f"{shown(text)} changes nothing; leave it out.")
    step = Step(name, settings)
    with suppress(ImageError):  # which is told of an image that it can't be done to
        # values are checked when a step is applied, which must not be the first training step
        handle(torch.zeros(1, 3, 64, 64), [""], [step], torch.Generator())
    return step


def _parts(text: str) -> list[str]:
    """The assignments of a text; other commas belong to a value."""
    return [one for one in re.split(r",(?=\s*\w+\s*=)", text) if one.strip()]


def _assigned(name: str, text: str) -> tuple[str, Any]:
    """Name and value of a setting."""
    key, equals, value = (part.strip() for part in text.partition("="))
    if not (key and equals and value):
        raise ConfigError(
            f"{shown(text)} is not a setting of {name}; expected one such as low=0.5, or several "
            "separated by commas."
        )
    return key, ATTACKS[name].parameters.get(key, Parameter(None)).from_text(value)


@dataclass(frozen=True)
class AugmentConfig(PersonalizeConfig):
    """How a model is personalised with images that are handled afresh at each step.

    Attributes
    ----------
    augment : tuple of str
        What happens to an image whenever it is used, in this order; see :func:`step_of`.
    """

    augment: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check every field; raises :class:`ConfigError`."""
        super().__post_init__()
        self.handling()

    def handling(self) -> list[Step]:
        """The steps of ``augment``."""
        return [step_of(text) for text in self.augment]


class AugmentingTrainer(Trainer):
    """Reads, handles and encodes the images of each step, instead of taking cached latents.

    Parameters
    ----------
    pipeline, data, config, prior
        As for :class:`~siren_ext.personalize.run.Trainer`; the settings are an
        :class:`AugmentConfig`.
    images : ImageSet
        The images, of which all can be decoded.
    """

    config: AugmentConfig

    def __init__(self, *arguments: Any, images: ImageSet) -> None:
        super().__init__(*arguments)
        self._images = images
        self._handling = self.config.handling()
        self._size = training_size(self.pipeline, self.config)

    def batch(self) -> Batch:
        """The images of the step, handled; class images stay as they are."""
        plain = super().batch()
        assert plain.images is not None  # class images do not come from here
        views = torch.cat([self._view(place, one) for place, one in enumerate(plain.images)])
        generator = torch.Generator().manual_seed(plain.seed)
        with torch.no_grad():
            latents = [
                pipelines.encode_latents(self.pipeline, part, generator).cpu()
                for part in torch.split(views, _ENCODE_BATCH)
            ]
        return replace(plain, latents=torch.cat(latents))

    def _view(self, place: int, image: Tensor) -> Tensor:
        """What the model sees of an image; draws depend on the step and the place in the batch."""
        rng = np.random.default_rng((self.config.seed, _DRAW, self.step, place))
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        item = self._images.items[int(image)]
        pixels = _handled(item, self._handling, generator, tries=_TRIES)
        view = crop_view(pixels, self._size)
        return view.flip(3) if self.config.flip and rng.random() < 0.5 else view

    def facts(self) -> dict[str, str]:
        """What sd-scripts would write of it, and which images were left out."""
        left = [[name, why] for name, why in self._images.problems]
        return {"ss_cache_latents": "False", FACT: json.dumps(left, ensure_ascii=False)}


def _handled(
    item: Item, steps: Sequence[Step], generator: torch.Generator, *, tries: int = 1
) -> Tensor:
    """An image after all steps; with further draws where a crop is too small for what follows."""
    try:
        pixels = to_tensor(read_picture(item.path).rgb)
        for _ in range(tries - 1):
            with suppress(ImageError):
                return handle(pixels, [""], steps, generator)[0]
        return handle(pixels, [""], steps, generator)[0]
    except ImageError as error:
        raise ImageError(f"{item.name}: {error}") from error


def _usable(data: ImageSet, steps: Sequence[Step], progress: Progress) -> ImageSet:
    """The images that all steps can be done to; the others are in its ``problems``."""
    data = data.checked(progress=progress)
    if not steps:
        return data
    kept, problems = [], list(data.problems)
    progress.stage("Trying the changes", len(data))
    for item in data.items:
        try:
            _handled(item, steps, torch.Generator().manual_seed(0))
            kept.append(item)
        except ImageError as error:
            problems.append((item.name, str(error).removeprefix(f"{item.name}: ")))
        progress.advance(1, item.name)
    if not kept:
        raise DatasetError(f"No image in {data.name} can be changed in this way. {problems[-1][1]}")
    return replace(data, items=tuple(kept), problems=tuple(problems))


def left_out(summary: AdapterSummary) -> list[tuple[str, str]]:
    """Name and reason of every image that :func:`augmented` left out.

    Parameters
    ----------
    summary : AdapterSummary
        Of what it wrote; empty for what was made in another way.
    """
    try:
        return [(str(name), str(why)) for name, why in json.loads(summary.metadata[FACT])]
    except (KeyError, TypeError, ValueError):
        return []


def augmented(
    data: ImageSet,
    model: str | Path,
    config: AugmentConfig,
    out: Path,
    *,
    class_images: ImageSet | None = None,
    device: str = "auto",
    progress: Progress = NULL,
    force: bool = False,
) -> AdapterSummary:
    """Personalise a model with images that are handled afresh at each step.

    Parameters
    ----------
    data, model, config, out, class_images, device, progress, force
        As in :func:`siren_ext.personalize.run.personalize`, by which the run is stopped and
        resumed.

    Returns
    -------
    AdapterSummary
        What was written.

    Raises
    ------
    ConfigError, DatasetError, ModelError, MissingExtraError, Cancelled, RankLostError
        As in :func:`siren_ext.personalize.run.personalize`.

    Notes
    -----
    Every step reads and encodes its images, which the other trainings do once. Images that a step
    can't be done to, such as one that is too small for its bucket, are left out.
    """
    images = _usable(data, config.handling(), progress)
    return personalize(
        images,
        model,
        config,
        out,
        class_images=class_images,
        device=device,
        progress=progress,
        force=force,
        make=partial(AugmentingTrainer, images=images),
    )
