"""What keeps workers from working, in words."""

from __future__ import annotations

import errno

import pytest

from siren_ext.coater.coater import Coater
from siren_ext.errors import CoaterError, ImageError
from siren_ext.scale.score_worker import ScoreSetup
from siren_ext.scale.worker import Failure, failure_of


def test_a_coater_is_loaded_from_where_its_file_is_now(coater_file, tmp_path) -> None:
    coater = Coater.load(coater_file)
    setup = ScoreSetup(coater_file, coater.fingerprint)
    assert setup.load().fingerprint == coater.fingerprint
    moved = coater_file.rename(tmp_path / "moved.safetensors")
    assert setup.with_file(moved).load().fingerprint == coater.fingerprint
    Coater(coater.config, seed=2).save(moved)
    with pytest.raises(CoaterError, match="has changed since the run began"):
        setup.with_file(moved).load()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ImageError("a\nb"), r"a\nb"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
    ],
)
def test_other_reasons_are_in_words(error, words) -> None:
    assert failure_of(error) == Failure(words)
