"""Measures what a diffusion model has learnt of a coating, from the model itself, without a key.

A model that was trained on coated images moves the owner's *clean* images towards the coating when
it removes noise. Each clean image gets a little noise, the model estimates the clean image, and the
difference of estimate and image is what the model adds by itself: the learnt field. It is averaged
over noises and read along the patterns of all bits (:mod:`siren_ext.preference.reading`). One run
serves all 2^k messages. The key is not used, so the keyed test of the result is exact whatever the
model has learnt (:mod:`siren_ext.stats.keyed`).

Unlike pictures that a model generates, this needs the model's file. It sees coatings that are too
faint to show in pictures: of a small share of the training images, or of images that were cropped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from siren_ext.coating.manifest import MANIFEST_NAME
from siren_ext.diffusion.denoiser import STEPS, Denoiser, picture_size
from siren_ext.errors import CoaterError, DatasetError
from siren_ext.files import is_file, sha256_file, sibling
from siren_ext.preference import base
from siren_ext.preference.changes import field_in_pixels
from siren_ext.preference.config import PreferenceConfig
from siren_ext.preference.fields import fields_of_items, text_of, view
from siren_ext.preference.models import (
    base_of,
    check_words,
    frozen,
    refuse_itself,
    refuse_other_latents,
)
from siren_ext.preference.others import other_fields, refuse_suspect
from siren_ext.preference.parts import Copies, Parts
from siren_ext.preference.patterns import (
    Read,
    latent_patterns,
    remembered,
    removed_patterns,
    spread,
)
from siren_ext.preference.reading import read_fields
from siren_ext.preference.tint import tint_of
from siren_ext.progress import NULL, Progress
from siren_ext.ranks import current
from siren_ext.scoring.score_set import BASE, FIELD, PREFERENCE, TINT, ScoreSet
from siren_ext.text import printable

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.data.dataset import ImageSet, Item
    from siren_ext.suspects.local import LocalSuspect

Floats = NDArray[np.float64]
_LABEL = "Measuring preference"
_READ_LATER = ("batch_size", "mirrored", "removed", "whole")
_of_base: dict[str, Floats] = {}
"""The fields of the base model that was measured last."""


def measure_preference(
    suspect: LocalSuspect,
    data: ImageSet,
    coater: Coater,
    config: PreferenceConfig | None = None,
    *,
    controls: Sequence[LocalSuspect] = (),
    others: Sequence[LocalSuspect] = (),
    partial: Path | None = None,
    progress: Progress = NULL,
) -> ScoreSet:
    """Measure what a model has learnt along every bit of a message.

    Parameters
    ----------
    suspect : LocalSuspect
        The suspicious model in 32 bits, with or without adapters; see :func:`frozen` for the
        families.
    data : ImageSet
        The owner's clean images, with captions if there are any.
    coater : Coater
        The keyed coater that coated the published copies.
    config : PreferenceConfig | None
        Settings; None for the defaults.
    controls : sequence of LocalSuspect
        Clean models of the clean images, each with another seed. Their mean field is subtracted.
    others : sequence of LocalSuspect
        Adapters of other people's images on the same base model, a dozen or so; see
        :func:`siren_ext.preference.reading.read_fields`.
    partial : Path | None
        A file for finished images, from which a stopped run is resumed. Those of other models are
        beside it, with an ending added. All are deleted at the end.
    progress : Progress
        One unit per image, and per other adapter.

    Returns
    -------
    ScoreSet
        One row per image: ``features`` say how much of the pattern of each bit's +1 was learnt,
        divided by their spread over all images and bits; ``scores`` are the mean losses (of the
        suspect, minus the controls'). ``source["kind"]`` is ``"preference"``. With
        ``config.whole`` it holds the mean field (:mod:`siren_ext.preference.changes`) and, if the
        suspect has adapters, the same of the base model (:mod:`siren_ext.preference.base`).

    Raises
    ------
    CoaterError, DatasetError, AdapterError
        If the coater is not keyed, there is no image, or captions lack an adapter's new word.
    ConfigError
        If the resolution does not suit the model, or models don't suit each other.
    ModelError
        If a model is of another family or cannot be loaded, or a loss is not finite.
    Cancelled
        If the user stopped.

    Notes
    -----
    The denoiser is passed ``draws`` times per image and model; what the base model does is
    remembered. Memory is that of one model and ``batch_size`` pictures.
    """
    config = config or PreferenceConfig()
    items = _probes(data, coater, config)
    _check_models(suspect, controls, others, items)
    facts = _facts(suspect, controls, others, config)
    parts = _parts(facts, items, coater, partial)
    tables, size = _measured(suspect, controls, items, config, parts, progress)
    (fields, losses), clean = tables[0], [found for found, _ in tables[1:]]
    losses = losses - sum(lost / len(clean) for _, lost in tables[1:])
    usual = other_fields(others, items, size, config, parts[-1], progress) if others else None
    reader = _reader(suspect, config, config.whole or (config.removed and bool(controls)))
    both = [fields]
    if config.whole and suspect.adapters:
        both.append(_base_fields(reader[0], parts[-2], items, size, config, progress))
    both = [one - sum(found / len(clean) for found in clean) for one in both]
    copies = partial and sibling(partial, ".patterns")
    found = _score_set(items, both, losses, coater, facts, *reader, size, usual, copies, progress)
    for one in (*parts, *_stale(partial, len(controls))):
        one.remove()
    Copies(copies).remove()
    return found


def _measured(
    suspect: LocalSuspect,
    controls: Sequence[LocalSuspect],
    items: Sequence[Item],
    config: PreferenceConfig,
    parts: Sequence[Parts],
    progress: Progress,
) -> tuple[list[tuple[Floats, Floats]], int]:
    """Fields and losses of the suspect and of each control, and the side in pixels.

    One model is in memory at a time, and the suspect's autoencoder, which encodes for all.
    """
    tables, encoder, size = [], None, 0
    for number, one in enumerate((suspect, *controls)):
        model = frozen(one)
        if encoder is None:
            encoder, size = model.pipeline.vae, picture_size(model, config.resolution)
        refuse_other_latents(encoder, model)
        model.pipeline.vae = encoder
        label = f"Measuring clean model {number} of {len(controls)}" if number else _LABEL
        _fill(parts[number], model, label, items, size, config, progress)
        tables.append(parts[number].tables(len(items)))
        del model
        if controls:
            one.release()
    return tables, size


def _base_fields(
    model: Denoiser,
    parts: Parts,
    items: Sequence[Item],
    size: int,
    config: PreferenceConfig,
    progress: Progress,
) -> Floats:
    """Fields of the base model, as they were found the last time if everything is equal."""
    if parts.run not in _of_base:
        _fill(parts, model, "Measuring the base model", items, size, config, progress)
        _of_base.clear()
        _of_base[parts.run] = parts.tables(len(items))[0]
    return _of_base[parts.run]


def _fill(
    parts: Parts,
    model: Denoiser,
    label: str,
    items: Sequence[Item],
    size: int,
    config: PreferenceConfig,
    progress: Progress,
) -> None:
    """Measure the images that are not done yet."""

    def measured(rows: list[int]) -> tuple[Floats, Floats]:
        return fields_of_items(model, items, rows, size, config)

    progress.stage(label, len(items), len(parts.done))
    left = list(_batches(items, parts, config.batch_size))
    current().wait()  # before the main process writes what the others read
    try:
        for batch, (fields, lost) in current().shared(left, measured):
            parts.add(batch, fields, lost)
            progress.advance(len(batch))
    finally:
        parts.save()


def _probes(data: ImageSet, coater: Coater, config: PreferenceConfig) -> Sequence[Item]:
    """The images that are used, for a coater that has messages."""
    if not coater.keyed:
        raise CoaterError(
            "This coater is not keyed, so there is no message that a model could have learnt. Use "
            "the keyed coater that the published images were coated with."
        )
    items = data.items[: config.images] if config.images else data.items
    if not items:
        raise DatasetError(f"{data.name} contains no images; expected at least one.")
    for folder in dict.fromkeys((data.root, *(item.path.parent for item in items))):
        if is_file(folder / MANIFEST_NAME):
            raise DatasetError(
                f"{folder} contains coated copies (it has a {MANIFEST_NAME}), but this test needs "
                "the originals; expected the folder of the images before they were coated."
            )
    return items


def _check_models(
    suspect: LocalSuspect,
    controls: Sequence[LocalSuspect],
    others: Sequence[LocalSuspect],
    items: Sequence[Item],
) -> None:
    """Refuse models that don't suit each other or the captions, before anything is measured."""
    refuse_itself(suspect, controls)
    if others:
        refuse_suspect(suspect, others)
    for one in (suspect, *controls):
        check_words(one, [text_of(item) for item in items])


def _batches(items: Sequence[Item], parts: Parts, size: int) -> Iterator[list[int]]:
    """Positions of the images that are not done yet, in batches."""
    left = [row for row in range(len(items)) if row not in parts.done]
    for start in range(0, len(left), size):
        yield left[start : start + size]


def _reader(
    suspect: LocalSuspect, config: PreferenceConfig, asked: bool
) -> tuple[Denoiser, int | None]:
    """The model that reads the patterns, and the timestep at which it removes of them.

    That is the base model, if it is ``asked``. If it is not the suspect itself, it alone is in
    memory from then on.
    """
    if not asked:
        return frozen(suspect), None
    if suspect.adapters:
        suspect.release()
    return frozen(base_of(suspect)), int((STEPS - 1) * (config.low + config.high) / 2)


def _score_set(
    items: Sequence[Item],
    fields: Sequence[Floats],
    losses: Floats,
    coater: Coater,
    facts: dict[str, Any],
    reader: Denoiser,
    time: int | None,
    size: int,
    usual: Floats | None,
    copies: Path | None,
    progress: Progress,
) -> ScoreSet:
    """The result: fields of the suspect and its base, read along the patterns."""
    settings: dict[str, Any] = facts["settings"]
    pipeline, mirrored = reader.pipeline, bool(settings["mirrored"])
    coater.to(reader.device)
    seen = spread(len(items))
    views = torch.cat([view(items[row], size) for row in seen])

    def read(run: str) -> Read:
        kept = Copies(copies if run else None, run)
        progress.stage("Reading the coating's patterns", len(seen), kept.done)
        how: dict[str, Any] = {"mirrored": mirrored, "kept": kept, "progress": progress}
        if time is None:
            return Read(latent_patterns(pipeline, views, coater, **how))
        texts = [text_of(items[row]) for row in seen]
        return removed_patterns(reader, views, texts, coater, time, keep=settings["whole"], **how)

    # the autoencoder, and the model that removes, are those of the base model
    weights = facts["provenance"]["suspect"].get("model_fingerprint")
    hashes = tuple(sha256_file(item.path) for item in items)
    used = [(hashes[row], text_of(items[row])) for row in seen]
    seen_at = [size, time, mirrored, settings["whole"], str(reader.device)]
    known = [weights, used, coater.fingerprint, *seen_at]
    coating = remembered(known, read) if weights else read("")
    facts = facts | {TINT: tint_of(pipeline, views, fields[0]).to_plain()}
    # without a control, the whole patterns are the better guide
    controls = facts["provenance"]["controls"]
    removed = coating.removed if settings["removed"] and controls else None
    read_as = [read_fields(one, coating.added, usual, removed=removed) for one in fields]
    if coating.codings is not None:
        means = [field_in_pixels(one.mean(0), coating.codings, views) for one in fields]
        facts = facts | {FIELD: means[0].to_plain()}
        if len(fields) > 1:
            facts = facts | {BASE: base.to_plain(read_as[1], means[1])}
    return ScoreSet(
        losses,
        tuple(printable(item.name) for item in items),
        hashes,
        coater.fingerprint,
        facts,
        features=read_as[0],
    )


def _facts(
    suspect: LocalSuspect,
    controls: Sequence[LocalSuspect],
    others: Sequence[LocalSuspect],
    config: PreferenceConfig,
) -> dict[str, Any]:
    """What was measured, for the record."""
    models: dict[str, Any] = {
        "suspect": suspect.describe(),
        "controls": [control.describe() for control in controls],
    }
    if others:
        models["others"] = [other.describe() for other in others]
    return {"kind": PREFERENCE, "provenance": models, "settings": config.to_dict()}


def _parts(
    facts: dict[str, Any], items: Sequence[Item], coater: Coater, partial: Path | None
) -> list[Parts]:
    """Finished images of the suspect, each control and the base, and finished other adapters."""
    models = facts["provenance"]
    alone = {name: value for name, value in models["suspect"].items() if name != "adapters"}
    known = [models["suspect"], *models["controls"], alone, models.get("others", [])]
    numbers = (f".{number + 1}" for number in range(len(models["controls"])))
    ends = ["", *numbers, ".base", ".others"]
    return [
        Parts(partial and sibling(partial, end), _signature(facts, one, items, coater))
        for one, end in zip(known, ends, strict=True)
    ]


def _stale(partial: Path | None, controls: int) -> Iterator[Parts]:
    """What a stopped run with more controls left: the message follows from it."""
    number = controls + 1
    while partial and is_file(place := sibling(partial, f".{number}")):
        yield Parts(place, "")
        number += 1


def _signature(facts: dict[str, Any], model: Any, items: Sequence[Item], coater: Coater) -> str:
    """Identifies what is kept of a model: parts of another run are not reused.

    Settings that do not change what is kept of an image have no part in it, so a run that ran out
    of memory goes on with smaller batches. Neither have the other models.
    """
    kept = {name: value for name, value in facts["settings"].items() if name not in _READ_LATER}
    files = [(sha256_file(item.path), item.caption, item.class_words) for item in items]
    known = json.dumps([model, kept, files, coater.fingerprint], sort_keys=True)
    return hashlib.sha256(known.encode()).hexdigest()
