"""What a fine-tuned model learns of each band of frequency and colour, by length of training.

``python -m siren_ext.experiments.spectrum --out runs/spectrum``. Images get the patterns of all
bands, with random signs, and a LoRA is trained on them; another one on the same images with
opposite signs. Half the difference of what the two add to clean images is what was learnt, without
what images and training have in common. LoRAs of other images show how much of each band appears by
chance. Everything finished is kept in OUT.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from torch import Tensor

from siren_ext.cli.common import say, watched
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import Picture, to_uint8, write_picture
from siren_ext.diffusion.denoiser import denoiser
from siren_ext.diffusion.load import POCKET, load_pipeline
from siren_ext.experiments.layout import cached_value, open_log
from siren_ext.experiments.options import StudyImages
from siren_ext.experiments.rows import write_rows
from siren_ext.experiments.spectrum_bands import (
    BANDS,
    OWNER,
    band_latents,
    band_pictures,
    shares,
)
from siren_ext.experiments.spectrum_plot import plot_spectrum
from siren_ext.experiments.study import open_set, spread_evenly
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.personalize.data import prepare
from siren_ext.personalize.lora import ADAPTER, remove_lora
from siren_ext.personalize.run import Trainer
from siren_ext.preference.config import PreferenceConfig
from siren_ext.preference.fields import learnt_fields
from siren_ext.progress import Named, Progress

Floats = NDArray[np.float64]
Row = dict[str, Any]

SEEN = 16
"""Images on which the latents of the bands are measured."""
_SIGNS, _CHOICE = 71, 72
_BATCH = 8


@dataclass(frozen=True)
class Condition:
    """A way of training.

    Attributes
    ----------
    name : str
        Of its rows.
    lengths : tuple of int
        Steps after which is measured, in rising order.
    training : Mapping[str, Any]
        Settings of :class:`PersonalizeConfig` that differ from the study's.
    share : float
        Share of the images that carry the patterns.
    """

    name: str
    lengths: tuple[int, ...]
    training: Mapping[str, Any]
    share: float = 1.0


_RANK_8 = {"rank": 8, "alpha": 8.0, "conv_rank": 0}
CONDITIONS = (
    Condition("usual", (100, 200, 500, 1000), {}),
    Condition("rank 8", (100, 200, 500), _RANK_8),
    Condition("rank 8, rate 1e-3", (200, 500), _RANK_8 | {"learning_rate": 1e-3}),
    Condition("20 % of the images", (200, 500), {}, 0.2),
)
_CHANCE = 200
"""Steps of the LoRAs of other images."""


@dataclass(frozen=True)
class Spectrum:
    """The study.

    Attributes
    ----------
    data : ImageSet
        The owner's images, with captions.
    others : sequence of ImageSet
        Sets of other images.
    out : Path
        Folder of the study.
    progress : Progress
        Receives every step; may cancel.
    batch : int
        Images of a training step.
    """

    data: ImageSet
    others: Sequence[ImageSet]
    out: Path
    progress: Progress
    batch: int = 4

    @cached_property
    def pipeline(self) -> Any:
        """The base model in 32 bits."""
        return load_pipeline(POCKET, device="cpu", dtype=torch.float32)

    @cached_property
    def side(self) -> int:
        """Of the pictures that the model sees, in pixels."""
        return denoiser(self.pipeline).native_size

    @cached_property
    def views(self) -> Tensor:
        """The owner's clean images as the model sees them."""
        return torch.cat(list(self.data.tensors(self.side)))

    @cached_property
    def pictures(self) -> Tensor:
        """Of the patterns of all bands."""
        return band_pictures(self.side)

    @cached_property
    def latents(self) -> Floats:
        """What the patterns add to latents."""
        path, key = self.out / "bands.json", {"images": self.data.hash, "patterns": len(OWNER)}
        seen = self.views[:: max(1, len(self.views) // SEEN)]
        found = cached_value(
            path, key, lambda: band_latents(self.pipeline, seen, self.pictures).tolist()
        )
        return np.array(found)

    @cached_property
    def signs(self) -> Floats:
        """Of all patterns, in one of two models of a condition."""
        return np.random.default_rng(_SIGNS).choice([-1.0, 1.0], len(OWNER))

    def coated(self, share: float, sign: int) -> ImageSet:
        """The images, of which some carry the patterns.

        Parameters
        ----------
        share : float
            Of them.
        sign : {-1, 1}
            Multiplies the signs of all patterns.
        """
        folder = self.out / "images" / f"{100 * share:.0f}_{sign}"
        folder.mkdir(parents=True, exist_ok=True)
        order = np.random.default_rng(_CHOICE).permutation(len(self.data))
        chosen = set(order[: round(share * len(self.data))].tolist())
        signs = torch.from_numpy(self.signs).float()
        residual = sign * (signs[:, None, None, None] * self.pictures).sum(0)
        for row, item in enumerate(self.data.items):
            file = folder / f"{row:03d}.png"
            if not file.is_file():
                image = self.views[row] + (residual if row in chosen else 0)
                file.with_suffix(".txt").write_text(item.caption or "", encoding="utf-8")
                write_picture(Picture(to_uint8(image.clamp(0, 1)[None])), file)
        return ImageSet.open(folder)

    def training(self, condition: Condition) -> PersonalizeConfig:
        """Settings of a condition. Mirrored images would mix the patterns."""
        settings: dict[str, Any] = {"batch_size": self.batch, "flip": False, "seed": 1}
        settings |= {"precision": "float32", "steps": condition.lengths[-1]}
        return PersonalizeConfig(**(settings | dict(condition.training)))

    def learnt(self, images: ImageSet, condition: Condition, name: str) -> Iterator[Floats]:
        """What a model adds to the owner's clean images, after each length: n x P.

        Parameters
        ----------
        images : ImageSet
            Its training images.
        condition : Condition
            How it is trained.
        name : str
            Of its file.
        """
        config = self.training(condition)
        key: Row = {"images": images.hash, "owner": self.data.hash, "patterns": len(OWNER)}
        key["training"] = config.to_dict()
        key["lengths"] = list(condition.lengths)
        found = cached_value(
            self.out / "learnt" / f"{name}.json",
            key,
            lambda: [one.tolist() for one in self._trained(images, condition, config, name)],
        )
        return iter([np.array(one) for one in found])

    def _trained(
        self, images: ImageSet, condition: Condition, config: PersonalizeConfig, name: str
    ) -> Iterator[Floats]:
        """Train, stop to measure at each length, and take the LoRA out again."""
        pipeline, progress = self.pipeline, Named(self.progress, name)
        trainer = Trainer(pipeline, prepare(images, pipeline, config, progress), config)
        progress.stage("Training", config.steps)
        try:
            for length in condition.lengths:
                while trainer.step < length:
                    trainer.advance()
                    progress.advance(note=f"loss {trainer.mean_loss:.4f}")
                yield self._measured()
        finally:
            remove_lora(pipeline.unet, ADAPTER)

    def _measured(self) -> Floats:
        """Shares of the patterns in what the model adds to each image."""
        model, texts = denoiser(self.pipeline), [item.caption or "" for item in self.data.items]
        rows, fields = list(range(len(texts))), []
        for first in range(0, len(rows), _BATCH):
            part = rows[first : first + _BATCH]
            asked = [texts[row] for row in part]
            found, _ = learnt_fields(model, self.views[part], asked, part, PreferenceConfig())
            fields.append(found)
        return shares(np.concatenate(fields), self.latents)

    def chance(self) -> tuple[Floats, Floats]:
        """Variances of each pattern without any coating: between sets, and between images."""
        condition = Condition("other images", (_CHANCE,), {})
        found = [
            next(self.learnt(images, condition, f"other_{number}"))
            for number, images in enumerate(self.others)
        ]
        within = np.mean([one.var(0, ddof=1) for one in found], axis=0)
        between = np.var([one.mean(0) for one in found], axis=0, ddof=1)
        return between, within

    def rows(self, conditions: Sequence[Condition]) -> list[Row]:
        """The table: a row for each condition, length and band.

        Parameters
        ----------
        conditions : sequence of Condition
            Those to measure.
        """
        between, within = self.chance()
        kept = np.linalg.norm(self.latents, axis=1)
        most = np.sqrt(np.bincount(OWNER, kept**2).max())
        found = []
        for condition in conditions:
            pairs = zip(
                *(
                    self.learnt(
                        self.coated(condition.share, sign), condition, file_name(condition, sign)
                    )
                    for sign in (1, -1)
                ),
                strict=True,
            )
            for length, (plus, minus) in zip(condition.lengths, pairs, strict=True):
                each = self.signs * (plus - minus) / 2
                for place, band in enumerate(BANDS):
                    own = place == OWNER
                    known = {"condition": condition.name, "steps": length, "axis": band.axis}
                    known |= {"low": band.low, "high": band.high}
                    figures = _of_band(each[:, own], between[own], within[own])
                    strength = float(np.sqrt((kept[own] ** 2).sum()) / most)
                    found.append(known | {"in latents": round(strength, 4)} | figures)
        return found


def _of_band(each: Floats, between: Floats, within: Floats) -> Row:
    """What was learnt of a band, from shares of its patterns: n x P, and their variances."""
    mean, patterns = float(each.mean()), each.mean(0)
    variance = float(each.mean(1).var()) / len(each)
    if len(patterns) > 1:
        variance += float(patterns.var(ddof=1)) / len(patterns)
    # each pattern adds to the evidence, with the gain that the band has on the average
    worth = len(patterns) * mean**2 / float((between + within / len(each)).mean())
    figures = {
        "learnt": mean,
        "error": variance**0.5,
        "lowest pattern": float(patterns.min()),
        "highest pattern": float(patterns.max()),
        "between sets": float(between.mean() ** 0.5),
        "between images": float(within.mean() ** 0.5),
        "worth": worth,
    }
    return {name: round(value, 4) for name, value in figures.items()}


def file_name(condition: Condition, sign: int) -> str:
    """Of what a model has learnt."""
    kept = "".join(letter if letter.isalnum() else "_" for letter in condition.name)
    return f"{kept}_{'plus' if sign > 0 else 'minus'}"


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def spectrum(
    out: Annotated[Path, typer.Option("--out", help="Folder of the study.")],
    data: StudyImages = "samples",
    images: Annotated[int, typer.Option("--images", min=8, help="The owner's images.")] = 48,
    sets: Annotated[int, typer.Option("--sets", min=2, help="Sets of other images.")] = 6,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images of a training step.")] = 4,
    quick: Annotated[bool, typer.Option("--quick", help="One condition, few steps.")] = False,
    csv: Annotated[Path | None, typer.Option("--csv", help="CSV table; by default in OUT.")] = None,
) -> None:
    """Measure what is learnt of each band of frequency and colour."""
    known = open_set(data)
    own = spread_evenly(list(known.items), images)
    left = [item for item in known.items if item not in own]
    if len(left) < sets:
        raise typer.BadParameter(f"{len(left)} images are left for {sets} sets; lower --images.")
    open_log(out, {"data": known.hash, "images": images, "batch": batch})
    with watched(False) as progress:
        study = Spectrum(
            replace(known, items=tuple(own)),
            [replace(known, items=tuple(left[first::sets])) for first in range(sets)],
            out,
            progress,
            batch,
        )
        rows = study.rows([Condition("usual", (20,), {})] if quick else CONDITIONS)
    table = csv or out / "spectrum.csv"
    write_rows(rows, table)
    plot_spectrum(rows, table.with_suffix(".png"))
    for row in rows:
        say(
            f"{row['condition']}, {row['steps']} steps, {row['axis']} {row['low']:g} to "
            f"{row['high']:g}: learnt {row['learnt']:.3f} ± {row['error']:.3f}, worth "
            f"{row['worth']:.2f}"
        )


if __name__ == "__main__":
    app()
