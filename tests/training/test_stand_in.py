"""The stand-in model by every method: made once, found again, used by training and decoys."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_models import draw_images, need_models, shared_model

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import CoaterError, ConfigError
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.progress import NULL
from siren_ext.training.config import TrainConfig
from siren_ext.training.decoys import make_decoys
from siren_ext.training.prompts import surrogate_prompt
from siren_ext.training.recipes import train_for_base
from siren_ext.training.stand_in import (
    found_surrogate,
    load_stand_in,
    personalised,
    stand_in_identity,
    stand_in_settings,
    surrogate_file,
    surrogate_hash,
)

SHAPE = CoaterConfig(
    channels=4, generator_blocks=1, extractor_blocks=1, bits=2, features=4, working_size=32
)
STEPS = TrainConfig(
    steps=2, batch_size=2, warmup=1, learn_images=1, round_trips=1, denoised=0, distort=False,
    rehearse_every=0,
)  # fmt: skip


def test_places_and_settings(tmp_path: Path) -> None:
    coater = tmp_path / "c.safetensors"
    assert surrogate_file(coater).name == "c.surrogate.safetensors"
    assert surrogate_file(coater, "svdiff") == surrogate_file(coater) == found_surrogate(coater)
    folder = surrogate_file(coater, "full")
    assert folder.name == "c.surrogate"
    folder.mkdir()
    assert found_surrogate(coater) == folder
    surrogate_file(coater).touch()
    assert found_surrogate(coater) == surrogate_file(coater)
    assert stand_in_settings(None, "fox") == PersonalizeConfig()
    own = stand_in_settings(PersonalizeConfig(method="dreambooth"), "red  fox")
    assert own.class_prompt == "an image of red fox"
    given = PersonalizeConfig(method="dreambooth", class_prompt="a fox")
    assert stand_in_settings(given, "fox") == given
    for method in ("textual-inversion", "custom-diffusion"):
        with pytest.raises(ConfigError, match="captions would have to contain"):
            stand_in_settings(PersonalizeConfig.from_dict({"method": method}), "fox")


def test_every_file_of_it_tells_it_from_others(tmp_path: Path) -> None:
    base, adapter = tmp_path / "base.safetensors", tmp_path / "c.surrogate.safetensors"
    for file in (base, adapter):
        file.write_bytes(b"before")
    seen = [stand_in_identity(base, adapter)]
    for file in (base, adapter):
        file.write_bytes(b"edited")
        seen.append(stand_in_identity(base, adapter))
    assert len(set(seen)) == 3
    assert stand_in_identity(base, adapter) == seen[-1]


@pytest.mark.models
@pytest.mark.parametrize("method", ["svdiff", "dreambooth", "full"])
def test_a_coater_is_trained_against_it(
    method: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    need_models()
    base = shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")
    photos = ImageSet.open(draw_images(tmp_path / "photos", 2))
    out = tmp_path / "c.safetensors"
    settings = PersonalizeConfig.from_dict(
        {"method": method, "steps": 2, "batch_size": 1, "learning_rate": 0.01,
         "class_images": 2, "class_steps": 2}
    )  # fmt: skip
    coater = train_for_base(
        photos, base, "fox", out, STEPS, surrogate=settings, coater=SHAPE, device="cpu"
    )
    place = found_surrogate(out)
    assert place == surrogate_file(out, method)
    assert coater.provenance["surrogate_sha256"] == surrogate_hash(place)
    words = surrogate_prompt("fox")
    given = stand_in_settings(settings, "fox")
    found = personalised(photos, base, words, given, place, "cpu", NULL)
    assert found.identity == stand_in_identity(base, place)
    cpu = torch.device("cpu")
    trained = load_stand_in(base, place, cpu).unet.float().state_dict()
    from siren_ext.diffusion.load import load_pipeline

    before = load_pipeline(base, device="cpu", dtype=torch.float32).unet.state_dict()
    assert set(trained) == set(before)
    changed = [not np.allclose(trained[key], before[key], atol=1e-6) for key in before]
    assert any(changed)
    if method != "full":
        return
    index = make_decoys(out, photos, base, tmp_path / "decoys", count=1, device="cpu")
    assert len(index.decoys) == 1
    assert Coater.load(out).fingerprint == coater.fingerprint
    (place / "model_index.json").unlink()
    with pytest.raises(CoaterError, match="is not at"):
        make_decoys(out, photos, base, tmp_path / "more", count=1, device="cpu")
