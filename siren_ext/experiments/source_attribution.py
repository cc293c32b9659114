"""Source attribution on the bundled model: who is found, and who is accused falsely?

``python -m siren_ext.experiments.source_attribution --out runs/source --quick`` trains sources on
some of the bundled icons, infringing models on mixtures of their pictures and other icons, and
innocent ones on other icons alone. ``--choices 2`` trains two more models of each kind, which are
not reported on otherwise, and compares ways of asking. Everything finished is kept in OUT; a second
call resumes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from siren_ext.attribution.distances import distance_named, embedding
from siren_ext.attribution.key_queries import Answers, Asking
from siren_ext.attribution.key_samples import (
    at_random,
    detection,
    generation,
    image_candidates,
)
from siren_ext.attribution.shadow import find, first_embeddings, query_vectors
from siren_ext.attribution.source_config import ShadowConfig, SourceConfig
from siren_ext.cli.common import command, say, watched
from siren_ext.errors import ConfigError
from siren_ext.experiments.layout import open_log
from siren_ext.experiments.options import StudyImages
from siren_ext.experiments.rows import write_rows
from siren_ext.experiments.source_choices import choice_rows
from siren_ext.experiments.source_models import SOURCES, Length, SourceModels
from siren_ext.experiments.source_plot import plot_source
from siren_ext.experiments.source_provenance import KEYS as PROVENANCE
from siren_ext.experiments.source_provenance import closeness, provenance_rows
from siren_ext.experiments.source_tables import (
    POOLED,
    Finding,
    Judged,
    Row,
    finding_rows,
    judge_all,
    told,
)
from siren_ext.experiments.source_watermark import KEYS as WATERMARK
from siren_ext.experiments.source_watermark import watermark_rows
from siren_ext.experiments.study import open_set
from siren_ext.suspects.local import LocalSuspect

STRATEGIES = ("detection", "random", "generation")
KINDS = (*STRATEGIES, PROVENANCE, WATERMARK)
BAND = 0.01
SIZE = 128
_ALL = tuple(SOURCES)
QUICK = Length(
    sources=("first",),
    each=3,
    innocent=6,
    source_steps=200,
    steps=200,
    source_batch=4,
    batch=4,
    images=8,
)
MIDDLE = replace(QUICK, sources=_ALL, each=4, innocent=10)
FULL = replace(MIDDLE, each=10, innocent=30)
QUESTIONS = SourceConfig(
    keys=8,
    query="t2i",
    distance="pocket",
    pictures=2,
    steps=10,
    guidance=1.0,
    resolution=SIZE,
    margin=0.0,
    band=BAND,
)
"""How models of the bundled kind are asked: as ``--choices 3`` found best on models of its own."""


@dataclass(frozen=True, eq=False)
class Study:
    """The questions about one source.

    Attributes
    ----------
    models : SourceModels
        The source, and the models that are asked.
    config : SourceConfig
        How they are asked.
    """

    models: SourceModels
    config: SourceConfig

    @property
    def asking(self) -> Asking:
        """How all models are asked."""
        distance, cache = distance_named(self.config), self.models.out / "answers"
        progress = self.models.progress
        return Asking(self.config, self.config.query, distance, SIZE, cache, progress=progress)

    @property
    def by_caption(self) -> Asking:
        """How pictures are made of captions alone."""
        return replace(self.asking, query="t2i")

    def finding(self, keys: str) -> Finding:
        """What is found with key samples of one strategy.

        Parameters
        ----------
        keys : {"detection", "random", "generation"}
            The strategy. The first two choose among the source's training images, about all of
            which the models are asked once.

        Raises
        ------
        ConfigError
            If there are too few key samples.
        """
        own, asking, base = self.models.own, self.asking, LocalSuspect(self.models.kind.base)
        every = replace(asking, config=replace(self.config, keys=len(own)))
        source, asked = self.models.source, image_candidates(own, len(own), self.config.seed)
        if keys == "generation":
            chosen = generation(own.captions())(every, source, base).keys
            made = {key.caption: key for key in chosen}
            asked = [made.get(key.caption, key) for key in asked]
        elif keys == "detection":
            chosen = detection(own)(every, source, base).keys
        else:
            chosen = at_random(own)(every, source, base).keys
            shuffled = np.random.default_rng((self.config.seed, 53)).permutation(len(chosen))
            chosen = tuple(chosen[place] for place in shuffled)
        places = {key.digest: place for place, key in enumerate(asked)}
        ranked = [places[key.digest] for key in chosen]
        answers = {}
        for name, model in {"source": source, **self._suspects()}.items():
            found = asking.answers(name, model, asked)
            answers[name] = part_of(found, ranked)
        first = list(range(min(self.config.keys, len(ranked))))
        used = {name: part_of(one, first) for name, one in answers.items()}
        return Finding(
            keys,
            self._judged(used),
            self._judged(answers),
            self._shadow(used.pop("source"), used),
        )

    def closeness(self) -> dict[str, float]:
        """How close each model's pictures of the source's captions are to those of the source."""
        embed = embedding(self.config)
        asking = replace(self.by_caption, config=replace(self.config, keys=len(self.models.own)))
        asked = image_candidates(self.models.own, len(self.models.own), self.config.seed)
        first = {
            name: first_embeddings(asking.answers(name, model, asked), embed, SIZE)
            for name, model in {"source": self.models.source, **self._suspects()}.items()
        }
        source = first.pop("source")
        return {name: closeness(own, source) for name, own in first.items()}

    def _suspects(self) -> dict[str, LocalSuspect]:
        return {name: self.models.model(name) for name in self.models.shares}

    def _judged(self, answers: Mapping[str, Answers]) -> list[Judged]:
        near = {name: one.nearest for name, one in answers.items() if name != "source"}
        return judge_all(near, self.models.shares, self.config.band, self.models.kind.name)

    def _shadow(self, source: Answers, answers: Mapping[str, Answers]) -> dict[str, float]:
        """Scores of the statistical level, each model scored without its part of the models."""
        embed = embedding(self.config)
        reference = first_embeddings(source, embed, SIZE)
        vectors = {
            name: query_vectors(one, first_embeddings(one, embed, SIZE), reference)
            for name, one in answers.items()
        }
        known, innocent = (
            [name for name, share in self.models.shares.items() if bool(share) == kind]
            for kind in (True, False)
        )
        first, second = ([vectors[name] for name in names] for names in (known, innocent))
        found = find(second[0], first, second, ShadowConfig())
        return dict(zip([*known, *innocent], [*found.known, *found.innocent], strict=True))


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


def study_rows(studies: Sequence[Study], strategies: Sequence[str]) -> list[Row]:
    """All figures, for every source and for all of them together.

    Parameters
    ----------
    studies : sequence of Study
        One for each source.
    strategies : sequence of str
        Of ``STRATEGIES``. One that gives too few key samples is left out, with a line of text.
    """
    config, share = studies[0].config, ShadowConfig().false_positives
    rows: list[Row] = []
    for keys in strategies:
        found: dict[str, Finding] = {}
        for study in studies:
            try:
                found[study.models.kind.name] = study.finding(keys)
            except ConfigError as error:  # too few key samples
                say(f"{study.models.kind.name}, {keys}, is left out: {error}")
        groups = {POOLED: list(found.values())} if len(found) > 1 else {}
        groups |= {name: [one] for name, one in found.items()}
        for name, findings in groups.items():
            rows += finding_rows(name, findings, config.alpha, config.least_confidence, share)
    return rows


def _names(text: str, known: Sequence[str]) -> tuple[str, ...]:
    """Names that an option lists."""
    found = tuple(name for name in text.split(",") if name)
    if unknown := sorted(set(found) - set(known)):
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(known)}.")
    return found


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@command(
    app,
    "source-attribution",
    example="python -m siren_ext.experiments.source_attribution --out runs/source --quick",
)
def source_attribution(
    out: Annotated[Path, typer.Option("--out", help="Folder of the study.")],
    data: StudyImages = "samples",
    sources: Annotated[
        str, typer.Option("--sources", help="Some of the sources only; separated by commas.")
    ] = "",
    quick: Annotated[bool, typer.Option("--quick", help="One source, few models.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Many models, many hours.")] = False,
    choices: Annotated[
        int,
        typer.Option(
            "--choices", min=0, max=9, help="Compare ways of asking, on so many pairs of models."
        ),
    ] = 0,
    only: Annotated[
        str, typer.Option("--only", help=f"Of {', '.join(KINDS)}; separated by commas.")
    ] = ",".join(KINDS),
    csv: Annotated[Path | None, typer.Option("--csv", help="CSV table; by default in OUT.")] = None,
) -> None:
    """Train sources, infringing and innocent models, and measure who is found."""
    wanted = _names(only, KINDS)
    length, known = FULL if full else QUICK if quick else MIDDLE, open_set(data)
    if some := _names(sources, _ALL):
        length = replace(length, sources=some)
    if len(known) < length.needed:
        raise ConfigError(f"{data} has {len(known)} images; the study needs {length.needed}.")
    open_log(out, {"data": known.hash, "training": length.training})
    with watched(False) as progress:
        if choices:
            pairs = replace(length, each=choices, innocent=choices, shares=(1.0,))
            models = SourceModels(SOURCES["first"], known, out, pairs, progress, trial=True)
            rows = choice_rows(models, QUESTIONS, Study(models, QUESTIONS).asking)
            write_rows(rows, csv or out / "source_choices.csv")
            for row in rows:
                say(", ".join(f"{name} {value}" for name, value in row.items()))
            return
        studies = [
            Study(SourceModels(SOURCES[name], known, out, length, progress), QUESTIONS)
            for name in length.sources
        ]
        rows = study_rows(studies, [name for name in wanted if name in STRATEGIES])
        if PROVENANCE in wanted:
            close = {
                study.models.kind.name: (study.closeness(), study.models.shares)
                for study in studies
            }
            rows += provenance_rows(close, ShadowConfig().false_positives)
        for study in studies if WATERMARK in wanted else ():
            rows += watermark_rows(study.models, study.by_caption, ShadowConfig().false_positives)
    table = csv or out / "source_attribution.csv"
    write_rows(rows, table)
    plot_source(rows, table.with_suffix(".png"))
    for row in rows:
        say(told(row))


if __name__ == "__main__":
    app()
