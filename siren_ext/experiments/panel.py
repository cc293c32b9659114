"""The panel of innocents: how often a whole model is falsely accused, and guilty ones caught.

Some fifty models of the pocket family, most of them innocent in many ways, are trained, asked for
200 images each and scored; every test is made on each (see ``panel_results``). It takes hours: a
stopped call goes on, ``--minutes`` works in portions and ``--only`` on some models. Of a finished
model only the scores stay; its images and adapter are deleted (``--keep`` keeps them).

Files in OUT: ``panel.csv`` (a row per model and number of images), ``panel_summary.csv``,
``panel.png``; with ``--results`` copies of them there.

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

from siren_ext.cli.common import (
    Assignments,
    Base,
    ConfigFile,
    Device,
    Quiet,
    command,
    gather,
    say,
    watched,
)
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import ConfigError
from siren_ext.experiments.panel_models import Panel
from siren_ext.experiments.panel_results import judge_panel, plot_panel, summarise_panel, write_rows
from siren_ext.experiments.panel_roster import Coating, PanelConfig, Panelist, find_sets, roster
from siren_ext.experiments.study import StudyLog, open_set
from siren_ext.progress import NULL, Progress
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.training.prompts import class_prompt

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.personalize.config import PersonalizeConfig

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
    """Run the panel or go on with it; returns how many models are scored, and of how many.

    The tables are written for what there is, after every call.

    Parameters
    ----------
    coaters : Mapping[Coating, Coater]
        ``unkeyed`` and, if the keyed test is to be on the panel, ``keyed``. Both from the
        start, as images are deleted once they are scored.
    others : Mapping[str, ImageSet] | None
        other people's sets by name, see :func:`find_sets`.
    only : str
        work on the models whose name contains this.
    minutes : float | None
        begin no further model after this time.

    Raises
    ------
    ConfigError
        the folder holds another panel, or a coater is of the wrong kind.
    Cancelled
        the user stopped; the same call goes on.
    """
    from siren_ext.diffusion.load import model_fingerprint
    from siren_ext.personalize.config import PersonalizeConfig

    config, out, others = config or PanelConfig(), Path(out), dict(others or {})
    if "unkeyed" not in coaters or any(
        coater.keyed != (coating == "keyed") for coating, coater in coaters.items()
    ):
        raise ConfigError("The panel needs an unkeyed coater and, perhaps, a keyed one beside it.")
    if max(config.sizes) > config.images:
        raise ConfigError(
            f"A test of {max(config.sizes)} images was asked for, but each model makes "
            f"{config.images}; raise images or lower sizes."
        )
    data = data.checked(progress=progress)
    training = training or PersonalizeConfig()
    judging = {"sizes", "keys", "decoys", "reduced"}
    log = StudyLog(
        out,
        {
            "images": data.hash,
            "others": {name: other.hash for name, other in others.items()},
            "base": model_fingerprint(base),
            "class prompt": class_prompt(class_word),
            "coaters": {name: coater.fingerprint for name, coater in coaters.items()},
            "training": training.to_dict(),
            "settings": {k: v for k, v in config.to_dict().items() if k not in judging},
        },
    )
    panel = Panel(
        data,
        others,
        coaters,
        base,
        class_word,
        config,
        training,
        out,
        log,
        keep,
        device,
        progress,
    )
    models = roster(config, list(others), keyed="keyed" in coaters)
    began = time.monotonic()
    for model in models:
        if only in model.name and (minutes is None or time.monotonic() - began < 60 * minutes):
            panel.run(model)
    if not keep and all(map(panel.done, models)):
        shutil.rmtree(out / "adapters", ignore_errors=True)
    _write(panel, models)
    return sum(map(panel.done, models)), len(models)


def _write(panel: Panel, models: tuple[Panelist, ...]) -> None:
    scores = {
        (model.name, coating): ScoreSet.load(panel.scores(model, coating))
        for model in models
        if panel.done(model)
        for coating in panel.coaters
    }
    message = panel.key().signs() if "keyed" in panel.coaters else np.ones(1, dtype=np.int8)
    rows = judge_panel(models, scores, message, panel.config)
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
    data: Annotated[
        str, typer.Option("--data", help="Folder, dataset.toml, or samples: the bundled set.")
    ],
    coater: Annotated[
        str, typer.Option("--coater", help="The unkeyed coater: a file, or samples.")
    ],
    class_word: Annotated[
        str, typer.Option("--class-word", help="The noun for what the images show.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for everything that is made.")],
    keyed: Annotated[
        str | None, typer.Option("--keyed", help="A keyed coater: a file, or keyed.")
    ] = None,
    others: Annotated[
        Path | None, typer.Option("--others", help="Folder of folders of other people's images.")
    ] = None,
    base: Base = "pocket",
    only: Annotated[
        str, typer.Option("--only", help="Work on models whose name contains this.")
    ] = "",
    minutes: Annotated[
        float | None, typer.Option("--minutes", help="Begin no further model after this time.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep images and adapters.")] = False,
    results: Annotated[
        Path | None, typer.Option("--results", help="Copy tables and plot into this folder.")
    ] = None,
    config: ConfigFile = None,
    assign: Assignments = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Measure false accusations over a panel of innocent models; a second call goes on.

    Settings of all personalisations go into the table training: --set training.batch_size=8.
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
