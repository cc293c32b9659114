from __future__ import annotations

from pathlib import Path

import pytest
import torch

from siren_ext.errors import ConfigError
from siren_ext.experiments.baseline_sets import GENERATED, generated, named_folder, pictures_of
from siren_ext.samples.folder import sample_set


@pytest.mark.parametrize("kind", list(GENERATED))
def test_drawn_pictures_differ_and_come_from_the_seed(kind: str) -> None:
    found = generated(kind, 4, 48, 1)
    assert found.shape == (4, 3, 48, 48)
    assert torch.equal(found, (found * 255).round() / 255)
    assert found.std(dim=(1, 2, 3)).min() > 0
    assert not torch.equal(found[0], found[1])
    assert torch.equal(found, generated(kind, 4, 48, 1))
    assert not torch.equal(found, generated(kind, 4, 48, 2))


def test_only_so_many_pictures_are_read() -> None:
    assert pictures_of(sample_set(), 32, 5).shape == (5, 3, 32, 32)


def test_a_folder_is_given_with_its_name(tmp_path: Path) -> None:
    assert named_folder(f"faces={tmp_path}") == ("faces", tmp_path)
    for wrong in ("faces", "=x", f"faces={tmp_path}/missing"):
        with pytest.raises(ConfigError, match="NAME=FOLDER"):
            named_folder(wrong)
