"""What a tiny model adds to images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.tiny_models import draw_images, need_models, shared_model

from siren_ext.data.dataset import ImageSet
from siren_ext.diffusion import pipelines
from siren_ext.preference.config import PreferenceConfig
from siren_ext.preference.fields import fields_of_items, learnt_fields, view
from siren_ext.preference.models import frozen, noise_of
from siren_ext.suspects.local import LocalSuspect

need_models()
pytestmark = pytest.mark.models

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


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_fields_are_what_the_model_adds(
    suspects: dict[str, LocalSuspect], data: ImageSet, prediction: str
) -> None:
    pipeline = suspects[prediction].pipeline
    image, text = view(data.items[4], 32), [data.items[4].caption or ""]
    fields, losses = learnt_fields(frozen(suspects[prediction]), image, text, [4], CONFIG)
    with torch.no_grad():
        latents = pipelines.encode_latents(pipeline, image)
    added = torch.zeros_like(latents)
    loss = 0.0
    for draw in range(CONFIG.draws):
        times, noise = noise_of(latents, [4], draw, CONFIG)
        noisy = pipelines.add_noise(pipeline, latents, noise, times)
        with torch.no_grad():
            embeds = pipelines.encode_prompts(pipeline, text)
            guess = pipeline.unet(noisy, times, embeds, return_dict=False)[0]
            one = pipelines.loss_at(pipeline, latents, embeds, noise=noise, timesteps=times)
        added += pipelines.clean_estimate(pipeline, noisy, guess, times) - latents
        loss += float(one)
    expected = (added / CONFIG.draws).flatten().numpy()
    assert np.allclose(fields[0], expected, atol=1e-5)
    assert np.abs(expected).max() > 1e-3
    assert losses[0] == pytest.approx(loss / CONFIG.draws, rel=1e-4)


def test_fields_of_a_set_are_those_of_its_images(
    suspects: dict[str, LocalSuspect], data: ImageSet
) -> None:
    model = frozen(suspects["epsilon"])
    both = fields_of_items(model, data.items, [1, 4], 32, CONFIG)
    for place, row in enumerate((1, 4)):
        item = data.items[row]
        alone = learnt_fields(model, view(item, 32), [item.caption or ""], [row], CONFIG)
        assert np.allclose(both[0][place], alone[0][0], atol=1e-5)
        assert np.allclose(both[1][place], alone[1][0], rtol=1e-4)
