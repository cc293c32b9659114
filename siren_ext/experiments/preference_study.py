"""Preference evidence by what was done to the training set: shares, handling, weak training.

For each case and training seed a model is trained, and what it has learnt of the owner's message is
measured alone, minus one clean model of the owner's, and minus the mean of three. Models that were
trained on other images (``--innocent``) are measured as well. A stopped study is resumed. Several
processes may share a folder: after ``--stage coat``, give each its own ``--shard``, first for
``--stage train``, then for ``--stage measure``; ``--stage table`` writes the table.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from siren_ext.adapters.files import adapter_hash
from siren_ext.attacks.apply import Step, handle_folder
from siren_ext.cli.common import say, watched
from siren_ext.coater.bundled import coater_path
from siren_ext.coater.coater import Coater
from siren_ext.data.dataset import ImageSet
from siren_ext.experiments.handled_change import HANDLING
from siren_ext.experiments.layout import open_log
from siren_ext.experiments.options import shard_of
from siren_ext.experiments.preference_tables import figures, markdown
from siren_ext.experiments.rows import write_rows
from siren_ext.experiments.study import coated_set, experiment_key, numbered_set, open_set
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.personalize.run import personalize
from siren_ext.preference.config import PreferenceConfig
from siren_ext.preference.measure import measure_preference
from siren_ext.progress import Named, Progress
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.suspects.local import LocalSuspect

WEAK = (("rank", 8), ("alpha", 8.0), ("learning_rate", 1e-4))
"""Weak training, of any number of steps."""


@dataclass(frozen=True)
class Case:
    """What a model is trained on.

    Attributes
    ----------
    name : str
        Names files and rows.
    share : float
        Share of the images that are coated, from 0 to 1; the rest are the clean originals.
    steps : tuple[Step, ...]
        What happens to all files before training.
    training : tuple[tuple[str, Any], ...]
        Settings of training that differ from the defaults.
    others : bool
        The rest are other people's images in place of clean originals.
    strength : float
        Of the coating.
    """

    name: str
    share: float
    steps: tuple[Step, ...] = ()
    training: tuple[tuple[str, Any], ...] = ()
    others: bool = False
    strength: float = 1.0


CASES = (
    Case("clean", 0.0),
    Case("coated", 1.0),
    Case("share_20", 0.2),
    Case("share_10", 0.1),
    Case("others_20", 0.2, others=True),
    Case("others_10", 0.1, others=True),
    Case("faint", 1.0, strength=0.6),  # as faint as docs/figures.md wishes
    Case("crop", 1.0, HANDLING[:1]),
    Case("handled", 1.0, HANDLING),
    *(
        Case(name, 1.0, training=(*WEAK, ("steps", steps)))
        for name, steps in (
            ("weak", 200),
            ("weak_400", 400),
            ("weak_800", 800),
            ("weak_2000", 2000),
        )
    ),
)
"""The cases of the study; "clean" also gives the controls, with seeds of their own."""
CONTROLS = {"none": (), "clean": (97,), "three cleans": (97, 98, 99)}
"""Seeds of the clean models whose mean is subtracted."""
READINGS = {"removed": True, "whole": False}
"""Compare fields with what the base model removes of the patterns, or with the whole patterns."""


@dataclass(frozen=True)
class Model:
    """A model of the study.

    Attributes
    ----------
    case : Case | None
        What it is trained on; None if it comes from elsewhere.
    seed : int
        Of its training.
    path : Path | None
        Its file, if it comes from elsewhere.
    """

    case: Case | None
    seed: int
    path: Path | None = None

    @property
    def name(self) -> str:
        """Names files and rows."""
        return f"{self.case.name}_{self.seed}" if self.case else f"other_{self.path_stem}"

    @property
    def path_stem(self) -> str:
        """The name of its file, without the ending."""
        return self.path.stem if self.path else ""


@dataclass(frozen=True)
class Study:
    """Everything that the models of a study need.

    Attributes
    ----------
    data : ImageSet
        The owner's clean images.
    coater : Coater
        A keyed coater.
    base : str
        The base model.
    steps : int
        Training steps of each model.
    out : Path
        The folder.
    config : PreferenceConfig
        How preference is measured.
    progress : Progress
        Receives every step; may cancel.
    others : ImageSet | None
        Other people's images, for the cases with such; None leaves these cases out.
    strangers : tuple[Path, ...]
        LoRAs of other people's images, which every measurement takes into account.
    """

    data: ImageSet
    coater: Coater
    base: str
    steps: int
    out: Path
    config: PreferenceConfig
    progress: Progress
    others: ImageSet | None = None
    strangers: tuple[Path, ...] = ()

    def coated(self, strength: float = 1.0) -> ImageSet:
        """The coated images, in the order of the originals.

        Parameters
        ----------
        strength : float
            Of the coating.
        """
        folder = self.out / ("coated" if strength == 1 else f"coated_{strength:g}")
        return coated_set(self.data, self.coater, folder, self.progress, strength=strength)

    def adapter(self, case: Case, seed: int) -> Path:
        """The LoRA of a case, trained if it does not exist.

        Parameters
        ----------
        case : Case
            What it is trained on.
        seed : int
            Seed of training, and of the choice and handling of images.
        """
        name = f"{case.name}_{seed}"
        path = self.out / "adapters" / f"{name}.safetensors"
        if path.is_file():
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        work = self.out / "work" / name
        settings: dict[str, Any] = {"steps": self.steps, "seed": 100 + seed, "precision": "float32"}
        settings |= dict(case.training)
        images = self._images(case, seed, work)
        config = PersonalizeConfig(**settings)
        personalize(images, self.base, config, path, progress=Named(self.progress, name))
        shutil.rmtree(work, ignore_errors=True)
        return path

    def _images(self, case: Case, seed: int, work: Path) -> ImageSet:
        """The training images: coated and clean ones mixed, then handled."""
        count = round(case.share * len(self.data))
        rng = np.random.default_rng((seed, 3))
        chosen = set(rng.permutation(len(self.data))[:count].tolist())
        pairs = zip(self.data.items, self.coated(case.strength).items, strict=True)
        used = [
            coated if row in chosen else clean
            for row, (clean, coated) in enumerate(pairs)
            if row in chosen or not case.others
        ]
        if case.others and self.others is not None:
            strangers = np.random.default_rng((seed, 4)).permutation(len(self.others))
            used += [self.others.items[row] for row in strangers[: len(self.data) - count]]
        images = numbered_set(used, work / "mixed")
        if not case.steps:
            return images
        return handle_folder(images, work / "handled", case.steps, seed=seed)

    def models(self, wanted: list[str], seeds: int, innocent: Path | None) -> list[Model]:
        """All models to measure: those of the wanted cases, then those of other images.

        Parameters
        ----------
        wanted : list[str]
            Names of cases.
        seeds : int
            Models per case.
        innocent : Path | None
            Folder of adapters that were trained on other images.
        """
        cases = [case for case in CASES if case.name in wanted]
        cases = [case for case in cases if self.others is not None or not case.others]
        own = [Model(case, seed) for seed in range(seeds) for case in cases]
        foreign = sorted(innocent.glob("*.safetensors")) if innocent else []
        return own + [Model(None, 0, path) for path in foreign]

    def measured(self, model: Model, control: str, reading: str) -> ScoreSet:
        """What a model has learnt, measured unless there is a measurement of it and the settings.

        Parameters
        ----------
        model : Model
            The model.
        control, reading : str
            Names in :data:`CONTROLS` and :data:`READINGS`.
        """
        seen = "".join(sorted(adapter_hash(one) for one in self.strangers))
        strangers = f".{hashlib.sha256(seen.encode()).hexdigest()[:8]}" if seen else ""
        asked = f"{control.replace(' ', '_')}{strangers}.{reading}"
        path = self.out / "preference" / f"{model.name}.{asked}.json"
        whole = READINGS[reading]
        config = replace(self.config, removed=whole, whole=whole)
        if path.is_file() and _suits(kept := ScoreSet.load(path), config, model):
            return kept
        path.parent.mkdir(parents=True, exist_ok=True)
        adapter = model.path or self.adapter(model.case or CASES[0], model.seed)
        cleans = [self.adapter(CASES[0], seed) for seed in CONTROLS[control]]
        found = measure_preference(
            self._suspect(adapter),
            self.data,
            self.coater,
            config,
            controls=[self._suspect(clean) for clean in cleans],
            others=[self._suspect(stranger) for stranger in self.strangers],
            partial=path.with_suffix(".partial"),
            progress=Named(self.progress, model.name),
        )
        found.save(path)
        return found

    def _suspect(self, adapter: Path) -> LocalSuspect:
        return LocalSuspect(self.base, adapter, dtype=torch.float32)

    def row(
        self, model: Model, control: str, reading: str, weights: Sequence[float] = ()
    ) -> dict[str, Any]:
        """The figures of one model and control.

        Parameters
        ----------
        model : Model
            The model.
        control, reading : str
            Names in :data:`CONTROLS` and :data:`READINGS`.
        """
        found = self.measured(model, control, reading)
        key = experiment_key(0, self.coater.config.message_bits)
        kind = model.case.name if model.case else "other images"
        known = {"case": kind, "model": model.name, "seed": model.seed, "control": control}
        known |= {"strangers": len(self.strangers), "reading": reading}
        return known | figures(found, self.coater, key.signs(), weights)


def _suits(kept: ScoreSet, config: PreferenceConfig, model: Model) -> bool:
    """Whether a measurement is of these settings, and of this file if the study did not make it."""
    made: dict[str, Any] = dict(kept.source.get("settings") or {})  # type: ignore[call-overload]
    wanted = config.to_dict()
    if {name: made.get(name, value) for name, value in wanted.items()} != wanted:
        return False
    provenance: Any = kept.source.get("provenance")
    own = provenance["suspect"]["adapters"]
    return model.path is None or [one["hash"] for one in own] == [adapter_hash(model.path)]


STAGES = ("coat", "train", "measure", "table")
app = typer.Typer(add_completion=False)


def _known(text: str, names: Iterable[str], what: str) -> list[str]:
    """Names that an option lists."""
    wanted = [name for name in text.split(",") if name]
    if unknown := [name for name in wanted if name not in names]:
        raise typer.BadParameter(f"{unknown[0]!r} is no {what}; expected {', '.join(names)}.")
    return wanted


@app.command()
def preference_study(
    data: Annotated[str, typer.Option("--data", help="samples, or a folder of images.")],
    coater: Annotated[Path, typer.Option("--coater", help="A keyed coater.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the study.")],
    base: Annotated[str, typer.Option("--base", help="Base model.")] = "pocket",
    others: Annotated[
        Path | None, typer.Option("--others", help="Folder of other people's images.")
    ] = None,
    innocent: Annotated[
        Path | None, typer.Option("--innocent", help="Folder of LoRAs of other images.")
    ] = None,
    strangers: Annotated[
        Path | None,
        typer.Option("--strangers", help="Folder of LoRAs of other images, used in the reading."),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", help="Training steps per model.")] = 500,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Models per case.")] = 3,
    draws: Annotated[int, typer.Option("--draws", min=1, help="Noise levels per image.")] = 4,
    only: Annotated[str, typer.Option("--only", help="Cases, separated by commas.")] = "",
    controls: Annotated[
        str, typer.Option("--controls", help=f"Of {', '.join(CONTROLS)}; separated by commas.")
    ] = ",".join(CONTROLS),
    readings: Annotated[
        str, typer.Option("--readings", help=f"Of {', '.join(READINGS)}; separated by commas.")
    ] = "removed",
    stage: Annotated[
        str, typer.Option("--stage", help="coat, train, measure, table, or all of them.")
    ] = "all",
    shard: Annotated[str, typer.Option("--shard", help="Part I of N, as I/N from 0/N.")] = "0/1",
    weights: Annotated[
        str,
        typer.Option("--weights", help="Weights of bits to compare, such as 0,0.5,1 (seconds)."),
    ] = "",
    table: Annotated[
        Path | None, typer.Option("--table", help="CSV table; by default in the folder.")
    ] = None,
) -> None:
    """Measure preference evidence on models of known training sets."""
    names = [case.name for case in CASES]
    wanted = _known(only, names, "case") or names
    compared = _known(controls, CONTROLS, "control"), _known(readings, READINGS, "reading")
    if stage not in (*STAGES, "all"):
        raise typer.BadParameter(f"{stage!r} is no stage; expected {', '.join(STAGES)} or all.")
    try:
        tried = [float(one) for one in weights.split(",") if one]
    except ValueError as error:
        raise typer.BadParameter(f"{weights!r} is no list of numbers.") from error
    images = open_set(data)
    loaded = Coater.load(coater_path(coater))
    foreign = ImageSet.open(others) if others else None
    identity = {"data": images.hash, "coater": loaded.fingerprint, "base": base, "steps": steps}
    open_log(out, identity | ({"others": foreign.hash} if foreign else {}))
    with watched(False) as progress:
        known = tuple(sorted(strangers.glob("*.safetensors"))) if strangers else ()
        config = PreferenceConfig(draws=draws)
        study = Study(images, loaded, base, steps, out, config, progress, foreign, known)
        models = study.models(wanted, seeds, innocent)
        if stage == "coat":
            # clean models are made from the set at full strength, which all shards need
            for strength in {1.0, *(case.strength for case in CASES if case.name in wanted)}:
                study.coated(strength)
        if stage in ("train", "all"):
            needed = dict.fromkeys(seed for name in compared[0] for seed in CONTROLS[name])
            clean = [Model(CASES[0], seed) for seed in needed]
            for model in shard_of(clean + [model for model in models if model.case], shard):
                study.adapter(model.case or CASES[0], model.seed)
        if stage in ("measure", "all"):
            for asked in shard_of(list(product(models, *compared)), shard):
                study.measured(*asked)
        if stage in ("table", "all"):
            rows = [study.row(*asked, tried) for asked in product(models, *compared)]
            write_rows(rows, table or out / "preference.csv")
            for line in markdown(rows):
                say(line)


if __name__ == "__main__":
    app()
