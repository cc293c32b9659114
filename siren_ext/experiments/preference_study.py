"""Preference evidence by what was done to the training set: shares, handling, weak training.

For each case and training seed a model is trained, and its preference for the owner's message is
measured alone, minus the base model, and minus a clean model of the owner's. A stopped study is
resumed; two processes may share a folder if ``--only`` keeps their cases apart.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from siren_ext.attacks.apply import Step, handle_folder
from siren_ext.cli.common import say, watched
from siren_ext.coater.bundled import coater_path
from siren_ext.coater.coater import Coater
from siren_ext.coating.folder import coat_folder
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import ConfigError
from siren_ext.experiments.layout import open_log
from siren_ext.experiments.panel_results import write_rows
from siren_ext.experiments.study import experiment_key, open_set
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.personalize.run import personalize
from siren_ext.preference.config import PreferenceConfig
from siren_ext.preference.measure import measure_preference
from siren_ext.progress import Named, Progress
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.keyed import contributions, keyed_test, whole_sums
from siren_ext.suspects.local import LocalSuspect

OTHER_KEYS = 1000
_HANDLING = (
    Step("crop"),  # to 75-100 % of each side
    Step("mirror"),
    Step("jpeg", {"quality": 85}),
)


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
    """

    name: str
    share: float
    steps: tuple[Step, ...] = ()
    training: tuple[tuple[str, Any], ...] = ()


CASES = (
    Case("clean", 0.0),
    Case("coated", 1.0),
    Case("share_20", 0.2),
    Case("share_10", 0.1),
    Case("crop", 1.0, _HANDLING[:1]),
    Case("handled", 1.0, _HANDLING),
    Case("weak", 1.0, (), (("rank", 8), ("alpha", 8.0), ("learning_rate", 1e-4), ("steps", 200))),
)
"""The cases of the study; "clean" also gives the control, with a seed of its own."""


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
    """

    data: ImageSet
    coater: Coater
    base: str
    steps: int
    out: Path
    config: PreferenceConfig
    progress: Progress

    @cached_property
    def coated(self) -> ImageSet:
        """The coated images, in the order of the originals."""
        key = experiment_key(0, self.coater.config.message_bits)
        folder = self.out / "coated"
        coat_folder(self.data, self.coater, folder, key=key, progress=self.progress)
        return ImageSet.open(folder)

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
        settings = {"steps": self.steps, "seed": 100 + seed} | dict(case.training)
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
        mixed = work / "mixed"
        mixed.mkdir(parents=True, exist_ok=True)
        pairs = zip(self.data.items, self.coated.items, strict=True)
        for row, (clean, coated) in enumerate(pairs):
            item = coated if row in chosen else clean
            target = mixed / f"{row:04d}{item.path.suffix}"
            shutil.copyfile(item.path, target)
            target.with_suffix(".txt").write_text(clean.caption or "", encoding="utf-8")
        images = ImageSet.open(mixed)
        if not case.steps:
            return images
        return handle_folder(images, work / "handled", case.steps, seed=seed)

    def measured(self, name: str, adapter: Path | None, control: str) -> ScoreSet:
        """The preference of a model, measured if its file does not exist.

        Parameters
        ----------
        name : str
            Names the file.
        adapter : Path | None
            The model's LoRA; None for the base model.
        control : {"none", "base", "clean"}
            What is subtracted.
        """
        path = self.out / "preference" / f"{name}.{control}.json"
        if path.is_file():
            return ScoreSet.load(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        clean = None
        if control != "none":
            own = self.adapter(CASES[0], 99) if control == "clean" else None
            clean = LocalSuspect(self.base, own)
        found = measure_preference(
            LocalSuspect(self.base, adapter),
            self.data,
            self.coater,
            self.config,
            control=clean,
            partial=path.with_suffix(".partial"),
            progress=Named(self.progress, name),
        )
        found.save(path)
        return found

    def row(self, case: Case, seed: int, control: str) -> dict[str, Any]:
        """The figures of one model and control.

        Parameters
        ----------
        case : Case
            What the model is trained on.
        seed : int
            Of its training.
        control : {"none", "base", "clean"}
            What is subtracted.
        """
        found = self.measured(f"{case.name}_{seed}", self.adapter(case, seed), control)
        message = experiment_key(0, self.coater.config.message_bits).signs()
        return {"case": case.name, "seed": seed, "control": control} | figures(found, message)


def figures(found: ScoreSet, message: Any) -> dict[str, Any]:
    """The owner's p, and how often other keys would be found.

    Parameters
    ----------
    found : ScoreSet
        A preference.
    message : array_like, shape (k,)
        The owner's signs.

    Returns
    -------
    dict
        ``p``; ``z``, the message's place in units of the spread of random messages; ``bits_right``;
        ``others_05`` and ``others_01``, the shares of 1,000 other keys with p up to .05 and .01.

    Raises
    ------
    ConfigError
        If the set has no features.
    """
    if found.features is None:
        raise ConfigError("The preference has no features; measure it again.")
    own = keyed_test(found.features, message)
    summed = whole_sums(contributions(found.features))
    rng = np.random.default_rng(1)
    others = [
        keyed_test(found.features, rng.integers(0, 2, len(summed)) * 2 - 1).p_value
        for _ in range(OTHER_KEYS)
    ]
    return {
        "p": own.p_value,
        "z": own.statistic / float(np.linalg.norm(summed)),
        "bits_right": own.bits_right,
        "others_05": float(np.mean(np.array(others) <= 0.05)),
        "others_01": float(np.mean(np.array(others) <= 0.01)),
    }


app = typer.Typer(add_completion=False)


@app.command()
def preference_study(
    data: Annotated[str, typer.Option("--data", help="samples, or a folder of images.")],
    coater: Annotated[Path, typer.Option("--coater", help="A keyed coater.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the study.")],
    base: Annotated[str, typer.Option("--base", help="Base model.")] = "pocket",
    steps: Annotated[int, typer.Option("--steps", help="Training steps per model.")] = 500,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Models per case.")] = 3,
    draws: Annotated[int, typer.Option("--draws", min=1, help="Noise levels per image.")] = 4,
    only: Annotated[str, typer.Option("--only", help="Cases, separated by commas.")] = "",
    table: Annotated[
        Path | None, typer.Option("--table", help="CSV table; by default in the folder.")
    ] = None,
) -> None:
    """Measure preference evidence on models of known training sets."""
    names = {case.name: case for case in CASES}
    wanted = [name for name in only.split(",") if name] or list(names)
    if unknown := [name for name in wanted if name not in names]:
        raise typer.BadParameter(f"{unknown[0]!r} is no case; expected {', '.join(names)}.")
    images = open_set(data)
    loaded = Coater.load(coater_path(coater))
    open_log(out, {"data": images.hash, "coater": loaded.fingerprint, "base": base, "steps": steps})
    rows: list[dict[str, Any]] = []
    with watched(False) as progress:
        config = PreferenceConfig(draws=draws)
        study = Study(images, loaded, base, steps, out, config, progress)
        for seed in range(seeds):
            for name in wanted:
                for control in ("none", "base", "clean"):
                    row = study.row(names[name], seed, control)
                    rows.append(row)
                    write_rows(rows, table or out / "preference.csv")
    for row in rows:
        say(
            f"{row['case']}, seed {row['seed']}, control {row['control']}: p = {row['p']:.2g}, "
            f"z = {row['z']:.1f}, {row['bits_right']} bits right; other keys below .05 and .01: "
            f"{100 * row['others_05']:.1f} %, {100 * row['others_01']:.1f} %"
        )


if __name__ == "__main__":
    app()
