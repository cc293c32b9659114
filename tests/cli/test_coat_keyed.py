"""The command ``coat`` with a key file."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.keyed_coating import SHAPE, key
from support.tiny_models import draw_images
from typer.testing import CliRunner

from siren_ext.cli.app import app
from siren_ext.coater.coater import Coater
from siren_ext.coating.manifest import MANIFEST_NAME, CoatManifest
from siren_ext.data.dataset import ImageSet


@pytest.fixture(scope="module")
def coater() -> Coater:
    return Coater(SHAPE, seed=3)


@pytest.fixture
def photos(tmp_path: Path) -> ImageSet:
    return ImageSet.open(draw_images(tmp_path / "photos", 4, size=24))


def test_coat_command_with_a_key_file(coater: Coater, photos: ImageSet, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    from siren_ext.keys.coating_key import KeyRing

    coater.save(tmp_path / "k.safetensors")
    ring = KeyRing([("ann", key(1)), ("bob", key(2))])
    ring.save(tmp_path / "keys.json", "correct horse battery")
    words = ["coat", str(photos.root), "--coater", str(tmp_path / "k.safetensors"), "--quiet"]
    with_key = ["--key", str(tmp_path / "keys.json"), "--passphrase-env", "SECRET"]
    env = {"SECRET": "correct horse battery"}
    run = CliRunner().invoke

    done = run(
        app, [*words, "--out", str(tmp_path / "a"), *with_key, "--recipient", "bob"], env=env
    )
    assert done.exit_code == 0, (done.output, done.exception)
    assert CoatManifest.load(tmp_path / "a" / MANIFEST_NAME).key == key(2).fingerprint()
    for extra, told in (
        ([], "is keyed; add --key FILE"),
        (["--recipient", "bob"], "add --key FILE"),
        (with_key, "name one of its recipients: ann, bob"),
        ([*with_key, "--recipient", "eve"], "no key for 'eve'"),
    ):
        refused = run(app, [*words, "--out", str(tmp_path / "b"), *extra], env=env)
        assert refused.exit_code == 2
        assert told in " ".join(refused.output.split())
        assert not (tmp_path / "b").exists()
    wrong = run(app, [*words, "--out", str(tmp_path / "b"), *with_key], env={"SECRET": "no horse"})
    assert wrong.exit_code == 2
