"""ABL: images that a model denoises best are taken for coated ones, and unlearnt.

Li et al. (2021), "Anti-backdoor learning: training clean models on poisoned data" (arXiv
2110.11571), as SIREN's Appendix C applies it to personalisation: images with the lowest denoising
loss are isolated, and the sign of their loss is reversed in the last steps of the training.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from msgspec import Meta
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from siren_ext.adapters.summary import AdapterSummary
from siren_ext.data.dataset import ImageSet
from siren_ext.diffusion import pipelines
from siren_ext.diffusion.load import Pipeline
from siren_ext.errors import ConfigError
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.personalize.loop import LABEL
from siren_ext.personalize.run import Trainer, personalize
from siren_ext.progress import NULL, Progress
from siren_ext.stats.checks import finite_list

TIMES = tuple(range(50, 1000, 100))
"""Timesteps at which losses are measured."""
FACT = "siren_isolated"
"""Key of the metadata: the places of the isolated images, as a list in JSON."""
_BATCH = 16
_NOISE = 17


@dataclass(frozen=True)
class UnlearnConfig(PersonalizeConfig):
    """How a model is personalised by somebody who unlearns suspicious images.

    Attributes
    ----------
    isolation_rate : float
        Share of the images that are isolated; 5 % in the paper.
    isolation_noises : int
        Noises for which the loss is measured at each of :data:`TIMES`, the same for all images.
    isolate_after : int
        Training steps before the losses are measured; 0 for the base model, as in the paper.
    unlearning_share : float
        Share of the steps, at the end, in which the loss of isolated images has the other sign.
    ascent : float
        Its weight there.
    loss_cap : float
        An isolated image whose loss is higher is left out of a step; otherwise losses grow without
        end. 1 is the loss of a model that predicts no noise.

    Notes
    -----
    The paper states the rate and the base model. The other settings were chosen here.
    """

    isolation_rate: Annotated[float, Meta(gt=0.0, le=1.0)] = 0.05
    isolation_noises: Annotated[int, Meta(ge=1, le=1000)] = 4
    isolate_after: Annotated[int, Meta(ge=0, le=10_000_000)] = 0
    unlearning_share: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.2
    ascent: Annotated[float, Meta(ge=0.0, le=1e3)] = 1.0
    loss_cap: Annotated[float, Meta(ge=0.0, le=1e6)] = 1.0

    def __post_init__(self) -> None:
        """Check every field; raises :class:`ConfigError`."""
        super().__post_init__()
        if self.isolate_after > self.first_unlearning:
            raise ConfigError(
                f"UnlearnConfig.isolate_after is {self.isolate_after}, but unlearning begins at "
                f"step {self.first_unlearning} of {self.steps}; expected no more than that."
            )
        if self.unlearning_share and self.first_unlearning == self.steps:
            least = math.ceil(0.5 / self.unlearning_share + 1e-9)
            raise ConfigError(
                f"{self.steps} steps are too few: unlearning gets {self.unlearning_share:g} of "
                f"them, which is less than one step; expected at least {least} steps."
            )

    @property
    def first_unlearning(self) -> int:
        """The step at which unlearning begins, from 0."""
        return self.steps - round(self.unlearning_share * self.steps)


@dataclass(frozen=True)
class IsolationQuality:
    """How well the isolated images are the coated ones.

    Attributes
    ----------
    isolated, coated, both : int
        Numbers of images.
    """

    isolated: int
    coated: int
    both: int

    @property
    def precision(self) -> float:
        """Share of the isolated images that are coated; NaN if none is isolated."""
        return self.both / self.isolated if self.isolated else math.nan

    @property
    def recall(self) -> float:
        """Share of the coated images that are isolated; NaN if none is coated."""
        return self.both / self.coated if self.coated else math.nan


def lowest(losses: ArrayLike, rate: float) -> NDArray[np.int64]:
    """Places of the lowest losses, in rising order.

    Parameters
    ----------
    losses : array_like
        n finite losses; of equal ones the first are taken.
    rate : float
        Share in (0, 1]; the result has exactly the next whole number above ``rate`` n.

    Raises
    ------
    ConfigError
        If the rate is out of range.
    ScoreError
        If there is no loss, or one is not finite.
    """
    if not 0 < rate <= 1:
        raise ConfigError(f"The isolation rate is {rate}; expected a number above 0, up to 1.")
    values = finite_list(losses, "losses of images")
    # the small number is for products such as 0.07 * 100, which is a little above 7 as a float
    count = max(1, math.ceil(rate * len(values) - 1e-9))
    return np.sort(np.argsort(values, kind="stable")[:count]).astype(np.int64)


def isolation_quality(isolated: Collection[int], coated: Collection[int]) -> IsolationQuality:
    """Compare isolated images with those that are coated.

    Parameters
    ----------
    isolated, coated : collection of int
        Places of images in the set.
    """
    first, second = set(map(int, isolated)), set(map(int, coated))
    return IsolationQuality(len(first), len(second), len(first & second))


def isolated_images(summary: AdapterSummary) -> tuple[int, ...]:
    """Places of the images that :func:`unlearn` isolated, in the order of its set.

    Parameters
    ----------
    summary : AdapterSummary
        Of what it wrote.

    Raises
    ------
    ConfigError
        If it was not made in this way.
    """
    try:
        found = json.loads(summary.metadata[FACT])
        return tuple(int(one) for one in found)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{summary.path} does not say which images were isolated; expected the file that "
            "'siren-ext personalize --unlearn' wrote."
        ) from error


@torch.no_grad()
def image_losses(
    pipeline: Pipeline,
    latents: Tensor,
    embeds: Callable[[Tensor], Tensor],
    noises: int = 4,
    *,
    seed: int = 0,
    progress: Progress = NULL,
) -> Tensor:
    """Mean error of the predicted noise of each image over :data:`TIMES`, for the same noises.

    Parameters
    ----------
    pipeline : Pipeline
        The model.
    latents : Tensor
        n x C x h x w scaled latents.
    embeds : callable
        Gives the embeddings of the prompts, b x L x D, for b places of images.
    noises : int
        Noises for each time.
    seed : int
        Their seed.
    progress : Progress
        One unit per image.

    Returns
    -------
    Tensor
        n mean squares of noise minus predicted noise, on the CPU, also of models that predict
        velocity.

    References
    ----------
    SIREN (arXiv 2410.10437), Appendix C.
    """
    device = pipeline.unet.device
    generator = torch.Generator().manual_seed((seed << 8) + _NOISE)
    shape = (len(TIMES) * noises, *latents.shape[1:])
    drawn = pipelines.seeded_normal(shape, generator, device)
    total = torch.zeros(len(latents), dtype=torch.float64)
    velocity = pipelines.prediction_type(pipeline) == "v_prediction"
    progress.stage("Measuring losses", len(latents))
    for rows in torch.split(torch.arange(len(latents)), _BATCH):
        clean, words = latents[rows].to(device), embeds(rows)
        for place, noise in enumerate(drawn):
            time = torch.full((len(rows),), TIMES[place // noises])
            same = noise.expand_as(clean)
            loss = pipelines.loss_at(pipeline, clean, words, noise=same, timesteps=time)
            if velocity:  # the error of the velocity times sqrt(a) is that of the noise
                ratio = pipelines.signal_to_noise(pipeline, time.to(device))
                loss = loss * ratio / (1 + ratio)
            total[rows] += loss.double().cpu()
        progress.advance(len(rows))
    return (total / len(drawn)).float()


class UnlearningTrainer(Trainer):
    """Trains as usual, isolates images once, and reverses the sign of their loss at the end.

    Parameters
    ----------
    pipeline, data, config, prior
        As for :class:`~siren_ext.personalize.run.Trainer`; the settings are an
        :class:`UnlearnConfig`.
    progress : Progress
        Shows how losses are measured.

    Attributes
    ----------
    isolated : Tensor or None
        Places of the isolated images; None before the losses are measured.
    """

    config: UnlearnConfig

    def __init__(self, *arguments: Any, progress: Progress = NULL) -> None:
        super().__init__(*arguments)
        self.isolated: Tensor | None = None
        self._progress = progress

    def advance(self) -> None:
        """Make one step, after measuring the losses when it is time."""
        config = self.config
        if self.isolated is None and self.step >= config.isolate_after:
            self.isolated = self._isolate()
            self._progress.stage(LABEL, config.steps, self.step)
        super().advance()

    def _isolate(self) -> Tensor:
        """Places of the images with the lowest losses."""
        plain, config = self.data.latents[0], self.config

        def losses(own: Tensor) -> Tensor:
            return image_losses(
                self.pipeline,
                plain[own],
                lambda rows: self._prompt_embeds(self.data.texts[own[rows]]),
                config.isolation_noises,
                seed=config.seed,
                progress=self._progress,
            )

        found = self.ranks.mapped(losses, torch.arange(plain.shape[0]))
        return torch.from_numpy(lowest(found.numpy(), config.isolation_rate))

    def factors(self, images: Tensor, losses: Tensor) -> Tensor:
        """1; at the end of the training ``-ascent`` for isolated images with a loss up to the cap.

        Parameters
        ----------
        images, losses : Tensor
            As in :meth:`siren_ext.personalize.run.Trainer.factors`.
        """
        usual = super().factors(images, losses)
        if self.isolated is None or self.step < self.config.first_unlearning:
            return usual
        suspicious = torch.isin(images, self.isolated).to(losses.device)
        reverse = torch.where(losses <= self.config.loss_cap, -self.config.ascent, 0.0)
        return torch.where(suspicious, reverse.to(usual), usual)

    def facts(self) -> dict[str, str]:
        """The isolated images."""
        found = [] if self.isolated is None else self.isolated.tolist()
        return {FACT: json.dumps(found)}

    def snapshot(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        known = {} if self.isolated is None else {"isolated": self.isolated}
        return super().snapshot() | known

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a :meth:`snapshot`."""
        super().restore(state)
        self.isolated = state.get("isolated")


def unlearn(
    data: ImageSet,
    model: str | Path,
    config: UnlearnConfig,
    out: Path,
    *,
    class_images: ImageSet | None = None,
    device: str = "auto",
    progress: Progress = NULL,
    force: bool = False,
) -> AdapterSummary:
    """Personalise a model, and unlearn the images that it denoises best.

    Parameters
    ----------
    data, model, config, out, class_images, device, progress, force
        As in :func:`siren_ext.personalize.run.personalize`, by which the run is stopped and
        resumed.

    Returns
    -------
    AdapterSummary
        What was written; :func:`isolated_images` reads from it which images were isolated.

    Raises
    ------
    ConfigError, DatasetError, ModelError, MissingExtraError, Cancelled, RankLostError
        As in :func:`siren_ext.personalize.run.personalize`.

    Notes
    -----
    Original ABL (for classifiers) isolates 1 % after some training at a lower bound of the loss,
    and unlearns in epochs of their own.
    """
    make = partial(UnlearningTrainer, progress=progress)
    return personalize(
        data,
        model,
        config,
        out,
        class_images=class_images,
        device=device,
        progress=progress,
        force=force,
        make=make,
    )
