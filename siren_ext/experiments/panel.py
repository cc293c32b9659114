"""The panel of innocents: how often models are falsely accused, and how often guilty ones caught.

Some fifty models of the pocket family, innocent in many ways and a few guilty, are trained, make
200 images each and are scored; every test is run on every model (see ``panel_results``). It takes
hours: a stopped run is resumed, ``--minutes`` works in portions and ``--only`` on some models. Of a
finished model only the scores are kept; its images and adapter are deleted unless ``--keep``.

Files in OUT: ``panel.csv`` (a row per model and number of images), ``panel_summary.csv``,
``panel.png``; ``--results`` copies them to another folder.

Example::

    python -m siren_ext.experiments.panel --data samples --coater samples \\
        --keyed keyed --class-word "3d icon" --others sets --out runs/panel
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from siren_ext.cli.common import command, gather, say, watched
from siren_ext.cli.options import (
    Assignments,
    Base,
    ClassWord,
    ConfigFile,
    Device,
    Quiet,
    ResultFolder,
)
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import ConfigError
from siren_ext.experiments.layout import open_log
from siren_ext.experiments.options import StudyImages
from siren_ext.experiments.panel_models import Panel
from siren_ext.experiments.panel_results import (
    evaluate_panel,
    plot_panel,
    summarise_panel,
)
from siren_ext.experiments.panel_roster import Coating, PanelConfig, Panelist, find_sets, roster
from siren_ext.experiments.rows import write_rows
from siren_ext.experiments.study import open_set
from siren_ext.progress import NULL, Progress
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.training.prompts import class_prompt

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.personalize.config import PersonalizeConfig
    from siren_ext.workflows.run_log import RunLog

FILES = ("panel.csv", "panel_summary.csv", "panel.png")


def run_panel(
    data: ImageSet,
    coaters: Mapping[Coating, Coater],
    class_word: str,
    out: Path,
    config: PanelConfig | None = None,
    *,
    others: Mapping[str, ImageSet] | None = None,
    base: str | Path = "pocket",
    training: PersonalizeConfig | None = None,
    only: str = "",
    minutes: float | None = None,
    keep: bool = False,
    device: str = "auto",
    progress: Progress = NULL,
) -> tuple[int, int]:
    """Run the panel, or resume it, and write the tables of the finished models.

    Parameters
    ----------
    data : ImageSet
        the owner's clean set.
    coaters : Mapping[Coating, Coater]
        ``unkeyed``, and ``keyed`` for the keyed test; give both from the start, as scored images
        are deleted.
    class_word : str
        noun for what the owner's images show.
    out : Path
        a new or empty folder, or that of an earlier call.
    config : PanelConfig | None
        how large the panel is, and how it is evaluated.
    others : Mapping[str, ImageSet] | None
        other people's sets, see :func:`find_sets`.
    base : str | Path
        the base model.
    training : PersonalizeConfig | None
        of all personalisations.
    only : str
        run only models whose name contains this.
    minutes : float | None
        start no further model after this time.
    keep : bool
        whether images and adapters are kept.
    device : str
        auto or a torch device name.
    progress : Progress
        receives every step; may cancel.

    Returns
    -------
    tuple[int, int]
        number of finished models, and of all.

    Raises
    ------
    ConfigError
        the folder holds another panel, or a coater is of the wrong kind.
    Cancelled
        the user stopped; the same call resumes.
    """
    from siren_ext.personalize.config import PersonalizeConfig

    config, out, others = config or PanelConfig(), Path(out), others or {}
    training = training or PersonalizeConfig()
    _check_request(coaters, config)
    data = data.checked(progress=progress)
    log = _bind(data, others, coaters, class_word, config, training, base, out)
    panel = Panel(
        data, others, coaters, base, class_word, config, training, out, log, keep, device, progress
    )
    return _run(panel, only, minutes)


def _run(panel: Panel, only: str, minutes: float | None) -> tuple[int, int]:
    """Run the models that are wanted now; returns how many are finished, and of how many."""
    models = roster(panel.config, list(panel.others), keyed="keyed" in panel.coaters)
    began = time.monotonic()
    for model in models:
        if only in model.name and (minutes is None or time.monotonic() - began < 60 * minutes):
            panel.run(model)
    if not panel.keep and all(map(panel.done, models)):
        shutil.rmtree(panel.out / "adapters", ignore_errors=True)
    _write(panel, models)
    return sum(map(panel.done, models)), len(models)


def _check_request(coaters: Mapping[Coating, Coater], config: PanelConfig) -> None:
    if "unkeyed" not in coaters or any(
        coater.keyed != (coating == "keyed") for coating, coater in coaters.items()
    ):
        raise ConfigError("The panel needs an unkeyed coater, and optionally a keyed one.")
    if max(config.sizes) > config.images:
        raise ConfigError(
            f"The panel has tests of {max(config.sizes)} images, but each model makes only "
            f"{config.images}; raise images or lower sizes."
        )


def _bind(
    data: ImageSet,
    others: Mapping[str, ImageSet],
    coaters: Mapping[Coating, Coater],
    class_word: str,
    config: PanelConfig,
    training: PersonalizeConfig,
    base: str | Path,
    out: Path,
) -> RunLog:
    """The log that binds the panel's folder to everything that its models depend on."""
    from siren_ext.diffusion.load import model_fingerprint

    evaluation = {"sizes", "keys", "reduced"}
    return open_log(
        out,
        {
            "images": data.hash,
            "others": {name: other.hash for name, other in others.items()},
            "base": model_fingerprint(base),
            "class prompt": class_prompt(class_word),
            "coaters": {name: coater.fingerprint for name, coater in coaters.items()},
            "training": training.to_dict(),
            "settings": {k: v for k, v in config.to_dict().items() if k not in evaluation},
        },
    )


def _write(panel: Panel, models: tuple[Panelist, ...]) -> None:
    scores = {
        (model.name, coating): ScoreSet.load(panel.scores(model, coating))
        for model in models
        if panel.done(model)
        for coating in panel.coaters
    }
    message = panel.key().signs() if "keyed" in panel.coaters else np.ones(1, dtype=np.int8)
    rows = evaluate_panel(models, scores, message, panel.config)
    if not rows:
        return
    write_rows(rows, panel.out / FILES[0])
    write_rows(summarise_panel(rows), panel.out / FILES[1])
    plot_panel(rows, panel.out / FILES[2])


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@command(
    app,
    "panel",
    example="python -m siren_ext.experiments.panel --data samples --coater samples "
    "--keyed keyed --class-word '3d icon' --others sets --out runs/panel",
)
def panel(
    data: StudyImages,
    coater: Annotated[
        str,
        typer.Option("--coater", help="Unkeyed coater: a file, or samples for the bundled one."),
    ],
    class_word: ClassWord,
    out: ResultFolder,
    keyed: Annotated[
        str | None,
        typer.Option("--keyed", help="Keyed coater: a file, or keyed for the bundled one."),
    ] = None,
    others: Annotated[
        Path | None,
        typer.Option("--others", help="Folder with a folder per set of other people's images."),
    ] = None,
    base: Base = "pocket",
    only: Annotated[
        str, typer.Option("--only", help="Run only models whose name contains this.")
    ] = "",
    minutes: Annotated[
        float | None, typer.Option("--minutes", help="Start no further model after this time.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep images and adapters.")] = False,
    results: Annotated[
        Path | None, typer.Option("--results", help="Copy the tables and the plot to this folder.")
    ] = None,
    config: ConfigFile = None,
    assign: Assignments = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Measure false accusations on a panel of innocent models.

    Settings of all personalisations are in the group training: --set training.batch_size=8. Run the
    same command again to resume a stopped run.
    """
    from siren_ext.coater.bundled import coater_path
    from siren_ext.coater.coater import Coater
    from siren_ext.devices import pick_device
    from siren_ext.personalize.config import PersonalizeConfig

    values = gather(PanelConfig, config, assign, groups={"training": PersonalizeConfig})
    training = values.pop("training")
    chosen = PanelConfig.from_dict(values)
    target = pick_device(device)
    coaters: dict[Coating, Coater] = {"unkeyed": Coater.load(coater_path(coater), device=target)}
    if keyed is not None:
        coaters["keyed"] = Coater.load(coater_path(keyed), device=target)
    with watched(quiet) as progress:
        done, total = run_panel(
            open_set(data),
            coaters,
            class_word,
            out,
            chosen,
            others=find_sets(others) if others else None,
            base=base,
            training=PersonalizeConfig.from_dict(training),
            only=only,
            minutes=minutes,
            keep=keep,
            device=device,
            progress=progress,
        )
    if results is not None:
        results.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            if (out / name).is_file():
                shutil.copyfile(out / name, results / name)
    say(f"{done} of {total} models scored: {out / FILES[0]}")


if __name__ == "__main__":
    app()
