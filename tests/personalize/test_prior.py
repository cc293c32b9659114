"""Class images: given, generated, missing, and kept by a stopped run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.short_runs import StopAt, load, short
from support.tiny_models import draw_images, need_models

from siren_ext.data.dataset import ImageSet
from siren_ext.errors import Cancelled, ConfigError, DatasetError
from siren_ext.personalize.prior import check_prior, class_data
from siren_ext.personalize.run import personalize
from siren_ext.progress import NULL

need_models()
pytestmark = pytest.mark.models


def test_generated_ones_depend_on_the_seed_only(model: Path) -> None:
    config = short("dreambooth")
    one, two = (class_data(config, load(model), None, NULL) for _ in range(2))
    other = class_data(short("dreambooth", seed=1), load(model), None, NULL)
    assert one is not None
    assert two is not None
    assert other is not None
    assert one.latents.shape[:2] == (2, 3)
    assert one.prompts == ("", "a photo of two birds")
    assert torch.equal(one.latents, two.latents)
    assert not torch.equal(one.latents, other.latents)
    assert class_data(short("dreambooth", prior_weight=0.0), load(model), None, NULL) is None


def test_given_ones(model: Path, data: ImageSet, tmp_path: Path) -> None:
    given = ImageSet.open(draw_images(tmp_path / "class", 2))
    found = class_data(short("custom-diffusion"), load(model), given, NULL)
    assert found is not None
    assert len(found.rows) == 2
    captions = class_data(short("dreambooth", class_prompt=None), load(model), given, NULL)
    assert captions is not None
    assert given.items[0].caption in captions.prompts
    bare = ImageSet.open(draw_images(tmp_path / "bare", 1, captions=False))
    with pytest.raises(DatasetError, match="no caption"):
        class_data(short("dreambooth", class_prompt=None), load(model), bare, NULL)
    config = short("dreambooth", steps=2)
    own = personalize(data, model, config, tmp_path / "a", device="cpu")
    theirs = personalize(data, model, config, tmp_path / "b", class_images=given, device="cpu")
    assert own.hash != theirs.hash
    assert own.metadata["ss_num_reg_images"] == "3"
    assert theirs.metadata["ss_num_reg_images"] == "2"


def test_missing_and_needless_ones_are_named(data: ImageSet) -> None:
    for method in ("dreambooth", "custom-diffusion"):
        with pytest.raises(ConfigError, match="needs class images"):
            check_prior(short(method, class_prompt=None), None)
        with pytest.raises(ConfigError, match="prior_weight is 0"):
            check_prior(short(method, prior_weight=0.0), data)
    with pytest.raises(ConfigError, match="needs class images"):
        check_prior(short("dreambooth", class_prompt="a {class}"), None)
    with pytest.raises(ConfigError, match="svdiff does not use them"):
        check_prior(short("svdiff"), data)
    check_prior(short("svdiff"), None)
    check_prior(short("dreambooth", class_prompt=None), data)


def test_a_resumed_run_does_not_generate_again(
    model: Path, data: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from siren_ext.personalize import prior

    config, out = short("dreambooth"), tmp_path / "model"
    with pytest.raises(Cancelled):
        personalize(data, model, config, out, device="cpu", progress=StopAt(2))
    monkeypatch.setattr(prior, "_generated", None)
    personalize(data, model, config, out, device="cpu")
