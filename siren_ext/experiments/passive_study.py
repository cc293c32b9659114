"""Passive evidence on models of known training sets: how often are innocent ones accused?

Stage ``measure`` trains every model and measures its features, stage ``test`` compares published
with unpublished images on the stored tables, by number of images and share of them that was used.
A stopped study is resumed; several processes can share a folder (``--shard 0/4``, ``--only``).
"""

from __future__ import annotations

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import Annotated

import torch
import typer

from siren_ext.cli.common import say, watched
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import ConfigError
from siren_ext.experiments.layout import cached_value, open_log
from siren_ext.experiments.options import shard_of
from siren_ext.experiments.passive_results import (
    Row,
    evaluate,
    plot_power,
    single_images,
    summarise,
)
from siren_ext.experiments.passive_roster import (
    PassiveStudyConfig,
    Suspect,
    pool_rows,
    roster,
)
from siren_ext.experiments.passive_tables import markdown
from siren_ext.experiments.rows import write_rows
from siren_ext.experiments.study import open_set
from siren_ext.files import locked, sha256_file
from siren_ext.passive.config import PassiveConfig
from siren_ext.passive.features import measure_features
from siren_ext.passive.table import FeatureTable
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.personalize.run import personalize
from siren_ext.progress import Named, Progress
from siren_ext.suspects.local import LocalSuspect

FEATURES = "all"
STAGES = ("plan", "measure", "test")
_PROMPT = "an image"


@dataclasses.dataclass(frozen=True)
class PassiveStudy:
    """Everything that the models of the study need.

    Attributes
    ----------
    sets : tuple[ImageSet, ...]
        The sets of images.
    base : str
        The base model.
    config : PassiveStudyConfig
        Size and seed.
    features : PassiveConfig
        What is measured.
    out : Path
        The folder.
    keep : bool
        Whether adapters are kept.
    device : str
        auto or a torch device name.
    progress : Progress
        Receives every step; may cancel.
    """

    sets: tuple[ImageSet, ...]
    base: str
    config: PassiveStudyConfig
    features: PassiveConfig
    out: Path
    keep: bool
    device: str
    progress: Progress

    @cached_property
    def pools(self) -> tuple[ImageSet, ...]:
        """The images of each set that take part."""
        return tuple(
            dataclasses.replace(
                data,
                items=tuple(data.items[row] for row in pool_rows(len(data), number, self.config)),
            )
            for number, data in enumerate(self.sets)
        )

    @cached_property
    def models(self) -> list[Suspect]:
        """All models; raises :class:`ConfigError` if a set is too small."""
        named = {f"{number} ({pool.name})": len(pool) for number, pool in enumerate(self.pools)}
        return roster(self.config, named)

    def table(self, model: Suspect) -> Path:
        """The file of a model's features; it exists once the model is finished."""
        return self.out / "tables" / f"{model.name}.json"

    def measure(self, model: Suspect) -> None:
        """Train a model and measure its features, unless it is finished.

        Parameters
        ----------
        model : Suspect
            One of the study.

        Raises
        ------
        ConfigError
            If another process works on it.
        Cancelled
            If the user stopped; the same call resumes.
        """
        path = self.table(model)
        if path.is_file():
            return
        progress = Named(self.progress, model.name)
        with locked(path):
            adapter, trained = self._adapter(model, progress)
            found = measure_features(
                LocalSuspect(self.base, adapter, device=self.device, dtype=torch.float32),
                self.pools[model.asked],
                self.features,
                partial=path.with_suffix(".partial"),
                progress=progress,
            )
            record = model.facts() | {"trained": trained}
            dataclasses.replace(found, source=found.source | {"study": record}).save(path)
        if adapter is not None and not self.keep:
            adapter.unlink()

    def _adapter(self, model: Suspect, progress: Progress) -> tuple[Path | None, list[str]]:
        """The LoRA of a model, and the SHA-256 of its training images."""
        if model.kind == "base":
            return None, []
        pool = self.pools[model.taught]
        items = tuple(pool.items[row] for row in model.chosen(len(pool), self.config))
        bare = any(not (item.caption or item.class_words) for item in items)
        settings = PersonalizeConfig(
            steps=model.steps,
            rank=model.rank,
            alpha=float(model.rank),
            conv_rank=model.rank // 2,
            conv_alpha=model.rank / 2,
            learning_rate=self.config.learning_rate,
            prompt=_PROMPT if bare else None,
            seed=10_000 * (1 + self.config.seed) + model.place,
        )
        path = self.out / "adapters" / f"{model.name}.safetensors"
        images = dataclasses.replace(pool, items=items)
        personalize(images, self.base, settings, path, device=self.device, progress=progress)
        return path, [sha256_file(item.path) for item in items]

    def tables(self) -> dict[str, FeatureTable]:
        """The stored tables of guilty and innocent models by name, minus those of the base.

        Models that are not finished are left out.

        Raises
        ------
        ConfigError
            If no model is finished, or a base model is not.
        """
        ready = [model for model in self.models if self.table(model).is_file()]
        base = {model.asked: self._load(model) for model in ready if model.kind == "base"}
        found = [model for model in ready if model.kind != "base"]
        if not found or any(model.asked not in base for model in found):
            raise ConfigError(
                f"Of {len(self.models)} models, {len(ready)} are finished; expected the base model "
                "of each set and at least one other. Run the stage 'measure' first."
            )
        return {model.name: self._load(model).minus(base[model.asked]) for model in found}

    def _load(self, model: Suspect) -> FeatureTable:
        return FeatureTable.load(self.table(model))

    def test(self, name: str, table: FeatureTable, draws: int) -> list[Row]:
        """The rows of a model's tests, made once.

        Parameters
        ----------
        name : str
            Of the model.
        table : FeatureTable
            Its features with differences.
        draws : int
            Random choices of images per number and share.
        """
        rows: list[Row] = cached_value(
            self.out / "tests" / f"{name}.json",
            [draws, self.config.seed, table.to_dict()],
            lambda: evaluate(name, table, draws=draws, seed=self.config.seed),
        )
        return rows

    def report(self, rows: list[Row], tables: dict[str, FeatureTable]) -> list[str]:
        """Write the tables and the picture of the study into its folder.

        Returns
        -------
        list[str]
            The main tables as lines of Markdown.
        """
        summary = summarise(rows)
        write_rows(rows, self.out / "passive_tests.csv")
        write_rows(summary, self.out / "passive_rates.csv")
        single = single_images(tables)
        write_rows(single, self.out / "passive_single_images.csv")
        plot_power(summary, self.out / "passive_power.png")
        sets = {model.name: self.sets[model.asked].name for model in self.models}
        return markdown(rows, single, sets)


def selected(models: list[Suspect], only: str, shard: str) -> list[Suspect]:
    """The models that this process works on.

    Parameters
    ----------
    models : list[Suspect]
        All of them.
    only : str
        Kinds or names, separated by commas; empty for all.
    shard : str
        ``i/n`` for every n-th model from the i-th on, counted from 0.

    Raises
    ------
    BadParameter
        If a name is unknown or the shard is none.
    """
    names = [name for name in only.split(",") if name]
    known = {model.name for model in models} | {model.kind for model in models}
    if unknown := [name for name in names if name not in known]:
        raise typer.BadParameter(f"{unknown[0]!r} is neither a model nor a kind of models.")
    chosen = [model for model in models if not names or {model.name, model.kind} & {*names}]
    return shard_of(chosen, shard)


app = typer.Typer(add_completion=False)


@app.command()
def passive_study(
    out: Annotated[Path, typer.Option("--out", help="Folder of the study.")],
    stage: Annotated[str, typer.Option("--stage", help="plan, measure, test.")] = "measure",
    data: Annotated[
        list[str] | None, typer.Option("--data", help="samples, or a folder; several are allowed.")
    ] = None,
    base: Annotated[str, typer.Option("--base", help="Base model.")] = "pocket",
    guilty: Annotated[int, typer.Option("--guilty", help="Guilty models.")] = 24,
    innocent: Annotated[int, typer.Option("--innocent", help="Innocent models.")] = 48,
    pool: Annotated[int, typer.Option("--pool", help="Images per set.")] = 440,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the study.")] = 0,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images measured at once.")] = 8,
    only: Annotated[str, typer.Option("--only", help="Kinds or names of models.")] = "",
    shard: Annotated[str, typer.Option("--shard", help="Part of the models, i/n.")] = "0/1",
    draws: Annotated[
        int, typer.Option("--draws", min=1, help="Tests per model, number and share of images.")
    ] = 2,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the adapters.")] = False,
    device: Annotated[str, typer.Option("--device", help="Where to run.")] = "auto",
) -> None:
    """Measure passive evidence on models of known training sets."""
    if stage not in STAGES:
        raise typer.BadParameter(f"--stage is {stage!r}; expected {' or '.join(STAGES)}.")
    sets = tuple(open_set(name) for name in data or ["samples"])
    config = PassiveStudyConfig(guilty=guilty, innocent=innocent, pool=pool, seed=seed)
    features = PassiveConfig.from_dict({"features": FEATURES, "batch_size": batch})
    identity = {"data": [each.hash for each in sets], "base": base, **config.to_dict()}
    with watched(False) as progress:
        study = PassiveStudy(sets, base, config, features, out, keep, device, progress)
        wanted = selected(study.models, only, shard)
        open_log(out, identity)
        if stage == "test":
            tables = study.tables()
            rows: list[Row] = []
            progress.stage("Testing", len(wanted))
            for model in wanted:
                if model.name in tables:
                    rows += study.test(model.name, tables[model.name], draws)
                progress.advance(note=model.name)
            for line in study.report(rows, tables):
                say(line)
            return
        for model in wanted:
            if stage == "measure":
                study.measure(model)
            done = "finished" if study.table(model).is_file() else "to do"
            say(
                f"{model.name}: asked about set {model.asked}, trained on {model.images} images of "
                f"set {model.taught} for {model.steps} steps, rank {model.rank}: {done}"
            )


if __name__ == "__main__":
    app()
