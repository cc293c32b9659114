"""The study behind the project's detection figures: who is caught, who is accused, at what PSNR.

A set is coated; per training seed a guilty LoRA is trained on the coated and an innocent one on
the clean images, beside one clean reference LoRA. All are asked the same prompts with noise of
their own; their images are scored and tested as in the paper: 10,000 draws of 30 against 100.
Files in OUT: ``detection.json`` (everything), ``detection.csv`` (a row per model),
``detection.png``, ``samples.png``, ``figures.json`` (rows for the README's table).

Example::

    python -m siren_ext.experiments.detection --data samples --coater samples --class-word icon \\
        --out runs/samples
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from siren_ext.coating.quality import measure_files
from siren_ext.experiments import tables
from siren_ext.experiments.file_summary import summarise
from siren_ext.experiments.study import (
    FORMAT,
    VERSION,
    DetectionConfig,
    Layout,
    Model,
    StudyLog,
    kept,
    open_set,
    roster,
    spread_evenly,
    study_prompts,
)
from siren_ext.files import write_json
from siren_ext.progress import NULL, Progress
from siren_ext.training.prompts import class_prompt

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.data.dataset import ImageSet
    from siren_ext.experiments.chain import Chain
    from siren_ext.personalize.config import PersonalizeConfig

Result = dict[str, Any]


def run_detection(
    data: ImageSet,
    coater: Coater,
    class_word: str,
    out: Path,
    config: DetectionConfig | None = None,
    *,
    base: str | Path = "pocket",
    training: PersonalizeConfig | None = None,
    name: str = "",
    clean: Path | None = None,
    targets: bool = True,
    device: str = "auto",
    progress: Progress = NULL,
) -> Result:
    """Run the study, or go on with it; returns what ``out/detection.json`` holds.

    Parameters
    ----------
    data : ImageSet
        the clean set.
    coater : Coater
        under study, on its device.
    class_word : str
        the noun for what the images show.
    out : Path
        a new or empty folder, or that of an earlier call with the same coater and settings;
        the number of seeds and how tests are drawn may change.
    base : str | Path
        the model that is personalised.
    training : PersonalizeConfig | None
        of all personalisations; its seed and, where captions are missing, its prompt are
        the study's.
    name : str
        of the set in the figures; by default the set's own.
    clean : Path | None
        a folder that studies of other coaters on the same set share, for the models that
        never see a coated image; by default ``out`` itself.
    targets : bool
        whether ``figures.json`` names the project's targets.

    Raises
    ------
    ConfigError
        the folder holds something else.
    Cancelled
        the user stopped; the same call goes on.
    """
    from siren_ext.diffusion.load import model_fingerprint
    from siren_ext.experiments.chain import Chain
    from siren_ext.experiments.evaluate import judge, lost_signal, shares
    from siren_ext.personalize.config import PersonalizeConfig
    from siren_ext.report.write import environment

    config, out = config or DetectionConfig(), Path(out)
    training = training or PersonalizeConfig()
    if config.images:
        data = dataclasses.replace(data, items=data.items[: config.images])
    data = data.checked(progress=progress)
    shared = {
        "images": data.hash,
        "base": model_fingerprint(base),
        "class prompt": class_prompt(class_word),
        "prompts": study_prompts(data, class_word, config),
        "training": training.to_dict(),
        "settings": config.making(),
    }
    identity = {"coater": coater.fingerprint, "strength": config.strength, **shared}
    layout = Layout(out, Path(clean) if clean else out)
    log = StudyLog(out, identity)
    if layout.clean != out:
        StudyLog(layout.clean, shared)  # refuses clean models of other settings
    chain = Chain(data, coater, base, class_word, config, training, layout, log, device, progress)
    manifest = chain.coat()
    originals = {item.name: item.path for item in data.items}
    with log.step("measure files"):
        files = kept(
            out / "files.json",
            [entry.output_sha256 for entry in manifest.entries],
            lambda: measure_files(manifest, originals, layout.coated, progress),
        )
    models = roster(config)
    scores = {model.name: chain.run(model) for model in models}
    with log.step("stages"):
        survival, learnt = lost_signal(chain, manifest, models)
    with log.step("test"):
        judged = [judge(chain, model, scores, models[0]) for model in models]
        table = shares(judged, config)
    result = {
        "format": FORMAT,
        "version": VERSION,
        "name": name or data.name,
        "identity": identity,
        "coater_settings": coater.config.to_dict(),
        "protocol": config.to_dict(),
        "environment": environment(),
        "files": summarise(files),
        "models": judged,
        **table,
        "survival": survival,
        "learnt": learnt,
        "each_file": files,
        "costs": log.costs(),
    }
    _write(result, chain, models, out, targets)
    return result


def _write(
    result: Result, chain: Chain, models: tuple[Model, ...], out: Path, targets: bool
) -> None:
    from siren_ext.experiments import pictures

    write_json(out / "detection.json", result)
    tables.write_table(result, out / "detection.csv")
    tables.write_figures(result, out / "figures.json", targets=targets)
    pictures.plot_detection(result, out / "detection.png")
    rows = sorted(result["each_file"], key=lambda row: row["local_de00_p99"])
    rows = spread_evenly(rows, pictures.SHOWN)
    names = {model.name: sorted(chain.layout.mimicries(model).glob("*.png")) for model in models}
    pictures.write_samples(
        [(chain.original(row["source"]), chain.layout.coated / row["output"]) for row in rows],
        [f"coated, dE {row['local_de00_p99']:.1f}" for row in rows],
        {name: names[name] for name in ("guilty_0", "innocent_0", "reference")},
        out / "samples.png",
    )


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@command(
    app,
    "detection",
    example="python -m siren_ext.experiments.detection --data samples --coater samples "
    "--class-word icon --out runs/samples",
)
def detection(
    data: Annotated[
        str,
        typer.Option("--data", help="Folder, dataset.toml, or samples: the bundled set."),
    ],
    coater: Annotated[
        str, typer.Option("--coater", help="A coater file, or samples or keyed for a bundled one.")
    ],
    class_word: Annotated[
        str, typer.Option("--class-word", help="The noun for what the images show.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for everything that is made.")],
    base: Base = "pocket",
    name: Annotated[str, typer.Option("--name", help="What to call the set in figures.")] = "",
    clean: Annotated[
        Path | None,
        typer.Option("--clean", help="Folder of clean models that studies share."),
    ] = None,
    targets: Annotated[
        bool, typer.Option(help="Name the project's targets in figures.json.")
    ] = True,
    seeds: Annotated[int | None, typer.Option("--seeds", help="Training seeds; 3.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Training steps; 400.")] = None,
    mimicries: Annotated[
        int | None, typer.Option("--mimicries", help="Images of each suspicious model; 150.")
    ] = None,
    reference: Annotated[
        int | None, typer.Option("--reference", help="Images of the reference model; 300.")
    ] = None,
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", help="May be repeated: taken in turn.")
    ] = None,
    images: Annotated[
        int | None, typer.Option("--images", help="Use only so many images of the set.")
    ] = None,
    strength: Annotated[
        float | None, typer.Option("--strength", help="Factor on the coating; 1 as trained.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="From 1; 0 is the surrogate's.")
    ] = None,
    config: ConfigFile = None,
    assign: Assignments = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Measure who is caught and who is accused by a coater; a second call goes on.

    Settings of the personalisations go into the table training: --set training.rank=8.
    """
    from siren_ext.coater.bundled import coater_path
    from siren_ext.coater.coater import Coater
    from siren_ext.devices import pick_device
    from siren_ext.personalize.config import PersonalizeConfig

    values = gather(
        config,
        assign,
        seeds=seeds,
        mimicries=mimicries,
        reference=reference,
        prompts=tuple(prompt) if prompt else None,
        images=images,
        strength=strength,
        seed=seed,
    )
    training = dict(values.pop("training", {}))
    if steps is not None:
        training["steps"] = steps
    chosen = DetectionConfig.from_dict(values)
    loaded = Coater.load(coater_path(coater), device=pick_device(device))
    with watched(quiet) as progress:
        result = run_detection(
            open_set(data),
            loaded,
            class_word,
            out,
            chosen,
            base=base,
            training=PersonalizeConfig.from_dict(training),
            name=name or ("samples" if data == "samples" else ""),
            clean=clean,
            targets=targets,
            device=device,
            progress=progress,
        )
    say(tables.summary_text(result))
    say(str(out / "detection.json"))


if __name__ == "__main__":
    app()
