"""What an owner does before release, in one call: a surrogate from the clean images, then a coater.

The surrogate stands in for the model of somebody who trains on the images; so it is personalised
on the *clean* set first (methods of SIREN, arXiv 2410.10437).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from siren_ext.coater.bundled import refuse_existing
from siren_ext.data.dataset import ImageSet
from siren_ext.progress import NULL, Progress
from siren_ext.training.config import TrainConfig
from siren_ext.training.prompts import surrogate_prompt

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.coater.config import CoaterConfig
    from siren_ext.personalize.config import PersonalizeConfig
    from siren_ext.training.reptile import MetaConfig
    from siren_ext.training.tasks import Task, Tasks


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
    device: str = "auto",
    progress: Progress = NULL,
) -> Coater:
    """Train a coater for ``data`` against ``base`` and write it to ``out``.

    Beside ``out`` lie ``<stem>.surrogate.safetensors`` (the LoRA of the clean images, kept) and,
    until the end, the state from which a stopped call goes on.

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
        of the personalisation; by default on the images' captions, or on the surrogate
        prompt where an image has none.
    start : Coater | None
        a coater to adapt, at half the model's resolution.
    coater : CoaterConfig | None
        shape of a new one; by default, and where it asks for more than the model's
        resolution, it works at half that resolution.
    device : str
        auto or a torch device name.

    Raises
    ------
    CoaterError
        ``out`` exists.
    ConfigError
        the class word is empty, or there is nothing to train or fit.
    Cancelled
        the user stopped; the same call goes on.
    """
    from siren_ext.adapters.merge import load_adapter
    from siren_ext.devices import pick_device, pick_dtype
    from siren_ext.diffusion.load import load_pipeline
    from siren_ext.personalize.config import PersonalizeConfig
    from siren_ext.personalize.run import personalize
    from siren_ext.training.surrogate import DiffusionSurrogate
    from siren_ext.training.train import train_coater
    from siren_ext.training.trainer import require_work

    out = Path(out)
    config = config or TrainConfig()
    prompt = surrogate_prompt(class_word)
    refuse_existing(out)
    require_work(config, coater, start)
    data = data.checked(progress=progress)
    if surrogate is None:
        captioned = all(item.caption for item in data.items)
        surrogate = PersonalizeConfig(prompt=None if captioned else prompt)
    adapter = out.with_name(f"{out.stem}.surrogate.safetensors")
    personalize(data, base, surrogate, adapter, device=device, progress=progress)
    target = pick_device(device)
    pipeline = load_pipeline(base, device=target, dtype=pick_dtype(target))
    load_adapter(pipeline, adapter)
    stand_in = DiffusionSurrogate(pipeline, prompt, data.captions(default=prompt))
    coater, start = fitted_to(stand_in.resolution, coater, start)
    result = train_coater(
        data,
        stand_in,
        config,
        coater=coater,
        start=start,
        device=device,
        progress=progress,
        resume=out.with_name(out.name + ".state"),
    )
    result.save(out)
    return result


def start_for_base(
    tasks: Tasks,
    base: str | Path,
    out: Path,
    config: MetaConfig,
    inner: TrainConfig,
    *,
    coater: CoaterConfig | None = None,
    start: Coater | None = None,
    device: str = "auto",
    progress: Progress = NULL,
    minutes: float | None = None,
) -> Coater:
    """Train a start coater over ``tasks`` against ``base`` itself and write it to ``out``.

    Until the end the state from which a stopped call goes on lies beside ``out``. Arguments are
    those of :func:`~siren_ext.training.reptile.train_start` and, for the
    shapes, :func:`train_for_base`.

    Raises
    ------
    CoaterError
        ``out`` exists, or the state is another run's.
    Cancelled
        the user stopped; the same call goes on.
    """
    from siren_ext.devices import pick_device, pick_dtype
    from siren_ext.diffusion.load import load_pipeline
    from siren_ext.diffusion.pipelines import native_size
    from siren_ext.training.reptile import train_start
    from siren_ext.training.surrogate import DiffusionSurrogate

    out = Path(out)
    refuse_existing(out)
    target = pick_device(device)
    pipeline = load_pipeline(base, device=target, dtype=pick_dtype(target))
    coater, start = fitted_to(native_size(pipeline), coater, start)

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
        resume=out.with_name(out.name + ".state"),
        minutes=minutes,
    )
    result.save(out)
    return result


def fitted_to(
    resolution: int, coater: CoaterConfig | None = None, start: Coater | None = None
) -> tuple[CoaterConfig, Coater | None]:
    """Shape of a new coater, and the start, at a working size that fits a model.

    Parameters
    ----------
    resolution : int
        side in pixels at which the model sees images.
    coater : CoaterConfig | None
        the wished shape; None, or one that asks for more than ``resolution``, gets a
        working size of half of it.
    start : Coater | None
        comes back at half of ``resolution``.
    """
    from siren_ext.coater.config import CoaterConfig

    size = resolution // 2
    if start is not None and start.config.working_size != size:
        start = start.at_working_size(size)
    if coater is None or coater.working_size > resolution:
        # finer detail than the model's own resolution is lost in training on it
        coater = replace(coater or CoaterConfig(), working_size=size)
    return coater, start
