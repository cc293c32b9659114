"""The whole chain on one folder: coat, train on it, generate, score, verify, report.

The demo calls the same public functions as a user with a real checkpoint; it only chooses their
arguments. Two suspicious models are tried: one trained on the coated images, which has to be
caught, and an innocent one trained on the clean originals, which has to walk free. Both are held
against the same reference: a third model, trained on the clean originals with another seed.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar

from siren_ext.config import Config
from siren_ext.errors import CoaterError
from siren_ext.files import write_json
from siren_ext.progress import NULL, Named, Progress
from siren_ext.workflows.demo_summary import DemoLog, DemoSummary

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.coating.manifest import CoatManifest
    from siren_ext.data.dataset import ImageSet
    from siren_ext.scoring.score_set import ScoreSet
    from siren_ext.verdict.verify import Verdict

# each model is trained and asked with seeds of its own, far apart so that no image shares one
_MODELS = ("suspect", "innocent", "reference")
_SEED_STEP = 100_000
_PROMPTS = 10


@dataclasses.dataclass(frozen=True)
class DemoConfig(Config):
    """What the demo runs on and how much of it.

    Attributes
    ----------
    data : str
        folder of images; empty for the bundled samples.
    coater : str
        coater file; samples is the one bundled with the samples.
    base : str
        the model that is personalised: pocket, a diffusers folder or a checkpoint file.
    prompts : tuple[str, ...]
        what all models are asked for, in turn; empty for ten captions of the images, so
        that 30 and 100 images have every prompt equally often.
    suspect_images, innocent_images, reference_images : int
        how many images each model makes.
    training_steps, training_batch : int
        length of each personalisation and its batch size.
    sampling_steps, guidance : int
        of the generated images.
    alpha : float
        accepted risk of accusing an innocent model.
    images : int
        use only so many images of the data; 0 for all.
    seed : int
        everything random follows from it.
    """

    data: str = ""
    coater: str = "samples"
    base: str = "pocket"
    prompts: tuple[str, ...] = ()
    suspect_images: int = 30
    innocent_images: int = 30
    reference_images: int = 100
    training_steps: int = 250
    training_batch: int = 16
    sampling_steps: int = 20
    guidance: float = 3.0
    alpha: float = 1e-6
    images: int = 0
    seed: int = 0

    bounds: ClassVar[dict[str, tuple[float, float]]] = {
        "suspect_images": (1, 100_000),
        "innocent_images": (1, 100_000),
        "reference_images": (1, 100_000),
        "training_steps": (1, 1_000_000),
        "training_batch": (1, 4096),
        "sampling_steps": (1, 1000),
        "guidance": (0, 100),
        "alpha": (1e-300, 0.5),
        "images": (0, 1_000_000),
        "seed": (0, 2**31),
    }

    def count(self, model: str) -> int:
        """How many images ``model`` makes."""
        counts = (self.suspect_images, self.innocent_images, self.reference_images)
        return dict(zip(_MODELS, counts, strict=True))[model]


def run_demo(
    out: Path,
    *,
    progress: Progress = NULL,
    config: DemoConfig = DemoConfig(),
    device: str = "auto",
) -> DemoSummary:
    """Run the whole chain into ``out``, or go on with one that was interrupted there.

    Writes ``coated/``; ``adapters/``, ``mimicries/`` and ``scores/`` with one entry per model; the
    report on the suspect, ``innocent/`` with the report on the innocent model; ``summary.json``.

    Parameters
    ----------
    out : Path
        a new or empty folder, or that of an earlier call with the same settings.
    progress : Progress
        told of every step; may cancel.
    config : DemoConfig
        what to run on.
    device : str
        auto or a torch device name.

    Raises
    ------
    ConfigError
        ``out`` holds something else.
    Cancelled
        the user stopped; the same call goes on.
    """
    out = Path(out)
    log = DemoLog(out, config.to_dict())
    finished = DemoSummary.load(out)
    if finished is not None:
        return finished
    with log.step("load"):
        data, coater = _inputs(config, device)
    with log.step("coat"):
        from siren_ext.coating.folder import coat_folder

        manifest = coat_folder(data, coater, out / "coated", progress=progress)
    for model in _MODELS:
        _make_images(model, data, out, config, log, device, Named(progress, model))
    scores = {}
    for model in _MODELS:
        with log.step("score"):
            scores[model] = _score(model, coater, out, Named(progress, model))
    with log.step("report"):
        quality = _file_quality(manifest, data, out, progress)
        verdicts, report = _judge(scores, manifest, data, out, config, quality)
    summary = DemoSummary(
        **quality,
        suspect=_short(verdicts["suspect"]),
        innocent=_short(verdicts["innocent"]),
        seconds=round(log.seconds, 1),
        peak_memory_gb=log.memory,
        report=report,
    )
    write_json(out / "summary.json", summary.to_dict(out))
    return summary


def _inputs(config: DemoConfig, device: str) -> tuple[ImageSet, Coater]:
    from siren_ext.coater.bundled import coater_path
    from siren_ext.coater.coater import Coater
    from siren_ext.data.dataset import ImageSet
    from siren_ext.devices import pick_device
    from siren_ext.samples import sample_set

    data = ImageSet.open(Path(config.data)) if config.data else sample_set()
    if config.images:
        data = dataclasses.replace(data, items=data.items[: config.images])
    return data, Coater.load(coater_path(config.coater), device=pick_device(device))


def _make_images(
    model: str,
    data: ImageSet,
    out: Path,
    config: DemoConfig,
    log: DemoLog,
    device: str,
    progress: Progress,
) -> None:
    """Personalise the base on the model's training images and generate from the result."""
    from siren_ext.data.dataset import ImageSet
    from siren_ext.personalize.config import PersonalizeConfig
    from siren_ext.personalize.run import personalize
    from siren_ext.suspects.base import PromptPlan, generate_images
    from siren_ext.suspects.local import LocalSuspect

    place = _MODELS.index(model) + 1
    adapter = out / "adapters" / f"{model}.safetensors"
    with log.step(f"train {model}"):
        training = PersonalizeConfig(
            steps=config.training_steps,
            batch_size=config.training_batch,
            seed=config.seed + place,
        )
        images = ImageSet.open(out / "coated") if model == "suspect" else data
        personalize(images, config.base, training, adapter, device=device, progress=progress)
    with log.step(f"generate {model}"):
        plan = PromptPlan(
            prompts=config.prompts or _some_captions(data),
            count=config.count(model),
            seed=config.seed + place * _SEED_STEP,
            steps=config.sampling_steps,
            guidance=config.guidance,
        )
        source = LocalSuspect(config.base, adapter, device=device)
        generate_images(source, plan, out / "mimicries" / model, progress=progress)


def _some_captions(data: ImageSet) -> tuple[str, ...]:
    """Captions spread evenly over the set: the same for every model, as the test demands."""
    captions = list(dict.fromkeys(data.captions("an image")))
    count = min(_PROMPTS, len(captions))
    return tuple(captions[index * len(captions) // count] for index in range(count))


def _score(model: str, coater: Coater, out: Path, progress: Progress) -> ScoreSet:
    from siren_ext.scoring.score import score_folder
    from siren_ext.scoring.score_set import ScoreSet

    path = out / "scores" / f"{model}.json"
    if path.exists():
        return ScoreSet.load(path)
    scores = score_folder(out / "mimicries" / model, coater, progress=progress)
    scores.save(path)
    return scores


def _file_quality(
    manifest: CoatManifest, data: ImageSet, out: Path, progress: Progress
) -> dict[str, Any]:
    """Means over the coated files as they were written."""
    from siren_ext.coating.quality import below_every_clean, measure_files

    originals = {entry.source: data.root / entry.source for entry in manifest.entries}
    rows = measure_files(manifest, originals, out / "coated", progress)
    changed = [row for row in rows if row["psnr_db"] is not None]
    if not changed:
        raise CoaterError("The coater changed not one image; train another with 'siren-ext train'.")
    return {
        "psnr_db": fmean(row["psnr_db"] for row in changed),
        "ssim": fmean(row["ssim"] for row in rows),
        "local_de00_p99": fmean(row["local_de00_p99"] for row in rows),
        "scores_separate": below_every_clean(rows) == len(rows),
    }


def _judge(
    scores: dict[str, ScoreSet],
    manifest: CoatManifest,
    data: ImageSet,
    out: Path,
    config: DemoConfig,
    quality: dict[str, Any],
) -> tuple[dict[str, Verdict], Path]:
    """Verify both suspicious models and write a report on each; the suspect's is the main one."""
    from siren_ext.data.image_files import list_images
    from siren_ext.report.pictures import CoatEvidence
    from siren_ext.report.write import write_report
    from siren_ext.verdict.config import VerifyConfig
    from siren_ext.verdict.verify import verify

    chosen = VerifyConfig(alpha=config.alpha)
    verdicts = {
        model: verify(scores[model], scores["reference"], chosen)
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
            scores["reference"],
            folder,
            coated=evidence,
            mimicries=list_images(out / "mimicries" / model),
            reference_mimicries=list_images(out / "mimicries" / "reference"),
            extra={"demo": config.to_dict(), "coated files": quality},
        )
    return verdicts, reports["suspect"].html


def _short(verdict: Verdict) -> dict[str, Any]:
    finding = verdict.finding
    return {
        "verdict": verdict.outcome,
        "headline": verdict.headline,
        "p": finding.p_value,
        "n": finding.n,
        "m": finding.m,
        "d": finding.statistic,
    }
