"""Trains shadow models: some on pictures of a source, some on the owner's other images.

``attribute source`` takes them as known and innocent models. They are only as good as they are like
the suspicious model: same base, same number of images, same kind of training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from siren_ext.attribution.mixtures import build_mixture
from siren_ext.config import Config
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import ConfigError, DatasetError
from siren_ext.files import atomic, one_at_a_time
from siren_ext.personalize.config import FOLDERS, PersonalizeConfig
from siren_ext.personalize.run import personalize
from siren_ext.progress import NULL, Named, Progress
from siren_ext.suspects.base import PromptPlan, Suspect, generate_images
from siren_ext.suspects.local import LocalSuspect
from siren_ext.workflows.run_log import RunLog

RECORD = "shadows.json"
_PICTURE_SEED = 600_000_000  # far from the seeds of questions and of key images
_INNOCENT = 100_000


@dataclass(frozen=True)
class ShadowTraining(Config):
    """What shadow models are trained on.

    Attributes
    ----------
    count : int
        Models of each kind; the paper's s is 10. A later call may raise it.
    images : int
        Training images of each; the paper's n is 500.
    shares : tuple of float
        rho, the shares of the source's pictures, which the known models take in turn.
    steps, guidance : int, float
        Steps and guidance of the source's pictures.
    seed : int
        Seed of pictures, random choices and training.
    """

    count: Annotated[int, Meta(ge=1, le=1000)] = 10
    images: Annotated[int, Meta(ge=1, le=100_000)] = 500
    shares: Annotated[
        tuple[Annotated[float, Meta(gt=0.0, le=1.0)], ...], Meta(min_length=1, max_length=100)
    ] = (1.0, 0.7, 0.5, 0.3)
    steps: Annotated[int, Meta(ge=1, le=1000)] = 50
    guidance: Annotated[float, Meta(ge=0.0, le=100.0)] = 7.5
    seed: Annotated[int, Meta(ge=0, le=2**30)] = 0


@dataclass(frozen=True)
class ShadowModels:
    """Files or folders of trained shadow models.

    Attributes
    ----------
    known : tuple of Path
        Trained on the source's pictures.
    innocent : tuple of Path
        Trained on other images alone.
    """

    known: tuple[Path, ...]
    innocent: tuple[Path, ...]


@one_at_a_time
def train_shadows(
    source: Suspect,
    captions: Sequence[str],
    others: ImageSet,
    base: str | Path,
    out: Path,
    config: ShadowTraining | None = None,
    training: PersonalizeConfig | None = None,
    *,
    device: str = "auto",
    progress: Progress = NULL,
) -> ShadowModels:
    """Make pictures of a source, and train shadow models on them and on other images.

    Parameters
    ----------
    source : Suspect
        The owner's model.
    captions : sequence of str
        Of the pictures, in turn: what an infringer may have asked the source for.
    others : ImageSet
        Images that the source has not seen and did not make, with captions.
    base : str or Path
        The public model that shadow models start from.
    out : Path
        Folder for pictures, training sets and models. A stopped call resumes.
    config : ShadowTraining | None
        How many models and images; None for the defaults.
    training : PersonalizeConfig | None
        How they are trained; None for the defaults. Each has a seed of its own.
    device : str
        Where to train.
    progress : Progress
        Receives every step; may cancel.

    Returns
    -------
    ShadowModels
        The models, in the order of their numbers.

    Raises
    ------
    ConfigError
        If there is no caption, ``out`` holds something else, or settings don't suit the model.
    DatasetError
        If there are too few images or pictures.
    SuspectError, ModelError
        If the source can't be asked, or the base not be trained.
    Cancelled
        If the user stopped; the same call resumes.
    """
    config, training = config or ShadowTraining(), training or PersonalizeConfig()
    if not captions:
        raise ConfigError("There is no caption to prompt the source with; expected at least one.")
    others = others.checked(progress=progress)
    if config.images > len(others):
        raise DatasetError(
            f"There are {len(others)} other images, but each innocent model needs "
            f"{config.images}. Give more of them, or ask for fewer images per model."
        )
    _bind(source, captions, others, base, out, config, training)
    made = _pictures(source, captions, out / "pictures", config, progress)
    found: dict[str, list[Path]] = {"known": [], "innocent": []}
    for number in range(config.count):  # both kinds in turn, so that a stopped run has some of each
        for kind, models in found.items():
            known = kind == "known"
            share = config.shares[number % len(config.shares)] if known else 0.0
            seed = config.seed + number + (0 if known else _INNOCENT)
            name, first = f"{kind}_{number:02d}", made if known else others
            folder = out / "sets" / name
            images = build_mixture(first, others, config.images, share, folder, seed=seed)
            target = out / (name if training.method in FOLDERS else f"{name}.safetensors")
            how = replace(training, seed=training.seed + seed)
            shown = Named(progress, f"{kind} model {number + 1} of {config.count}")
            # bound to the settings above; a resumed run may be on another device
            personalize(images, base, how, target, device=device, progress=shown, force=True)
            models.append(target)
    return ShadowModels(tuple(found["known"]), tuple(found["innocent"]))


def _bind(
    source: Suspect,
    captions: Sequence[str],
    others: ImageSet,
    base: str | Path,
    out: Path,
    config: ShadowTraining,
    training: PersonalizeConfig,
) -> None:
    """Refuse a folder of other shadow models."""
    identity = {
        "source": source.describe(),
        "captions": list(captions),
        "others": others.hash,
        "base": str(base),
        "shadows": {name: value for name, value in config.to_dict().items() if name != "count"},
        "training": training.to_dict(),
    }
    RunLog(out / RECORD, "set of shadow models", identity)


def _pictures(
    source: Suspect,
    captions: Sequence[str],
    folder: Path,
    config: ShadowTraining,
    progress: Progress,
) -> ImageSet:
    """Pictures of the source with their captions."""
    plan = PromptPlan(
        prompts=tuple(captions),
        count=config.images,
        seed=config.seed + _PICTURE_SEED,
        steps=config.steps,
        guidance=config.guidance,
    )
    for file in generate_images(source, plan, folder, progress=Named(progress, "source")):
        with atomic(file.with_suffix(".txt")) as temporary:
            temporary.write_text(plan.prompt(int(file.stem)), encoding="utf-8")
    if isinstance(source, LocalSuspect):
        source.release()  # only one model at a time has to be in memory
    return ImageSet.from_folder(folder)
