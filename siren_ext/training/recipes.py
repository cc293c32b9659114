"""What an owner does before release, in one call: a surrogate from the clean images, then a coater.

The surrogate stands in for the model of somebody who trains on the images; so it is personalised
on the *clean* set first (methods of SIREN, arXiv 2410.10437).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from siren_ext.coater.bundled import refuse_existing
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import ConfigError
from siren_ext.files import one_at_a_time, sibling
from siren_ext.progress import NULL, Progress
from siren_ext.ranks import current
from siren_ext.schema import shown
from siren_ext.training.config import TrainConfig
from siren_ext.training.prompts import surrogate_prompt
from siren_ext.training.stand_in import (
    personalised,
    stand_in_settings,
    surrogate_file,
    surrogate_hash,
)

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.coater.config import CoaterConfig
    from siren_ext.personalize.config import PersonalizeConfig
    from siren_ext.training.reptile import MetaConfig
    from siren_ext.training.tasks import Task, Tasks


@one_at_a_time
def train_for_base(
    data: ImageSet,
    base: str | Path,
    class_word: str,
    out: Path,
    config: TrainConfig | None = None,
    *,
    surrogate: PersonalizeConfig | None = None,
    start: Coater | None = None,
    coater: CoaterConfig | None = None,
    working_size: int | Literal["keep"] | None = None,
    device: str = "auto",
    progress: Progress = NULL,
) -> Coater:
    """Train a coater for ``data`` against ``base`` and write it to ``out``.

    Beside ``out`` lie the surrogate (:func:`siren_ext.training.stand_in.surrogate_file`) and, until
    the end, the state from which a stopped call resumes.

    Parameters
    ----------
    data : ImageSet
        the clean images.
    base : str | Path
        pocket, a diffusers folder or a single-file checkpoint.
    class_word : str
        the noun for what the images show.
    out : Path
        the coater file to write; an existing one is not overwritten.
    config : TrainConfig | None
        of the coater's training.
    surrogate : PersonalizeConfig | None
        of the personalisation; without a ``prompt`` it learns the images' captions, or the
        surrogate prompt for all of them if an image has none. See :func:`surrogate_settings` for
        those that go with a preset.
    start : Coater | None
        a coater to adapt; it is not changed.
    coater : CoaterConfig | None
        shape of a new one.
    working_size : int | "keep" | None
        side in pixels at which the coater's networks see images; by default one that fits the
        model, see :func:`fitted_to`. A change of size is a notice of ``progress``, and the size of
        ``start`` is in the coater's provenance.
    device : str
        auto or a torch device name.

    Raises
    ------
    CoaterError
        ``out`` exists, or a stopped call had other images, settings, start or model.
    ConfigError
        a setting can't be used, or there is nothing to train or fit.
    Cancelled
        the user stopped; the same call resumes.
    """
    from siren_ext.training.train import train_coater
    from siren_ext.training.trainer import require_work

    out = Path(out)
    config = config or TrainConfig()
    prompt, surrogate = surrogate_prompt(class_word), stand_in_settings(surrogate, class_word)
    refuse_existing(out)
    require_work(config, coater, start)
    _check_size(working_size)
    data = data.checked(progress=progress)
    adapter, state = surrogate_file(out, surrogate.method), sibling(out, ".state")
    stand_in = personalised(data, base, prompt, surrogate, adapter, device, progress, stopped=state)
    before = start
    coater, start = fitted_to(
        stand_in.resolution, coater, start, working_size=working_size, progress=progress
    )
    result = train_coater(
        data, stand_in, config, coater=coater, start=start, device=device, progress=progress,
        resume=state,
    )  # fmt: skip
    result.provenance["surrogate_sha256"] = surrogate_hash(adapter)
    if before is not None:
        result.provenance["start"] = _description(before)
    current().first(lambda: result.save(out))
    return result


def surrogate_settings(
    preset: str, data: ImageSet, class_word: str, /, **changes: Any
) -> PersonalizeConfig:
    """Settings of the personalisation that stands in for an infringer's.

    Parameters
    ----------
    preset : str
        of :meth:`TrainConfig.preset <siren_ext.training.config.TrainConfig.preset>`.
    data : ImageSet
        the clean images: how many they are gives the steps of the published presets.
    class_word : str
        the noun for what the images show; the preset ``paper`` trains on a prompt made from it
        instead of on captions.
    **changes
        settings of :class:`PersonalizeConfig` to change.

    Returns
    -------
    PersonalizeConfig
        for :func:`train_for_base`.

    Raises
    ------
    ConfigError
        a name is unknown, a value out of range, or the class word empty.
    """
    from siren_ext.personalize.config import PersonalizeConfig

    if preset == "paper":
        changes = {"prompt": surrogate_prompt(class_word)} | changes
    images = sum(item.repeats for item in data.items)
    return PersonalizeConfig.preset(preset, images, **changes)


@one_at_a_time
def start_for_base(
    tasks: Tasks,
    base: str | Path,
    out: Path,
    config: MetaConfig,
    inner: TrainConfig,
    *,
    coater: CoaterConfig | None = None,
    start: Coater | None = None,
    working_size: int | Literal["keep"] | None = None,
    device: str = "auto",
    progress: Progress = NULL,
    minutes: float | None = None,
) -> Coater:
    """Train a start coater over ``tasks`` against ``base`` itself and write it to ``out``.

    Until the end the state from which a stopped call resumes lies beside ``out``. Arguments are
    those of :func:`~siren_ext.training.reptile.train_start` and, for the shapes and the working
    size, :func:`train_for_base`.

    Raises
    ------
    CoaterError
        ``out`` exists, or the state is another run's.
    ConfigError
        the working size is none.
    Cancelled
        the user stopped; the same call resumes.
    """
    from siren_ext.devices import pick_device, pick_dtype
    from siren_ext.diffusion.load import load_pipeline, model_fingerprint
    from siren_ext.diffusion.pipelines import native_size
    from siren_ext.training.reptile import train_start
    from siren_ext.training.surrogate import DiffusionSurrogate

    out = Path(out)
    refuse_existing(out)
    _check_size(working_size)
    target = pick_device(device)
    pipeline = load_pipeline(base, device=target, dtype=pick_dtype(target))
    before = start
    coater, start = fitted_to(
        native_size(pipeline), coater, start, working_size=working_size, progress=progress
    )

    def surrogate(task: Task) -> DiffusionSurrogate:
        return DiffusionSurrogate(pipeline, task.prompt)

    result = train_start(
        tasks,
        surrogate,
        config,
        inner,
        coater=coater,
        start=start,
        device=device,
        progress=progress,
        resume=sibling(out, ".state"),
        minutes=minutes,
        identity=model_fingerprint(base),
    )
    if before is not None:
        result.provenance["start"] = _description(before)
    result.save(out)
    return result


def fitted_to(
    resolution: int,
    coater: CoaterConfig | None = None,
    start: Coater | None = None,
    *,
    working_size: int | Literal["keep"] | None = None,
    progress: Progress = NULL,
) -> tuple[CoaterConfig, Coater | None]:
    """Shape of a new coater, and the start, at a working size that fits a model.

    Parameters
    ----------
    resolution : int
        side in pixels at which the model sees images.
    coater : CoaterConfig | None
        the wished shape of a new coater; None for the default one at half of ``resolution``.
    start : Coater | None
        the coater to adapt; it is not changed.
    working_size : int | "keep" | None
        the side in pixels that both get; ``keep`` leaves either at its own. None changes a size
        above ``resolution``, and one of ``start`` below half of it, to half of it.
    progress : Progress
        gets a notice for each size that is changed without having been asked for.

    Returns
    -------
    tuple[CoaterConfig, Coater | None]
        the shape, and the start or a copy of it at the other size.

    Raises
    ------
    ConfigError
        the working size is none.

    Notes
    -----
    Detail finer than the model's resolution is lost when somebody trains on the images; a start
    from a smaller model would leave detail unused that this model learns.
    """
    from siren_ext.coater.config import CoaterConfig

    _check_size(working_size)
    half = resolution // 2
    if start is not None:
        old = start.config.working_size
        fits = half <= old <= resolution
        new = _size(old, working_size, fitting=old if fits else half)
        if new != old:
            start = start.at_working_size(new)
            _report(working_size, f"start coater's working size changes from {old} to {new}",
                    old, resolution, progress)  # fmt: skip
    if coater is None:
        coater = CoaterConfig(working_size=_size(half, working_size, fitting=half))
    elif start is None:
        old = coater.working_size
        new = _size(old, working_size, fitting=old if old <= resolution else half)
        if new != old:
            coater = replace(coater, working_size=new)
            _report(working_size, f"new coater's working size is {new} instead of {old}",
                    old, resolution, progress)  # fmt: skip
    return coater, start


def _size(old: int, working_size: int | str | None, *, fitting: int) -> int:
    if isinstance(working_size, int):
        return working_size
    return fitting if working_size is None else old


def _report(
    working_size: int | str | None, change: str, old: int, resolution: int, progress: Progress
) -> None:
    """A notice of a size that was changed without having been asked for."""
    if working_size is None:
        progress.notice(
            f"The {change} pixels, to fit the base model, which sees images at {resolution} "
            f"pixels. Set the working size to 'keep' to train at {old} pixels."
        )


def _check_size(working_size: int | str | None) -> None:
    """Refuse what is no working size."""
    from siren_ext.coater.config import CoaterConfig

    if working_size is None or working_size == "keep":
        return
    if isinstance(working_size, str):
        raise ConfigError(
            f"The working size is {shown(working_size)}; expected a number of pixels, or 'keep' "
            "for the coater's own."
        )
    CoaterConfig(working_size=working_size)


def _description(start: Coater) -> dict[str, Any]:
    """What the provenance says about the coater that training began from."""
    return {"coater": start.fingerprint, "working_size": start.config.working_size}
