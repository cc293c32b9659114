"""Preference of a tiny model: the right fields, resumption, and what is refused."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.keyed_coating import SHAPE
from support.stopping import StopAfter, StopInStage
from support.tiny_attribution import tiny_lora
from support.tiny_families import tiny_family
from support.tiny_models import draw_images, need_models, shared_model

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import (
    AdapterError,
    Cancelled,
    CoaterError,
    ConfigError,
    DatasetError,
    ModelError,
)
from siren_ext.preference import measure, patterns
from siren_ext.preference.changes import MeanField
from siren_ext.preference.config import PreferenceConfig
from siren_ext.preference.measure import measure_preference
from siren_ext.progress import Progress
from siren_ext.suspects.local import LocalSuspect, WeightedAdapter

need_models()
pytestmark = [pytest.mark.models, pytest.mark.usefixtures("few_copies", "few_messages")]

CONFIG = PreferenceConfig(draws=3, batch_size=2)


@pytest.fixture(scope="module")
def suspects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LocalSuspect]:
    root = tmp_path_factory.getbasetemp()
    return {
        prediction: LocalSuspect(shared_model(root, "kl", prediction), dtype=torch.float32)
        for prediction in ("epsilon", "v_prediction")
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return ImageSet.open(draw_images(tmp_path_factory.mktemp("data"), 5))


@pytest.fixture(scope="module")
def coater() -> Coater:
    return Coater(SHAPE, seed=1)


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "_last", {})


class Stages(StopAfter):
    """Remembers what was measured."""

    def __init__(self) -> None:
        super().__init__(99)
        self.seen: list[str] = []

    def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
        self.seen.append(label)


def test_patterns_are_read_once_for_all_suspects_on_a_base(
    suspects: dict[str, LocalSuspect], data: ImageSet, coater: Coater
) -> None:
    def measured(suspect: LocalSuspect, images: ImageSet, config: PreferenceConfig) -> Any:
        stages = Stages()
        found = measure_preference(suspect, images, coater, config, progress=stages)
        return found.features, "Reading the coating's patterns" in stages.seen

    first, read = measured(suspects["epsilon"], data, CONFIG)
    assert read
    # more noises, so other fields
    other, read = measured(suspects["epsilon"], data, dataclasses.replace(CONFIG, draws=2))
    assert not read
    assert not np.array_equal(other, first)
    again, read = measured(suspects["epsilon"], data, CONFIG)
    assert not read
    assert np.array_equal(again, first)
    fewer = dataclasses.replace(data, items=data.items[:4])
    for suspect, images, config in (
        (suspects["v_prediction"], data, CONFIG),
        (suspects["epsilon"], fewer, CONFIG),
        (suspects["epsilon"], data, dataclasses.replace(CONFIG, mirrored=False)),
        (suspects["epsilon"], data, dataclasses.replace(CONFIG, resolution=64)),
    ):
        _, read = measured(suspect, images, config)
        assert read


def test_a_stop_while_patterns_are_read_loses_no_image(
    suspects: dict[str, LocalSuspect], data: ImageSet, coater: Coater, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    suspect, part = suspects["epsilon"], tmp_path / "part"
    whole = measure_preference(suspect, data, coater, CONFIG)
    label = "Reading the coating's patterns"
    patterns._last.clear()  # as in another process
    stop = StopInStage(label, 3)
    with pytest.raises(Cancelled):
        measure_preference(suspect, data, coater, CONFIG, partial=part, progress=stop)
    assert {file.name for file in tmp_path.iterdir()} == {"part", "part.patterns"}
    coded: list[int] = []
    seen = patterns._seen_copies

    def counted(*arguments: Any) -> Any:
        coded.append(arguments[-1])
        return seen(*arguments)

    monkeypatch.setattr(patterns, "_seen_copies", counted)
    again = measure_preference(suspect, data, coater, CONFIG, partial=part)
    assert coded == [3, 4]
    assert again.to_dict() == whole.to_dict()
    assert not list(tmp_path.iterdir())


def test_batches_and_stops_change_nothing(
    suspects: dict[str, LocalSuspect], data: ImageSet, coater: Coater, tmp_path: Path
) -> None:
    suspect, control = suspects["epsilon"], suspects["v_prediction"]
    whole = measure_preference(suspect, data, coater, CONFIG, controls=[control])
    one = PreferenceConfig(draws=3, batch_size=1)
    part = tmp_path / "part"
    # a run that needed too much memory, and was read in another way
    before = PreferenceConfig(draws=3, batch_size=3, removed=False)
    with pytest.raises(Cancelled):
        measure_preference(
            suspect, data, coater, before, controls=[control], partial=part, progress=StopAfter(3)
        )
    assert part.exists()
    seen: list[int] = []
    patterns._last.clear()  # as in another process

    class Counted(StopAfter):
        def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
            seen.append(done)

    again = measure_preference(
        suspect, data, coater, one, controls=[control], partial=part, progress=Counted(99)
    )
    assert seen == [3, 0, 0]  # images, those of the clean model, then patterns
    assert not list(tmp_path.iterdir())
    assert whole.features is not None
    assert again.features is not None
    assert np.abs(again.features - whole.features).max() < 1e-3
    assert np.allclose(again.scores, whole.scores, atol=1e-6)
    assert [one["kind"] for one in again.source["provenance"]["controls"]] == ["local"]


def test_the_field_is_recorded_with_what_the_base_model_removes(
    suspects: dict[str, LocalSuspect], data: ImageSet, coater: Coater
) -> None:
    suspect, control = suspects["epsilon"], suspects["v_prediction"]
    whole = dataclasses.replace(CONFIG, removed=False, whole=False)
    kept, features = [], []
    for controls in ((), (control,)):
        plain = measure_preference(suspect, data, coater, whole, controls=controls)
        found = measure_preference(suspect, data, coater, CONFIG, controls=controls)
        assert plain.features is not None
        assert found.features is not None
        assert MeanField.of(plain) is None
        field = MeanField.of(found)
        assert field is not None
        kept.append(field.direction)
        features.append(np.abs(found.features - plain.features).max())
    assert np.abs(kept[0] - kept[1]).max() > 0.1
    assert features[0] < 1e-6  # without a control, whole patterns are read in both ways
    assert features[1] > 1e-3
    bits = dataclasses.replace(CONFIG, whole=False)
    alone = measure_preference(suspect, data, coater, bits, controls=[control])
    assert MeanField.of(alone) is None
    assert alone.features is not None
    assert np.array_equal(alone.features, found.features)  # removed patterns in both


@pytest.mark.parametrize("family", ["xl", "lcm", "sd3", "flux"])
def test_other_families_are_measured(
    family: str,
    data: ImageSet,
    coater: Coater,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patterns, "CODINGS", 1)
    monkeypatch.setattr(patterns, "_PER_BIT", 2)
    folder = tiny_family(tmp_path_factory.getbasetemp(), family)
    suspect = LocalSuspect(folder, dtype=torch.float32)
    # the UNet of the tiny XL model leaves nothing of smaller pictures
    settings = PreferenceConfig(draws=1, images=2, resolution=64 if family == "xl" else 32)
    found = measure_preference(suspect, data, coater, settings)
    assert found.features is not None
    assert found.features.any()
    assert (found.scores > 0).all()
    single = dataclasses.replace(settings, batch_size=1)
    again = measure_preference(suspect, data, coater, single)
    assert again.features is not None
    assert np.abs(again.features - found.features).max() < 1e-3
    assert np.allclose(again.scores, found.scores, rtol=1e-4)


def test_what_the_base_removes_counts_only_with_a_control(
    suspects: dict[str, LocalSuspect], data: ImageSet, coater: Coater
) -> None:
    suspect, control = suspects["epsilon"], suspects["v_prediction"]
    whole = dataclasses.replace(CONFIG, removed=False)

    def features(config: PreferenceConfig, *controls: LocalSuspect) -> Any:
        return measure_preference(suspect, data, coater, config, controls=controls).features

    assert np.array_equal(features(CONFIG), features(whole))
    assert np.abs(features(CONFIG, control) - features(whole, control)).max() > 0.1


def test_controls_that_leave_nothing_are_refused(
    suspects: dict[str, LocalSuspect], data: ImageSet, coater: Coater, tmp_path: Path
) -> None:
    whole, clean = suspects["epsilon"], suspects["v_prediction"]
    lora = tiny_lora(tmp_path / "lora.safetensors", whole.pipeline, seed=1)
    fitted = LocalSuspect(whole.model, lora, dtype=torch.float32)
    other = tiny_lora(tmp_path / "other.safetensors", whole.pipeline, seed=2)
    weak = LocalSuspect(whole.model, [WeightedAdapter(lora, 0.5)], dtype=torch.float32)
    both = LocalSuspect(
        whole.model, [WeightedAdapter(lora), WeightedAdapter(other)], dtype=torch.float32
    )
    fast = LocalSuspect(whole.model, other, dtype=torch.float32)
    for suspect, controls, message in (
        (whole, [whole], "is the suspicious model itself"),
        (fitted, [clean, fitted], "is the suspicious model itself"),
        (fitted, [weak], "is the suspicious model itself or has its adapter"),
        (both, [fitted], "is the suspicious model itself or has its adapter"),
        (fitted, [both], "is the suspicious model itself or has its adapter"),
        (whole, [fitted], "but the suspicious model is a whole model here"),
        (fitted, [whole, clean, whole], "was given twice"),
    ):
        with pytest.raises(ConfigError, match=message):
            measure_preference(suspect, data, coater, CONFIG, controls=controls)
    for control in (whole, fast):
        assert measure_preference(fitted, data, coater, CONFIG, controls=[control]).scores.any()


def test_controls_are_averaged(
    suspects: dict[str, LocalSuspect], data: ImageSet, coater: Coater, tmp_path: Path
) -> None:
    base = suspects["epsilon"]
    loras = [
        tiny_lora(tmp_path / f"{seed}.safetensors", base.pipeline, seed=seed) for seed in (1, 2)
    ]
    first, second = (LocalSuspect(base.model, one, dtype=torch.float32) for one in loras)
    other = suspects["v_prediction"]
    alone = [measure_preference(one, data, coater, CONFIG).scores for one in (other, first, second)]
    found = measure_preference(other, data, coater, CONFIG, controls=[first, second])
    assert np.allclose(found.scores, alone[0] - (alone[1] + alone[2]) / 2, atol=1e-6)


def test_one_model_is_in_memory_at_a_time(
    suspects: dict[str, LocalSuspect],
    data: ImageSet,
    coater: Coater,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = suspects["epsilon"].model
    lora = tiny_lora(tmp_path / "lora.safetensors", suspects["epsilon"].pipeline, seed=1)
    fitted = LocalSuspect(base, lora, dtype=torch.float32)
    models = (base, suspects["v_prediction"].model)
    others = [LocalSuspect(one, dtype=torch.float32) for one in models]
    loaded: list[int] = []
    freeze = measure.frozen

    def frozen(one: LocalSuspect) -> Any:
        found = freeze(one)
        loaded.append(sum("_loaded" in vars(model) for model in (fitted, *others)))
        return found

    monkeypatch.setattr(measure, "frozen", frozen)
    measure_preference(fitted, data, coater, CONFIG, controls=others)
    assert loaded == [1, 1, 1, 0]  # the last one is the base model, which reads


def test_a_measured_suspect_is_kept_when_controls_change(
    suspects: dict[str, LocalSuspect], data: ImageSet, coater: Coater, tmp_path: Path
) -> None:
    suspect, control = suspects["epsilon"], suspects["v_prediction"]
    folder = tmp_path / "other"
    shutil.copytree(suspect.model, folder)
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    save_file({name: -value for name, value in load_file(weights).items()}, weights)
    other, part = LocalSuspect(folder, dtype=torch.float32), tmp_path / "part"
    stale = [tmp_path / f"part.{number}" for number in (2, 3)]  # of a run with more controls
    for path in stale:
        path.write_bytes(b"old")
    with pytest.raises(ConfigError, match="has a different autoencoder"):
        measure_preference(suspect, data, coater, CONFIG, controls=[other], partial=part)
    seen: list[tuple[str, int]] = []

    class Seen(Progress):
        def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
            seen.append((label, done))

    measure_preference(
        suspect, data, coater, CONFIG, controls=[control], partial=part, progress=Seen()
    )
    assert seen[:2] == [("Measuring preference", 5), ("Measuring clean model 1 of 1", 0)]
    assert not any(path.exists() for path in (part, *stale))


def test_a_control_with_another_autoencoder_is_refused(
    suspects: dict[str, LocalSuspect], data: ImageSet, coater: Coater, tmp_path: Path
) -> None:
    folder = tmp_path / "other"
    shutil.copytree(suspects["epsilon"].model, folder)
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    save_file({name: -value for name, value in load_file(weights).items()}, weights)
    other = LocalSuspect(folder, dtype=torch.float32)
    with pytest.raises(ConfigError, match="has a different autoencoder"):
        measure_preference(suspects["v_prediction"], data, coater, CONFIG, controls=[other])


def test_captions_must_have_the_word_of_a_textual_inversion(
    suspects: dict[str, LocalSuspect], data: ImageSet, coater: Coater, tmp_path: Path
) -> None:
    base, word = suspects["epsilon"], tmp_path / "word.safetensors"
    width = base.pipeline.text_encoder.config.hidden_size
    save_file({"<fox>": torch.ones(1, width)}, word)
    suspect = LocalSuspect(base.model, word, dtype=torch.float32)
    with pytest.raises(AdapterError, match="'<fox>', but 5 of 5 captions don't have it"):
        measure_preference(suspect, data, coater, CONFIG)
    items = tuple(dataclasses.replace(item, caption="a photo of <fox>") for item in data.items)
    asked = dataclasses.replace(data, items=items)
    found = measure_preference(suspect, asked, coater, CONFIG)
    plain = measure_preference(base, asked, coater, CONFIG)
    assert not np.array_equal(found.scores, plain.scores)


def test_an_unfinished_measurement_is_private(
    suspects: dict[str, LocalSuspect], data: ImageSet, coater: Coater, tmp_path: Path
) -> None:
    part = tmp_path / "part"
    with pytest.raises(Cancelled):
        measure_preference(
            suspects["epsilon"], data, coater, CONFIG, partial=part, progress=StopAfter(2)
        )
    assert part.stat().st_mode & 0o077 == 0


def test_what_is_refused(suspects: dict[str, LocalSuspect], data: ImageSet, coater: Coater) -> None:
    suspect = suspects["epsilon"]
    plain = Coater(CoaterConfig(channels=4, generator_blocks=1, extractor_blocks=1))
    with pytest.raises(CoaterError, match="not keyed"):
        measure_preference(suspect, data, plain, CONFIG)
    with pytest.raises(ConfigError, match="multiple of 8"):
        measure_preference(suspect, data, coater, PreferenceConfig(resolution=33))
    empty = ImageSet((), data.root, data.name)
    with pytest.raises(DatasetError, match="no images"):
        measure_preference(suspect, empty, coater, CONFIG)


def test_a_damaged_model_and_other_families_are_refused(
    data: ImageSet, coater: Coater, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.getbasetemp()
    broken = LocalSuspect(shared_model(root, "kl", "epsilon"), dtype=torch.float32)
    next(broken.pipeline.unet.parameters()).data.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        measure_preference(broken, data, coater, CONFIG)

    class VQDiffusionPipeline:
        pass

    broken.__dict__["_loaded"] = (VQDiffusionPipeline(), ())
    with pytest.raises(ModelError, match="This model is a VQDiffusionPipeline"):
        measure_preference(broken, data, coater, CONFIG)
