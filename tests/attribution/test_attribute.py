"""From files to a ranking, by a model's gradients and by patches."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
from support.tiny_attribution import adapted
from support.tiny_models import draw_images, need_models, shared_model

from siren_ext.attribution.attribute import Attribution, attribute_images
from siren_ext.attribution.config import AttributionConfig
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import DatasetError
from siren_ext.suspects.local import LocalSuspect

need_models()
pytestmark = pytest.mark.models

FEW = AttributionConfig(times=2, noises=2, dimension=32, repeats=20)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LocalSuspect:
    base = shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")
    return adapted(base, tmp_path_factory.mktemp("adapter") / "lora.safetensors")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return ImageSet.open(draw_images(tmp_path_factory.mktemp("data"), 5))


@pytest.fixture(scope="module")
def picture(data: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """A copy of image 3, without its caption."""
    folder = tmp_path_factory.mktemp("picture")
    shutil.copyfile(data.items[3].path, folder / "made.png")
    return ImageSet.open(folder)


@pytest.fixture(scope="module")
def found(model: LocalSuspect, data: ImageSet, picture: ImageSet) -> Attribution:
    return attribute_images(data, picture, model, FEW)


def test_prompts_are_asked_for_only_where_they_count(
    model: LocalSuspect, data: ImageSet, picture: ImageSet
) -> None:
    bare = LocalSuspect(model.model, device="cpu", dtype=model.dtype)
    plain = attribute_images(data, picture, bare, FEW)
    assert (plain.method, len(plain.notes)) == ("patches", 1)
    without = dataclasses.replace(FEW, captions="none")
    assert len(attribute_images(data, picture, model, without).notes) == 1


def test_a_copy_is_found_by_gradients_and_by_patches(found: Attribution) -> None:
    assert found.method == "gradients"
    assert found.ranking.order[0] == found.patches.order[0] == 3
    assert "Of your 5 images, 3.png is estimated to have shaped the picture most" in found.headline
    assert found.notes == (
        "made.png is the same file as 3.png among your images, whose score is high for that reason "
        "alone.",
        "1 of 1 pictures have no caption, and your images have; give the prompt of a picture too "
        "if you know it.",
    )


def test_the_record_is_plain_and_in_order(found: Attribution) -> None:
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert [row["rank"] for row in plain["images"]] == [1, 2, 3, 4, 5]
    first = plain["images"][0]
    assert first["image"] == "3.png"
    assert first["rank_low"] <= first["rank"] <= first["rank_high"]
    assert first["low"] < first["score"] < first["high"]
    assert first["by_picture"] == pytest.approx([first["score"]])
    assert plain["pictures"][0]["sha256"] == first["sha256"]
    assert plain["settings"]["output"] == "norm"


def test_without_an_adapter_only_patches_are_compared(
    model: LocalSuspect, data: ImageSet, picture: ImageSet, found: Attribution
) -> None:
    plain = LocalSuspect(model.model, device="cpu", dtype=model.dtype)
    other = attribute_images(data, picture, plain, FEW)
    assert other.method == "patches"
    assert other.ranking is other.patches
    assert np.allclose(other.ranking.scores, found.patches.scores, atol=1e-4)
    assert "patches most similar" in other.headline


def test_several_pictures_are_ranked_together(model: LocalSuspect, data: ImageSet) -> None:
    pictures = dataclasses.replace(data, items=data.items[1:3])
    both = attribute_images(data, pictures, model, FEW)
    assert both.ranking.by_picture.shape == (2, 5)
    assert set(both.ranking.order[:2].tolist()) == {1, 2}


def test_too_few_images_are_refused(model: LocalSuspect, data: ImageSet) -> None:
    one = dataclasses.replace(data, items=data.items[:1])
    with pytest.raises(DatasetError, match="contains 1 images; expected at least 2"):
        attribute_images(one, data, model, FEW)
    none = dataclasses.replace(data, items=())
    with pytest.raises(DatasetError, match="contains no images"):
        attribute_images(data, none, model, FEW)
