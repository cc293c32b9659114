"""Images are coated with and without scores, and a single one in its own memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.fake_coater import FakeCoater

from siren_ext.coating.folder import coat_folder
from siren_ext.coating.manifest import MANIFEST_NAME, CoatConfig, CoatManifest
from siren_ext.coating.passes import Result, coat_and_score
from siren_ext.data.dataset import ImageSet


class Counted(FakeCoater):
    """Counts the scored images."""

    scored = 0

    def score(self, images: torch.Tensor) -> torch.Tensor:
        self.scored += len(images)
        return super().score(images)


@pytest.mark.parametrize("options", [{}, {"format": "jpeg"}, {"share": 0.5}])
def test_files_without_scores_are_the_same(data: Path, tmp_path: Path, options: dict) -> None:
    images, coater = ImageSet.open(data), Counted()
    for name, scores in (("with", True), ("without", False)):
        coater.scored = 0
        config = CoatConfig(scores=scores, **options)
        made = coat_folder(images, coater, tmp_path / name, config)
        assert CoatManifest.load(tmp_path / name / MANIFEST_NAME) == made
        assert all((entry.clean_score is not None) == scores for entry in made.entries)
        assert all(
            (entry.coated_score is not None) == (scores and entry.coated) for entry in made.entries
        )
        assert bool(coater.scored) == scores
    for path in (tmp_path / "with").glob("*.[jp]*g"):
        assert path.read_bytes() == (tmp_path / "without" / path.name).read_bytes()


def test_a_single_image_is_coated_in_place_and_several_are_not() -> None:
    images = torch.rand(2, 3, 20, 18, generator=torch.Generator().manual_seed(0))
    kept, coater = images.clone(), FakeCoater()
    together = coat_and_score(coater, images, 1.0, None, None)
    assert torch.equal(images, kept)
    for number in range(2):
        alone = images[number : number + 1].clone()
        (result,) = coat_and_score(coater, alone, 1.0, None, None)
        assert isinstance(result, Result)
        assert (result.rgb == together[number].rgb).all()
        assert not torch.equal(alone, kept[number : number + 1])
