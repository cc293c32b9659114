"""Image editors on a tiny model with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.tiny_families import tiny_family
from support.tiny_models import need_models

from siren_ext.attacks.editor import edit
from siren_ext.errors import ConfigError, ModelError

need_models()
pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_family(tmp_path_factory.getbasetemp(), "kontext"))


def pictures() -> torch.Tensor:
    return torch.rand(2, 3, 40, 57, generator=torch.Generator().manual_seed(0))


def again(images: torch.Tensor, seed: int = 0, **settings: object) -> torch.Tensor:
    return edit(images, torch.Generator().manual_seed(seed), steps=2, **settings)  # type: ignore[arg-type]


def test_pictures_are_drawn_again_at_their_size(editor: str) -> None:
    images = pictures()
    made = again(images, model=editor)
    assert made.shape == images.shape
    assert made.min() >= 0
    assert made.max() <= 1
    assert not torch.equal(made, images)
    assert torch.equal(again(images, model=editor), made)
    assert not torch.equal(again(images, seed=1, model=editor), made)
    # the picture that is given decides, and not the text alone
    assert not torch.equal(again(1 - images, model=editor), made)


def test_what_is_refused(
    editor: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.raises(ConfigError, match="give the folder of a diffusers pipeline"):
        again(pictures())
    with pytest.raises(ConfigError, match="prompt is 3; expected a text"):
        again(pictures(), model=editor, prompt=3)
    with pytest.raises(ModelError, match="none"):
        again(pictures(), model=str(tmp_path / "none"))
    other = tiny_family(tmp_path_factory.getbasetemp(), "flux")
    with pytest.raises(
        ModelError, match="is a FluxPipeline; expected a pipeline that takes an image"
    ):
        again(pictures(), model=str(other))
    (tmp_path / "model_index.json").write_text('{"_class_name": "os.system"}')
    with pytest.raises(ModelError, match=r"is a os\.system; expected a pipeline"):
        again(pictures(), model=str(tmp_path))
    (tmp_path / "one.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="is a file"):
        again(pictures(), model=str(tmp_path / "one.safetensors"))
