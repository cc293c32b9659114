"""Owners: how often is an innocent model accused, over many owners who share nothing?

Every owner has a small set of images, a key, and a coater fitted to the set. An innocent model is
trained on the owner's *uncoated* images, the images most like the coated ones. It is tested with
the owner's key in both ways: by pictures that it generates, and by its file. As no two owners share
images, keys or coaters, their p-values are independent, unlike those of many models of one owner
(``panel``). With ``--guilty`` every owner also has a model of the coated images.

A stopped study is resumed; several processes may share a folder, each with its own ``--shard``.
Stage ``table`` writes ``owners.csv`` and prints the shares.

Example::

    python -m siren_ext.experiments.owners --sets photos_by_class --out runs/owners
"""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from msgspec import Meta

from siren_ext.cli.common import say, watched
from siren_ext.config import Config
from siren_ext.data.dataset import ImageSet
from siren_ext.devices import pick_device
from siren_ext.documents import read_json
from siren_ext.errors import ConfigError, SirenError
from siren_ext.experiments.layout import open_log
from siren_ext.experiments.options import shard_of
from siren_ext.experiments.pages import table as page_table
from siren_ext.experiments.panel_roster import find_sets
from siren_ext.experiments.rows import write_rows
from siren_ext.experiments.study import DetectionConfig, experiment_key, study_prompts
from siren_ext.files import write_json
from siren_ext.progress import Named, Progress
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.keyed import keyed_test
from siren_ext.stats.shares import exact_interval
from siren_ext.suspects.base import PromptPlan
from siren_ext.workflows.experiment_run import ExperimentModel

KINDS = ("innocent", "guilty")
EVIDENCE = ("pictures", "file")
ALPHAS = (0.05, 0.01, 0.001, 1e-6)


@dataclasses.dataclass(frozen=True)
class OwnersConfig(Config):
    """How large the study is.

    Attributes
    ----------
    owners : int
        Largest number of owners.
    images : int
        Images of each.
    pictures : int
        Pictures that each model generates.
    steps : int
        Training steps of each model, and of the surrogate that the coater is fitted to.
    seed : int
        Seed of the whole study.
    """

    owners: Annotated[int, Meta(ge=1, le=100_000)] = 300
    images: Annotated[int, Meta(ge=8, le=10_000)] = 20
    pictures: Annotated[int, Meta(ge=1, le=10_000)] = 50
    steps: Annotated[int, Meta(ge=1, le=100_000)] = 200
    seed: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


@dataclasses.dataclass(frozen=True)
class Owner:
    """One owner.

    Attributes
    ----------
    number : int
        Counted from 0; determines all seeds.
    data : ImageSet
        The clean images.
    """

    number: int
    data: ImageSet

    @property
    def name(self) -> str:
        """Name of the files."""
        return f"owner_{self.number:03d}"


def divide(sets: Mapping[str, ImageSet], config: OwnersConfig) -> list[Owner]:
    """Divide sets of images among owners; no image goes to two of them.

    Parameters
    ----------
    sets : Mapping[str, ImageSet]
        Sets by name; each is about one thing.
    config : OwnersConfig
        Number of owners and of images of each.

    Returns
    -------
    list[Owner]
        Taken from all sets in turn, so that few owners have images of the same kind.

    Raises
    ------
    ConfigError
        No set is large enough.
    """
    shares: list[list[ImageSet]] = []
    for place, (name, data) in enumerate(sets.items()):
        order = np.random.default_rng((config.seed, 1, place)).permutation(len(data))
        parts = [
            dataclasses.replace(
                data, name=name, items=tuple(data.items[row] for row in sorted(rows.tolist()))
            )
            for rows in np.split(order, range(config.images, len(order), config.images))
            if len(rows) == config.images
        ]
        shares.append(parts)
    mixed = [data for turn in itertools.zip_longest(*shares) for data in turn if data is not None]
    if not mixed:
        raise ConfigError(
            f"None of the {len(sets)} sets has {config.images} images; expected a folder with a "
            "folder per set. Lower images, or give larger sets."
        )
    return [Owner(number, data) for number, data in enumerate(mixed[: config.owners])]


@dataclasses.dataclass(frozen=True)
class OwnersStudy:
    """Everything that the models of the study need.

    Attributes
    ----------
    base : str
        The base model.
    config : OwnersConfig
        Sizes and seed.
    out : Path
        The folder.
    device : str
        auto or a torch device name.
    progress : Progress
        Receives every step; may cancel.
    """

    base: str
    config: OwnersConfig
    out: Path
    device: str
    progress: Progress

    def result(self, owner: Owner, kind: str) -> Path:
        """The file of a model's figures; it exists once the model is finished."""
        return self.out / "results" / f"{owner.name}.{kind}.json"

    def run(self, owner: Owner, kinds: tuple[str, ...]) -> None:
        """Fit the owner's coater, and make and test the models that are missing.

        Parameters
        ----------
        owner : Owner
            The owner.
        kinds : tuple[str, ...]
            Of :data:`KINDS`.

        Raises
        ------
        Cancelled
            The user stopped; the same call resumes.
        """
        from siren_ext.coater.coater import Coater

        missing = [kind for kind in kinds if not self.result(owner, kind).is_file()]
        if not missing:
            return
        work = self.out / "work" / owner.name
        progress = Named(self.progress, owner.name)
        file = work / "coater.safetensors"
        if not file.is_file():
            self._fit(owner, file, progress)
        coater = Coater.load(file, device=pick_device(self.device))
        for kind in missing:
            figures = self._figures(owner, kind, coater, work, progress)
            self.result(owner, kind).parent.mkdir(parents=True, exist_ok=True)
            write_json(self.result(owner, kind), figures)
        shutil.rmtree(work)

    def _fit(self, owner: Owner, file: Path, progress: Progress) -> None:
        """What ``siren-ext train --preset keyed`` does, with a surrogate of few steps."""
        from siren_ext.coater.config import CoaterConfig
        from siren_ext.training.config import TrainConfig
        from siren_ext.training.recipes import surrogate_settings, train_for_base

        word = owner.data.name
        seeds = {"steps": self.config.steps, "seed": self._seed(owner, 0)}
        train_for_base(
            owner.data,
            self.base,
            word,
            file,
            TrainConfig.preset("keyed", seed=self._seed(owner, 1)),
            surrogate=surrogate_settings("keyed", owner.data, word, **seeds),
            coater=CoaterConfig.preset("keyed"),
            device=self.device,
            progress=progress,
        )

    def _figures(
        self, owner: Owner, kind: str, coater: Any, work: Path, progress: Progress
    ) -> dict[str, Any]:
        """Train and test one model."""
        from siren_ext.coating.folder import coat_folder
        from siren_ext.training.recipes import surrogate_settings

        key = experiment_key(self._seed(owner, 9), coater.config.message_bits)
        data = owner.data
        if kind == "guilty":
            coat_folder(owner.data, coater, work / "coated", key=key, progress=progress)
            data = ImageSet.open(work / "coated")
        place = 2 + 2 * KINDS.index(kind)
        seeds = {"steps": self.config.steps, "seed": self._seed(owner, place)}
        model = ExperimentModel(
            base=self.base,
            plan=PromptPlan(
                prompts=study_prompts(owner.data, owner.data.name, DetectionConfig()),
                count=self.config.pictures,
                seed=1_000 * self._seed(owner, place),
                steps=DetectionConfig().sampling_steps,
                guidance=DetectionConfig().guidance,
            ),
            images=work / f"{kind}_pictures",
            training=surrogate_settings("keyed", owner.data, owner.data.name, **seeds),
            adapter=work / f"{kind}.safetensors",
            device=self.device,
        )
        model.train(data, progress)
        model.generate(progress)
        shown = model.score(coater, work / f"{kind}_scores.json", progress)
        found = self._file_evidence(owner, model, coater, progress)
        known = {"owner": owner.number, "set": owner.data.name, "kind": kind}
        return known | {
            name: keyed_test(scores.features, key.signs()).p_value
            for name, scores in zip(EVIDENCE, (shown, found), strict=True)
            if scores.features is not None
        }

    def _file_evidence(
        self, owner: Owner, model: ExperimentModel, coater: Any, progress: Progress
    ) -> ScoreSet:
        """What the model's file shows, without a control."""
        import torch

        from siren_ext.preference.measure import measure_preference
        from siren_ext.suspects.local import LocalSuspect

        suspect = LocalSuspect(self.base, model.adapter, device=self.device, dtype=torch.float32)
        return measure_preference(suspect, owner.data, coater, progress=progress)

    def _seed(self, owner: Owner, use: int) -> int:
        """A seed of its own for each owner and use."""
        return 10 * (100_000 * self.config.seed + owner.number) + use

    def rows(self, owners: list[Owner]) -> list[dict[str, Any]]:
        """The figures of all finished models."""
        return [
            read_json(self.result(owner, kind), error=SirenError)
            for kind in KINDS
            for owner in owners
            if self.result(owner, kind).is_file()
        ]


def shares(rows: list[dict[str, Any]]) -> list[str]:
    """A table of the shares of models below each alpha, with exact 95 % intervals.

    Parameters
    ----------
    rows : list[dict]
        Of :meth:`OwnersStudy.rows`.

    Returns
    -------
    list[str]
        Lines of Markdown.
    """
    lines = []
    for kind, evidence in itertools.product(KINDS, EVIDENCE):
        values = np.array([row[evidence] for row in rows if row["kind"] == kind])
        if not len(values):
            continue
        cells = []
        for alpha in ALPHAS:
            below = int((values <= alpha).sum())
            low, high = exact_interval(below, len(values))
            share = below / len(values)
            cells.append(f"{below}: {100 * share:.1f} % ({100 * low:.1f} to {100 * high:.1f})")
        lines.append([f"{kind} ({len(values)})", evidence, *cells])
    head = ["models", "evidence", *(f"p <= {alpha:g}" for alpha in ALPHAS)]
    return page_table(head, lines).splitlines()


app = typer.Typer(add_completion=False)


@app.command()
def owners(
    sets: Annotated[Path, typer.Option("--sets", help="Folder with a folder of images per set.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the study.")],
    base: Annotated[str, typer.Option("--base", help="Base model.")] = "pocket",
    count: Annotated[int, typer.Option("--owners", help="Largest number of owners.")] = 300,
    images: Annotated[int, typer.Option("--images", help="Images of each owner.")] = 20,
    pictures: Annotated[int, typer.Option("--pictures", help="Pictures per model.")] = 50,
    steps: Annotated[int, typer.Option("--steps", help="Training steps per model.")] = 200,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the study.")] = 0,
    guilty: Annotated[
        int, typer.Option("--guilty", help="So many owners also have a guilty model.")
    ] = 0,
    stage: Annotated[str, typer.Option("--stage", help="run or table.")] = "run",
    shard: Annotated[str, typer.Option("--shard", help="Part I of N, as I/N from 0/N.")] = "0/1",
    table: Annotated[
        Path | None, typer.Option("--table", help="CSV table; by default in the folder.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="Where to run.")] = "auto",
) -> None:
    """Count false accusations over owners with their own images, keys and coaters."""
    if stage not in ("run", "table"):
        raise typer.BadParameter(f"--stage is {stage!r}; expected run or table.")
    config = OwnersConfig(count, images, pictures, steps, seed)
    found = find_sets(sets, at_most=100_000, largest=0)
    listed = divide(found, config)
    hashes = {name: data.hash for name, data in found.items()}
    settings = {name: value for name, value in config.to_dict().items() if name != "owners"}
    open_log(out, {"sets": hashes, "base": base, **settings})
    wanted = shard_of(listed, shard)
    with watched(False) as progress:
        study = OwnersStudy(base, config, out, device, progress)
        for owner in wanted if stage == "run" else []:
            study.run(owner, KINDS if owner.number < guilty else KINDS[:1])
    rows = study.rows(listed)
    if rows:
        write_rows(rows, table or out / "owners.csv")
    say(f"{len(rows)} models of {len(listed)} owners are finished.")
    for line in shares(rows):
        say(line)


if __name__ == "__main__":
    app()
