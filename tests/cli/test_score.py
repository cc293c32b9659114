"""``score``: pictures that a search by suffix misses are named; centring."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from support.keyed_samples import coaters, noise

from siren_ext.scoring.centre import centred
from siren_ext.scoring.score import score_folder
from siren_ext.scoring.score_set import ScoreSet

Call = Callable[..., tuple[int, str, str]]


def test_pictures_that_are_not_scored_are_named(
    call: Call, photos: Path, coater_file: Path, tmp_path: Path
) -> None:
    command = ("score", photos, "--coater", coater_file, "--out", tmp_path / "scores.json", "-q")
    assert call(*command)[0] == 0
    (photos / "download").write_bytes((photos / "0.png").read_bytes())
    (photos / "photo.dng").write_bytes(b"II*\0")
    code, out, err = call(*command, "--force")
    assert code == 3
    assert out.startswith("4 scores: ")
    assert "photo.dng: camera RAW files can't be read here; export them as PNG or JPEG." in err
    assert "download: is a picture, but its name does not have the ending of one" in err


def test_what_else_is_left_out_is_reported(
    call: Call, photos: Path, coater_file: Path, tmp_path: Path
) -> None:
    (photos / "film.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    for name in ("grids/g.png", "@eaDir/t.png", ".cache/c.png", "0-masklabel.png"):
        (photos / name).parent.mkdir(exist_ok=True)
        (photos / name).write_bytes((photos / "0.png").read_bytes())
    command = ("score", photos, "--coater", coater_file, "--out", tmp_path / "scores.json", "-q")
    code, out, err = call(*command)
    assert code == 0
    assert out.startswith("5 scores: ")  # also the picture that has the name of a mask
    assert err.splitlines() == [
        "Left out: 1 MP4 file (film.mp4): expected pictures and captions.",
        "Left out: 1 folder of pictures (grids): score it separately.",
    ]


def test_scores_are_centred_by_uncoated_pictures(call: Call, tmp_path: Path) -> None:
    coater = coaters(tmp_path / "coaters")
    keyed = tmp_path / "coaters" / "keyed.safetensors"
    files = {}
    for name, count, seed in (("uncoated", 20, 1), ("suspect", 4, 2)):
        noise(tmp_path / name, count, seed=seed)
        files[name] = tmp_path / f"{name}.json"
        given = ("--coater", keyed, "--out", files[name], "-q")
        centre = ("--centre", files["uncoated"]) if name == "suspect" else ()
        assert call("score", tmp_path / name, *given, *centre)[0] == 0
    found = ScoreSet.load(files["suspect"])
    assert found.source["centred"]["pictures"] == 20
    plain = score_folder(tmp_path / "suspect", coater)
    wanted = centred(plain, ScoreSet.load(files["uncoated"]))
    assert found.features is not None
    assert wanted.features is not None
    np.testing.assert_allclose(found.features, wanted.features, rtol=1e-3, atol=1e-2)
    given = ("--coater", keyed, "--out", tmp_path / "x.json", "-q", "--centre", files["suspect"])
    code, _, err = call("score", tmp_path / "uncoated", *given)
    assert code == 2
    assert "at least 20" in err or "already been centred" in err
