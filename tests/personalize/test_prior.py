"""Class images: given, generated, missing, and kept by a stopped run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.short_runs import StopAt, load, short
from support.tiny_models import draw_images, need_models

from siren_ext.data import kohya
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import Cancelled, ConfigError, DatasetError
from siren_ext.personalize import prior
from siren_ext.personalize.loop import LABEL
from siren_ext.personalize.prior import check_prior, class_data, open_sets
from siren_ext.personalize.run import personalize
from siren_ext.progress import NULL, Progress

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
    config, out = short("dreambooth"), tmp_path / "model"
    with pytest.raises(Cancelled):
        personalize(data, model, config, out, device="cpu", progress=StopAt(2))
    monkeypatch.setattr(prior, "_generated", None)
    personalize(data, model, config, out, device="cpu")


def test_class_images_without_a_text_are_named(model: Path, data: ImageSet, tmp_path: Path) -> None:
    theirs = draw_images(tmp_path / "class", 2)
    for text in theirs.glob("*.txt"):
        text.unlink()
    config = short("dreambooth", class_prompt=None, prompt="a picture")
    with pytest.raises(DatasetError, match=r"The class image .* has no caption.*class_prompt"):
        class_data(config, load(model), ImageSet.open(theirs), NULL)


def test_class_images_outlive_a_stop_before_the_first_step(
    model: Path, data: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class AtTraining(Progress):
        def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
            if label == LABEL:
                raise Cancelled

    config, out = short("dreambooth"), tmp_path / "model"
    with pytest.raises(Cancelled):
        personalize(data, model, config, out, device="cpu", progress=AtTraining())
    monkeypatch.setattr(prior, "_generated", None)
    found = personalize(data, model, config, out, device="cpu")
    assert found.parameters


def test_words_are_checked_before_class_images_are_generated(
    model: Path, data: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prior, "_generated", None)
    for wrong, error in (
        ({"prompt": "a cat"}, DatasetError),
        ({"token": "cat", "prompt": "a cat"}, ConfigError),
    ):
        config = short("custom-diffusion", **wrong)
        with pytest.raises(error, match=r"No caption contains|already knows"):
            personalize(data, model, config, tmp_path / "model", device="cpu")


def with_regular_images(folder: Path) -> Path:
    """A dataset.toml with two images of a subject and three class images, one without caption."""
    draw_images(folder / "img", 2)
    draw_images(folder / "reg", 3)
    (folder / "reg" / "0.txt").unlink()
    text = """
        [[datasets]]
          [[datasets.subsets]]
          image_dir = "img"
          [[datasets.subsets]]
          image_dir = "reg"
          is_reg = true
          class_tokens = "two birds"
    """
    (folder / "dataset.toml").write_text(text)
    return folder / "dataset.toml"


def test_regularisation_subsets_are_class_images(model: Path, tmp_path: Path) -> None:
    path = with_regular_images(tmp_path)
    config = short("dreambooth", class_prompt=None, steps=1)
    data, given = open_sets(path, None, config)
    assert [item.name for item in data.items] == ["img/0.png", "img/1.png"]
    assert not data.notices
    assert given is not None
    assert [item.name for item in given.items] == ["reg/0.png", "reg/1.png", "reg/2.png"]
    found = class_data(config, load(model), given, NULL)
    assert found is not None
    assert "two birds" in found.prompts
    for theirs in (path, tmp_path / "reg"):  # given by themselves
        again = open_sets(tmp_path / "img", theirs, config)[1]
        assert again is not None
        assert again.hash == given.hash
    summary = personalize(data, model, config, tmp_path / "m", class_images=given, device="cpu")
    assert summary.metadata["ss_num_reg_images"] == "3"


def test_regularisation_subsets_without_use_are_named(tmp_path: Path) -> None:
    path = with_regular_images(tmp_path)
    for config, theirs, words in (
        (short("svdiff"), None, "svdiff does not use class images, but dreambooth and custom-dif"),
        (short("dreambooth", prior_weight=0.0), None, "prior_weight is 0."),
        (short("dreambooth"), tmp_path / "img", "other class images were given."),
    ):
        data, given = open_sets(path, theirs, config)
        assert (given is None) == (theirs is None)
        assert given is None or len(given) == 2
        assert data.notices[0].startswith("Left out: 1 regularisation subset (reg): " + words)
        assert len(data.notices) == 1


def test_a_dataset_toml_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read = with_regular_images(tmp_path), []
    whole = kohya.read_dataset_toml

    def counted(file: Path) -> kohya.TomlSubsets:
        read.append(file)
        return whole(file)

    monkeypatch.setattr(prior, "read_dataset_toml", counted)
    monkeypatch.setattr(kohya, "read_dataset_toml", counted)
    assert open_sets(path, None, short("dreambooth"))[1] is not None
    assert read == [path]


def test_class_images_in_the_layout_of_kohya(model: Path, tmp_path: Path) -> None:
    draw_images(tmp_path / "img" / "10_sks bird", 2)
    draw_images(tmp_path / "reg" / "2_two birds", 2, captions=False)
    config = short("dreambooth", class_prompt=None)
    data, given = open_sets(tmp_path / "img", tmp_path / "reg", config)
    found = class_data(config, load(model), given, NULL)
    assert found is not None
    assert found.prompts == ("", "two birds")
    assert len(found.rows) == 4
    assert len(data) == 2
