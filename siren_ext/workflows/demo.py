"""The whole chain on one folder: coat, train on it, generate, score, verify, report.

The demo calls the same public functions as a user with a real checkpoint; it only chooses their
arguments. It tests two suspicious models with the key of the coating: one trained on the coated
images, in whose images the message must be found, and an innocent one trained on the clean
originals, in whose images it must not. A coater without a key needs a reference, a third model that
is trained on the clean originals with another seed; the images of both are then compared with the
reference's.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

from siren_ext.config import Config
from siren_ext.errors import CoaterError
from siren_ext.files import one_at_a_time, write_json
from siren_ext.progress import NULL, Named, Progress
from siren_ext.workflows.demo_summary import DemoSummary, ModelResult
from siren_ext.workflows.run_log import RunLog

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.coating.manifest import CoatManifest
    from siren_ext.data.dataset import ImageSet
    from siren_ext.keys.coating_key import CoatingKey
    from siren_ext.scoring.score_set import ScoreSet
    from siren_ext.verdict.verify import Verdict

# Each model has seeds of its own, far apart so that no two images share one.
_MODELS = ("suspect", "innocent", "reference")
_SEED_STEP = 100_000
_REFERENCE_IMAGES = 100


@dataclasses.dataclass(frozen=True)
class DemoConfig(Config):
    """What the demo runs on, and how much it makes.

    Attributes
    ----------
    data : str
        folder of images; empty for the bundled samples.
    coater : str
        coater file; keyed and samples are bundled and made for the samples. The key of a keyed
        coater follows from the seed, so that everybody gets the same images.
    base : str
        base model: pocket, a diffusers folder or a checkpoint file.
    prompts : tuple[str, ...]
        prompts of all models, used in turn; empty for ten captions of the images, so that 30
        and 100 images use every prompt equally often.
    suspect_images, innocent_images : int
        number of images that each model makes.
    reference_images : int
        the same for the reference; with 0, a keyed coater gets no reference, and other coaters
        get one with 100 images.
    training_steps, training_batch : int
        steps and batch size of each personalisation.
    sampling_steps, guidance : int
        sampling steps and guidance scale of the generated images.
    alpha : float
        accepted risk of accusing an innocent model; with a key, the share of random keys that may
        fit as well.
    images : int
        use only the first images of the data, this many; 0 for all.
    seed : int
        random seed of the whole demo.
    """

    data: str = ""
    coater: str = "keyed"
    base: str = "pocket"
    prompts: tuple[str, ...] = ()
    suspect_images: Annotated[int, Meta(ge=1, le=100_000)] = 100
    innocent_images: Annotated[int, Meta(ge=1, le=100_000)] = 30
    reference_images: Annotated[int, Meta(ge=0, le=100_000)] = 0
    training_steps: Annotated[int, Meta(ge=1, le=1_000_000)] = 250
    training_batch: Annotated[int, Meta(ge=1, le=4096)] = 12
    sampling_steps: Annotated[int, Meta(ge=1, le=1000)] = 20
    guidance: Annotated[float, Meta(ge=0, le=100)] = 3.0
    alpha: Annotated[float, Meta(ge=1e-300, le=0.5)] = 1e-3
    images: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    seed: Annotated[int, Meta(ge=0, le=2**31)] = 0

    def counts(self, *, keyed: bool) -> dict[str, int]:
        """How many images each model makes.

        Parameters
        ----------
        keyed : bool
            whether the coater takes a key.

        Returns
        -------
        dict[str, int]
            at least 1, by the name of the model: suspect, innocent and, if there is one,
            reference.
        """
        reference = self.reference_images or (0 if keyed else _REFERENCE_IMAGES)
        counts = (self.suspect_images, self.innocent_images, reference)
        return {name: count for name, count in zip(_MODELS, counts, strict=True) if count}


@one_at_a_time
def run_demo(
    out: Path,
    *,
    progress: Progress = NULL,
    config: DemoConfig = DemoConfig(),
    device: str = "auto",
) -> DemoSummary:
    """Run the whole chain into ``out``, or resume a run that was stopped there.

    Writes ``coated/``; ``adapters/``, ``mimicries/`` and ``scores/`` with one entry per model; the
    report on the suspect; ``innocent/`` with the report on the innocent model; ``summary.json``.

    Parameters
    ----------
    out : Path
        a new or empty folder, or that of an earlier call with the same settings.
    progress : Progress
        receives every step; may cancel.
    config : DemoConfig
        what to run on.
    device : str
        auto or a torch device name.

    Returns
    -------
    DemoSummary
        the figures; those of a finished demo are only read.

    Raises
    ------
    ConfigError
        ``out`` holds a demo with other settings, or something else.
    CoaterError
        the coater changed none of the images.
    Cancelled
        the user stopped; the same call resumes.
    """
    out = Path(out)
    log = RunLog(out / "demo.json", "demo", config.to_dict(), key="config")
    finished = DemoSummary.load(out)
    if finished is not None:
        return finished
    with log.step("load"):
        data, coater = _inputs(config, device)
        key = demo_key(config.seed, coater.config.message_bits) if coater.keyed else None
    with log.step("coat"):
        from siren_ext.coating.folder import coat_folder

        manifest = coat_folder(data, coater, out / "coated", key=key, progress=progress)
    scores = {
        model: _scores_of(model, count, data, coater, out, config, log, device, progress)
        for model, count in config.counts(keyed=coater.keyed).items()
    }
    with log.step("report"):
        quality = _file_quality(manifest, data, out, progress)
        verdicts, report = _reports(scores, manifest, data, out, config, quality, key)
    costs = log.costs()
    summary = DemoSummary(
        **quality,
        suspect=_short(verdicts["suspect"]),
        innocent=_short(verdicts["innocent"]),
        seconds=round(sum(costs["seconds"].values()), 1),
        peak_memory_gb=costs["peak_memory_gb"],
        report=report,
    )
    write_json(out / "summary.json", summary.to_dict(out))
    return summary


def demo_key(seed: int, bits: int) -> CoatingKey:
    """The key of a demo. It is no secret: it follows from the seed.

    Parameters
    ----------
    seed : int
        of the demo.
    bits : int
        that the coater takes, 1 to 512.

    Returns
    -------
    CoatingKey
        the same for the same arguments.
    """
    import numpy as np

    from siren_ext.keys.coating_key import CoatingKey

    name = f"siren_ext demo {seed}".encode()
    drawn = np.frombuffer(hashlib.shake_256(name).digest(32 + bits), dtype=np.uint8)
    return CoatingKey(np.where(drawn[32:] & 1, 1, -1), drawn[:32].tobytes())


def _inputs(config: DemoConfig, device: str) -> tuple[ImageSet, Coater]:
    from siren_ext.coater.bundled import coater_path
    from siren_ext.coater.coater import Coater
    from siren_ext.data.dataset import ImageSet
    from siren_ext.devices import pick_device
    from siren_ext.diffusion.load import model_path
    from siren_ext.samples.folder import sample_set

    data = ImageSet.open(Path(config.data)) if config.data else sample_set()
    if config.images:
        data = dataclasses.replace(data, items=data.items[: config.images])
    model_path(config.base)  # a mistyped one is refused now, before anything is made
    return data, Coater.load(coater_path(config.coater), device=pick_device(device))


def _scores_of(
    model: str,
    count: int,
    data: ImageSet,
    coater: Coater,
    out: Path,
    config: DemoConfig,
    log: RunLog,
    device: str,
    progress: Progress,
) -> ScoreSet:
    """Train one of the models, generate its images and score them."""
    from siren_ext.data.dataset import ImageSet
    from siren_ext.personalize.config import PersonalizeConfig
    from siren_ext.suspects.base import PromptPlan
    from siren_ext.workflows.experiment_run import (
        ExperimentModel,
        experiment_run,
        spread_captions,
    )

    number = _MODELS.index(model) + 1
    run = ExperimentModel(
        base=config.base,
        plan=PromptPlan(
            prompts=config.prompts or spread_captions(data),
            count=count,
            seed=config.seed + number * _SEED_STEP,
            steps=config.sampling_steps,
            guidance=config.guidance,
        ),
        images=out / "mimicries" / model,
        training=PersonalizeConfig(
            steps=config.training_steps,
            batch_size=config.training_batch,
            seed=config.seed + number,
        ),
        adapter=out / "adapters" / f"{model}.safetensors",
        device=device,
    )
    return experiment_run(
        run,
        lambda: ImageSet.open(out / "coated") if model == "suspect" else data,
        {out / "scores" / f"{model}.json": coater},
        log,
        model,
        Named(progress, model),
    )[0]


def _file_quality(
    manifest: CoatManifest, data: ImageSet, out: Path, progress: Progress
) -> dict[str, Any]:
    """Means over the coated files as written."""
    from siren_ext.coating.quality import below_every_clean, measure_files

    originals = {entry.source: data.root / entry.source for entry in manifest.entries}
    rows = measure_files(manifest, originals, out / "coated", progress)
    changed = [row for row in rows if row["psnr_db"] is not None]
    if not changed:
        raise CoaterError(
            "The coater did not change any of the images; train another one with 'siren-ext train'."
        )
    return {
        "psnr_db": fmean(row["psnr_db"] for row in changed),
        "ssim": fmean(row["ssim"] for row in rows),
        "local_de00_p99": fmean(row["local_de00_p99"] for row in rows),
        "scores_separate": below_every_clean(rows) == len(rows),
    }


def _reports(
    scores: dict[str, ScoreSet],
    manifest: CoatManifest,
    data: ImageSet,
    out: Path,
    config: DemoConfig,
    quality: dict[str, Any],
    key: CoatingKey | None,
) -> tuple[dict[str, Verdict], Path]:
    """Verify both suspicious models and write a report on each; the suspect's is the main one."""
    from siren_ext.data.image_files import list_images
    from siren_ext.report.pictures import CoatEvidence
    from siren_ext.report.write import write_report
    from siren_ext.verdict.config import VerifyConfig
    from siren_ext.verdict.verify import verify

    chosen, reference = VerifyConfig(alpha=config.alpha), scores.get("reference")
    verdicts = {
        model: verify(scores[model], reference, chosen, key=key)
        for model in ("suspect", "innocent")
    }
    pairs = [
        (data.root / entry.source, out / "coated" / entry.output)
        for entry in manifest.entries
        if entry.coated
    ]
    evidence = CoatEvidence(pairs=tuple(pairs), coater=manifest.coater)
    reports = {}
    for model, folder in (("suspect", out), ("innocent", out / "innocent")):
        reports[model] = write_report(
            verdicts[model],
            scores[model],
            reference,
            folder,
            coated=evidence,
            mimicries=list_images(out / "mimicries" / model),
            reference_mimicries=list_images(out / "mimicries" / "reference") if reference else [],
            extra={"demo": config.to_dict(), "coated files": quality},
        )
    return verdicts, reports["suspect"].html


def _short(verdict: Verdict) -> ModelResult:
    finding = verdict.deciding
    return {
        "verdict": verdict.outcome,
        "headline": verdict.headline,
        "p": finding.p_value,
        "n": finding.suspects,
        "m": finding.others,
        "d": finding.effect,
    }
