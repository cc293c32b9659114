"""Applies attacks by name: to a batch, afresh at each training step, or once to a whole folder."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from siren_ext.attacks.checks import image_batch, within
from siren_ext.attacks.registry import ATTACKS, attack_named, settings_named
from siren_ext.coating.layouts import DATASET_TOML
from siren_ext.coating.outputs import output_names, refuse_overlap, write_captions
from siren_ext.data.dataset import ImageSet, Item
from siren_ext.data.images import Picture, read_picture, to_tensor, to_uint8, write_picture
from siren_ext.data.kohya import Subset, write_dataset_toml
from siren_ext.documents import read_json
from siren_ext.errors import ConfigError, DatasetError, ImageError
from siren_ext.files import (
    is_file,
    is_folder,
    no_more_files,
    one_at_a_time,
    sha256_file,
    write_json,
)
from siren_ext.progress import NULL, Progress
from siren_ext.schema import shown

PICTURES: Mapping[str, Callable[..., Tensor]] = {
    name: attack.function
    for name, attack in ATTACKS.items()
    if attack.kind not in ("captions", "weights")
}
"""What happens to pictures: ``function(images, generator, **settings)`` returns images."""

CAPTIONS: Mapping[str, Callable[..., list[str]]] = {
    name: attack.function for name, attack in ATTACKS.items() if attack.kind == "captions"
}
"""What happens to captions: ``function(captions, generator, **settings)`` returns captions."""

RECORD = "siren_handling.json"


@dataclasses.dataclass(frozen=True)
class Step:
    """One thing that happens to images.

    Attributes
    ----------
    name : str
        A name in :data:`PICTURES` or :data:`CAPTIONS`.
    settings : Mapping[str, Any]
        Keyword settings of that function; those left out have their defaults.

    Raises
    ------
    ConfigError
        If the name or a setting is unknown. Values are checked when the step is applied.
    """

    name: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        known = {**PICTURES, **CAPTIONS}
        if self.name not in known:
            if self.name in ATTACKS:
                raise ConfigError(
                    f"{self.name} changes the weights of a LoRA or a model, not images; expected "
                    "an attack on images."
                )
            raise ConfigError(
                f"{shown(self.name)} is not a change that can be made to images; expected one of "
                f"{', '.join(known)}."
            )
        options = {
            name
            for name, parameter in inspect.signature(known[self.name]).parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY
        }
        for name in self.settings:
            if name not in options:
                raise ConfigError(
                    f"{self.name} has no setting {shown(name)}; expected one of "
                    f"{', '.join(sorted(options))}."
                )


def steps_of(names: Sequence[str], given: Mapping[str, Any]) -> list[Step]:
    """Steps from the names of attacks and settings for them.

    Parameters
    ----------
    names : Sequence[str]
        Names in :data:`~siren_ext.attacks.registry.ATTACKS`, in the order of the steps.
    given : Mapping[str, Any]
        Settings by name. ``jpeg.quality`` is for the attack ``jpeg``; ``quality`` is for all
        attacks that have it, and so is ``strength``.

    Returns
    -------
    list[Step]
        With all settings spelled out. An attack of strength 0 is left out.

    Raises
    ------
    ConfigError
        If an attack or a setting is unknown, or no attack is named.
    """
    if not names:
        raise ConfigError(f"No attack was named; expected one or more of {', '.join(ATTACKS)}.")
    steps, used = [], set[str]()
    for name in names:
        own, keys = settings_named(name, given)
        used |= keys
        settings = attack_named(name).settings(own)
        if settings is not None:
            steps.append(Step(name, settings))
    for key in given:
        if key not in used:
            known = sorted({name for one in names for name in attack_named(one).names})
            raise ConfigError(
                f"{', '.join(names)} has no setting {shown(key)}; expected one of "
                f"{', '.join(known)}."
            )
    return steps


def handle(
    images: Tensor, captions: Sequence[str], steps: Sequence[Step], generator: torch.Generator
) -> tuple[Tensor, list[str]]:
    """Apply steps one after another to a batch, for example afresh at each training step.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    captions : Sequence[str]
        One per image; empty where there is none.
    steps : Sequence[Step]
        What happens, in this order; none gives the batch unchanged.
    generator : torch.Generator
        Makes all draws; on the CPU.

    Returns
    -------
    images : Tensor
        B x 3 x h x w in [0,1].
    captions : list[str]
        One per image.

    Raises
    ------
    ConfigError
        If a setting is out of range.
    ImageError
        If ``images`` is not a batch of images with one caption each, or a step cannot handle
        images of this size.
    """
    if len(captions) != len(image_batch(images)):
        raise ImageError(
            f"There are {len(captions)} captions for {len(images)} images; expected one caption "
            "for each image."
        )
    words = list(captions)
    for step in steps:
        if step.name in PICTURES:
            images = PICTURES[step.name](images, generator, **step.settings)
        else:
            words = CAPTIONS[step.name](words, generator, **step.settings)
    return images, words


@one_at_a_time
def handle_folder(
    data: ImageSet,
    out: Path,
    steps: Sequence[Step],
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress = NULL,
) -> ImageSet:
    """Apply steps once to every image of a set and write the results into a folder.

    Each image becomes a PNG of the same name, so that trainers read exactly the handled pixels.
    Captions are kept unless a step changes them. As on platforms, transparency and metadata are
    lost. A call with the same images, steps and seed resumes a stopped one; nothing that is
    already written is written again. The draws for an image depend on the seed and its name alone.

    Parameters
    ----------
    data : ImageSet
        The images.
    out : Path
        Output folder, new or from a stopped call; must not be, contain or be inside the data
        folder.
    steps : Sequence[Step]
        What happens, in this order.
    seed : int
        Seed of all draws, from 0 to 2**32 - 1.
    device : torch.device or str
        Where the work is done. Results differ a little between devices.
    progress : Progress
        Counts the images.

    Returns
    -------
    ImageSet
        The written images in the order of ``data``, with its repeats and class words. Images that
        could not be handled are in its ``problems``.

    Raises
    ------
    ConfigError
        If a setting is out of range; nothing is written then.
    DatasetError
        If ``out`` overlaps the data folder, has files that a call with the same images, steps and
        seed did not write, or can't be written, or if no image could be handled.
    Cancelled
        If the user stopped the work.

    Notes
    -----
    An image without a caption has no caption file: sd-scripts refuse empty ones and take the class
    words instead. If these, or the repeats, were in a ``dataset.toml``, one is written too.
    """
    within("seed", seed, 0, 2**32 - 1, whole=True)
    out = Path(out)
    refuse_overlap(data.root, out)
    outputs = output_names(data, "plain")
    record = _record(data, steps, seed)
    _refuse_others(out, record)
    problems = dict(data.problems)
    done = {output for output in outputs if is_file(out / output)}
    progress.stage("Changing images", len(data), len(done))
    for item, output in zip(data.items, outputs, strict=True):
        if output in done:
            continue
        try:
            picture, captioned = _handled(item, steps, seed, device)
            if not is_file(out / RECORD):
                write_json(out / RECORD, record)
            write_captions(captioned, output, out, "plain")
            write_picture(picture, out / output)
        except (ImageError, OSError) as error:
            if full := error if isinstance(error, OSError) else no_more_files(error):
                raise DatasetError(
                    f"{out} can't be written: {full.strerror}. Finished images are kept; free "
                    "some space or check the permissions, then run the same step again."
                ) from error
            problems[item.name] = str(error)
        progress.advance(1, item.name)
    return _opened(data, out, outputs, problems)


def _record(data: ImageSet, steps: Sequence[Step], seed: int) -> dict[str, Any]:
    """What decides the contents of an output folder, as plain values of JSON."""
    images = {item.name: [_sha256(item), item.caption] for item in data.items}
    plain = [{"name": step.name, "settings": dict(step.settings)} for step in steps]
    try:
        made = json.loads(json.dumps(plain, allow_nan=False, ensure_ascii=False).encode())
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"The settings of the steps are {shown(plain)}; expected numbers, texts, true or "
            "false, and lists of these."
        ) from error
    known = {"format": "siren-ext handling 1", "seed": seed, "steps": made, "images": images}
    # a network or coater that is trained again under its name is another one
    named = [Path(one) for step in steps for one in step.settings.values() if isinstance(one, str)]
    files = [sha256_file(path) for path in named if path.suffix == ".safetensors" and is_file(path)]
    return known | ({"files": files} if files else {})


def _sha256(item: Item) -> str | None:
    """Hash of an image's file; None if it can't be read, which is reported when it is handled."""
    try:
        return sha256_file(item.path)
    except OSError:
        return None


def _refuse_others(out: Path, record: dict[str, Any]) -> None:
    """Raise unless the output folder is new, empty, or of a call with the same record."""
    advice = "Choose a new folder, or delete this one."
    try:
        if not is_folder(out) or not any(out.iterdir()):
            return
    except OSError as error:
        raise DatasetError(f"{out} can't be listed: {error.strerror}. {advice}") from error
    if not is_file(out / RECORD):
        raise DatasetError(f"{out} has files that were not written by this step. {advice}")
    found = read_json(out / RECORD, error=DatasetError, advice=advice)
    for part in record:
        if not isinstance(found, dict) or found.get(part) != record[part]:
            raise DatasetError(
                f"{out} was made with other settings: {part} in its {RECORD} is different. {advice}"
            )


def _handled(
    item: Item, steps: Sequence[Step], seed: int, device: torch.device | str
) -> tuple[Picture, Item]:
    """The picture of an item after all steps, and the item with the caption after them."""
    digest = hashlib.sha256(f"{seed}\n{item.name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    before = item.caption or ""
    image = to_tensor(read_picture(item.path).rgb).to(device)
    image, (caption,) = handle(image, [before], steps, generator)
    if caption != before:
        item = dataclasses.replace(item, caption=caption or None, caption_files=())
    return Picture(to_uint8(image)), item


def _opened(
    data: ImageSet, out: Path, outputs: Sequence[str], problems: dict[str, str]
) -> ImageSet:
    """The set of the written images."""
    if not any(is_file(out / output) for output in outputs):
        reasons = "".join(f" {name}: {why}" for name, why in list(problems.items())[:3])
        raise DatasetError(f"No image in {data.root} could be changed.{reasons}")
    found = {item.relative.as_posix(): item for item in ImageSet.from_folder(out).items}
    items = [
        dataclasses.replace(found[output], repeats=item.repeats, class_words=item.class_words)
        for item, output in zip(data.items, outputs, strict=True)
        if output in found
    ]
    _write_subsets(items, found, out)
    return ImageSet(tuple(items), out, data.name, tuple(problems.items()))


def _write_subsets(written: Sequence[Item], found: Mapping[str, Item], out: Path) -> None:
    """Write a dataset.toml if class words or repeats don't follow from the folders' names."""
    folders = {item.relative.parent.as_posix(): item for item in written}
    plain = {item.relative.parent.as_posix(): item for item in found.values()}
    if all(
        (item.class_words, item.repeats) == (plain[name].class_words, plain[name].repeats)
        for name, item in folders.items()
    ):
        return
    for item in written:  # the dataset.toml says that captions are in .txt files
        write_captions(item, item.relative.as_posix(), out, "kohya")
    subsets = [Subset(name, item.class_words or "", item.repeats) for name, item in folders.items()]
    write_dataset_toml(out / DATASET_TOML, subsets)
