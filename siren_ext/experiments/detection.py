"""The study behind the project's detection figures: detection rate, false accusations and PSNR.

A set of images is coated. For each training seed, a guilty LoRA is trained on the coated images and
an innocent one on the clean images; one more LoRA on the clean images is the reference. All use the
same prompts, each with noise of its own. Their images are scored and tested as in the paper: 10,000
draws of 30 against 100.

Files in OUT: ``detection.json`` (everything), ``detection.csv`` (a row per model),
``detection.png``, ``samples.png``, ``figures.json`` (rows for the table of docs/figures.md).

Example::

    python -m siren_ext.experiments.detection --data samples --coater samples --class-word icon \\
        --out runs/samples
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from siren_ext.cli.common import command, gather, say, watched
from siren_ext.cli.options import (
    Assignments,
    Base,
    ClassWord,
    ConfigFile,
    Device,
    Prompts,
    Quiet,
    ResultFolder,
)
from siren_ext.coating.quality import measure_files
from siren_ext.experiments import tables
from siren_ext.experiments.file_summary import summarise
from siren_ext.experiments.layout import Layout, cached_value, open_log
from siren_ext.experiments.options import StudyCoater, StudyImages
from siren_ext.experiments.study import (
    DetectionConfig,
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
    from siren_ext.workflows.run_log import RunLog

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
    """Run the study, or resume it.

    Parameters
    ----------
    data : ImageSet
        the clean set.
    coater : Coater
        the coater to study, on its device.
    class_word : str
        noun for what the images show.
    out : Path
        a new or empty folder, or that of an earlier call with the same coater and settings; the
        number of seeds and the settings of the tests may change.
    config : DetectionConfig | None
        how much is made, and how it is evaluated.
    base : str | Path
        the base model.
    training : PersonalizeConfig | None
        of all personalisations; the study sets the seed and, if captions are missing, the prompt.
    name : str
        name of the set in figures; by default the set's own.
    clean : Path | None
        folder for the models that never see a coated image, which studies of other coaters on the
        same set can share; by default ``out``.
    targets : bool
        whether ``figures.json`` names the project's targets.
    device : str
        auto or a torch device name.
    progress : Progress
        receives every step; may cancel.

    Returns
    -------
    dict[str, Any]
        the content of ``out/detection.json``.

    Raises
    ------
    ConfigError
        the folder holds another study, or something else.
    DatasetError
        an image can't be coated.
    Cancelled
        the user stopped; the same call resumes.
    """
    from siren_ext.experiments.chain import Chain
    from siren_ext.personalize.config import PersonalizeConfig

    config, training = config or DetectionConfig(), training or PersonalizeConfig()
    if config.images:
        data = dataclasses.replace(data, items=data.items[: config.images])
    data = data.checked(progress=progress)
    layout = Layout(Path(out), Path(clean or out))
    identity, log = _bind(data, coater, class_word, config, training, base, layout)
    chain = Chain(data, coater, base, class_word, config, training, layout, log, device, progress)
    result = _evaluate(chain, identity, name or data.name)
    _write(result, chain, targets)
    return result


def _bind(
    data: ImageSet,
    coater: Coater,
    class_word: str,
    config: DetectionConfig,
    training: PersonalizeConfig,
    base: str | Path,
    layout: Layout,
) -> tuple[dict[str, Any], RunLog]:
    """What everything in the study's folder depends on, and the log that binds the folder to it."""
    from siren_ext.diffusion.load import model_fingerprint

    shared = {
        "images": data.hash,
        "base": model_fingerprint(base),
        "class prompt": class_prompt(class_word),
        "prompts": study_prompts(data, class_word, config),
        "training": training.to_dict(),
        "settings": config.making(),
    }
    identity = {"coater": coater.fingerprint, "strength": config.strength, **shared}
    log = open_log(layout.root, identity)
    if layout.clean != layout.root:
        open_log(layout.clean, shared)  # refuses clean models of other settings
    return identity, log


def _evaluate(chain: Chain, identity: dict[str, Any], name: str) -> Result:
    """Make everything that is missing, and put the findings together."""
    from siren_ext.experiments.evaluate import evaluate_model, lost_signal, mean_shares
    from siren_ext.report.write import environment

    config, layout, log = chain.config, chain.layout, chain.log
    manifest = chain.coat()
    originals = {item.name: item.path for item in chain.data.items}
    with log.step("measure files"):
        files = cached_value(
            layout.root / "files.json",
            [entry.output_sha256 for entry in manifest.entries],
            lambda: measure_files(manifest, originals, layout.coated, chain.progress),
        )
    models = roster(config)
    scores = {model.name: chain.run(model) for model in models}
    with log.step("stages"):
        survival, learnt = lost_signal(chain, manifest, models)
    with log.step("test"):
        rows = [evaluate_model(chain, model, scores, models[0]) for model in models]
        shares = mean_shares(rows, config)
    return {
        "format": "siren_ext.detection",
        "version": 1,
        "name": name,
        "identity": identity,
        "coater_settings": chain.coater.config.to_dict(),
        "protocol": config.to_dict(),
        "environment": environment(),
        "files": summarise(files),
        "models": rows,
        **shares,
        "survival": survival,
        "learnt": learnt,
        "each_file": files,
        "costs": log.costs(),
    }


def _write(result: Result, chain: Chain, targets: bool) -> None:
    from siren_ext.experiments import pictures

    out, models = chain.layout.root, roster(chain.config)
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


CleanFolder = Annotated[
    Path | None,
    typer.Option("--clean", help="Folder for the clean models, shared between studies."),
]
Mimicries = Annotated[
    int | None, typer.Option("--mimicries", help="Images of each suspicious model; default 150.")
]
ReferenceCount = Annotated[
    int | None, typer.Option("--reference", help="Images of the reference model; default 300.")
]
ImageCount = Annotated[
    int | None, typer.Option("--images", help="Use only the first so many images of the set.")
]
Strength = Annotated[
    float | None, typer.Option("--strength", help="Scales the coating; 1 is as trained.")
]
StudySeed = Annotated[
    int | None, typer.Option("--seed", help="Random seed from 1; 0 is the surrogate's.")
]
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@command(
    app,
    "detection",
    example="python -m siren_ext.experiments.detection --data samples --coater samples "
    "--class-word icon --out runs/samples",
)
def detection(
    data: StudyImages,
    coater: StudyCoater,
    class_word: ClassWord,
    out: ResultFolder,
    base: Base = "pocket",
    name: Annotated[str, typer.Option("--name", help="Name of the set in figures.")] = "",
    clean: CleanFolder = None,
    targets: Annotated[
        bool, typer.Option(help="Name the project's targets in figures.json.")
    ] = True,
    seeds: Annotated[int | None, typer.Option("--seeds", help="Training seeds; default 3.")] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Training steps; default 400.")
    ] = None,
    mimicries: Mimicries = None,
    reference: ReferenceCount = None,
    prompt: Prompts = None,
    images: ImageCount = None,
    strength: Strength = None,
    seed: StudySeed = None,
    config: ConfigFile = None,
    assign: Assignments = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Measure how often a coater catches guilty models and accuses innocent ones.

    Settings of the personalisations are in the group training: --set training.rank=8. Run the same
    command again to resume a stopped study.
    """
    from siren_ext.coater.bundled import coater_path
    from siren_ext.coater.coater import Coater
    from siren_ext.devices import pick_device
    from siren_ext.personalize.config import PersonalizeConfig

    values = gather(
        DetectionConfig,
        config,
        assign,
        groups={"training": PersonalizeConfig},
        seeds=seeds,
        mimicries=mimicries,
        reference=reference,
        prompts=tuple(prompt) if prompt else None,
        images=images,
        strength=strength,
        seed=seed,
    )
    training = values.pop("training")
    if steps is not None:
        training["steps"] = steps
    chosen = DetectionConfig.from_dict(values)
    with watched(quiet) as progress:
        result = run_detection(
            open_set(data),
            Coater.load(coater_path(coater), device=pick_device(device)),
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
