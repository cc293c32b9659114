"""Source attribution on the bundled model: who is found, and who is accused falsely?

``python -m siren_ext.experiments.source_attribution --out runs/source --quick`` trains a source on
some of the bundled icons, infringing models on mixtures of its pictures and other icons, and
innocent ones on other icons alone. Everything finished is kept in OUT; a second call resumes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from siren_ext.attribution.distances import distance_named, embedding
from siren_ext.attribution.key_queries import Answers, Asking, KeySample
from siren_ext.attribution.key_samples import (
    at_random,
    detection,
    generation,
    image_candidates,
)
from siren_ext.attribution.mixtures import build_mixture
from siren_ext.attribution.shadow import find, first_embeddings, query_vectors
from siren_ext.attribution.source_config import ShadowConfig, SourceConfig
from siren_ext.cli.common import command, say, watched
from siren_ext.data.dataset import ImageSet
from siren_ext.diffusion.load import POCKET
from siren_ext.errors import ConfigError
from siren_ext.experiments.layout import open_log
from siren_ext.experiments.options import StudyImages
from siren_ext.experiments.panel_results import write_rows
from siren_ext.experiments.source_tables import (
    Row,
    band_rows,
    confidence_rows,
    judge_all,
    number_rows,
    score_rows,
    told,
)
from siren_ext.experiments.study import open_set, spread_evenly
from siren_ext.files import atomic
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.personalize.run import personalize
from siren_ext.progress import NULL, Named, Progress
from siren_ext.suspects.base import PromptPlan, generate_images
from siren_ext.suspects.local import LocalSuspect

STRATEGIES = ("detection", "random", "generation")
SHARES = (1.0, 0.7, 0.5, 0.3)
BAND = 0.01
SIZE = 128
_PICTURE_SEED = 700_000_000  # far from the seeds of questions and of key images
_SOURCE_SEED, _MODEL_SEED = 1, 1000


@dataclass(frozen=True)
class Length:
    """How much is computed.

    Attributes
    ----------
    each, innocent : int
        Infringing models for every rho, and innocent models.
    source_steps, steps : int
        Training steps of the source and of the others.
    own, images : int
        Training images of the source and of each other model.
    batch : int
        Images of a training step.
    """

    each: int
    innocent: int
    source_steps: int
    steps: int
    own: int
    images: int
    batch: int


QUICK = Length(each=2, innocent=5, source_steps=160, steps=50, own=16, images=16, batch=2)
FULL = Length(each=10, innocent=10, source_steps=400, steps=200, own=32, images=32, batch=4)
QUESTIONS = SourceConfig(
    keys=12, repeats=2, pictures=4, steps=10, guidance=3.0, resolution=SIZE, margin=0.0, band=BAND
)
"""How models of the bundled kind are asked."""


@dataclass(frozen=True, eq=False)
class Study:
    """The models of a study, trained and asked when needed.

    Attributes
    ----------
    data : ImageSet
        Images with captions, of which some are the source's.
    out : Path
        Folder of the study.
    length : Length
        How much is computed.
    progress : Progress
        Receives every step; may cancel.
    """

    data: ImageSet
    out: Path
    length: Length
    progress: Progress = NULL

    @cached_property
    def own(self) -> ImageSet:
        """Training images of the source."""
        return replace(self.data, items=tuple(spread_evenly(self.data.items, self.length.own)))

    @cached_property
    def others(self) -> ImageSet:
        """Real images of which others make their training sets."""
        own = {item.path for item in self.own.items}
        return replace(
            self.data, items=tuple(item for item in self.data.items if item.path not in own)
        )

    def training(self, seed: int, steps: int) -> PersonalizeConfig:
        """How a model is trained.

        Parameters
        ----------
        seed, steps : int
            Of the training.
        """
        return PersonalizeConfig(
            steps=steps,
            batch_size=self.length.batch,
            rank=8,
            alpha=8.0,
            conv_rank=0,
            learning_rate=2e-3,
            flip=False,
            seed=seed,
        )

    def trained(self, name: str, data: ImageSet, seed: int, steps: int) -> LocalSuspect:
        """A LoRA of the bundled model, trained if it does not exist.

        Parameters
        ----------
        name : str
            Of its file.
        data : ImageSet
            Its training images.
        seed, steps : int
            Of the training.
        """
        file = self.out / "models" / f"{name}.safetensors"
        progress = Named(self.progress, name)
        personalize(data, POCKET, self.training(seed, steps), file, progress=progress)
        return LocalSuspect(POCKET, file)

    @cached_property
    def source(self) -> LocalSuspect:
        """The source."""
        return self.trained("source", self.own, _SOURCE_SEED, self.length.source_steps)

    @cached_property
    def made(self) -> ImageSet:
        """Pictures of the source with its own captions: what infringers take."""
        folder, captions = self.out / "made", tuple(self.own.captions())
        each = -(-self.length.images // len(captions))
        plan = PromptPlan(captions, each * len(captions), _PICTURE_SEED)
        for number, file in enumerate(generate_images(self.source, plan, folder)):
            with atomic(file.with_suffix(".txt")) as temporary:
                temporary.write_text(plan.prompt(number), encoding="utf-8")
        self.source.release()
        return ImageSet.from_folder(folder)

    @cached_property
    def shares(self) -> dict[str, float]:
        """rho of every model; 0 for innocent ones."""
        found = {
            f"rho{100 * share:.0f}_{number}": share
            for share in SHARES
            for number in range(self.length.each)
        }
        return found | {f"innocent_{number}": 0.0 for number in range(self.length.innocent)}

    @cached_property
    def models(self) -> dict[str, LocalSuspect]:
        """All models but the source, by name."""
        found = {}
        for place, (name, share) in enumerate(self.shares.items()):
            seed = _MODEL_SEED + place
            mixture = build_mixture(
                self.made,
                self.others,
                self.length.images,
                share,
                self.out / "sets" / name,
                seed=seed,
            )
            found[name] = self.trained(name, mixture, seed, self.length.steps)
        return found

    def asking(self, config: SourceConfig) -> Asking:
        """How all models are asked.

        Parameters
        ----------
        config : SourceConfig
            The settings.
        """
        distance = distance_named(config)
        cache = self.out / "answers"
        return Asking(config, config.query, distance, SIZE, cache, progress=self.progress)

    def rows(self, name: str, config: SourceConfig) -> list[Row]:
        """All figures with key samples of one strategy.

        Parameters
        ----------
        name : {"detection", "random", "generation"}
            The strategy. The first two choose among the source's training images, about all of
            which the models are asked once.
        config : SourceConfig
            How models are asked.
        """
        asking, base = self.asking(config), LocalSuspect(POCKET)
        if name == "generation":
            chosen = generation(self.own.captions())(asking, self.source, base)
            asked: Sequence[KeySample] = chosen.keys
        else:
            strategy = detection(self.own) if name == "detection" else at_random(self.own)
            chosen = strategy(asking, self.source, base)
            asked = image_candidates(self.own, len(self.own), config.seed)
        places = {key.digest: place for place, key in enumerate(asked)}
        kept = [places[key.digest] for key in chosen.keys]
        models = {"source": self.source, **self.models}
        answers = {model: asking.answers(model, one, asked) for model, one in models.items()}
        answers = {model: part_of(one, kept) for model, one in answers.items()}
        source = answers.pop("source")
        near = {model: one.nearest for model, one in answers.items()}
        judged = judge_all(near, self.shares, config.band)
        known = np.array([one.confidence for one in judged if one.share])
        innocent = np.array([one.confidence for one in judged if not one.share])
        numbers = sorted({count for count in (5, 10, 20, 30, 50, 100) if count < len(chosen.keys)})
        rows = confidence_rows(name, judged, config.alpha, config.least_confidence)
        rows += score_rows("conf", name, known, innocent, ShadowConfig().false_positives)
        rows += self.shadow_rows(name, config, source, answers)
        rows += band_rows(name, judged)
        return rows + number_rows(name, judged, [*numbers, len(chosen.keys)])

    def shadow_rows(
        self, name: str, asked: SourceConfig, source: Answers, answers: Mapping[str, Answers]
    ) -> list[Row]:
        """Figures of the statistical level, each model scored without its part of the models."""
        embed, config = embedding(asked), ShadowConfig()
        reference = first_embeddings(source, embed, SIZE)
        vectors = {
            model: query_vectors(one, first_embeddings(one, embed, SIZE), reference)
            for model, one in answers.items()
        }
        known = [vectors[model] for model, share in self.shares.items() if share]
        innocent = [vectors[model] for model, share in self.shares.items() if not share]
        found = find(innocent[0], known, innocent, config)
        scores = np.array(found.known), np.array(found.innocent)
        return score_rows("shadow", name, *scores, config.false_positives)


def part_of(answers: Answers, rows: Sequence[int]) -> Answers:
    """Answers to some key samples.

    Parameters
    ----------
    answers : Answers
        To all of them.
    rows : sequence of int
        Positions of those that are kept, in their new order.
    """
    files = tuple(answers.files[row] for row in rows)
    each = answers.requests // len(answers.files)
    return Answers(answers.distances[list(rows)], files, each * len(rows))


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@command(
    app,
    "source-attribution",
    example="python -m siren_ext.experiments.source_attribution --out runs/source --quick",
)
def source_attribution(
    out: Annotated[Path, typer.Option("--out", help="Folder of the study.")],
    data: StudyImages = "samples",
    quick: Annotated[bool, typer.Option("--quick", help="Few small models, minutes.")] = False,
    only: Annotated[
        str, typer.Option("--only", help=f"Of {', '.join(STRATEGIES)}; separated by commas.")
    ] = "detection,random",
    csv: Annotated[Path | None, typer.Option("--csv", help="CSV table; by default in OUT.")] = None,
) -> None:
    """Train a source, infringing and innocent models, and measure who is found."""
    wanted = [name for name in only.split(",") if name]
    if unknown := sorted(set(wanted) - set(STRATEGIES)):
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(STRATEGIES)}.")
    length, known = QUICK if quick else FULL, open_set(data)
    needed = length.own + length.images
    if len(known) < needed:
        raise ConfigError(f"{data} has {len(known)} images; the study needs {needed}.")
    questions = QUESTIONS if quick else replace(QUESTIONS, keys=30, repeats=4, pictures=10)
    open_log(out, {"data": known.hash, "length": asdict(length), "questions": questions.to_dict()})
    rows: list[Row] = []
    with watched(False) as progress:
        study = Study(known, out, length, progress)
        for name in wanted:
            try:
                rows += study.rows(name, questions)
            except ConfigError as error:  # too few key samples
                say(f"{name} is left out: {error}")
    write_rows(rows, csv or out / "source_attribution.csv")
    for row in rows:
        say(told(row))


if __name__ == "__main__":
    app()
