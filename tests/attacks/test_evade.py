"""White-box evasion: it raises the score or hides the message, within the radius."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from siren_ext.attacks.evade import evade
from siren_ext.coater.bundled import coater_path
from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.data.images import read_picture, resize, to_tensor
from siren_ext.errors import CoaterError, ConfigError, ImageError
from siren_ext.samples.folder import sample_set
from siren_ext.stats.keyed import keyed_test


@pytest.fixture(scope="module")
def coater(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = CoaterConfig(
        channels=4, generator_blocks=1, extractor_blocks=1, bits=2, features=4, working_size=16
    )
    path = tmp_path_factory.mktemp("coater") / "coater.safetensors"
    made = Coater(config, seed=1)
    made.center += 0.5
    made.save(path)
    return path


def test_scores_rise_within_the_radius(coater: Path) -> None:
    images = torch.rand(3, 3, 20, 24, generator=torch.Generator().manual_seed(1))
    found = evade(images, coater=str(coater), radius=8, steps=20)
    known = Coater.load(coater)
    assert (known.score(found) > known.score(images)).all()
    assert float((found - images).abs().max()) <= 8 / 255 + 1e-6
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert torch.equal(found, evade(images, coater=str(coater), radius=8, steps=20))
    far = evade(images, coater=str(coater), radius=16, steps=20)
    assert known.score(far).sum() > known.score(found).sum()
    assert torch.equal(evade(images, coater=str(coater), radius=0), images)


def test_a_keyed_coater_reads_nothing_of_the_message_afterwards() -> None:
    known = Coater.load(coater_path("keyed"))
    images = torch.stack(
        [to_tensor(read_picture(one.path).rgb)[0] for one in sample_set().items[:6]]
    )
    images = resize(images, 96, 96)
    message = torch.randint(0, 2, (48,), generator=torch.Generator().manual_seed(3)) * 2.0 - 1
    with torch.no_grad():
        coated = (images + known.residual(images, message.expand(6, -1))).clamp(0, 1)

    def p_value(seen: torch.Tensor) -> float:
        with torch.no_grad():
            return keyed_test(known.features(seen).numpy(), message.numpy()).p_value

    hidden = evade(coated, coater="keyed", radius=4, steps=20)
    assert p_value(coated) < 1e-4
    assert p_value(hidden) > 0.5
    assert float((hidden - coated).abs().max()) <= 4 / 255 + 1e-6


def test_it_works_where_gradients_are_off(coater: Path) -> None:
    images = torch.rand(1, 3, 16, 16)
    with torch.inference_mode():
        found = evade(images.clone(), coater=str(coater), steps=2)
    assert not torch.equal(found, images)


def test_mistakes_are_named(coater: Path, tmp_path: Path) -> None:
    images = torch.rand(1, 3, 16, 16)
    with pytest.raises(ConfigError, match="radius is 65"):
        evade(images, coater=str(coater), radius=65)
    with pytest.raises(ConfigError, match="steps is 0"):
        evade(images, coater=str(coater), steps=0)
    with pytest.raises(ImageError, match="expected a batch"):
        evade(images[0], coater=str(coater))
    with pytest.raises(CoaterError):
        evade(images, coater=str(tmp_path / "none.safetensors"))
