"""From two sets of images to a ranking and its page, with a tiny model."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.tiny_attribution import adapted
from support.tiny_models import draw_images, need_models, shared_model

from siren_ext.attribution.config import AttributionConfig
from siren_ext.attribution.wording import DOES_NOT_PROVE
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import Cancelled, ConfigError
from siren_ext.files import locked
from siren_ext.progress import Progress
from siren_ext.suspects.local import LocalSuspect
from siren_ext.workflows.image_attribution import rank_images

need_models()
pytestmark = pytest.mark.models

FEW = AttributionConfig(times=1, noises=2, dimension=16, repeats=10)


@pytest.fixture
def model(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> LocalSuspect:
    base = shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")
    return adapted(base, tmp_path / "lora.safetensors")


@pytest.fixture
def data(tmp_path: Path) -> ImageSet:
    """Four images, and a file that is none."""
    folder = draw_images(tmp_path / "photos", 4)
    whole = (folder / "0.png").read_bytes()
    (folder / "broken.png").write_bytes(whole[: len(whole) // 2])
    return ImageSet.open(folder)


def test_the_ranking_comes_with_its_files(
    data: ImageSet, model: LocalSuspect, tmp_path: Path
) -> None:
    picture = ImageSet.open(draw_images(tmp_path / "made", 3))
    cache = tmp_path / "gradients.safetensors"
    done = rank_images(data, picture, model, tmp_path / "report", FEW, cache=cache)
    assert [path.name for path in done.files] == [
        done.found.images[row] for row in done.found.ranking.order
    ]
    assert done.report.html.is_file()
    assert cache.is_file()
    first, second = done.lines(2)
    assert first.startswith(f"1. {done.files[0].name}: score ")
    assert second.startswith(f"2. {done.files[1].name}: score ")
    assert len(done.lines(9)) == 4
    assert done.does_not_prove == DOES_NOT_PROVE["gradients"]
    assert [name for name, _ in done.problems] == ["broken.png"]


def test_a_stop_and_another_run_are_reported(
    data: ImageSet, model: LocalSuspect, tmp_path: Path
) -> None:
    cache = tmp_path / "gradients.safetensors"
    with pytest.raises(Cancelled):
        rank_images(
            data, data, model, tmp_path / "report", FEW,
            cache=cache, progress=Progress(cancelled=lambda: True),
        )  # fmt: skip
    assert not (tmp_path / "report").exists()
    with locked(cache), pytest.raises(ConfigError, match="is being written by another run"):
        rank_images(data, data, model, tmp_path / "report", FEW, cache=cache)
