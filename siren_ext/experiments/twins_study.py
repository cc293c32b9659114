"""Twins by the share of published copies in the training set: how often is a model found?

A set is coated in twins, models are trained on sets of which a share are published copies and the
rest the clean originals, and every model is asked which side the coins chose: alone, and without
what the base model or a clean one predicts. Innocent models are trained on the originals, on the
kept twins, or on copies with the same coating and patterns of another secret. A stopped study is
resumed; several processes may share a folder if ``--only`` keeps their cases apart.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from siren_ext.cli.common import say, watched
from siren_ext.coater.bundled import coater_path
from siren_ext.coater.coater import Coater
from siren_ext.coating.manifest import MANIFEST_NAME, CoatManifest
from siren_ext.coating.quality import measure_files
from siren_ext.coating.twin_patterns import CELLS, PATTERN_PSNR
from siren_ext.coating.twins import coat_twins
from siren_ext.data.dataset import ImageSet
from siren_ext.devices import pick_device
from siren_ext.experiments.layout import cached_value, open_log
from siren_ext.experiments.pages import table, write_between
from siren_ext.experiments.preference_study import WEAK
from siren_ext.experiments.rows import write_rows
from siren_ext.experiments.study import experiment_key, numbered_set, open_set
from siren_ext.files import sha256_file
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.personalize.run import personalize
from siren_ext.preference.twins import TwinFolders, measure_twins
from siren_ext.preference.twins_config import TwinsConfig
from siren_ext.progress import Named, Progress
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.coins import coins_test, strengths
from siren_ext.stats.keyed_bounds import share_of_messages, whole_distribution
from siren_ext.suspects.local import LocalSuspect

OTHER_COINS = 1000


@dataclass(frozen=True)
class Case:
    """What a model is trained on.

    Attributes
    ----------
    name : str
        Names files and rows.
    share : float
        Share of the images that are copies, from 0 to 1; the rest are the clean originals.
    copies : str
        The copies: ``published``, ``twins``, or ``others`` for those of another secret.
    training : tuple[tuple[str, Any], ...]
        Settings of training that differ from the defaults.
    """

    name: str
    share: float
    copies: str = "published"
    training: tuple[tuple[str, Any], ...] = ()


_CONTROL = Case("clean", 0.0)
CASES = (
    Case("share_100", 1.0),
    Case("share_50", 0.5),
    Case("share_20", 0.2),
    Case("share_10", 0.1),
    Case("weak", 1.0, training=(*WEAK, ("steps", 200))),
    _CONTROL,
    Case("others", 1.0, "others"),
    Case("twins", 1.0, "twins"),
)
"""The cases of the study. ``twins`` has all images on the wrong side: its p must be near 1."""


@dataclass(frozen=True)
class Study:
    """Everything that the models of a study need.

    Attributes
    ----------
    data : ImageSet
        The owner's clean images.
    coater : Coater
        Any coater; a keyed one writes one message into all copies.
    base : str
        The base model.
    out : Path
        The folder.
    training : PersonalizeConfig
        How models are trained, apart from their seeds.
    config : TwinsConfig
        How twins are compared.
    cells, psnr : int, float
        Of the patterns.
    device : str
        Where models run.
    progress : Progress
        Receives every step; may cancel.
    """

    data: ImageSet
    coater: Coater
    base: str
    out: Path
    training: PersonalizeConfig
    config: TwinsConfig
    cells: int
    psnr: float
    device: str
    progress: Progress

    def folders(self, name: str = "") -> TwinFolders:
        """Twins of the images, coated if they are not.

        Parameters
        ----------
        name : str
            Empty for the owner's twins; another name for those of another secret.
        """
        found = TwinFolders(self.out / f"published{name}", self.out / f"twins{name}")
        bits = self.coater.config.message_bits
        coat_twins(
            self.data,
            self.coater,
            found.published,
            found.twins,
            key=experiment_key(0, bits) if bits else None,
            cells=self.cells,
            psnr=self.psnr,
            progress=self.progress,
        )
        return found

    @cached_property
    def owners(self) -> TwinFolders:
        """The owner's twins."""
        return self.folders()

    @cached_property
    def others(self) -> TwinFolders:
        """Twins of another secret."""
        return self.folders("_others")

    def adapter(self, case: Case, seed: int) -> Path:
        """The LoRA of a case, trained if it does not exist.

        Parameters
        ----------
        case : Case
            What it is trained on.
        seed : int
            Seed of training, and of the choice of images.
        """
        name = f"{case.name}_{seed}"
        path = self.out / "adapters" / f"{name}.safetensors"
        if path.is_file():
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        work = self.out / "work" / name
        changes = {"seed": 100 + seed} | dict(case.training)
        config = PersonalizeConfig.from_dict(self.training.to_dict() | changes)
        images = self._images(case, seed, work)
        personalize(
            images, self.base, config, path, device=self.device, progress=Named(self.progress, name)
        )
        shutil.rmtree(work, ignore_errors=True)
        return path

    def _images(self, case: Case, seed: int, work: Path) -> ImageSet:
        """The training images: copies and clean ones mixed."""
        folders = self.others if case.copies == "others" else self.owners
        copies = ImageSet.open(folders.twins if case.copies == "twins" else folders.published)
        count = round(case.share * len(self.data))
        order = np.random.default_rng((seed, 3)).permutation(len(self.data))
        chosen = set(order[:count].tolist())
        pairs = zip(self.data.items, copies.items, strict=True)
        used = (
            replace(copy, caption=clean.caption) if row in chosen else clean
            for row, (clean, copy) in enumerate(pairs)
        )
        return numbered_set(used, work)

    def measured(self, case: Case, seed: int, control: str) -> ScoreSet:
        """The differences of a model, measured if their file does not exist.

        Parameters
        ----------
        case : Case
            What the model is trained on.
        seed : int
            Of its training.
        control : {"none", "base", "clean"}
            What is taken out: nothing, or what the base model or one of the originals predicts.
        """
        path = self.out / "compared" / f"{case.name}_{seed}.{control}.json"
        if path.is_file():
            return ScoreSet.load(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        clean = self.adapter(_CONTROL, 99) if control == "clean" else None
        found = measure_twins(
            self._model(self.adapter(case, seed)),
            self.owners,
            self.config,
            control=None if control == "none" else self._model(clean),
            partial=path.with_suffix(".partial"),
            progress=Named(self.progress, path.stem),
        )
        found.save(path)
        return found

    def _model(self, adapter: Path | None) -> LocalSuspect:
        return LocalSuspect(self.base, adapter, device=self.device, dtype=torch.float32)

    def row(self, case: Case, seed: int, control: str) -> dict[str, Any]:
        """The figures of one model and control.

        Parameters
        ----------
        case : Case
            What the model is trained on.
        seed : int
            Of its training.
        control : {"none", "base", "clean"}
            What is taken out.
        """
        known = {"case": case.name, "seed": seed, "control": control}
        return known | figures(self.measured(case, seed, control))

    def visibility(self) -> dict[str, float]:
        """How visible the published copies and the twins are: the worst and mean figures."""
        known = {item.name: item.path for item in self.data.items}
        found: dict[str, float] = {}
        for name, folder in (("published", self.owners.published), ("twins", self.owners.twins)):
            manifest = CoatManifest.load(folder / MANIFEST_NAME)
            rows = cached_value(
                self.out / f"visibility_{name}.json",
                sha256_file(folder / MANIFEST_NAME),
                partial(measure_files, manifest, known, folder, self.progress),
            )
            psnr = [row["psnr_db"] for row in rows if row["psnr_db"] is not None]
            colour = [row["local_de00_p99"] for row in rows]
            found |= {
                f"{name}_psnr_mean": float(np.mean(psnr)),
                f"{name}_psnr_min": float(np.min(psnr)),
                f"{name}_colour_mean": float(np.mean(colour)),
                f"{name}_colour_max": float(np.max(colour)),
            }
        return found


def figures(found: ScoreSet) -> dict[str, Any]:
    """The owner's figures, and how often other coins would be found.

    Parameters
    ----------
    found : ScoreSet
        A comparison of twins.

    Returns
    -------
    dict
        ``p``, ``sign_p``, ``sequential_p``; ``z``, the place of T in units of its spread under the
        null; ``right`` and ``images``; ``used_low`` and ``used``, the share of the copies that was
        used; ``others_05`` and ``others_01``, the shares of 1,000 other outcomes of the coins with
        p up to .05 and .01.
    """
    own = coins_test(found.scores, found.source["coins"])
    weights = strengths(found.scores)
    spread = whole_distribution(weights)
    signs = np.random.default_rng(1).integers(0, 2, (OTHER_COINS, len(weights))) * 2 - 1
    others = [share_of_messages(spread, int(one @ weights)) for one in signs]
    return {
        "p": own.p_value,
        "sign_p": own.sign_p,
        "sequential_p": own.sequential_p,
        "z": own.statistic / own.spread if own.spread else 0.0,
        "right": own.right,
        "images": own.images,
        "used_low": own.used.low,
        "used": own.used.share,
        "others_05": float(np.mean(np.array(others) <= 0.05)),
        "others_01": float(np.mean(np.array(others) <= 0.01)),
    }


app = typer.Typer(add_completion=False)


@app.command()
def twins_study(
    data: Annotated[str, typer.Option("--data", help="samples, or a folder of images.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the study.")],
    coater: Annotated[Path, typer.Option("--coater", help="Any coater.")] = Path("keyed"),
    base: Annotated[str, typer.Option("--base", help="Base model.")] = "pocket",
    steps: Annotated[int, typer.Option("--steps", help="Training steps per model.")] = 500,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Models per case.")] = 3,
    draws: Annotated[int, typer.Option("--draws", min=1, help="Noise levels per image.")] = 8,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Pairs at once.")] = 16,
    cells: Annotated[int, typer.Option("--cells", min=2, help="Cells of a pattern.")] = CELLS,
    psnr: Annotated[float, typer.Option("--psnr", help="Of a pattern, in dB.")] = PATTERN_PSNR,
    only: Annotated[str, typer.Option("--only", help="Cases, separated by commas.")] = "",
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")] = "auto",
    table: Annotated[
        Path | None, typer.Option("--table", help="CSV table; by default in the folder.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--page", help="Page whose table is replaced.")
    ] = None,
) -> None:
    """Train models on known shares of published copies, and test the coins of each."""
    names = {case.name: case for case in CASES}
    wanted = [name for name in only.split(",") if name] or list(names)
    if unknown := [name for name in wanted if name not in names]:
        raise typer.BadParameter(f"{unknown[0]!r} is no case; expected {', '.join(names)}.")
    images = open_set(data)
    loaded = Coater.load(coater_path(coater), device=pick_device(device))
    identity = {"data": images.hash, "coater": loaded.fingerprint, "base": base, "steps": steps}
    open_log(out, identity | {"cells": cells, "psnr": psnr, "draws": draws})
    rows: list[dict[str, Any]] = []
    with watched(False) as progress:
        study = Study(
            images,
            loaded,
            base,
            out,
            PersonalizeConfig(steps=steps),
            TwinsConfig(draws=draws, batch_size=batch_size),
            cells,
            psnr,
            device,
            progress,
        )
        seen = study.visibility()
        for seed in range(seeds):
            for name in wanted:
                for control in ("none", "base", "clean"):
                    rows.append(study.row(names[name], seed, control))
                    write_rows(rows, table or out / "twins.csv")
    for key, value in seen.items():
        say(f"{key}: {value:.2f}")
    for row in rows:
        say(_line(row))
    if page is not None:
        write_between(page, "twins", _table(rows))


def _table(rows: list[dict[str, Any]]) -> str:
    """All figures in Markdown."""
    head = ("trained on", "control", "p", "published copies preferred", "used, at least", "z")
    found = [
        (
            row["case"].replace("share_", "") + (" %" if "_" in row["case"] else ""),
            row["control"], f"{row['p']:.2g}", f"{row['right']} of {row['images']}",
            f"{100 * row['used_low']:.0f} %", f"{row['z']:.1f}",
        )
        for row in rows
    ]  # fmt: skip
    return table(head, found)


def _line(row: dict[str, Any]) -> str:
    """A model's figures in a line."""
    return (
        f"{row['case']}, seed {row['seed']}, control {row['control']}: p = {row['p']:.2g} (signs "
        f"{row['sign_p']:.2g}, one by one {row['sequential_p']:.2g}), z = {row['z']:.1f}, "
        f"{row['right']} of {row['images']} right, at least {100 * row['used_low']:.0f} % used; "
        f"other coins below .05 and .01: {100 * row['others_05']:.1f} %, "
        f"{100 * row['others_01']:.1f} %"
    )


if __name__ == "__main__":
    app()
