"""Small LoRAs trained on half sets, and how well each of them denoises certain pictures.

They are what scores of attribution must predict: take away half of the images, train again, and see
which pictures the new model denoises worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import Picture, to_uint8, write_picture
from siren_ext.devices import pick_device
from siren_ext.diffusion import pipelines
from siren_ext.diffusion.denoiser import denoiser
from siren_ext.experiments.layout import cached_value
from siren_ext.files import sha256_file
from siren_ext.passive.batch import noise_seed
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.personalize.data import TrainingData, prepare
from siren_ext.personalize.lora import ADAPTER, remove_lora
from siren_ext.personalize.run import Trainer, personalize
from siren_ext.progress import NULL, Named, Progress
from siren_ext.suspects.base import PromptPlan
from siren_ext.suspects.local import LocalSuspect

Floats = NDArray[np.float64]

GUIDANCE = 3.0
LEVELS = 8  # noise levels at which a model's loss on a picture is measured
_QUERY_SEED = 900_000


@dataclass(frozen=True)
class HalfSets:
    """LoRAs of half sets, and their losses on three kinds of pictures.

    These are ``generated`` ones by the LoRA of the whole set, ``held-out`` images that no model was
    trained on, and the ``own`` images themselves.

    Attributes
    ----------
    data, others : ImageSet
        The n images, with captions, and held-out images of the same kind.
    base : str
        The base model.
    out : Path
        Folder of the study.
    training : PersonalizeConfig
        How all LoRAs are trained. The seed is the same, so that they differ by their images.
    device : str
        Where models run.
    progress : Progress
        Receives every step; may cancel.
    """

    data: ImageSet
    others: ImageSet
    base: str
    out: Path
    training: PersonalizeConfig
    device: str = "auto"
    progress: Progress = NULL

    @property
    def adapter(self) -> Path:
        """The LoRA of the whole set, trained if it does not exist."""
        path = self.out / "whole.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        personalize(
            self.data, self.base, self.training, path, device=self.device, progress=self.progress
        )
        return path

    @cached_property
    def pictures(self) -> dict[str, ImageSet]:
        """The three kinds; one picture is generated for the caption of each image."""
        folder = self.out / "pictures"
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / f"{number:03d}.png" for number in range(len(self.data))]
        missing = [number for number, file in enumerate(files) if not file.is_file()]
        if missing:
            captions = tuple(self.data.captions())
            plan = PromptPlan(captions, len(captions), _QUERY_SEED, guidance=GUIDANCE)
            suspect = LocalSuspect(self.base, self.adapter, device=self.device, dtype=torch.float32)
            self.progress.stage("Generating", len(missing))
            for picture in suspect.generate(plan, indices=missing, progress=self.progress):
                file = files[picture.index]
                file.with_suffix(".txt").write_text(picture.prompt, encoding="utf-8")
                write_picture(Picture(to_uint8(picture.image)), file)
        made = ImageSet.open(folder)
        return {"generated": made, "held-out": self.others, "own": self.data}

    def chosen(self, number: int) -> NDArray[np.int64]:
        """Positions of the images of a half set, in rising order.

        Parameters
        ----------
        number : int
            The half set, from 0.
        """
        order = np.random.default_rng((self.training.seed, 11, number)).permutation(len(self.data))
        return np.sort(order[: len(self.data) // 2]).astype(np.int64)

    def losses(self, number: int) -> dict[str, list[float]]:
        """Mean losses of a half set's LoRA on each kind of pictures; trained if not known.

        Parameters
        ----------
        number : int
            The half set, from 0.
        """
        rows = self.chosen(number)
        key = {
            "images": self.data.hash,
            "pictures": [one.hash for one in self.pictures.values()],
            "rows": rows.tolist(),
            "training": self.training.to_dict(),
            "base": pipelines.model_fingerprint(self.base),
            "levels": LEVELS,
        }
        path = self.out / "losses" / f"{number:04d}.json"
        found: dict[str, list[float]] = cached_value(path, key, lambda: self._trained(rows, number))
        return found

    def _trained(self, rows: NDArray[np.int64], number: int) -> dict[str, list[float]]:
        """Train on some images, measure, and take the LoRA out again."""
        pipeline, training = self._prepared
        trainer = Trainer(pipeline, replace(training, rows=rows), self.training)
        progress = Named(self.progress, f"half set {number}")
        progress.stage("Training", self.training.steps)
        try:
            while trainer.step < self.training.steps:
                trainer.advance()
                progress.advance(note=f"loss {trainer.mean_loss:.4f}")
            return {
                kind: mean_losses(pipeline, pictures).tolist()
                for kind, pictures in self.pictures.items()
            }
        finally:
            remove_lora(pipeline.unet, ADAPTER)

    @cached_property
    def _prepared(self) -> tuple[Any, TrainingData]:
        """The base model, and the latents of all images."""
        pipeline = pipelines.load_pipeline(
            self.base, device=pick_device(self.device), dtype=torch.float32
        )
        return pipeline, prepare(self.data, pipeline, self.training, self.progress)


@torch.no_grad()
def mean_losses(pipeline: Any, pictures: ImageSet) -> Floats:
    """Mean squared error of the predicted noise on each picture, over the noise levels.

    Parameters
    ----------
    pipeline : Pipeline
        A model in float32.
    pictures : ImageSet
        q pictures with captions.

    Returns
    -------
    array, shape (q,)
        The noise of a picture depends on its bytes only, so it is the same for all models.
    """
    model = denoiser(pipeline)
    latents = torch.cat(
        [pipelines.encode_latents(pipeline, x) for x in pictures.tensors(model.native_size)]
    )
    condition = model.condition(pictures.captions(), model.native_size)
    drawn = [_noise(sha256_file(item.path), latents.shape[1:]) for item in pictures.items]
    noise = torch.from_numpy(np.stack(drawn)).to(latents.device)
    found = np.zeros(len(pictures))
    for level in range(LEVELS):
        time = (2 * level + 1) * 500 // LEVELS
        guess = model.noise_in(model.noisy(latents, noise, time), time, condition)
        found += (guess - noise).square().mean((1, 2, 3)).double().cpu().numpy()
    return found / LEVELS


def _noise(digest: str, shape: Sequence[int]) -> NDArray[np.float32]:
    """The noise of a picture, C x h x w."""
    rng = np.random.default_rng(noise_seed(0, digest, "half sets", 0))
    return rng.standard_normal(tuple(shape), dtype=np.float32)
